"""Errors become answers here and nowhere else, by one table; bodies are problem+json (RFC 9457)."""

import json
from collections.abc import Mapping
from http import HTTPStatus

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from lifecycle.errors import (
    Conflict,
    GatepostError,
    Malformed,
    Mistyped,
    Oversized,
    Rejected,
    Unauthentic,
    Unavailable,
    Unknown,
    Unsupported,
)
from lifecycle.log import fault

STATUS: Mapping[type[GatepostError], int] = {
    Unauthentic: 401,
    Oversized: 413,
    Unsupported: 405,
    Mistyped: 415,
    Unknown: 404,
    Conflict: 409,
    Malformed: 400,
    Rejected: 400,
    Unavailable: 503,
}
RETRY_AFTER_SECONDS = 5
MEDIA_TYPE = "application/problem+json"

log = structlog.get_logger()


def problem(status: int, reason: str, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer with a problem document."""
    return Response(json.dumps(document(status, reason, detail)), status, headers, MEDIA_TYPE)


def document(status: int, reason: str, detail: str) -> dict[str, object]:
    """Return a problem document; ``reason`` is a word of ours that does not change."""
    return {
        "type": f"urn:gatepost:problem:{reason}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }


async def on_error(request: Request, error: Exception) -> Response:
    """Answer an error of ours."""
    assert isinstance(error, GatepostError)  # noqa: S101 - registered for this class only
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), HTTPStatus.SERVICE_UNAVAILABLE)
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    if isinstance(error, Unsupported):
        headers["Allow"] = ", ".join(error.allowed)
    log.warning("request.refused", path=_route(request), status=status, reason=error.reason)
    return problem(status, error.reason, error.message, headers)


async def on_http_error(_request: Request, error: Exception) -> Response:
    """Answer what the router refuses: no such path, no such method."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only
    reason = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    return problem(error.status_code, reason, error.detail, error.headers)


async def on_fault(request: Request, error: Exception) -> Response:
    """Answer an unforeseen fault of ours by 503, for the sender should try again; the trace goes to the log."""
    log.error("request.failed", path=_route(request), **fault(error))
    return problem(503, "internal", "something went wrong on our side", {"Retry-After": str(RETRY_AFTER_SECONDS)})


def _route(request: Request) -> str:
    """Name the route, not the path: a path may hold a person's name."""
    route = request.scope.get("route")
    return str(getattr(route, "path", "unknown"))
