"""What a directory is asked with: a static header, or a bearer that is fetched and that the fleet shares.

A bearer is got as ``workers.scim.token`` gets one; here is what else a token endpoint may want to be sent: the secret
in the form (Microsoft), or a signed token in place of one (RFC 7523: Google for somebody, Okta for the client itself).
"""

import hashlib
import json
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import local
from typing import Any, Protocol
from uuid import uuid4

import jwt
from redis import Redis

from lifecycle.errors import Refused
from lifecycle.fields import Section, Words
from lifecycle.secrets import Secret
from workers.http import Answer, Http
from workers.scim.grants import Ask, Asked, Credentials, credential_of
from workers.scim.token import Bearer

# Google takes at most an hour, Okta too.
ASSERTION_SECONDS = 300
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
# A permission that was just given is in no bearer that is older; one that is missing is not asked for at every request,
# nor is another bearer where none is taken.
FORBIDDEN_RENEWS_SECONDS, UNKNOWN_RENEWS_SECONDS = 300.0, 30.0


class Credential(Protocol):
    """What opens a directory."""

    @property
    def name(self) -> str:
        """What all who use it share its limit by; it tells nothing of the secret."""

    def header(self, may_send: Callable[[], None]) -> str:
        """Return the value of ``Authorization``; leave is asked for a request that it takes. Raises as a request."""

    def renew(self, *, forbidden: bool) -> bool:
        """Return whether another header can be had, after one was not taken or did not allow enough."""

    def secrets(self) -> Sequence[str]:
        """Return what no error may show."""


class Static:
    """A header that is always the same."""

    def __init__(self, scheme: str, value: str, *secrets: str) -> None:
        """Keep it; ``secrets`` are parts of it that no error may show either."""
        self._header = f"{scheme} {value}"
        self._secrets = (value, *secrets)

    @property
    def name(self) -> str:
        """Return its hash."""
        return hashlib.sha256(self._header.encode()).hexdigest()[:32]

    def header(self, may_send: Callable[[], None]) -> str:  # noqa: ARG002 - it takes no request
        """Return the header."""
        return self._header

    def renew(self, *, forbidden: bool) -> bool:  # noqa: ARG002 - neither can be mended here
        """Return that there is no other."""
        return False

    def secrets(self) -> Sequence[str]:
        """Return the value."""
        return self._secrets


def basic(user: str, password: str) -> Static:
    """Return the header of HTTP Basic (RFC 7617)."""
    return Static("Basic", b64encode(f"{user}:{password}".encode()).decode(), user, password)


@dataclass(frozen=True)
class Grant:
    """How a bearer is got."""

    token_url: str
    client_id: Secret
    client_secret: Secret
    scopes: Sequence[str] = ()
    token: None = None


class Fetched:
    """A bearer that a token endpoint gives, shared through Redis where there is one."""

    def __init__(self, grant: Grant, http: Http, redis: Redis | None, ask: Ask) -> None:
        """Keep how to get it."""
        self._grant = grant
        self._bearer = Bearer(grant, http, redis, ask)
        self._latest = ""
        # A thread's request may end long after another one's has renewed the bearer.
        self._mine = local()
        self._renewed_at: dict[bool, float] = {}

    @property
    def name(self) -> str:
        """Return the hash of what it is got with, but for the secret."""
        return credential_of(self._grant)

    def header(self, may_send: Callable[[], None]) -> str:
        """Return the header; fetched where none lives."""
        self._mine.sent = self._latest = self._bearer.token(may_send, _not_redirected)
        return f"Bearer {self._mine.sent}"

    def renew(self, *, forbidden: bool) -> bool:
        """Forget the bearer, so that the next header has another one; but not again soon after."""
        if self._sent != self._latest:
            # Another thread did, since.
            return True
        rest, now = FORBIDDEN_RENEWS_SECONDS if forbidden else UNKNOWN_RENEWS_SECONDS, time.monotonic()
        if now - self._renewed_at.get(forbidden, float("-inf")) < rest:
            return False
        self._renewed_at[forbidden], self._latest = now, ""
        return self._bearer.renew()

    def secrets(self) -> Sequence[str]:
        """Return the bearer and what it is got with."""
        return (self._sent, self._latest, self._grant.client_secret.value)

    @property
    def _sent(self) -> str:
        """Return the bearer that this thread sent last."""
        return str(getattr(self._mine, "sent", ""))


def _not_redirected(answer: Answer) -> None:
    """Say what a redirect means: the secret is sent to no other place."""
    if answer.status in range(300, 400):
        raise Refused(f"the token endpoint answers with a redirect ({answer.status})", reason="credentials")


def by_form(section: Credentials) -> Asked:
    """Prove the client by its secret in the form (RFC 6749 section 2.3.1). Raises Refused."""
    client_id, secret = _both(section)
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
    return Asked(form | _scope(section))


def by_client_key(section: Credentials, key_id: str | None = None) -> Asked:
    """Prove the client by a token that its private key signed (RFC 7523 section 2.2). Raises Refused."""
    client_id, key = _both(section)
    claims = {"iss": client_id, "sub": client_id, "aud": section.token_url, "jti": uuid4().hex}
    form = {"grant_type": "client_credentials", "client_assertion_type": CLIENT_ASSERTION}
    return Asked(form | {"client_assertion": signed(claims, key, key_id)} | _scope(section))


def in_the_name_of(subject: str, issuer: str, key_id: str | None) -> Ask:
    """Return what asks for a bearer to act as somebody (RFC 7523 section 2.1)."""

    def ask(section: Credentials) -> Asked:
        _, key = _both(section)
        claims = {"iss": issuer, "sub": subject, "aud": section.token_url, "scope": " ".join(section.scopes)}
        return Asked({"grant_type": JWT_BEARER, "assertion": signed(claims, key, key_id)})

    return ask


def signed(claims: Mapping[str, Any], key: str, key_id: str | None) -> str:
    """Return the claims as a token that lives for minutes. Raises Refused where the key is none."""
    now = int(time.time())
    headers = {"kid": key_id} if key_id else None
    try:
        return jwt.encode(
            {**claims, "iat": now, "exp": now + ASSERTION_SECONDS}, key, algorithm="RS256", headers=headers
        )
    except (jwt.PyJWTError, ValueError, TypeError):
        # Its words may quote the key.
        raise Refused("the private key is no RSA key in PEM", reason="credentials") from None


def _both(section: Credentials) -> tuple[str, str]:
    if section.client_id is None or section.client_secret is None:
        raise Refused("no way to get a token is configured", reason="credentials")
    return section.client_id.value, section.client_secret.value


def _scope(section: Credentials) -> dict[str, str]:
    return {"scope": " ".join(section.scopes)} if section.scopes else {}


class ServiceAccount(Section):
    """What is read of the key file of a service account of Google's."""

    client_email: Words
    private_key: Words
    private_key_id: str | None = None


def service_account(found: Secret) -> ServiceAccount:
    """Return what a key file holds. Raises ValueError."""
    raw = json.loads(found.value)
    if not isinstance(raw, dict):
        msg = "no object"
        raise ValueError(msg)  # noqa: TRY004 - pydantic turns ValueError, not TypeError, into a fault
    return ServiceAccount.model_validate({name: raw[name] for name in ServiceAccount.model_fields if name in raw})
