"""Restore: whom an operator may take back, until when, and what is kept of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis

from lifecycle import keys
from lifecycle.errors import Malformed, Unavailable, Unknown
from lifecycle.event import Kind
from lifecycle.person import Account, Deleted, Entitlements, Fact, Person, Status
from lifecycle.records import Records
from lifecycle.restore import TRIES_MAX, restore

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
LEFT_AT = NOW - timedelta(days=40)
WITHIN = timedelta(days=30)


def account(**ago: float) -> Account:
    """Make an account that was suspended so long ago."""
    return Account(id="u-7", active=False, before=Entitlements(at=NOW - timedelta(**ago)))


def keep(redis: Redis, *, status: Status | None = Status.LEFT, at: datetime = LEFT_AT, **fields: Any) -> None:  # noqa: ANN401 - a person's fields
    """Keep a person."""
    fact = Fact(value=status.value, at=at, event="hris:left") if status else None
    redis.set(keys.person("E1042"), Person(key="E1042", status=fact, **fields).model_dump_json())


def kept(redis: Redis) -> int:
    """Return how many events wait."""
    return int(redis.llen(keys.mailbox("E1042")))


def test_operators_joiner_is_kept_and_offered(redis: Redis) -> None:
    """One step: the event, the mailbox, a job, and a first line that says who asked."""
    keep(redis, accounts={"crm": account(days=1)})

    event = restore(redis, "E1042", WITHIN, actor="anna", now=NOW)

    assert (event.source, event.kind, event.vendor_kind, event.restores) == ("operator", Kind.JOINER, "restore", True)
    assert (event.occurred_at, event.profile.told()) == (NOW, {})
    assert redis.lrange(keys.mailbox("E1042"), 0, -1) == [event.ref.encode()]
    assert redis.llen("rq:queue:people") == 1
    found = Records(redis).event(event.id, [])
    assert found["timeline"][1] == {"at": "2026-03-31T12:00:00.000Z", "step": "restore", "detail": {"by": "anna"}}


@pytest.mark.parametrize(("ago", "may"), [(timedelta(days=30), True), (timedelta(days=30, seconds=1), False)])
def test_time_is_counted_from_the_suspension(redis: Redis, ago: timedelta, *, may: bool) -> None:
    """Not from the leave that the source told; the refusal names both moments."""
    keep(redis, accounts={"crm": account(days=99), "desk": account(seconds=ago.total_seconds())})

    if may:
        restore(redis, "E1042", WITHIN, actor="anna", now=NOW)
        return
    with pytest.raises(Malformed) as caught:
        restore(redis, "E1042", WITHIN, actor="anna", now=NOW)

    assert caught.value.reason == "restore_too_late"
    assert "2026-03-31T11:59:59.000Z" in caught.value.message
    assert "2026-03-01T11:59:59.000Z" in caught.value.message
    assert kept(redis) == 0


def test_deleted_account_counts_as_the_suspended_one_that_it_was(redis: Redis) -> None:
    """Its suspension began the time."""
    gone = Deleted(id="u-7", at=NOW, before=Entitlements(at=NOW - timedelta(days=31)))
    keep(redis, deleted={"crm": gone})

    with pytest.raises(Malformed) as caught:
        restore(redis, "E1042", WITHIN, actor="anna", now=NOW)

    assert caught.value.reason == "restore_too_late"


@pytest.mark.parametrize(("at", "reason"), [(NOW, None), (LEFT_AT, "restore_too_late")])
def test_where_nothing_was_suspended_yet_the_leave_begins_the_time(
    redis: Redis, at: datetime, reason: str | None
) -> None:
    """A target that is away has not been told; the leave is taken back before it is."""
    keep(redis, at=at, accounts={"crm": Account(id="u-7", active=True)})

    if reason is None:
        restore(redis, "E1042", WITHIN, actor="anna", now=NOW)
        return
    with pytest.raises(Malformed) as caught:
        restore(redis, "E1042", WITHIN, actor="anna", now=NOW)

    assert caught.value.reason == reason


def test_word_is_newer_than_a_leave_of_a_clock_that_is_ahead(redis: Redis) -> None:
    """At equal times a leaver wins."""
    keep(redis, at=NOW + timedelta(minutes=2), accounts={"crm": account(days=1)})

    event = restore(redis, "E1042", WITHIN, actor="anna", now=NOW)

    assert event.occurred_at > NOW + timedelta(minutes=2)


@pytest.mark.parametrize("status", [Status.ACTIVE, None])
def test_who_has_not_left_has_nothing_to_restore(redis: Redis, status: Status | None) -> None:
    """Said so, and nothing is kept."""
    keep(redis, status=status, accounts={"crm": account(days=1)})

    with pytest.raises(Malformed) as caught:
        restore(redis, "E1042", WITHIN, actor="anna", now=NOW)

    assert (caught.value.reason, caught.value.message) == (
        "nothing_to_restore",
        "nothing to restore: the person has not left",
    )
    assert kept(redis) == 0


def test_who_never_had_an_account_has_nothing_to_restore(redis: Redis) -> None:
    """There is none to reactivate, and a restore is no way to hire."""
    keep(redis)

    with pytest.raises(Malformed) as caught:
        restore(redis, "E1042", WITHIN, actor="anna", now=NOW)

    assert caught.value.message == "nothing to restore: the person has and had no account"


def test_nobody_is_unknown(redis: Redis) -> None:
    """A name that no source ever told."""
    with pytest.raises(Unknown) as caught:
        restore(redis, "E9", WITHIN, actor="anna", now=NOW)

    assert caught.value.reason == "person_unknown"


def test_person_is_found_by_address_too(redis: Redis) -> None:
    """As for every question about a person."""
    keep(redis, at=datetime.now(UTC), accounts={"crm": Account(id="u-7", active=False)})
    redis.set(keys.alias("bo.ray@acme.example"), "E1042")

    event = Records(redis).restore("Bo.Ray@acme.example", WITHIN, actor="anna")

    assert event.person == "E1042"


def test_person_that_never_stands_still_is_tried_later(redis: Redis) -> None:
    """Somebody works on the person in each of the moments: nothing is kept, and the answer says try again."""
    keep(redis, accounts={"crm": account(days=1)})
    meddling = _Meddling(redis)

    with pytest.raises(Unavailable) as caught:
        restore(meddling, "E1042", WITHIN, actor="anna", now=NOW)

    assert (caught.value.reason, meddling.times, kept(redis)) == ("busy", TRIES_MAX, 0)


class _Meddling(Redis):
    """A connection on which the person changes right after each read."""

    def __init__(self, redis: Redis) -> None:
        """Use the same server."""
        super().__init__(connection_pool=redis.connection_pool)
        self._other = redis
        self.times = 0

    def pipeline(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - redis-py's
        """Give a pipeline whose ``multi`` comes too late."""
        pipe = super().pipeline(*args, **kwargs)
        multi = pipe.multi

        def late() -> None:
            self.times += 1
            self._other.append(keys.person("E1042"), " ")
            multi()

        pipe.multi = late  # type: ignore[method-assign]
        return pipe
