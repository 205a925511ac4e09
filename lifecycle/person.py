"""A person: what is known of one human, each fact with its time and event; and the accounts that we keep."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict

from lifecycle.event import PERSON_FIELDS

CUSTOM, CUSTOM_PREFIX = "custom", "custom."
NAMES = ("user_name", "email")
NUMBER = "employee_number"


class Status(StrEnum):
    """Whether the person works here; unknown until a joiner or a leaver says so."""

    ACTIVE = "active"
    LEFT = "left"


class Fact(BaseModel):
    """A value with the source's time and the event (``source:id``) that told it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    value: Any
    at: AwareDatetime
    """From when on it holds, which decides the order."""
    event: str
    told_at: AwareDatetime | None = None
    """When it was told, where it was told of a later date."""
    found: bool = False
    """Whether it was found in a directory, which tells how it is and not what is planned."""

    @property
    def told(self) -> datetime:
        """When it was told."""
        return self.told_at or self.at

    @property
    def source(self) -> str:
        """Who told it."""
        return self.event.partition(":")[0]


class Claim(NamedTuple):
    """How good a person's claim to a user name or address is; the greater has it."""

    works_here: bool
    """Whoever left takes no name from anybody: addresses are given to others."""
    at: datetime
    event: str


def alias_of(field: str, value: str) -> str:
    """Return the name under which a person is found by a field, in lower case."""
    return str(value).lower() if field in NAMES else f"{field}={value}".lower()


class Entitlements(BaseModel):
    """What an account had when it was suspended, for ``gatepost restore``: of it only what we take away."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    groups: dict[str, str] = {}
    """Managed groups: id by name."""
    roles: tuple[str, ...] = ()
    """Managed roles, in order of the alphabet."""
    at: AwareDatetime
    """When the target took the suspension."""


class Hold(BaseModel):
    """That something is not taken from the person on one target until a human says so: too many lost the same."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    target: str
    limit: str
    """One of ``lifecycle.safety.LIMITS``."""
    scope: str | None
    """The target whose own limit it is; None for the one over all."""
    event: str
    """The event (``source:id``) that is held, by which a human names the hold."""
    others: tuple[str, ...] = ()
    """Later events that are held with it, and offered again when it ends."""
    since: AwareDatetime
    detail: str
    names: tuple[str, ...] = ()
    """The groups or roles that would be taken."""


def joined(holds: Iterable[Hold], more: Iterable[Hold]) -> tuple[Hold, ...]:
    """Return the holds of both; of two of a kind the first, with all that was held with the second."""
    found = {(hold.target, hold.limit): hold for hold in holds}
    for hold in more:
        place = (hold.target, hold.limit)
        first = found.setdefault(place, hold)
        others = {*first.others, hold.event, *hold.others} - {first.event}
        # Without names it is of all.
        names = {*first.names, *hold.names} if first.names and hold.names else ()
        found[place] = first.model_copy(update={"others": tuple(sorted(others)), "names": tuple(sorted(names))})
    return tuple(found.values())


class ToldAs(BaseModel):
    """By which names those who are told of outcomes last heard of the person on one target."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    email: str | None = None
    """The address; the user name where that is one and no other is known."""
    user_name: str | None = None
    """The account's."""


class Account(BaseModel):
    """The person's record on one target, as last settled."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    id: str
    user_name: str | None = None
    active: bool | None = None
    groups: dict[str, str] = {}
    """Managed groups that the account is in: id by display name."""
    roles: tuple[str, ...] = ()
    """Roles that the account was last given, in order of the alphabet."""
    digest: str = ""
    """Fingerprint of the wanted state that was last settled, so that a write whose answer was lost is still told of."""
    written: dict[str, Any] = {}
    """Fingerprints of what the source said then, by path, of the attributes that are merged with the target's own."""
    sessions_revoked: bool = False
    """Whether the tokens of somebody who left were deleted, so that a repeat deletes none."""
    settled_at: AwareDatetime | None = None
    before: Entitlements | None = None
    """What it had before its suspension, from when the target took that, confirmed or not, until somebody is back."""
    deletion: str | None = None
    """The event of ours (``source:id``) that deletes it later."""
    told: ToldAs | None = None
    """None for what was settled before this was kept."""


class Deleted(BaseModel):
    """An account that we deleted, or found gone where we were to delete it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    id: str
    at: AwareDatetime
    before: Entitlements | None = None


class Person(BaseModel):
    """One human over all sources; a new value is made for each change."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    key: str
    status: Fact | None = None
    words: tuple[Fact, ...] = ()
    """Each word on the status that took effect and was not taken back; the one that counts is the status."""
    taken_back: tuple[Fact, ...] = ()
    """The words that a newer one took back or moved: what they took back before stays so, whenever it arrives."""
    hired: dict[str, AwareDatetime] = {}
    """By source the first day from when on it ever said that the person works here."""
    facts: dict[str, Fact] = {}
    ids: tuple[str, ...] = ()
    """Each id that a source has for the person, as ``source:id``, in order of the alphabet."""
    accounts: dict[str, Account] = {}
    deleted: dict[str, Deleted] = {}
    """By target, until there is an account again that has all it should."""
    holds: tuple[Hold, ...] = ()
    dropped: tuple[Hold, ...] = ()
    """What was held until a human dropped it, and is not done later for what was known then."""

    def known_in(self) -> set[str | None]:
        """Return where the person counts for a share: the targets with a live account, and None where there is any.

        Whoever left and has a live account yet counts too: that is who is to be locked out. Of whom only is heard, out
        of scope or not ours to look after, nothing can be taken, and they make nobody's share greater.
        """
        found: set[str | None] = {name for name, account in self.accounts.items() if account.active is not False}
        return found | {None} if found else found

    def held(self, target: str, limit: str) -> Hold | None:
        """Return the hold of this kind on a target."""
        return next((hold for hold in self.holds if (hold.target, hold.limit) == (target, limit)), None)

    def held_events(self) -> set[tuple[str, str]]:
        """Return target and ref of every event that a hold keeps from its end there."""
        return {(hold.target, ref) for hold in self.holds for ref in (hold.event, *hold.others)}

    def fields(self) -> dict[str, Any]:
        """Return every field for an expression; one not known is null."""
        known: dict[str, Any] = dict.fromkeys(PERSON_FIELDS)
        custom = {}
        for name, fact in self.facts.items():
            if name.startswith(CUSTOM_PREFIX):
                custom[name.removeprefix(CUSTOM_PREFIX)] = fact.value
            else:
                known[name] = fact.value
        return known | {"custom": custom, "groups": known["groups"] or []}

    def knows(self, field: str) -> bool:
        """Tell whether a source ever mentioned this field, an explicit null included."""
        return field in self.facts or (field == "custom" and any(name.startswith(CUSTOM_PREFIX) for name in self.facts))

    def value(self, field: str) -> Any:  # noqa: ANN401 - facts are JSON
        """Return one field's value; None when it is not known."""
        fact = self.facts.get(field)
        return fact.value if fact else None

    def claims(self) -> dict[str, Claim]:
        """Return the claim to each user name, address and number that the person has, by ``alias_of``."""
        facts = [(name, fact) for name in (*NAMES, NUMBER) if (fact := self.facts.get(name)) and fact.value]
        facts.sort(key=lambda named: (named[1].at, named[1].event))
        return {alias_of(name, fact.value): Claim(not self.has_left, fact.at, fact.event) for name, fact in facts}

    def external_ids(self) -> frozenset[str]:
        """Return each id that any source has for the person."""
        return frozenset(each.partition(":")[2] for each in self.ids)

    @property
    def has_left(self) -> bool:
        """Tell whether a source said that the person left, and none since that they are back."""
        return self.status is not None and self.status.value == Status.LEFT.value

    def had(self, target: str) -> Entitlements | None:
        """Return what the person had on a target before the suspension; None where nothing was taken."""
        known = (self.accounts.get(target), self.deleted.get(target))
        return next((each.before for each in known if each and each.before), None)

    def ids_of(self, source: str) -> frozenset[str]:
        """Return each id that this source has for the person."""
        return frozenset(each.partition(":")[2] for each in self.ids if each.startswith(f"{source}:"))

    def names(self) -> set[str]:
        """Return every identifier of the person, in lower case, for protection and for look-ups by people."""
        found = (self.value("external_id"), self.value("user_name"), self.value("email"), self.key)
        return {str(name).lower() for name in found if name}
