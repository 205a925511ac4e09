"""``[ssf]``: we as a transmitter of the Shared Signals Framework, and who may receive from us.

https://openid.net/specs/openid-sharedsignals-framework-1_0-final.html
"""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from lifecycle.fields import HttpUrl, Name, Section, Words
from lifecycle.secrets import Secret
from lifecycle.ssf.keys import SigningKey, key

KEYS_MAX, RECEIVERS_MAX, STREAMS_MAX = 5, 100, 20
SECRET_CHARS_MIN = 16
"""What nobody guesses, so that no number of wrong tries has to keep a receiver out."""

SubjectFormat = Literal["email", "iss_sub", "scim", "opaque"]
Profile = Literal["final", "legacy"]
Provisioning = Literal["notice", "full", "none"]
Scope = Literal["ssf.read", "ssf.manage"]


class Shape(Section):
    """What the Security Event Tokens for one receiver look like, and of which targets they tell."""

    subject: SubjectFormat = "email"
    """How a person is named: by e-mail address, by ``iss`` and ``sub`` (the external id), by SCIM id, or opaquely."""
    profile: Profile = "final"
    """``legacy`` is for receivers that were built before the final specifications."""
    provisioning: Provisioning = "notice"
    """Whether ``prov:*`` events (RFC 9967) tell the names of attributes, their values as well, or are not sent."""
    targets: Annotated[list[Words], Field(min_length=1)] | None = None
    """The targets of which it wants to hear; None for all. What is of no target in particular always comes.

    The account that ``prov:*`` names is one of the target, and a token does not say of which: whoever acts on those
    hears of one target.
    """


def _long(found: Secret) -> Secret:
    if len(found.value) < SECRET_CHARS_MIN:
        msg = f"allowed: a secret of at least {SECRET_CHARS_MIN} random characters, as of openssl rand -hex 32"
        raise ValueError(msg)
    return found


ClientSecret = Annotated[Secret, AfterValidator(_long)]


class Receiver(Shape):
    """A receiver that manages its streams itself: its OAuth client is called like its table."""

    secrets: Annotated[list[ClientSecret], Field(min_length=1, max_length=10)]
    """Its client's secrets; each is accepted."""
    scopes: Annotated[list[Scope], Field(min_length=1)] = ["ssf.read", "ssf.manage"]
    audience: Words
    """The ``aud`` of what it receives; no other receiver's streams have it."""
    streams_max: Annotated[int, Field(ge=1, le=STREAMS_MAX)] = 1
    """How many streams it may have at a time."""
    allow_private: bool = False
    """Whether it may be pushed to at a private address."""


def _one_issuer(found: str) -> str:
    parts = urlsplit(found)
    is_here = parts.hostname == "localhost" or str(parts.hostname).startswith(("127.", "::1"))
    if "?" in found or "#" in found or (parts.scheme != "https" and not is_here):
        msg = "allowed: an https:// URL without a query and a fragment; http:// for this machine alone"
        raise ValueError(msg)
    return found


def _distinct(found: list[Secret]) -> list[Secret]:
    if len({key(each.value).kid for each in found}) < len(found):
        msg = "allowed: each key once"
        raise ValueError(msg)
    return found


def _apart(found: dict[str, Receiver]) -> dict[str, Receiver]:
    names: dict[str, str] = {}
    for name, each in found.items():
        if (other := names.setdefault(each.audience, name)) != name:
            msg = f"{name}.audience: that of {other}; allowed: one that no other receiver has"
            raise ValueError(msg)
    return found


class Ssf(Section):
    """The transmitter; without it there are no Shared Signals endpoints and no ``ssf_push`` subscribers."""

    issuer: Annotated[HttpUrl, AfterValidator(_one_issuer)]
    """The address under which receivers reach us, exactly as the tokens name it."""
    signing_keys: Annotated[list[SigningKey], Field(min_length=1, max_length=KEYS_MAX), AfterValidator(_distinct)]
    """RSA private keys in PEM. All are published, the first signs: a new one comes second, becomes the first after a
    day, and the old one goes when what it signed is no longer on its way."""
    receivers: Annotated[dict[Name, Receiver], Field(max_length=RECEIVERS_MAX), AfterValidator(_apart)] = {}
