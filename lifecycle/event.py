"""An event: one thing that happened to one subject, in our words."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

EVENT_ID_CHARS_MAX = 256
EVENTS_MAX = 100
"""Events of one atomic step, which keeps Redis and the receiver busy meanwhile."""
PERSON_TEXT_CHARS_MAX = 2048
PERSON_GROUPS_MAX = 1000

OPERATOR, OURSELVES = "operator", "gatepost"
"""The sources of events that an operator makes, and of those that we make: no source of the configuration has them."""
RESTORE, DELETE_DUE = "restore", "delete_due"
"""The kinds of events that these two make, in the place of a vendor's own word."""


class Kind(StrEnum):
    """What happened; ``changed`` says only "look again"."""

    JOINER = "joiner"
    MOVER = "mover"
    LEAVER = "leaver"
    CHANGED = "changed"


class State(StrEnum):
    """Where an event stands. The last six are final until a person asks for a retry."""

    KEPT = "kept"
    SCHEDULED = "scheduled"
    POSTPONED = "postponed"
    APPLIED = "applied"
    UNCHANGED = "unchanged"
    SUPERSEDED = "superseded"
    HELD = "held"
    FAILED = "failed"
    IGNORED = "ignored"


OPEN_STATES = frozenset({State.KEPT, State.SCHEDULED, State.POSTPONED})
STUCK_STATES = frozenset({State.HELD, State.FAILED})


def _blank_is_null(value: object) -> object:
    """Read an empty text as "no value": SCIM knows no difference either (RFC 7643 section 2.5)."""
    return None if isinstance(value, str) and not value.strip() else value


Text = Annotated[
    Annotated[str, StringConstraints(strip_whitespace=True, max_length=PERSON_TEXT_CHARS_MAX)] | None,
    BeforeValidator(_blank_is_null),
]


def _local(found: str) -> str:
    """Check that a text is a date, or a date with a time, and has no zone."""
    if datetime.fromisoformat(found).tzinfo is not None:
        msg = "a moment with a zone is no local one"
        raise ValueError(msg)
    return found


Identifier = Annotated[
    Annotated[str, StringConstraints(strip_whitespace=True, max_length=EVENT_ID_CHARS_MAX)] | None,
    BeforeValidator(_blank_is_null),
]

# A limit has pydantic look at the text: half a pair of surrogates, which JSON can escape, could not be kept.
GroupName = Annotated[str, StringConstraints(max_length=PERSON_TEXT_CHARS_MAX)]


class Profile(BaseModel):
    """What a source says of a person. A field that is not set was not mentioned; an explicit null clears."""

    # HR systems send employee numbers as JSON numbers; a field of tomorrow must not stop a leaver of today.
    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True, hide_input_in_errors=True)

    external_id: Identifier = None
    user_name: Identifier = None
    email: Identifier = None
    given_name: Text = None
    family_name: Text = None
    display_name: Text = None
    title: Text = None
    department: Text = None
    division: Text = None
    cost_center: Text = None
    organization: Text = None
    employee_number: Text = None
    manager: Text = None
    user_type: Text = None
    phone: Text = None
    locale: Text = None
    timezone: Text = None
    start_at: Text = None
    end_at: Text = None
    source_of_truth: Text = None
    groups: Annotated[list[GroupName], Field(max_length=PERSON_GROUPS_MAX)] | None = None
    custom: dict[str, Any] | None = None

    def told(self) -> dict[str, Any]:
        """Return only what was mentioned, explicit nulls included."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}

    def key(self) -> str | None:
        """Return the strongest identifier, which names the person and the mailbox; None when there is none.

        ``external_id`` is case-exact and ``user_name`` is not (RFC 7643 sections 3.1 and 4.1.1).
        """
        weaker = self.user_name or self.email
        return self.external_id or (weaker.lower() if weaker else None)


PERSON_FIELDS = tuple(Profile.model_fields)


class Event(BaseModel):
    """One thing that happened to one subject; immutable from the moment it is kept."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    id: str
    """The source's own id, so that a repeat is seen as one."""
    source: str
    kind: Kind
    person: str
    """The person's key: the strongest identifier that the source gave."""
    profile: Profile
    occurred_at: AwareDatetime
    """The source's time, which alone decides the order of events."""
    effective_at: AwareDatetime | None = None
    """When it shall take effect; None means at once."""
    effective_on: Annotated[str, AfterValidator(_local)] | None = None
    """The same without a zone, as ISO 8601 writes a date or a date with a time: read in the person's own zone."""
    status_at: AwareDatetime | None = None
    """Of one that was read in a directory, which says that the person works here: as of when."""
    found: bool = False
    """Whether what it says was found in a directory."""
    received_at: AwareDatetime
    vendor_kind: str
    """The vendor's own word, for ``gatepost why``."""
    hint: Kind | None = None
    """What it claims, of a source that signs nothing: it acts as what the directory says, whatever it claims."""
    reply_to: str | None = None
    """Where the source wants to hear that it was done."""
    about: str | None = None
    """The one target that it is about, of an event of ours that says only: delete the account there now."""

    @property
    def ref(self) -> str:
        """The name of this event over all sources: two sources may use the same id."""
        return f"{self.source}:{self.id}"

    @property
    def begins_at(self) -> datetime:
        """When there was something to do: what is set for later waits for nothing until then."""
        return max(self.received_at, self.effective_at or self.received_at)

    @property
    def restores(self) -> bool:
        """Tell whether an operator takes a leaver back, with all that the accounts had."""
        return self.source == OPERATOR and self.vendor_kind == RESTORE

    def concerns(self, target: str) -> bool:
        """Tell whether this target is to be asked."""
        return self.about in {None, target}

    def to_json(self) -> str:
        """Dump for Redis; what was not mentioned stays unmentioned."""
        return self.model_dump_json(exclude_unset=True)
