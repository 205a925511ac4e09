"""Tokens: of the OAuth client, by client credentials, and of the people who are logged in.

``POST https://login.<region>/oauth/token`` with HTTP Basic (the vendor's SDK); here the login host is a path.
"""

import base64
import binascii
import hmac
import secrets
from typing import Any
from urllib.parse import parse_qs

from gatepost.sandbox.errors import Refused
from gatepost.sandbox.settings import Settings
from gatepost.sandbox.web import Answer, Request


class Tokens:
    """Who holds which live token."""

    def __init__(self, settings: Settings) -> None:
        """Start with none."""
        self._settings = settings
        self._client_until: dict[str, float] = {}
        self._people: dict[str, str] = {}

    def grant(self, request: Request, now: float) -> Answer:
        """Answer the token endpoint (RFC 6749 section 4.4); errors are of its section 5.2."""
        if _basic(request.headers.get("authorization", "")) is None or not self._is_client(request):
            return Answer.of(
                401, {"error": "invalid_client", "description": "client not found for supplied credentials"}
            )
        form = parse_qs(request.body.decode("utf-8", "replace"))
        if form.get("grant_type") != ["client_credentials"]:
            return Answer.of(400, {"error": "unsupported_grant_type", "description": "client_credentials is"})
        token = secrets.token_urlsafe(32)
        self._client_until[token] = now + self._settings.token_seconds
        return Answer.of(200, self._granted(token), {"cache-control": "no-store"})

    def _granted(self, token: str) -> dict[str, Any]:
        return {
            "access_token": token,
            "token_type": "bearer",
            "expires_in": self._settings.token_seconds,
            "scope": " ".join(self._settings.scopes),
        }

    def _is_client(self, request: Request) -> bool:
        held = f"{self._settings.client_id}:{self._settings.client_secret}".encode()
        return hmac.compare_digest(held, _basic(request.headers["authorization"]) or b"")

    def check_client(self, request: Request, now: float) -> None:
        """Raise Refused unless the request bears a live token of the client."""
        bearer = _bearer(request)
        if not bearer:
            raise Refused(
                401, "authentication.required", "No authentication bearer token specified in authorization header."
            )
        if self._client_until.get(bearer, now) <= now:
            raise Refused(401, "bad.credentials", "Invalid login credentials.")

    def forget_clients(self) -> None:
        """Let every token of the client die early, as an idle timeout does."""
        self._client_until.clear()

    def log_in(self, user: str) -> str:
        """Return a token for a person who logs in."""
        token = secrets.token_urlsafe(16)
        self._people[token] = user
        return token

    def person(self, request: Request) -> str | None:
        """Return whose live token a request bears."""
        return self._people.get(_bearer(request))

    def sessions(self, user: str) -> int:
        """Return how many live tokens a person has."""
        return sum(holder == user for holder in self._people.values())

    def revoke(self, user: str) -> None:
        """End every token of a person."""
        self._people = {token: holder for token, holder in self._people.items() if holder != user}


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _basic(header: str) -> bytes | None:
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
