"""Who may ask: a bearer token of the configuration, compared in constant time with every live one."""

import hmac
from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import Response

from service.problems import problem

Endpoint = Callable[[Request], Awaitable[Response]]


def guarded(endpoint: Endpoint, tokens: Sequence[str]) -> Endpoint:
    """Let only a bearer of one of the tokens through: 401 without one, 403 with a wrong one."""

    async def guard(request: Request) -> Response:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given:
            return problem(401, "token_missing", "a bearer token is required", {"WWW-Authenticate": "Bearer"})
        fits = False
        for token in tokens:
            fits |= hmac.compare_digest(given.strip().encode("latin-1", "replace"), token.encode())
        if not fits:
            return problem(403, "token_wrong", "this token is not one of service.admin_tokens")
        return await endpoint(request)

    return guard
