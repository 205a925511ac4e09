"""Seeds: what the receiver and the workers would have written, by their own steps, for reads to find."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from redis import Redis

from lifecycle import keys, outbox
from lifecycle.event import Event, Kind, Profile, State
from lifecycle.outbox_scripts import FAN_OUT, RECORD
from lifecycle.people import People
from lifecycle.person import Account, Deleted, Entitlements, Fact, Hold, Person, Status
from lifecycle.queue import PUT, JobWriter, lanes, put_arguments
from lifecycle.roster import revision
from lifecycle.settlement import Delivery, Settled, Settlement, Step
from lifecycle.signal import Signal, iso, make_signal

NOW = datetime.now(UTC).replace(microsecond=0)
"""A moment that is not past what Redis keeps."""
SALT = b"salt of the tests"[:16]
"""The vault's, for tests that do not mind: each key is made once then."""


def event(
    event_id: str = "evt-1",
    person: str = "E1042",
    *,
    source: str = "hris",
    kind: Kind = Kind.LEAVER,
    at: datetime = NOW,
) -> Event:
    """Return an event; what a test does not say is said here."""
    return Event(
        id=event_id,
        source=source,
        kind=kind,
        person=person,
        profile=Profile(external_id=person, email=f"{person}@acme.example", display_name="Bo Ray"),
        occurred_at=at,
        received_at=at,
        vendor_kind=f"person.{kind}",
    )


def put(redis: Redis, *events: Event) -> list[int]:
    """Keep events as the receiver does; answers 1 for each that is new."""
    found: list[int] = redis.eval(PUT, 0, *put_arguments(events, JobWriter()))
    return found


def settle(  # noqa: PLR0913 - what a worker settles
    redis: Redis,
    key: str,
    state: State,
    *,
    signals: Sequence[tuple[Signal, Sequence[str]]] = (),
    reason: str | None = None,
    lanes_again: Sequence[tuple[str, datetime]] = (),
    holds: Sequence[Hold] = (),
    is_hold: bool = True,
) -> bool:
    """Settle all of a person's events to one state, as a worker does; tell whether more wait."""
    people = People(redis, lanes(redis))
    token = people.take(key)
    assert token is not None
    step = Step(NOW + timedelta(seconds=1), "apply", {"target": "crm", "method": "PATCH", "status": 200})
    settlements = [
        Settlement(
            kept,
            state,
            {"crm": Delivery(state, requests=2, attempts=1, reason=reason)},
            (step,),
            reason,
            reason,
            is_hold=is_hold and state is State.HELD,
        )
        for kept in people.mailbox(key)
    ]
    more = people.settle(
        token,
        Settled(
            person(key).model_copy(update={"holds": tuple(holds)}),
            settlements,
            signals=[made for made, _ in signals],
            again=lanes_again,
            requests=[("crm", "PATCH", "200")],
            revoked=[("crm", 0.4)],
        ),
    )
    fan_out(redis, {made.id: names for made, names in signals})
    return more


def fan_out(redis: Redis, names: Mapping[str, Sequence[str]]) -> None:
    """Let each signal that was kept go to these subscribers, by its id, as the lane of signals does."""
    kept: Any = redis.xrange(keys.OUTBOX)
    arguments: list[Any] = []
    for entry, fields in kept:
        told = outbox.told(redis, fields[b"id"].decode())
        assert told is not None
        ways = [outbox.Way(told.id, name, outbox.line_of(told, told.id)) for name in names.get(told.id, ())]
        pairs = json.dumps([[way.item, way.subscriber] for way in ways])
        arguments += [entry, told.id, pairs, len(ways), *(part for way in ways for part in way.arguments())]
    redis.eval(FAN_OUT, 0, revision(redis), *arguments)


def tell(redis: Redis, made: Signal, *names: str, items: Sequence[str] = ()) -> None:
    """Keep a signal and let it, or its items, go to these subscribers."""
    with redis.pipeline() as pipe:
        outbox.keep(pipe, made)
        pipe.execute()
    kept: Any = redis.xrange(keys.OUTBOX)
    entry = next(entry for entry, fields in kept if fields[b"id"] == made.id.encode())
    ways = [outbox.Way(item, name, made.person or item) for item in items or [made.id] for name in names]
    pairs = json.dumps([[way.item, way.subscriber] for way in ways])
    arguments = [part for way in ways for part in way.arguments()]
    redis.eval(FAN_OUT, 0, revision(redis), entry, made.id, pairs, len(ways), *arguments)


def fail(redis: Redis, item: str, name: str, *, reason: str = "500", attempts: int = 10) -> None:
    """Give up the delivery at the head of a line, as the lane of signals does after the last attempt."""
    line: Any = redis.hget(keys.delivery(item, name), "line")
    attempt = json.dumps({"number": attempts, "at": iso(NOW), "status": 500})
    counter = json.dumps(["gatepost_signals", name, "failed"])
    recorded = [name, line, item, attempts, attempt, "failed", reason, "", "", counter, "ill", "", "0", ""]
    assert redis.eval(RECORD, 0, *recorded) == [1]


def person(key: str = "E1042") -> Person:
    """Return a person of whom something is known."""
    told = {"external_id": key, "email": f"{key}@acme.example", "user_name": f"{key}.login", "custom.desk": "4-117"}
    facts = {name: Fact(value=value, at=NOW, event="hris:evt-1") for name, value in told.items()}
    before = Entitlements(groups={"Support": "g1"}, roles=("employee",), at=NOW)
    account = Account(
        id="2819c223", user_name=f"{key}.login", active=False, groups={"Support": "g1"}, settled_at=NOW, before=before
    )
    return Person(
        key=key,
        status=Fact(value=Status.LEFT, at=NOW, event="hris:evt-1"),
        facts=facts,
        accounts={"crm": account},
        deleted={"desk": Deleted(id="d-1", at=NOW, before=before)},
    )


def hold(event_id: str = "evt-1", *others: str) -> Hold:
    """Return the hold of a leaver past the limit."""
    return Hold(
        target="crm",
        limit="leavers",
        scope=None,
        event=f"hris:{event_id}",
        others=others,
        since=NOW,
        detail="20 of at most 20 within 10m over all targets",
    )


def signal(event_id: str = "evt-1", key: str = "E1042") -> Signal:
    """Return the signal that a suspended account makes."""
    data = {
        "event": event_id,
        "source": "hris",
        "target": "crm",
        "reason": "left",
        "person": {"external_id": key, "user_name": f"{key}.login"},
        "account": {"id": "2819c223", "active": False},
        "sessions_revoked": False,
        "groups_added": [],
        "groups_removed": ["Support"],
        "roles_added": [],
        "roles_removed": [],
        "entitlements_before": {"groups": ["Support"], "roles": []},
        "received_at": iso(NOW),
        "applied_at": iso(NOW + timedelta(milliseconds=200)),
        "confirmed_at": iso(NOW + timedelta(milliseconds=400)),
        "latency_ms": 400,
    }
    return make_signal("person.suspended", person=key, event=f"hris:{event_id}", target="crm", data=data, at=NOW)
