"""``gatepost restore``: an operator's word that somebody who left is back, within the time that the policy gives.

It is a joiner like any other, newer than the leaver; that it gives back what the accounts had is the workers' to do.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from redis import Redis
from redis.exceptions import WatchError

from lifecycle import keys
from lifecycle.errors import Malformed, Unavailable, Unknown
from lifecycle.event import OPERATOR, RESTORE, Event, Kind, Profile
from lifecycle.made import keep
from lifecycle.person import Person
from lifecycle.queue import JobWriter
from lifecycle.settlement import Made, Step
from lifecycle.signal import iso

TRIES_MAX = 5
# At equal times a leaver wins, and a source's clock may be ahead of ours.
LATER = timedelta(milliseconds=1)


def restore(redis: Redis, key: str, within: timedelta, *, actor: str, now: datetime) -> Event:
    """Keep the event that takes a person back, and return it.

    Raises Unknown for nobody, Malformed for who has not left or whose time is over, Unavailable when the person is
    being changed all the while.
    """
    for _ in range(TRIES_MAX):
        with redis.pipeline() as pipe:
            try:
                pipe.watch(keys.person(key))  # type: ignore[no-untyped-call]
                left = _left(pipe.get(keys.person(key)), within, now)
                made = Made(_event(key, left, now), Step(now, RESTORE, {"by": actor}))
                pipe.multi()
                keep(pipe, [made], JobWriter())
                pipe.execute()
            except WatchError:
                continue
            return made.event
    raise Unavailable("the person is being changed all the while", reason="busy")


def _left(stored: Any, within: timedelta, now: datetime) -> datetime:  # noqa: ANN401 - a value of Redis
    """Return when the person left, by the source's time. Raises Unknown or Malformed."""
    if stored is None:
        raise Unknown("nobody is known by this name", reason="person_unknown")
    person = Person.model_validate_json(stored)
    if person.status is None or not person.has_left:
        raise Malformed("nothing to restore: the person has not left", reason="nothing_to_restore")
    targets = person.accounts.keys() | person.deleted.keys()
    if not targets:
        raise Malformed("nothing to restore: the person has and had no account", reason="nothing_to_restore")
    # Where no account was suspended yet, the leave itself.
    since = max((had.at for each in targets if (had := person.had(each))), default=person.status.at)
    if now > since + within:
        text = f"too late: policy.restore_within ended at {iso(since + within)}, counted from {iso(since)}"
        raise Malformed(text, reason="restore_too_late")
    return person.status.at


def _event(key: str, left: datetime, now: datetime) -> Event:
    return Event(
        id=f"{RESTORE}-{uuid4().hex}",
        source=OPERATOR,
        kind=Kind.JOINER,
        person=key,
        profile=Profile(),
        occurred_at=max(now, left + LATER),
        received_at=now,
        vendor_kind=RESTORE,
    )
