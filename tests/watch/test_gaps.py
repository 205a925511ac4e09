"""Nothing is lost without being told: gaps of the poll, a directory that is another one, clocks that are wrong."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis
from structlog.testing import capture_logs

from lifecycle import keys
from lifecycle.watching import POLL, Watch, all_watched, name_sources, watch_of, watched
from tests.watch.conftest import MINUTE, SOURCE, Clock, Told, Watching, delta, machine_clock, refs, stands
from tests.watch.graph_tenant import DELETED, GraphTenant
from tests.watch.loopback import Reply
from tests.watch.okta_org import LOGS, OktaOrg
from workers.directories import okta_log
from workers.directories.api import Api
from workers.directories.changes import Changes
from workers.watch.poll import Poll

DAY = 86_400.0
HOURS = 3_600.0

clock = pytest.fixture(machine_clock)


@pytest.fixture
def okta_poll(redis: Redis, okta_api: Api) -> Poll:
    """Give a poll of the org."""
    return Poll(redis, SOURCE, Told(okta_log.changes, okta_api), MINUTE)


@pytest.fixture
def graph_poll(redis: Redis, graph_api: Api) -> Poll:
    """Give a poll of the tenant."""
    return Poll(redis, SOURCE, Told(delta, graph_api), MINUTE)


def by_another_name(api: Api) -> Api:
    """Ask the same service at another address."""
    return Api(api.base_url.replace("127.0.0.1", "localhost"), api.credential, api.http)


class Forgetting(Told):
    """An org whose link is refused after the first page of each turn."""

    def __init__(self, okta: OktaOrg, api: Api) -> None:
        """Keep it."""
        super().__init__(okta_log.changes, api)
        self._okta = okta
        self.steps = 0

    def changes(self, position: str | None, now: datetime) -> Changes:
        """Make one step."""
        found = super().changes(position, now)
        self.steps += 1
        if self.steps == 1:
            self._okta.born = "another"
        return found


def test_link_that_is_refused_in_the_middle_of_a_catch_up_loses_nothing(
    redis: Redis, okta: OktaOrg, okta_api: Api, okta_poll: Poll, watching: Watching, clock: Clock
) -> None:
    """After an outage pages are of hours ago: what is left of them is asked for from then on, not from now on."""
    watching(okta_poll).tick()
    okta.page = 1
    entries = [okta.join(f"00u{number}") for number in range(3)]
    clock.go(5 * HOURS)

    watching(Poll(redis, SOURCE, Forgetting(okta, okta_api), MINUTE)).tick()

    assert sorted(refs(redis)) == sorted(f"okta:{entry['uuid']}" for entry in entries)
    assert stands(redis, POLL).blind_since is None
    assert stands(redis, POLL).missed is None


def test_org_that_could_not_be_asked_from_the_beginning_is_asked_from_then(
    redis: Redis, okta: OktaOrg, okta_poll: Poll, watching: Watching, clock: Clock
) -> None:
    """Not only of the hour before it could."""
    okta.faults = [Reply(500)]
    watching(okta_poll).tick()
    entry = okta.join("00u1")
    clock.go(5 * HOURS)
    watching(okta_poll).tick()

    assert refs(redis) == [f"okta:{entry['uuid']}"]
    assert stands(redis, POLL).blind_since is None


def test_time_up_to_which_all_is_read_is_that_of_the_last_entry(okta: OktaOrg, okta_api: Api) -> None:
    """Only a page on which nothing is left is of now; one whose time cannot be read changes nothing."""
    okta.page = 1
    okta.join("00u1")
    okta.happen("user.account.update_profile", "00u1", published="soon")
    now = datetime.now(UTC).replace(year=2099)
    before = datetime.now(UTC)
    position = json.dumps({"at": f"okta {okta_api.origin}", "since": before.replace(year=2020).isoformat()})

    since = []
    for _ in range(3):
        position = okta_log.changes(okta_api, position, now).position
        since.append(datetime.fromisoformat(json.loads(position)["since"]))

    assert before.replace(microsecond=0) <= since[0] == since[1] <= datetime.now(UTC)
    assert since[2] == now


def test_place_that_is_never_taken_is_a_fault(
    redis: Redis, okta: OktaOrg, okta_api: Api, watching: Watching, clock: Clock
) -> None:
    """Each link is refused that was given just now: it is not asked for again and again, and we are blind."""

    class Never(Told):
        def changes(self, position: str | None, now: datetime) -> Changes:
            okta.born += "x"
            return super().changes(position, now)

    poll = Poll(redis, SOURCE, Never(okta_log.changes, okta_api), MINUTE)
    watching(poll).tick()
    for number in range(3):
        okta.join(f"00u{number}")
    clock.go(60)
    watching(poll).tick()

    assert okta.count("GET", LOGS) < 10
    assert "does not take the places" in str(stands(redis, POLL).fault)
    assert stands(redis, POLL).blind_since is not None


def test_loss_that_is_final_is_remembered(
    redis: Redis, okta: OktaOrg, okta_poll: Poll, watching: Watching, clock: Clock
) -> None:
    """The log does not go back so far: that all is well afterwards tells nobody what happened before."""
    watching(okta_poll).tick()
    okta.born = "another"
    clock.go(100 * DAY)
    for _ in range(3):
        clock.go(60)
        watching(okta_poll).tick()
    watch = stands(redis, POLL)

    assert watch.blind_since is None
    assert "89 days" in str(watch.missed_lately(clock.now))
    assert watch.missed_lately(clock.now + 6 * DAY) == watch.missed
    assert watch.missed_lately(clock.now + 8 * DAY) is None


def test_blindness_lasts_as_long_as_a_part_of_the_catch_up_is_refused(
    redis: Redis, graph: GraphTenant, graph_poll: Poll, watching: Watching, clock: Clock
) -> None:
    """Who was deleted meanwhile may not be asked for: each round asks again, and when it may we see."""
    gone = graph.join("ada")["id"]
    watching(graph_poll).tick()
    done_at = stands(redis, POLL).done_at
    redis.set(keys.person(gone), "{}")
    graph.delete(gone)
    graph.forget()
    graph.forbidden.add(DELETED)
    for _ in range(3):
        clock.go(60)
        watching(graph_poll).tick()
    refused = stands(redis, POLL)
    graph.forbidden.clear()
    clock.go(60)
    watching(graph_poll).tick()

    assert (refused.fault, refused.is_partial, refused.blind_since) == (None, True, done_at)
    assert "User.Read.All" in str(refused.note)
    docs: Any = [redis.hget(keys.event(ref), "doc") for ref in refs(redis)]
    assert [json.loads(doc)["person"] for doc in docs] == [gone]
    assert (stands(redis, POLL).blind_since, stands(redis, POLL).note) == (None, None)


def test_deletion_that_the_recycle_bin_has_no_more_is_missed(
    redis: Redis, graph: GraphTenant, graph_poll: Poll, watching: Watching, clock: Clock
) -> None:
    """It keeps people for thirty days; who was in it before that is told by nobody."""
    watching(graph_poll).tick()
    graph.forget()
    clock.go(20 * DAY)
    watching(graph_poll).tick()
    soon = stands(redis, POLL).missed
    graph.forget()
    clock.go(40 * DAY)
    watching(graph_poll).tick()

    assert soon is None
    assert "recycle bin" in str(stands(redis, POLL).missed)
    assert stands(redis, POLL).blind_since is None


def test_org_at_another_address_is_read_on_from_the_same_time(
    redis: Redis, okta: OktaOrg, okta_api: Api, okta_poll: Poll, watching: Watching, clock: Clock
) -> None:
    """A link leads to the old address, and is asked for at no other."""
    watching(okta_poll).tick()
    entry = okta.join("00u1")
    clock.go(3 * HOURS)
    okta.url = okta.url.replace("127.0.0.1", "localhost")

    watching(Poll(redis, SOURCE, Told(okta_log.changes, by_another_name(okta_api)), MINUTE)).tick()

    assert (stands(redis, POLL).fault, stands(redis, POLL).missed) == (None, None)
    assert refs(redis) == [f"okta:{entry['uuid']}"]


def test_tenant_at_another_address_is_looked_up_once(
    redis: Redis, graph: GraphTenant, graph_api: Api, graph_poll: Poll, watching: Watching, clock: Clock
) -> None:
    """As one that forgot where we were."""
    watching(graph_poll).tick()
    graph.join("ada")
    clock.go(60)
    graph.url = graph.url.replace("127.0.0.1", "localhost")

    watching(Poll(redis, SOURCE, Told(delta, by_another_name(graph_api)), MINUTE)).tick()

    assert stands(redis, POLL).fault is None
    assert len(refs(redis)) == 1


def test_directory_of_another_vendor_is_begun_anew(
    redis: Redis, okta_poll: Poll, graph: GraphTenant, graph_poll: Poll, watching: Watching, clock: Clock
) -> None:
    """There and back again; an hour before is asked for, or everybody, and no position is a fault for ever."""
    graph.join("ada")
    watching(okta_poll).tick()
    clock.go(60)
    watching(graph_poll).tick()
    there = stands(redis, POLL)
    clock.go(60)
    watching(okta_poll).tick()
    back = stands(redis, POLL)

    assert (there.fault, there.blind_since, back.fault, back.blind_since) == (None, None, None, None)
    assert len(refs(redis)) == 1


@pytest.mark.parametrize("spoilt", ["x", "[]", "{}", '{"since": "soon", "at": 1}', '{"since": 1}'])
def test_position_that_cannot_be_read_is_missed_and_no_fault(
    redis: Redis, okta_poll: Poll, graph_poll: Poll, watching: Watching, clock: Clock, spoilt: str
) -> None:
    """Up to when all was told is not known: Okta is asked for the last hour, and that is said; Graph for everybody."""
    for poll, what in ((okta_poll, "what happened before"), (graph_poll, None)):
        watching(poll).tick()
        clean = stands(redis, POLL).model_copy(update={"position": spoilt, "missed": None})
        redis.hset(keys.watch(SOURCE), POLL, clean.model_dump_json())
        clock.go(60)
        watching(poll).tick()

        assert stands(redis, POLL).fault is None
        assert (what or "None") in str(stands(redis, POLL).missed)


def test_clock_that_was_ahead_silences_nothing(
    redis: Redis, okta: OktaOrg, okta_poll: Poll, watching: Watching, clock: Clock
) -> None:
    """What it wrote is no time of anything: the poll is due now, and goes on as ever."""
    right = clock.now
    clock.now = right + 7 * DAY
    watching(okta_poll).tick()
    clock.now = right
    entry = okta.join("00u1")
    watching(okta_poll).tick()
    watch = stands(redis, POLL)

    assert watch.begun_at == watch.done_at == right
    assert right < watch.due_at <= right + 60
    assert refs(redis) == [f"okta:{entry['uuid']}"]


def test_failure_by_a_clock_that_was_ahead_is_tried_again(
    redis: Redis, okta: OktaOrg, okta_poll: Poll, watching: Watching, clock: Clock
) -> None:
    """And we are blind from now on at the latest."""
    watching(okta_poll).tick()
    right = clock.now
    clock.now = right + 7 * DAY
    okta.faults = [Reply(500)] * 2
    watching(okta_poll).tick()
    clock.now = right
    watching(okta_poll).tick()

    assert stands(redis, POLL).tries == 2
    assert watched(redis, SOURCE).blind_seconds(right + 10) == pytest.approx(10)


def test_clock_that_stays_ahead_is_corrected_once_an_interval(
    redis: Redis, okta: OktaOrg, okta_poll: Poll, watching: Watching, clock: Clock
) -> None:
    """Two processes do not ask in turn, as fast as they can."""
    right = watching(okta_poll)
    right.tick()
    for _ in range(10):
        clock.now += 7 * DAY
        watching(okta_poll, worker="w2").tick()
        clock.now -= 7 * DAY
        right.tick()
        clock.go(1)

    assert okta.count("GET", LOGS) <= 4


def test_poll_that_was_turned_off_blinds_nobody(redis: Redis, okta_poll: Poll, watching: Watching) -> None:
    """Not even when a process of before writes once more how it stands."""
    watching(okta_poll).tick()
    stood: Any = redis.hget(keys.watch(SOURCE), POLL)
    later = stands(redis, POLL).due_at + DAY
    seconds = [watched(redis, SOURCE).blind_seconds(later)]
    name_sources(redis, {SOURCE: []})
    forgotten = watch_of(redis, SOURCE, POLL) is None
    seconds.append(watched(redis, SOURCE).blind_seconds(later))
    redis.hset(keys.watch(SOURCE), POLL, stood)
    seconds.append(watched(redis, SOURCE).blind_seconds(later))

    assert forgotten
    assert seconds[0] > DAY
    assert seconds[1:] == [0, 0]


def test_record_that_cannot_be_read_stops_nothing(
    redis: Redis, okta_poll: Poll, watching: Watching, clock: Clock
) -> None:
    """It counts as none, which is told once; the poll begins anew, and says so."""
    source = f"source-{uuid4().hex}"
    name_sources(redis, {source: [POLL], "another": []})
    redis.hset(keys.watch(source), POLL, '{"begun_at": 1}')
    with capture_logs() as logs:
        found = [dict(all_watched(redis)), dict(all_watched(redis))]
    watching(okta_poll, source=source).tick()
    begun = stands(redis, POLL, source)

    assert found[0].keys() == {source, "another"}
    assert found[0][source].tasks == {}
    assert [line["event"] for line in logs] == ["watch.unreadable"]
    assert "could not be read" in str(begun.missed_lately(clock.now))
    assert begun.fault is None


def test_record_of_before_can_be_read() -> None:
    """It knows of nothing that was missed, nor may what a newer release writes stop this one."""
    watch = Watch.model_validate_json('{"begun_at": 1, "every_seconds": 60, "of_a_newer_release": 1}')

    assert (watch.missed_lately(2), watch.is_partial, watch.is_ahead(2)) == (None, False, False)
