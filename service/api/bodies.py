"""Bodies that operators send: small JSON objects, read with a limit and checked before anything is done with them."""

import json
from typing import Any

from starlette.requests import Request

from lifecycle.errors import Malformed, Mistyped
from service.hooks import read_body

BODY_BYTES_MAX = 100_000
JSON, MERGE_PATCH = "application/json", "application/merge-patch+json"


async def read_object(request: Request, *types: str, may_be_empty: bool = False) -> dict[str, Any]:
    """Return the object that a request has as its body.

    Raises Mistyped for another media type, Oversized, and Malformed for what is no object; an empty body may be one.
    """
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers.raw}
    body = await read_body(headers, request.receive, BODY_BYTES_MAX)
    if not body and may_be_empty:
        return {}
    found = headers.get("content-type", "").partition(";")[0].strip().lower()
    if found not in types:
        raise Mistyped(f"the body is to be {' or '.join(types)}", reason="media_type")
    return _object(body)


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
        # Half a pair of surrogates is no text that could be kept or shown.
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise Malformed("the body is not JSON", reason="body_malformed") from error
    if not isinstance(found, dict):
        raise Malformed("the body is not a JSON object", reason="body_malformed")
    return found
