"""A reading: what was found out about a thin event, which then counts as what it turned out to be."""

from pydantic import AwareDatetime, BaseModel, ConfigDict

from lifecycle.event import Event, Kind, Profile


class Reading(BaseModel):
    """What a directory says of whom a thin event is about, or that the event is taken at its word."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kind: Kind
    """What the event turned out to be."""
    profile: Profile | None = None
    """The directory's; what the event itself said of the person counts no more. None: taken at its word."""
    at: AwareDatetime | None = None
    """When it was read. The directory tells how it is then, whenever somebody was told to look."""
    as_of: AwareDatetime | None = None
    """Of somebody who works here: when that was so for certain, for a directory may be older than a leave."""

    def of(self, event: Event) -> Event:
        """Return the event as it counts."""
        if self.profile is None:
            return event.model_copy(update={"kind": self.kind})
        found = {"kind": self.kind, "profile": self.profile, "occurred_at": self.at, "status_at": self.as_of}
        return event.model_copy(update={**found, "found": True, "effective_at": None, "effective_on": None})

    def to_json(self) -> str:
        """Dump for Redis; what was not mentioned stays unmentioned."""
        return self.model_dump_json(exclude_unset=True)


AT_ITS_WORD = Reading(kind=Kind.MOVER)
"""Of a source without a directory: something changed, and this is all that is known of it."""
