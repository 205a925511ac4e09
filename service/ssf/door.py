"""Who may ask: a receiver by its bearer token, which comes in the header alone, and whose faults RFC 6750 names."""

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response

from lifecycle.errors import GatepostError
from service.problems import on_error, problem
from service.ssf.pool import in_pool
from service.ssf.tokens import Client, Tokens

Endpoint = Callable[[Request, Client], Awaitable[Response]]
REALM = 'Bearer realm="ssf"'


class TooMany(Exception):
    """A receiver asked too often."""

    def __init__(self, detail: str, *, retry_after: int) -> None:
        """Keep what is answered, and after how many seconds it may ask again."""
        super().__init__(detail)
        self.answer = problem(429, "too_many", detail, {"Retry-After": str(retry_after)})


def for_receivers(
    tokens: Tokens, by_method: Mapping[str, tuple[Endpoint, str]]
) -> Callable[[Request], Awaitable[Response]]:
    """Let a receiver through to the endpoint of the request's method, whose token has the scope for it."""

    async def door(request: Request) -> Response:
        endpoint, scope = by_method[request.method if request.method != "HEAD" else "GET"]
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            return _closed(401, "token_missing", "a bearer token is required", "")
        client = await in_pool(lambda: tokens.client(given.strip()))
        if client is None:
            said = "this token is not known, has expired, or its client may no longer use it"
            return _closed(401, "token_wrong", said, ', error="invalid_token"')
        if not client.may(scope):
            said = f"this needs the scope {scope}"
            return _closed(403, "scope_missing", said, f', error="insufficient_scope", scope="{scope}"')
        try:
            answer = await endpoint(request, client)
        except TooMany as error:
            answer = error.answer
        except GatepostError as error:
            answer = await on_error(request, error)
        # What is not there may be there a moment later, and all of it is one receiver's alone.
        answer.headers["Cache-Control"] = "no-store"
        return answer

    return door


def _closed(status: int, reason: str, detail: str, error: str) -> Response:
    return problem(status, reason, detail, {"WWW-Authenticate": REALM + error, "Cache-Control": "no-store"})
