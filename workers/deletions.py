"""Deletions that are due some time after a suspension: events of ours, each about one account of one target. Pure.

One is made in the step that settles the suspension, and stands while its account waits for it. Whoever came back
meanwhile, even to leave again, is not deleted by it.
"""

import base64
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from lifecycle.config import Config
from lifecycle.event import DELETE_DUE, OURSELVES, Event, Kind, Profile, State
from lifecycle.person import Account, Person
from lifecycle.settlement import Made, Step
from workers.dates import holds_at
from workers.screen import LeftOut

ID_CHARS = 26
NOT_WANTED = "not_wanted"


@dataclass(frozen=True)
class Later:
    """A person's deletions as they stand now."""

    due: tuple[Event, ...] = ()
    scheduled: Mapping[str, datetime] = field(default_factory=dict)
    """By ref, when: a moment of ours, to which no policy of dates and no grace applies."""
    superseded: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, LeftOut] = field(default_factory=dict)

    @classmethod
    def of(
        cls, config: Config, person: Person, deletions: Sequence[Event], told: Sequence[Event], now: datetime
    ) -> "Later":
        """Sort them; ``told`` are the events that were folded into the person, of which one may be a late return."""
        superseded = {event.ref: by for event in deletions if (by := _moot(config, person, event, told))}
        standing = [event for event in deletions if event.ref not in superseded]
        ahead = {event.ref: event.begins_at for event in standing if event.begins_at > now}
        due = [event for event in standing if event.ref not in ahead]
        left_out = {event.ref: left_out for event in due if (left_out := _not_wanted(config, str(event.about)))}
        return cls(tuple(event for event in due if event.ref not in left_out), ahead, superseded, left_out)


def _moot(config: Config, person: Person, event: Event, told: Sequence[Event]) -> str | None:
    """Return the event for which a deletion is not to be made any more; None while it stands."""
    back = [each for each in told if (since := _hired_at(config, each)) and since > event.occurred_at]
    if back:
        return max(back, key=lambda each: (each.occurred_at, each.ref)).ref
    account = person.accounts.get(str(event.about))
    if person.has_left and account is not None and account.deletion == event.ref:
        return None
    return _said_last(person) or event.ref


def _hired_at(config: Config, event: Event) -> datetime | None:
    """Return from when on an event says that the person works here; None where it does not say so."""
    return event.status_at or (holds_at(config, event) if event.kind is Kind.JOINER else None)


def _not_wanted(config: Config, target: str) -> LeftOut | None:
    """Leave out what the policy says no longer: nothing is deleted unless it does."""
    if target in config.targets and config.targets[target].leaver != "suspend":
        return None
    return LeftOut(State.IGNORED, NOT_WANTED, f"targets.{target}.leaver does not say so any more")


def with_deletions(
    config: Config, person: Person, over: Collection[str], now: datetime
) -> tuple[Person, Sequence[Made]]:
    """Return the person with a deletion for each account that waits for one, and those that are made for it.

    ``over`` are the refs of events that stand no longer.
    """
    accounts, made = dict(person.accounts), []
    for target, account in person.accounts.items():
        is_over = account.deletion in over or not person.has_left
        found = account.model_copy(update={"deletion": None}) if account.deletion and is_over else account
        if _waits(config, person, target, found):
            event = _deletion(config, person, target, found, now)
            found = found.model_copy(update={"deletion": event.ref})
            why = {"target": target, "account": account.id, "because_of": _said_last(person)}
            made.append(Made(event, Step(now, "suspended", why)))
        accounts[target] = found
    return person.model_copy(update={"accounts": accounts}), made


def _waits(config: Config, person: Person, target: str, account: Account) -> bool:
    section = config.targets.get(target)
    is_out = person.has_left and account.active is False
    return bool(section and section.leaver == "suspend_then_delete" and is_out and account.deletion is None)


def _deletion(config: Config, person: Person, target: str, account: Account, now: datetime) -> Event:
    section, status = config.targets[target], person.status
    # Of two that are made for the same leave, the policy having changed its mind meanwhile, each has its own name.
    cause = json.dumps([target, account.id, _said_last(person), str(account.settled_at)]).encode()
    digest = base64.b32encode(hashlib.sha256(cause).digest()).decode().lower()[:ID_CHARS]
    return Event(
        id=f"delete-{digest}",
        source=OURSELVES,
        kind=Kind.LEAVER,
        person=person.key,
        profile=Profile(),
        occurred_at=status.at if status else now,
        effective_at=now + section.delete_after if section.delete_after else now,
        received_at=now,
        vendor_kind=DELETE_DUE,
        about=target,
    )


def _said_last(person: Person) -> str:
    """Return the event that says whether the person works here."""
    return person.status.event if person.status else ""
