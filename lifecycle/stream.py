"""``[sources.NAME.stream]``: how the stream of a Shared Signals transmitter is managed (SSF 1.0 section 8)."""

from datetime import timedelta
from typing import Annotated
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, model_validator

from lifecycle.fields import Duration, HttpUrl, Section, Words
from lifecycle.secrets import Secret


class Stream(Section):
    """The management interface of a transmitter, as we are known there; it is asked so that the stream lives on."""

    id: Words | None = None
    """Of a stream that exists; else one is looked for by the source's ``url``, or created."""
    token: Secret | None = None
    """A bearer that never changes, instead of the next three."""
    token_url: HttpUrl | None = None
    """Where a bearer is fetched with client credentials."""
    client_id: Secret | None = None
    client_secret: Secret | None = None
    scopes: list[Words] = Field(default_factory=lambda: ["ssf.manage", "ssf.read"])
    """What is asked for, as the interoperability profile names it."""
    events: Annotated[list[Words], Field(min_length=1)] | None = None
    """The types to ask for when a stream is created, as URIs; absent is all that mean something to us."""
    verify_every: Duration = timedelta(hours=1)
    """How often the transmitter is asked to show that its events come through; zero is never."""

    @model_validator(mode="after")
    def _check(self) -> "Stream":
        credentials = (self.token_url, self.client_id, self.client_secret)
        if (self.token is None) == (None in credentials) or (self.token and any(credentials)):
            msg = "either token, or token_url with client_id and client_secret"
            raise ValueError(msg)
        return self


def metadata_url(issuer: str) -> str:
    """Return where a transmitter tells of itself: between host and path of its issuer (SSF 1.0 section 7.2.1)."""
    parts = urlsplit(issuer)
    return urlunsplit(parts._replace(path=f"/.well-known/ssf-configuration{parts.path.rstrip('/')}"))
