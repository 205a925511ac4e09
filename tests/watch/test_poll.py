"""What no notice told is found by asking; nothing is found twice, nothing is passed over, whatever dies or is late."""

import json
import threading
from datetime import datetime
from typing import Any

import pytest
from redis import Redis

from lifecycle import keys
from lifecycle.errors import Postponed
from lifecycle.event import Event
from lifecycle.queue import PUT, JobWriter, put_arguments
from lifecycle.watching import POLL
from tests.watch.conftest import MINUTE, SOURCE, Clock, Told, Watching, delta, machine_clock, refs, stands
from tests.watch.graph_tenant import BASE, GraphTenant
from tests.watch.loopback import Reply
from tests.watch.okta_org import LOGS, OktaOrg
from workers.directories import entra_delta, okta_log
from workers.directories.api import Api
from workers.directories.changes import Changes
from workers.watch.poll import Poll

clock = pytest.fixture(machine_clock)


@pytest.fixture
def okta_poll(redis: Redis, okta_api: Api) -> Poll:
    """Give a poll of the org, whose log is of now."""
    return Poll(redis, SOURCE, Told(okta_log.changes, okta_api), MINUTE)


@pytest.fixture
def graph_poll(redis: Redis, graph_api: Api) -> Poll:
    """Give a poll of the tenant."""
    return Poll(redis, SOURCE, Told(delta, graph_api), MINUTE)


def events(redis: Redis) -> list[Event]:
    """Return what was kept."""
    docs: Any = [redis.hget(keys.event(ref), "doc") for ref in refs(redis)]
    return [Event.model_validate_json(doc) for doc in docs]


def tell(watching: Watching, poll: Poll, clock: Clock) -> None:
    """Let the next poll come."""
    clock.go(60)
    watching(poll).tick()


def test_entry_of_the_log_becomes_an_event_to_look_up(
    redis: Redis, okta: OktaOrg, okta_poll: Poll, watching: Watching
) -> None:
    """It bears the id and the word of the log, and only names whom it is about."""
    entry = okta.join("00u1")

    watching(okta_poll).tick()

    (event,) = events(redis)
    assert (event.ref, event.kind, event.hint) == (f"okta:{entry['uuid']}", "changed", "joiner")
    assert (event.person, event.vendor_kind) == ("00u1", "user.lifecycle.activate")
    assert event.profile.told() == {"external_id": "00u1", "user_name": "00u1@acme.example"}
    assert redis.lrange(keys.unread("00u1"), 0, -1) == [event.ref.encode()]


def test_what_a_hook_told_is_not_told_again(redis: Redis, okta: OktaOrg, okta_poll: Poll, watching: Watching) -> None:
    """The hook and the log name an event by one id; counted is what was new."""
    entry = okta.join("00u1")
    okta.leave("00u1")
    kept = Event.model_validate(
        {
            "id": entry["uuid"],
            "source": "okta",
            "kind": "changed",
            "person": "00u1",
            "profile": {"external_id": "00u1"},
            "occurred_at": entry["published"],
            "received_at": entry["published"],
            "vendor_kind": "user.lifecycle.activate",
        }
    )
    redis.eval(PUT, 0, *put_arguments([kept], JobWriter()))

    watching(okta_poll).tick()

    assert len(refs(redis)) == 2
    counted = {
        name: redis.hget(keys.METRICS, json.dumps(["gatepost_polled", "okta", name])) for name in ("new", "known")
    }
    assert counted == {"new": b"1", "known": b"1"}


def test_next_poll_asks_from_where_the_last_one_came(
    okta: OktaOrg, okta_poll: Poll, watching: Watching, clock: Clock, redis: Redis
) -> None:
    """By the link that Okta named, also when nothing was new; an entry that appears late is after it."""
    okta.join("00u1")
    watching(okta_poll).tick()
    asked = okta.count("GET", LOGS)
    # It happened long before; Okta has stored it now.
    okta.happen("user.account.update_primary_email", "00u1", published="2026-03-01T00:00:00Z")

    tell(watching, okta_poll, clock)
    tell(watching, okta_poll, clock)

    assert [event.vendor_kind for event in events(redis)] == [
        "user.lifecycle.activate",
        "user.account.update_primary_email",
    ]
    assert okta.count("GET", LOGS) == asked + 3
    assert all("after" in each.query and "since" not in each.query for each in okta.asked[1:])


def test_poll_waits_for_its_interval(okta: OktaOrg, okta_poll: Poll, watching: Watching, clock: Clock) -> None:
    """A tick in between asks nobody, whichever process makes it."""
    watching(okta_poll).tick()
    clock.go(30)
    watching(okta_poll, worker="w2").tick()

    assert okta.count("GET", LOGS) == 1


def test_failed_action_and_strange_entry_are_left_out(
    redis: Redis, okta: OktaOrg, okta_poll: Poll, watching: Watching
) -> None:
    """They keep none of the others waiting."""
    okta.happen("user.lifecycle.deactivate", "00u1", outcome={"result": "FAILURE"})
    okta.happen("user.lifecycle.deactivate", "00u2", target=None)
    okta.happen("user.lifecycle.deactivate", "00u3", uuid=None)
    okta.happen("user.session.start", "00u4")
    okta.happen("system.import.user.create", "00u5", published="soon")

    watching(okta_poll).tick()

    assert [event.person for event in events(redis)] == ["00u5"]


def test_deletion_of_a_stranger_is_nothing_to_do(
    redis: Redis, okta: OktaOrg, okta_poll: Poll, watching: Watching
) -> None:
    """Of somebody known it is a reason to look: the word alone takes nobody's account."""
    redis.set(keys.person("00u1"), "{}")
    okta.happen("user.lifecycle.delete.completed", "00u1")
    okta.happen("user.lifecycle.delete.completed", "00u2")

    watching(okta_poll).tick()

    assert [(event.person, event.kind, event.hint) for event in events(redis)] == [("00u1", "changed", "leaver")]


def test_link_that_okta_forgot_is_made_good_by_time(
    redis: Redis, okta: OktaOrg, okta_poll: Poll, watching: Watching, clock: Clock
) -> None:
    """The log is read again from some minutes before the last poll: nothing is lost, and we are blind no longer."""
    okta.join("00u1")
    watching(okta_poll).tick()
    okta.born = "another"
    okta.leave("00u1")

    clock.go(60)
    watching(okta_poll).tick()

    assert [event.vendor_kind for event in events(redis)] == ["user.lifecycle.activate", "user.lifecycle.deactivate"]
    assert stands(redis, POLL).blind_since is None


def test_first_poll_of_a_tenant_tells_nobody(
    redis: Redis, graph: GraphTenant, graph_poll: Poll, watching: Watching, clock: Clock
) -> None:
    """Whoever was there before is for a sweep; what changes from now on is told, page by page."""
    graph.join("ada")
    watching(graph_poll).tick()
    assert refs(redis) == []
    joined = [graph.join(f"bo{number}")["id"] for number in range(5)]
    graph.changed(joined[0], accountEnabled=False)
    graph.member(joined[1])

    tell(watching, graph_poll, clock)
    tell(watching, graph_poll, clock)

    found = [(event.person, event.vendor_kind, event.hint) for event in events(redis)]
    assert sorted(found, key=str) == sorted(
        [
            *((user, "delta.updated", None) for user in joined),
            (joined[0], "delta.updated", "leaver"),
            (joined[1], "delta.members", None),
        ],
        key=str,
    )


def test_removed_user_is_a_reason_to_look(
    redis: Redis, graph: GraphTenant, graph_poll: Poll, watching: Watching, clock: Clock
) -> None:
    """Only of somebody known."""
    watching(graph_poll).tick()
    known, stranger = graph.join("ada")["id"], graph.join("bo")["id"]
    redis.set(keys.person(known), "{}")
    graph.changes["users"].clear()
    graph.delete(known)
    graph.delete(stranger)

    tell(watching, graph_poll, clock)

    assert [(event.person, event.vendor_kind, event.hint) for event in events(redis)] == [
        (known, "delta.removed", "leaver")
    ]


def test_token_that_graph_forgot_lets_everybody_be_looked_up(
    redis: Redis, graph: GraphTenant, graph_poll: Poll, graph_api: Api, watching: Watching, clock: Clock
) -> None:
    """410: who is there and who was deleted of late are told once; meanwhile we are blind since the last good poll."""
    here, gone = graph.join("ada")["id"], graph.join("bo")["id"]
    watching(graph_poll).tick()
    done_at = stands(redis, POLL).done_at
    redis.set(keys.person(gone), "{}")
    graph.delete(gone)
    graph.forget()
    seen = []

    class Slow(Told):
        def changes(self, position: str | None, now: datetime) -> Changes:
            found = super().changes(position, now)
            seen.append((stands(redis, POLL).blind_since, stands(redis, POLL).note))
            return found

    clock.go(60)
    watching(Poll(redis, SOURCE, Slow(delta, graph_api), MINUTE)).tick()

    assert {(event.person, event.vendor_kind) for event in events(redis)} == {
        (here, "delta.updated"),
        (gone, "delta.removed"),
    }
    assert seen[-1][0] == done_at
    assert "everybody is looked up once" in str(seen[-1][1])
    assert (stands(redis, POLL).blind_since, stands(redis, POLL).note) == (None, None)


def test_other_attributes_are_read_of_everybody(
    redis: Redis, graph: GraphTenant, graph_poll: Poll, graph_api: Api, watching: Watching, clock: Clock
) -> None:
    """A link tracks what it was made for; and of what is read now nobody's value is known yet."""
    here = graph.join("ada")["id"]
    watching(graph_poll).tick()

    def more(api: Api, position: str | None, now: datetime) -> Changes:
        return entra_delta.changes(api, position, now, entra_delta.Tracked(("accountEnabled", "jobTitle")))

    tell(watching, Poll(redis, SOURCE, Told(more, graph_api), MINUTE), clock)

    assert [event.person for event in events(redis)] == [here]
    assert graph.asked[-1].query["$select"] == "id,accountEnabled,jobTitle"


def test_members_are_told_without_only_where_that_is_not_allowed(
    redis: Redis, graph: GraphTenant, graph_poll: Poll, watching: Watching, clock: Clock
) -> None:
    """Users are watched all the same, the permission is named, and once it is given it counts."""
    graph.forbidden.add(f"{BASE}/groups/delta")
    watching(graph_poll).tick()
    note = stands(redis, POLL).note
    graph.forbidden.clear()
    tell(watching, graph_poll, clock)
    graph.member("u-1")
    tell(watching, graph_poll, clock)

    assert "GroupMember.Read.All" in str(note)
    assert [event.person for event in events(redis)] == ["u-1"]
    assert stands(redis, POLL).note is None


@pytest.mark.parametrize("status", [429, 500, 401, 403])
def test_trouble_is_told_and_mended(
    redis: Redis, okta: OktaOrg, okta_poll: Poll, watching: Watching, clock: Clock, status: int
) -> None:
    """We are blind since the last poll that went well, and try again, each time later, until one does."""
    watching(okta_poll).tick()
    done_at = stands(redis, POLL).done_at
    okta.faults = [Reply(status)] * 3

    for _ in range(3):
        clock.go(400)
        watching(okta_poll).tick()
    failed = stands(redis, POLL)
    clock.go(400)
    entry = okta.join("00u1")
    watching(okta_poll).tick()

    assert (failed.tries, failed.blind_since) == (3, done_at)
    assert failed.due_at > clock.now - 400
    assert stands(redis, POLL).blind_since is None
    assert refs(redis) == [f"okta:{entry['uuid']}"]


def test_pause_that_is_named_is_kept(okta: OktaOrg, okta_poll: Poll, watching: Watching, clock: Clock) -> None:
    """Retry-After is obeyed, by all processes."""
    okta.faults = [Reply(429, None, {"retry-after": "120"})]
    watching(okta_poll).tick()
    clock.go(100)
    watching(okta_poll, worker="w2").tick()
    asked = okta.count("GET", LOGS)
    clock.go(60)
    watching(okta_poll).tick()

    assert asked == 1
    assert okta.count("GET", LOGS) == 2


class Dying(Told):
    """A directory whose process is killed right after it was read."""

    dies = True

    def changes(self, position: str | None, now: datetime) -> Changes:
        """Make one step, or die after what it found was kept."""
        if self.dies and position:
            type(self).dies = False
            raise SystemExit
        return super().changes(position, now)


def test_killed_in_the_middle_it_goes_on_where_it_was(
    redis: Redis, okta: OktaOrg, okta_api: Api, watching: Watching
) -> None:
    """Another process takes over as soon as the first is known to be dead, and every entry is one event."""
    okta.page = 2
    entries = [okta.join(f"00u{number}") for number in range(5)]
    poll = Poll(redis, SOURCE, Dying(okta_log.changes, okta_api), MINUTE)
    redis.set(keys.alive("w1"), "1", px=60_000)
    lease = redis.set(keys.watching(SOURCE), "w1:token", px=45_000)
    watching(poll, worker="w2").tick()
    held = okta.count("GET", LOGS)
    redis.delete(keys.alive("w1"))

    with pytest.raises(SystemExit):
        watching(poll, worker="w2").tick()
    watching(poll, worker="w3").tick()

    assert (lease, held) == (True, 0)
    assert sorted(refs(redis)) == sorted(f"okta:{entry['uuid']}" for entry in entries)


def test_two_workers_ask_once(redis: Redis, okta: OktaOrg, okta_poll: Poll, watching: Watching) -> None:
    """One has the lease, the other goes its way; both live."""
    for worker in ("w1", "w2"):
        redis.set(keys.alive(worker), "1", px=60_000)
    gate = threading.Barrier(2)

    def tick(worker: str) -> None:
        gate.wait()
        watching(okta_poll, worker=worker).tick()

    threads = [threading.Thread(target=tick, args=(worker,)) for worker in ("w1", "w2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert okta.count("GET", LOGS) == 1


def test_whoever_was_away_for_too_long_changes_nothing(
    redis: Redis, okta: OktaOrg, okta_api: Api, watching: Watching
) -> None:
    """Its lease ran out and another process went on: what it would write of the position is not written."""
    okta.join("00u1")

    class Away(Told):
        def changes(self, position: str | None, now: datetime) -> Changes:
            redis.set(keys.watching(SOURCE), "w2:token")
            redis.hset(
                keys.watch(SOURCE), POLL, stands(redis, POLL).model_copy(update={"position": "w2"}).model_dump_json()
            )
            return super().changes(position, now)

    watching(Poll(redis, SOURCE, Away(okta_log.changes, okta_api), MINUTE)).tick()

    assert stands(redis, POLL).position == "w2"
    assert redis.get(keys.watching(SOURCE)) == b"w2:token"


def test_backlog_makes_a_catch_up_wait(
    redis: Redis, graph: GraphTenant, graph_poll: Poll, watching: Watching, clock: Clock
) -> None:
    """Who waits to be looked up is looked up before everybody else is asked for."""
    watching(graph_poll).tick()
    for number in range(5):
        graph.join(f"bo{number}")
    redis.rpush("rq:queue:lookups", *range(1_001))
    clock.go(60)
    watching(graph_poll).tick()
    behind = len(refs(redis))
    redis.delete("rq:queue:lookups")
    clock.go(10)
    watching(graph_poll).tick()

    assert (behind, len(refs(redis))) == (2, 5)


class Failing:
    """A directory that cannot be asked."""

    def __init__(self, error: Exception) -> None:
        """Keep what it raises."""
        self._error = error

    def changes(self, position: str | None, now: datetime) -> Changes:  # noqa: ARG002 - as in TellsChanges
        """Raise."""
        raise self._error


def test_fault_of_ours_is_told_too(redis: Redis, watching: Watching) -> None:
    """It blinds as any other, and its text, which may be somebody's name, is told nowhere."""
    watching(Poll(redis, SOURCE, Failing(KeyError("bo.ray@acme.example")), MINUTE)).tick()

    assert stands(redis, POLL).fault == "a fault of ours: KeyError"


def test_what_is_away_is_tried_more_and_more_seldom(redis: Redis, watching: Watching, clock: Clock) -> None:
    """From seconds to five minutes at the most."""
    gone = Failing(Postponed("no answer", reason="unreachable"))
    waits = []
    for _ in range(12):
        watching(Poll(redis, SOURCE, gone, MINUTE)).tick()
        waits.append(stands(redis, POLL).due_at - clock.now)
        clock.go(301)

    assert 2 < waits[0] <= 5
    assert 150 <= waits[-1] <= 300
