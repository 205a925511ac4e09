"""Where receivers get their tokens: OAuth 2.0 client credentials.

https://www.rfc-editor.org/rfc/rfc6749 sections 2.3.1, 4.4 and 5; the faults are told in its own words.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote_plus

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lifecycle.errors import Oversized
from service.hooks import read_body
from service.ssf.pool import in_pool
from service.ssf.tokens import TOKEN_SECONDS, TOKENS_MAX, TRIES_MAX, Tokens, shown

GRANT: Final = "client_credentials"
FORM: Final = "application/x-www-form-urlencoded"
REQUEST_BYTES_MAX = 8_192
FIELDS_MAX = 20
HEADERS: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}

log = structlog.get_logger()


class Shown(NamedTuple):
    """What a client says of itself; a secret may be read in two ways."""

    name: str
    secrets: tuple[str, ...]


class Fault(Exception):
    """Why there is no token: an error code of RFC 6749 section 5.2."""

    def __init__(self, error: str, description: str, status: int = 400, headers: dict[str, str] | None = None) -> None:
        """Keep what is answered."""
        super().__init__(description)
        self.answer = JSONResponse(
            {"error": error, "error_description": description}, status, {**HEADERS, **(headers or {})}
        )


class TokenEndpoint:
    """``POST /ssf/token``."""

    def __init__(self, tokens: Tokens) -> None:
        """Keep where tokens are made."""
        self._tokens = tokens

    async def __call__(self, request: Request) -> Response:
        """Answer with a token, or why there is none."""
        try:
            form = await _form(request)
            client = _shown(request, form)
            return await self._token(client, form)
        except Fault as fault:
            return fault.answer

    async def _token(self, client: Shown, form: dict[str, str]) -> Response:
        # The secret first: whatever strangers try in its name, a receiver gets its tokens.
        receiver = self._tokens.receiver(client.name)
        secret = shown(receiver, client.secrets)
        if receiver is None or secret is None:
            await self._count("token", client.name, TRIES_MAX)
            log.warning("ssf.token_refused", reason="invalid_client")
            raise _unauthorized("no such client, or not its secret")
        await self._count("issue", client.name, TOKENS_MAX)
        if form.get("grant_type") != GRANT:
            raise Fault("unsupported_grant_type", f"grant_type: allowed: {GRANT}")
        scopes = _granted(form.get("scope"), receiver.scopes)
        token = await in_pool(lambda: self._tokens.issue(client.name, secret, scopes))
        log.info("ssf.token_issued", receiver=client.name, scopes=scopes)
        answer = {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": TOKEN_SECONDS,
            "scope": " ".join(scopes),
        }
        return JSONResponse(answer, headers=HEADERS)

    async def _count(self, kind: str, name: str, most: int) -> None:
        if wait := await in_pool(lambda: self._tokens.tries(kind, name, most)):
            log.warning("ssf.token_refused", reason="too_many_tries")
            raise Fault("invalid_request", "too many tries", 429, {"Retry-After": str(wait)})


def _unauthorized(description: str) -> Fault:
    return Fault("invalid_client", description, 401, {"WWW-Authenticate": 'Basic realm="ssf"'})


async def _form(request: Request) -> dict[str, str]:
    """Return the parameters; one without a value counts as missing. Raises Fault."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise Fault("invalid_request", f"the body is to be {FORM}")
    try:
        body = await read_body(request.headers, request.receive, REQUEST_BYTES_MAX)
    except Oversized as error:
        raise Fault("invalid_request", error.message, 413) from error
    try:
        pairs = parse_qsl(body.decode(), max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError as error:  # not UTF-8, too many fields
        raise Fault("invalid_request", "the body cannot be read") from error
    if len({name for name, _ in pairs}) < len(pairs):
        raise Fault("invalid_request", "a parameter comes more than once")
    return dict(pairs)


def _shown(request: Request, form: dict[str, str]) -> Shown:
    """Return who the client says it is. Raises Fault unless it does so in exactly one way."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if not scheme:
        if "client_id" not in form or "client_secret" not in form:
            raise _unauthorized("the client is to show its secret")
        return Shown(form["client_id"], (form["client_secret"],))
    if "client_secret" in form:
        raise Fault("invalid_request", "the client shows its secret in two ways")
    name, colon, secret = _decoded(given) if scheme.lower() == "basic" else ("", "", "")
    if not colon:
        raise _unauthorized("not a Basic header")
    # RFC 6749 wants both encoded as in a form, which many clients forget.
    return Shown(unquote_plus(name), (secret, unquote_plus(secret)))


def _decoded(given: str) -> tuple[str, str, str]:
    try:
        return base64.b64decode(given.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", "", ""


def _granted(asked: str | None, allowed: Sequence[str]) -> list[str]:
    """Return the scopes that are asked for and allowed; all of them where none is asked for. Raises Fault for none."""
    granted = [scope for scope in allowed if asked is None or scope in asked.split(" ")]
    if not granted:
        raise Fault("invalid_scope", f"scope: allowed: {' '.join(allowed)}")
    return granted
