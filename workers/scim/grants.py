"""What a credential is: a static bearer, or what a token endpoint is sent for one (RFC 6749 section 4.4)."""

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from lifecycle.errors import Refused
from lifecycle.secrets import Secret


class Credentials(Protocol):
    """What a section of the configuration says of how somebody is spoken to."""

    @property
    def token(self) -> Secret | None:
        """A static bearer; None where one is fetched."""

    @property
    def token_url(self) -> str | None:
        """Where one is fetched."""

    @property
    def client_id(self) -> Secret | None:
        """Whom the endpoint knows us as."""

    @property
    def client_secret(self) -> Secret | None:
        """What proves it: a secret, or a private key."""

    @property
    def scopes(self) -> Sequence[str]:
        """What is asked for."""


class Asked(NamedTuple):
    """What a token endpoint is sent."""

    form: dict[str, str]
    auth: tuple[str, str] | None = None
    """For HTTP Basic."""


Ask = Callable[[Credentials], Asked]


def by_basic(section: Credentials) -> Asked:
    """Prove the client by HTTP Basic (RFC 6749 section 2.3.1). Raises Refused."""
    if section.client_id is None or section.client_secret is None:
        raise Refused("no way to get a token is configured", reason="credentials")
    form = {"grant_type": "client_credentials"} | ({"scope": " ".join(section.scopes)} if section.scopes else {})
    return Asked(form, (section.client_id.value, section.client_secret.value))


def credential_of(section: Credentials) -> str:
    """Name what a target is spoken to with, without telling it: targets of one name share its limit and its bearer."""
    return _named(_known(section))


def _known(section: Credentials) -> list[str]:
    parts = [section.token, section.client_id]
    return [section.token_url or "", *(part.value for part in parts if part)]


def _named(known: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:32]


def bearer_of(section: Credentials) -> str:
    """Name the bearer of a credential: one with other scopes is another, though it has the same limit."""
    return _named([*_known(section), *section.scopes])
