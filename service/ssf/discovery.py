"""What receivers find without a token: the transmitter's metadata, its keys, and where tokens are had.

https://openid.net/specs/openid-sharedsignals-framework-1_0-final.html section 7, and RFC 8414.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lifecycle.ssf.section import Ssf
from lifecycle.ssf.signing import Signing
from lifecycle.ssf.streams import LEGACY_POLL, LEGACY_PUSH, POLL, PUSH
from service.ssf.oauth import GRANT
from service.ssf.tokens import MANAGE, READ

CACHE_SECONDS = 3_600
METADATA: Final = "/.well-known/ssf-configuration"
# Where receivers look that were built before the final specification.
LEGACY_METADATA: Final = ("/.well-known/sse-configuration", "/.well-known/risc-configuration")
KEYS: Final = "/.well-known/jwks.json"
AUTHORIZATION_SERVER: Final = "/.well-known/oauth-authorization-server"


class Discovery:
    """The documents of one transmitter."""

    def __init__(self, ssf: Ssf, signing: Signing) -> None:
        """Make them once."""
        self._base = ssf.issuer.rstrip("/")
        self.path = urlsplit(self._base).path
        self._is_legacy = any(receiver.profile == "legacy" for receiver in ssf.receivers.values())
        self._documents = {
            METADATA: self._metadata(ssf.issuer),
            **dict.fromkeys(LEGACY_METADATA if self._is_legacy else (), self._metadata(ssf.issuer)),
            KEYS: {"keys": signing.public()},
            AUTHORIZATION_SERVER: self._authorization_server(ssf.issuer),
        }

    def routes(self) -> list[Route]:
        """Return the routes: before the issuer's path as the specification wants it, and behind it as some look."""
        found = {}
        for place, document in self._documents.items():
            for path in (place, place + self.path, self.path + place):
                found[path] = Route(path, _document(document))
        return list(found.values())

    def _metadata(self, issuer: str) -> dict[str, Any]:
        return {
            "spec_version": "1_0",
            "issuer": issuer,
            "jwks_uri": self._base + KEYS,
            "delivery_methods_supported": [PUSH, POLL, *([LEGACY_PUSH, LEGACY_POLL] if self._is_legacy else [])],
            "configuration_endpoint": f"{self._base}/ssf/streams",
            "status_endpoint": f"{self._base}/ssf/status",
            "add_subject_endpoint": f"{self._base}/ssf/subjects/add",
            "remove_subject_endpoint": f"{self._base}/ssf/subjects/remove",
            "verification_endpoint": f"{self._base}/ssf/verify",
            "authorization_schemes": [{"spec_urn": "urn:ietf:rfc:6749"}],
            "default_subjects": "ALL",
        }

    def _authorization_server(self, issuer: str) -> dict[str, Any]:
        return {
            "issuer": issuer,
            "token_endpoint": f"{self._base}/ssf/token",
            "grant_types_supported": [GRANT],
            # RFC 8414 requires it, whatever there is.
            "response_types_supported": [],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "scopes_supported": [READ, MANAGE],
        }


def _document(document: dict[str, Any]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_request: Request) -> Response:
        return JSONResponse(document, headers={"Cache-Control": f"public, max-age={CACHE_SECONDS}"})

    return answer
