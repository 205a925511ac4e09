"""A subscriber as the API made it, and as it is kept: every secret and every header's value of it is sealed.

``section`` is what ``[subscribers.NAME]`` would hold, without what is sealed. During a rotation there are several
secrets: the first is the newest, each of the others has an end.
"""

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ValidationError

from lifecycle import signature
from lifecycle.secrets import Secret
from lifecycle.signature import PRIVATE_PREFIX, PUBLIC_PREFIX, SECRET_PREFIX
from lifecycle.subscriber import SSF_PUSH, STANDARD_WEBHOOKS, Subscriber
from lifecycle.vault import Vault

GIVEN = "what was given, which is not shown"
"""What stands for the reference of a secret that has none."""
ID_CHARS, SECRET_BYTES = 8, 32
V1: Final = "v1"
V1A: Final = "v1a"
BEARER: Final = "bearer"
FORMATS: Final = (STANDARD_WEBHOOKS, SSF_PUSH)
"""Those that the API makes."""
UNFIT: Final = "what is kept of it does not fit this version or configuration"


def _of_these(section: dict[str, Any]) -> dict[str, Any]:
    if section.get("format") not in FORMATS:
        msg = f"format: allowed: {', '.join(FORMATS)}"
        raise ValueError(msg)
    return section


class KeptSecret(BaseModel, frozen=True, extra="forbid"):
    """A secret that signs, as it is kept."""

    id: str
    kind: Literal["v1", "v1a"]
    created_at: AwareDatetime
    expires_at: AwareDatetime | None
    sealed: str


class Kept(BaseModel, frozen=True, extra="forbid"):
    """A subscriber that the API made, as it is kept."""

    section: Annotated[dict[str, Any], AfterValidator(_of_these)]
    secrets: list[KeptSecret]
    bearers: dict[str, str]
    headers: dict[str, str]
    created_at: AwareDatetime
    updated_at: AwareDatetime


@dataclass(frozen=True)
class Signing:
    """A secret that signs."""

    value: str = field(repr=False)
    created_at: datetime
    expires_at: datetime | None = None

    def lives(self, now: datetime) -> bool:
        """Tell whether it still signs."""
        return self.expires_at is None or now < self.expires_at


@dataclass(frozen=True)
class Made:
    """A subscriber that the API made, opened."""

    section: Mapping[str, Any]
    secrets: Sequence[Signing]
    bearers: Mapping[str, Any] = field(repr=False)
    """``token`` or ``authorization``, what the receiver of ``ssf_push`` knows us by."""
    headers: Mapping[str, Any] = field(repr=False)
    created_at: datetime
    updated_at: datetime

    def live(self, now: datetime) -> list[Signing]:
        """Return the secrets that sign now, the newest first."""
        return [each for each in self.secrets if each.lives(now)]

    def subscriber(self, now: datetime) -> Subscriber:
        """Return what is told of signals. Raises ValidationError where it is none."""
        raw = dict(self.section) | {name: _given(value) for name, value in self.bearers.items()}
        raw["headers"] = {name: _given(value) for name, value in self.headers.items()}
        if self.secrets:
            raw["secrets"] = [Secret(GIVEN, each.value) for each in self.live(now)]
        return Subscriber.model_validate(raw)


def _given(value: object) -> object:
    return Secret(GIVEN, value) if isinstance(value, str) else value


def id_of(name: str, secret: str) -> str:
    """Tell the few secrets of a subscriber apart, by so little that nobody can guess one from it."""
    return hashlib.sha256(f"{name}\n{secret}".encode()).hexdigest()[:ID_CHARS]


def kind_of(secret: str) -> Literal["v1", "v1a"]:
    """Return which signatures a secret makes."""
    return V1A if secret.startswith(PRIVATE_PREFIX) else V1


def owner_of(name: str) -> str:
    """Return whom the vault seals for."""
    return f"subscriber:{name}"


def dump(name: str, made: Made, vault: Vault) -> str:
    """Write a subscriber, everything sealed anew. Raises Refused where nothing can be sealed."""
    owner = owner_of(name)
    kept = Kept(
        section=dict(made.section),
        secrets=[
            KeptSecret(
                id=id_of(name, each.value),
                kind=kind_of(each.value),
                created_at=each.created_at,
                expires_at=each.expires_at,
                sealed=vault.seal(each.value, owner),
            )
            for each in made.secrets
        ],
        bearers={kind: vault.seal(value, owner) for kind, value in made.bearers.items()},
        headers={header: vault.seal(value, owner) for header, value in made.headers.items()},
        created_at=made.created_at,
        updated_at=made.updated_at,
    )
    return kept.model_dump_json()


def read(raw: bytes) -> Kept | None:
    """Read what is kept of a subscriber; None for what another version wrote, and this one does not know."""
    try:
        return Kept.model_validate_json(raw)
    except ValidationError:
        return None


def opened(name: str, kept: Kept, vault: Vault) -> Made:
    """Read and open what is kept. Raises Refused where no key opens it."""
    owner = owner_of(name)
    return Made(
        section=kept.section,
        secrets=[Signing(vault.open(each.sealed, owner), each.created_at, each.expires_at) for each in kept.secrets],
        bearers={kind: vault.open(sealed, owner) for kind, sealed in kept.bearers.items()},
        headers={header: vault.open(sealed, owner) for header, sealed in kept.headers.items()},
        created_at=kept.created_at,
        updated_at=kept.updated_at,
    )


def sealed_texts(kept: Kept) -> list[str]:
    """Return everything of a subscriber that is sealed, as it is kept."""
    return [*(each.sealed for each in kept.secrets), *kept.bearers.values(), *kept.headers.values()]


def without_secrets(section: Mapping[str, Any], now: datetime) -> Made:
    """Return a subscriber as far as it is not sealed; a secret that is nobody's stands where there has to be one."""
    nobodys = [Signing(new_secret(V1), now)] if section["format"] == STANDARD_WEBHOOKS else []
    return Made(section, nobodys, {}, {}, now, now)


def new_secret(kind: str) -> str:
    """Make a secret for one kind of signatures."""
    prefix = PRIVATE_PREFIX if kind == V1A else SECRET_PREFIX
    return prefix + base64.b64encode(os.urandom(SECRET_BYTES)).decode()


def public_key(secret: str) -> str | None:
    """Return what a receiver checks the signatures of a ``whsk_`` key with; None for a secret, which checks itself."""
    if kind_of(secret) != V1A:
        return None
    raw = signature.private_key(secret).public_key().public_bytes_raw()
    return PUBLIC_PREFIX + base64.b64encode(raw).decode()
