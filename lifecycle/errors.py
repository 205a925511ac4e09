"""Every error of ours answers one question, who must act next.

::

    GatepostError(message, reason)
    ├── Rejected        the sender must act; nothing is kept               service: 4xx
    │   ├── Unauthentic     signature or secret missing, wrong, out of time    401
    │   ├── Oversized       more bytes than we read                            413
    │   ├── Unsupported     a method that this source never uses               405
    │   ├── Mistyped        a body of a media type that is not read here       415
    │   ├── Unknown         no such source, event, person, failure             404
    │   ├── Conflict        a change that what is there does not allow         409
    │   └── Malformed       a request that says nothing we could act on        400
    ├── Unavailable     we must act, soon: Redis is away or full           service: 503
    ├── Unreadable      we must act: authentic, but our reader failed      set aside whole, 2xx
    ├── Postponed       time will act: busy, unreachable, broken           workers: again at retry_at
    │   └── Waiting         the gate will act: it lets in who is first         workers: parked
    ├── Held            a human must decide: two candidates, another's account, too many at once
    ├── Refused         the operator must act: credentials, mapping, data  workers: a failure, kept
    └── Misconfigured   the operator must act before the start             exit 2

``reason`` is a short fixed word: the metric label, the problem ``type`` and the search term. ``message`` is for
people and never holds a secret or a person's data.
"""

from datetime import datetime


class GatepostError(Exception):
    """Base of all errors that we raise on purpose."""

    def __init__(self, message: str, *, reason: str) -> None:
        """Keep the sentence for people and the fixed word for machines."""
        super().__init__(message)
        self.message = message
        self.reason = reason


class Rejected(GatepostError):
    """The sender must act; nothing of the request is kept."""


class Unauthentic(Rejected):
    """A signature or secret is missing, wrong, or outside its time window."""


class Oversized(Rejected):
    """The request has more bytes than we read."""


class Unsupported(Rejected):
    """The source never uses this method; ``allowed`` are those it does."""

    def __init__(self, message: str, *, reason: str, allowed: tuple[str, ...] = ("POST",)) -> None:
        """Keep the methods for the answer's Allow header (RFC 9110 section 15.5.6)."""
        super().__init__(message, reason=reason)
        self.allowed = allowed


class Mistyped(Rejected):
    """The body is of a media type that is not read here."""


class Conflict(Rejected):
    """What is there does not allow the change."""


class Unknown(Rejected):
    """The thing named in the request does not exist."""


class Malformed(Rejected):
    """The request says nothing that we could act on."""


class Unavailable(GatepostError):
    """Our own trouble; the sender should try again. Never a 4xx, which is final for several sources."""


class Unreadable(GatepostError):
    """An authentic notice that our reader cannot read: our fault, so the notice is set aside whole."""


class Postponed(GatepostError):
    """Nothing is wrong that time would not mend; ``retry_at`` is the earliest moment the other side named, if any."""

    def __init__(self, message: str, *, reason: str, retry_at: datetime | None = None) -> None:
        """Keep the moment that the other side asked us to wait for."""
        super().__init__(message, reason=reason)
        self.retry_at = retry_at


class Waiting(Postponed):
    """A target's gate is shut for now: rate, paused, circuit, stopped. ``need`` is how many requests are waited for."""

    def __init__(self, message: str, *, reason: str, need: int) -> None:
        """Keep what the next attempt asks for."""
        super().__init__(message, reason=reason)
        self.need = need


class Held(GatepostError):
    """A human must decide: going on could touch the wrong person, or too many."""


class Refused(GatepostError):
    """The operator must act; another attempt alone would end the same way."""


class Misconfigured(GatepostError):
    """The configuration is wrong; ``lines`` has one sentence a fault: key, what was found, what is allowed."""

    def __init__(self, lines: list[str]) -> None:
        """Join all faults, so that one start shows them all."""
        super().__init__("\n".join(lines), reason="misconfigured")
        self.lines = lines
