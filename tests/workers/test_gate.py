"""The gate: the limit, the pace, leavers, pauses and the circuit; real Redis, and a clock of the test's own."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from lifecycle import keys
from lifecycle.errors import Postponed, Refused, Waiting
from lifecycle.people import People
from lifecycle.person import Person
from lifecycle.queue import lanes
from lifecycle.secrets import Secret
from lifecycle.settlement import Parked, Settled
from tests.flow.patience import eventually
from tests.redis_server import RedisServer
from tests.workers.stories import AT, patiently, target
from workers.gate import (
    CIRCUIT_SECONDS,
    CIRCUIT_SECONDS_MAX,
    FAILURES_MAX,
    GRANT_SECONDS,
    GUARD_SECONDS,
    LEAVER_PAUSE_SECONDS_MAX,
    PERMIT_SECONDS,
    Gate,
    Permit,
    Rank,
    Rate,
)
from workers.http import Answer
from workers.pauses import pause_of

CREDENTIALS = Refused("401 no", reason="credentials")
FORBIDDEN = Refused("403 no", reason="forbidden")
BROKEN = Postponed("500 oops", reason="broken")
START = 1_800_000_000_000
WINDOW = 60.0


class Clock:
    """Redis's clock as a test wants it, in milliseconds."""

    def __init__(self) -> None:
        """Start it."""
        self.now = START

    def __call__(self) -> int:
        """Tell the time."""
        return self.now

    def pass_by(self, seconds: float) -> None:
        """Let time go by."""
        self.now += round(seconds * 1000)


@pytest.fixture
def clock() -> Clock:
    """Give a clock."""
    return Clock()


MakeGate = Callable[..., Gate]


@pytest.fixture
def make_gate(redis: Redis, clock: Clock) -> MakeGate:
    """Make a gate: ``make_gate(60)``; another name is another target of the same credential."""

    def make(limit: int | None = None, *, share: float = 0.1, name: str = "crm") -> Gate:
        return Gate(redis, name, target(), Rate(limit, share, WINDOW), clock=clock)

    return make


def joiner(minute: int = 0) -> Rank:
    """Rank whoever is no leaver."""
    return Rank(leaver=False, received_at=AT + timedelta(minutes=minute))


def leaver(minute: int = 0) -> Rank:
    """Rank a leaver."""
    return Rank(leaver=True, received_at=AT + timedelta(minutes=minute))


def attempt(gate: Gate, person: str = "E1", need: int = 1, rank: Rank | None = None) -> Permit:
    """Ask to be let in."""
    permit = gate.permit(person)
    permit.enter(need, rank or joiner())
    return permit


def answer(status: int, **headers: str) -> Answer:
    """Make an answer."""
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, b"", 0.0)


def send(permit: Permit, times: int = 1, status: int = 200, **headers: str) -> None:
    """Make requests."""
    for _ in range(times):
        permit.use()
        permit.heard(answer(status, **headers))


def refusal(ask: Callable[[], object]) -> str:
    """Return why one is not let in."""
    with pytest.raises(Waiting) as refused:
        ask()
    return refused.value.reason


def park(redis: Redis, person: str, rank: Rank, need: int = 2) -> None:
    """Put a person in line as a settled attempt does."""
    people = People(redis, lanes(redis))
    people.settle(str(people.take(person)), Settled(Person(key=person), [], parked=[Parked("crm", rank.score, need)]))


def spend(gate: Gate, clock: Clock, seconds: float, *, step: float = 0.25) -> list[int]:
    """Ask for one request again and again for a while, and return when there was one."""
    sent = []
    for _ in range(round(seconds / step)):
        permit = gate.permit("E1")
        try:
            permit.enter(1, joiner())
        except Waiting:
            pass
        else:
            send(permit)
            sent.append(clock.now)
            permit.close()
        clock.pass_by(step)
    return sent


def most_in_a_window(sent: list[int]) -> int:
    """Return the most requests of any window."""
    return max((sum(at <= other <= at + WINDOW * 1000 for other in sent) for at in sent), default=0)


# ---- the limit


def test_limit_is_reached_and_never_passed(make_gate: MakeGate, clock: Clock) -> None:
    """Whoever always asks gets the whole limit of each window, evenly, and never one more."""
    gate = make_gate(60)

    sent = spend(gate, clock, 300)

    gaps = [second - first for first, second in pairwise(sent[10:])]
    assert most_in_a_window(sent) == 60
    assert len(sent) >= 300 * 0.99
    assert max(gaps) <= 1_500


def test_every_window_is_used_up_while_somebody_waits(make_gate: MakeGate, clock: Clock) -> None:
    """Any minute after the first holds 98 of 100 requests that the limit allows, but for one leaver's worth."""
    sent = spend(make_gate(150), clock, 200, step=0.1)

    starts = range(START, START + 140_000, 1_000)
    shares = [sum(start <= at < start + WINDOW * 1000 for at in sent) / (150 - 3) for start in starts]
    assert min(shares) >= 0.98
    assert max(shares) <= 1.0


schedules = st.lists(
    st.tuples(
        st.sampled_from(["joiner", "leaver", "die", "more", "unused"]),
        st.integers(1, 6),
        st.floats(0, 20, allow_nan=False),
    ),
    max_size=60,
)


@patiently
@given(limit=st.integers(1, 12), share=st.floats(0, 0.9), schedule=schedules)
def test_no_schedule_of_asks_passes_the_limit(
    _one_redis: RedisServer,  # noqa: PT019 - hypothesis takes fixtures of a session only
    limit: int,
    share: float,
    schedule: list[tuple[str, int, float]],
) -> None:
    """Joiners, leavers, the dying, those who ask for more and those who use less: no window holds more than allowed."""
    clock, sent = Clock(), list[int]()
    with Redis.from_url(_one_redis.start().url) as redis:
        redis.flushall()
        gate = Gate(redis, "crm", target(), Rate(limit, share, WINDOW), clock=clock)
        for what, number, pause in schedule:
            sent += _one_step(gate, clock, what, number)
            clock.pass_by(pause)

    assert most_in_a_window(sent) <= limit


def _one_step(gate: Gate, clock: Clock, what: str, number: int) -> list[int]:
    permit = gate.permit(f"E{number}")
    sent = []
    try:
        permit.enter(number, leaver() if what == "leaver" else joiner())
        for _ in range({"more": number + 2, "unused": number - 1}.get(what, number)):
            send(permit)
            sent.append(clock.now)
    except (Waiting, Refused):
        pass
    if what != "die":
        permit.close()
    return sent


def test_targets_of_one_credential_share_its_limit(make_gate: MakeGate) -> None:
    """The limit is the credential's: two targets that use the same one have one bucket."""
    first, second = make_gate(4, name="crm"), make_gate(4, name="desk")
    for _ in range(2):
        attempt(first, need=2, rank=leaver()).close(verdict="nothing")
        send(attempt(first, need=2, rank=leaver()), 2)

    assert refusal(lambda: attempt(second, rank=leaver())) == "rate"


def test_other_credential_has_its_own_limit(redis: Redis, make_gate: MakeGate, clock: Clock) -> None:
    """A bucket is named after what it is a bucket of, and its name tells no secret."""
    attempt(make_gate(1))
    other = Gate(redis, "crm", target(token=Secret("env:OTHER", "other-secret")), Rate(1, 0.1, WINDOW), clock=clock)

    attempt(other)

    assert not [key for key in redis.keys("*") if b"secret" in key]


def test_what_is_not_used_is_given_back(make_gate: MakeGate) -> None:
    """An attempt that found nothing to do costs its one look."""
    gate = make_gate(10, share=0)
    for _ in range(7):
        permit = attempt(gate, need=4, rank=leaver())
        send(permit)
        permit.close()

    assert refusal(lambda: attempt(gate, need=4, rank=leaver())) == "rate"
    attempt(gate, need=3, rank=leaver())


def test_attempt_that_needs_more_gets_it_on_its_way(make_gate: MakeGate) -> None:
    """What an attempt has begun it may end, past the pace; never past the limit, nor into what is kept for leavers."""
    gate = make_gate(20, share=0.5)
    send(attempt(gate, "L1", rank=leaver()))
    permit = attempt(gate, need=2)

    send(permit, 9)

    assert refusal(permit.use) == "rate"
    assert permit.need == 13
    attempt(gate, "L2", need=10, rank=leaver())


@pytest.mark.parametrize(("rank", "most"), [(joiner, 9), (leaver, 10)])
def test_attempt_that_needs_more_than_there_is_ends(make_gate: MakeGate, rank: Callable[[], Rank], most: int) -> None:
    """It had the whole window for itself: begun again it would end there again, for ever."""
    permit = attempt(make_gate(10, share=0.1), need=2, rank=rank())
    attempt(make_gate(10, share=0.1), "L1", need=1, rank=leaver()).close(verdict="nothing")

    send(permit, most)
    with pytest.raises(Refused) as refused:
        permit.use()

    assert refused.value.reason == "limit"


def test_attempt_that_fell_short_has_all_that_it_asks_for(make_gate: MakeGate, redis: Redis) -> None:
    """Two that each had a part of the limit and waited for the rest of it would keep it from each other for ever."""
    gate = make_gate(60)
    park(redis, "E1", joiner(), need=50)

    gate.let_in()
    other = refusal(lambda: attempt(gate, "L1", need=20, rank=leaver()))
    permit = attempt(gate, "E1")
    send(permit, 50)

    assert other == "rate"
    assert permit.need == 75


def test_permit_of_a_dead_worker_runs_out(make_gate: MakeGate, clock: Clock) -> None:
    """Nobody knows whether a dead worker sent: its requests count as long as they could have been, and no longer."""
    gate = make_gate(2)
    attempt(gate, need=2, rank=leaver())

    clock.pass_by(WINDOW + 10)
    early = refusal(lambda: attempt(gate, rank=leaver()))
    clock.pass_by(PERMIT_SECONDS + GUARD_SECONDS)

    assert early == "rate"
    attempt(gate, need=2, rank=leaver())


def test_target_without_a_limit_keeps_no_log(make_gate: MakeGate, redis: Redis) -> None:
    """Where there is no limit nothing is written, and everybody is let in."""
    gate = make_gate(None)
    for _ in range(100):
        permit = attempt(gate, need=3)
        send(permit, 5)
        permit.close()

    assert redis.keys("*") == []


# ---- leavers


def test_share_is_kept_for_leavers_while_leavers_come(make_gate: MakeGate, clock: Clock) -> None:
    """After a leaver asked, the others leave its share alone for an hour; before and after that one leaver's worth."""
    gate = make_gate(100, share=0.2)
    before = len(spend(gate, clock, 59))
    clock.pass_by(2 * WINDOW)
    attempt(gate, "L1", rank=leaver()).close()
    meanwhile = len(spend(gate, clock, 59))
    last = attempt(gate, "L2", need=20, rank=leaver())
    last.close()
    clock.pass_by(3_600)

    assert 95 <= before <= 97
    assert 78 <= meanwhile <= 80
    assert 95 <= len(spend(gate, clock, 59)) <= 97


@pytest.mark.parametrize(("limit", "leavers"), [(60, 0), (100, 1), (300, 3)])
def test_first_leavers_find_whole_shares(make_gate: MakeGate, clock: Clock, limit: int, leavers: int) -> None:
    """Before any leaver came, three in a hundred requests are kept, in whole leavers' worth of three."""
    gate = make_gate(limit, share=0.2)
    spend(gate, clock, 75, step=0.1)

    for number in range(leavers):
        attempt(gate, f"L{number}", need=3, rank=leaver())

    assert refusal(lambda: attempt(gate, "L9", need=3, rank=leaver())) == "rate"


def test_leaver_does_not_keep_the_pace(make_gate: MakeGate) -> None:
    """The burst is used up, the limit is not: a joiner waits and a leaver does not."""
    gate = make_gate(60)
    for number in range(2):
        attempt(gate, f"E{number}")

    assert refusal(lambda: attempt(gate, "E7")) == "rate"
    attempt(gate, "L1", need=4, rank=leaver())


def test_who_comes_later_waits_behind_who_waits(make_gate: MakeGate, redis: Redis) -> None:
    """A fresh job overtakes nobody of its own kind; a leaver overtakes all but leavers."""
    gate = make_gate(60)
    park(redis, "E1", joiner(1))

    assert refusal(lambda: attempt(gate, "E2", rank=joiner(2))) == "rate"
    attempt(gate, "L1", rank=leaver(3))
    park(redis, "L2", leaver(1))
    assert refusal(lambda: attempt(gate, "L3", rank=leaver(2))) == "rate"
    assert refusal(lambda: attempt(gate, "E1", rank=joiner(1))) == "rate"
    attempt(gate, "L2", rank=leaver(1))
    attempt(gate, "E1", rank=joiner(1))


def test_what_is_nobodys_finds_room_though_everybody_waits(redis: Redis) -> None:
    """What a target can is asked while joiners wait for hours: the next free request is kept for it a moment."""
    rate = Rate(10, 0, 1.0)
    gate = Gate(redis, "crm", target(), rate)
    redis.zadd(keys.waiting("crm"), {f"E{number}": number + 1 for number in range(1_000)})
    done = threading.Event()

    def work() -> None:
        while not done.wait(0.005):
            for person, _ in gate.let_in()[1]:
                running = attempt(gate, person)
                send(running)
                running.close()

    fleet = threading.Thread(target=work)
    fleet.start()
    eventually(lambda: int(redis.zcard(keys.waiting("crm"))) < 995)
    permit = gate.permit()
    for _ in range(5):
        permit.use()
        permit.heard(answer(200))
    permit.close(verdict="nothing")
    done.set()
    fleet.join()

    assert int(redis.zcard(keys.waiting("crm"))) > 900


def test_what_is_nobodys_keeps_to_pauses_and_lets_leavers_first(make_gate: MakeGate, redis: Redis) -> None:
    """It asks a stopped target, for what stopped it may be mended; a pause and a leaver come before it."""
    gate = make_gate(60)
    redis.set(keys.stopped("crm"), "{}")
    gate.permit().use()
    gate.pause(3_600)

    assert refusal(gate.permit().use) == "paused"


# ---- the line


def test_who_waits_is_let_in_in_order(make_gate: MakeGate, redis: Redis) -> None:
    """Leavers first, then by the time of receipt; each has its requests from the moment that it is let in."""
    gate = make_gate(10)
    for person, rank in (("E2", joiner(2)), ("L4", leaver(4)), ("E1", joiner(1)), ("L3", leaver(3))):
        park(redis, person, rank, need=1)

    left, let = gate.let_in()

    assert [(each.person, each.leaver) for each in let] == [("L3", True), ("L4", True), ("E1", False), ("E2", False)]
    assert left == 4
    assert [redis.zcard(keys.waiting("crm")), redis.hlen(keys.granted("crm"))] == [0, 4]
    send(attempt(gate, "E2"))
    assert redis.hlen(keys.granted("crm")) == 3


def test_no_more_are_let_in_than_there_are_requests(make_gate: MakeGate, redis: Redis, clock: Clock) -> None:
    """The keeper keeps the pace and the limit; what it gave is gone for others."""
    gate = make_gate(4, share=0)
    for number in range(5):
        park(redis, f"E{number}", joiner(number), need=2)

    first = [each.person for each in gate.let_in()[1]]
    send(attempt(gate, "E0"), 2)
    clock.pass_by(WINDOW / 2)
    second = [each.person for each in gate.let_in()[1]]

    assert (first, second) == (["E0"], ["E1"])
    assert refusal(lambda: attempt(gate, "L1", rank=leaver())) == "rate"


def test_place_that_nobody_takes_goes_back_in_line(make_gate: MakeGate, redis: Redis, clock: Clock) -> None:
    """A job that never came gives its requests back, and its person is at the front again."""
    gate = make_gate(2, share=0)
    park(redis, "E1", joiner(1), need=2)
    park(redis, "E2", joiner(2), need=1)
    gate.let_in()

    clock.pass_by(GRANT_SECONDS + 1)
    again = gate.let_in()[1]
    clock.pass_by(WINDOW)

    assert [each.person for each in again] == ["E1"]


def test_place_of_who_was_settled_meanwhile_is_given_up(make_gate: MakeGate, redis: Redis, clock: Clock) -> None:
    """Whoever needs nothing any more is not let in again and again."""
    gate = make_gate(60)
    park(redis, "E1", joiner())
    gate.let_in()
    People(redis, lanes(redis)).leave_lines("E1", ["crm"])

    clock.pass_by(GRANT_SECONDS + 1)

    assert gate.let_in() == (0, [])
    assert redis.zcard(next(iter(redis.keys("gatepost:used:*")), "none")) == 0


def test_what_was_kept_for_who_needs_nothing_is_there_for_others(make_gate: MakeGate, redis: Redis) -> None:
    """An attempt that ends without a request gives back at once what it was let in with."""
    gate = make_gate(20, share=0)
    park(redis, "E1", joiner(), need=20)
    gate.let_in()
    full = refusal(lambda: attempt(gate, "L1", need=20, rank=leaver()))

    gate.permit("E1").close()

    assert (full, redis.hlen(keys.granted("crm"))) == ("rate", 0)
    attempt(gate, "L1", need=20, rank=leaver())


def test_time_that_somebody_waited_is_counted(make_gate: MakeGate, redis: Redis) -> None:
    """From parked to let in, by target."""
    gate = make_gate(60)
    park(redis, "E1", joiner())
    gate.let_in()

    attempt(gate, "E1")

    assert redis.hget(keys.METRICS, '["gatepost_rate_wait_seconds", "crm", "sum"]') is not None


# ---- pauses


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, {"retry_after": "120"}, 120.0),
        (503, {"retry_after": "7"}, 7.0),
        (429, {"retry_after": "999999"}, 3_600.0),
        (429, {}, 0.0),
        (429, {"retry_after": "soon"}, 0.0),
        (429, {"retry_after": "0"}, 0.0),
        (429, {"retry_after": "0", "inin_ratelimit_reset": "12"}, 12.0),
        (429, {"retry_after": "Mon, 02 Mar 2020 09:00:00 GMT"}, 0.0),
        (503, {"retry_after": "0"}, None),
        (503, {}, None),
        (500, {"retry_after": "7"}, None),
        (200, {}, None),
        (200, {"retry_after": "7"}, None),
        (200, {"inin_ratelimit_count": "299", "inin_ratelimit_allowed": "300", "inin_ratelimit_reset": "9"}, None),
        (200, {"inin_ratelimit_count": "300", "inin_ratelimit_allowed": "300", "inin_ratelimit_reset": "9"}, 9.0),
        (200, {"inin_ratelimit_count": "300", "inin_ratelimit_allowed": "300", "inin_ratelimit_reset": "0"}, 0.1),
        (200, {"inin_ratelimit_count": "x", "inin_ratelimit_allowed": "300", "inin_ratelimit_reset": "9"}, None),
        (200, {"inin_ratelimit_count": "0", "inin_ratelimit_allowed": "0", "inin_ratelimit_reset": "9"}, None),
        (429, {"inin_ratelimit_reset": "12"}, 12.0),
        (429, {"inin_ratelimit_reset": "0"}, 1.0),
        (429, {"inin_ratelimit_reset": "12", "retry_after": "3"}, 3.0),
    ],
)
def test_answer_names_a_pause(status: int, headers: dict[str, str], seconds: float | None) -> None:
    """RFC 6585, RFC 9110 and Genesys Cloud; bounded, and 0 where none is named."""
    assert pause_of(answer(status, **headers), datetime.now(UTC)) == seconds


def test_pause_by_date() -> None:
    """``Retry-After`` may be a date."""
    now = datetime(2026, 3, 2, 9, tzinfo=UTC)

    seconds = pause_of(answer(429, retry_after=format_datetime(now + timedelta(seconds=30), usegmt=True)), now)

    assert seconds == 30.0


@pytest.mark.parametrize("limit", [None, 600])
def test_pause_holds_for_the_fleet(make_gate: MakeGate, clock: Clock, limit: int | None) -> None:
    """What one process hears all keep to, leavers too, from the next request on."""
    gate, other = make_gate(limit), make_gate(limit)
    running = attempt(other, "E2", need=3)
    send(running)
    permit = attempt(gate)
    send(permit, status=429, retry_after="30")
    permit.close(Postponed("429", reason="busy"))

    running._seen_at = 0.0
    assert refusal(running.use) == "paused"
    assert refusal(lambda: attempt(other, "E3")) == "paused"
    assert refusal(lambda: attempt(other, "L1", rank=leaver())) == "paused"
    clock.pass_by(30.1)
    attempt(other, "E3")


def test_leaver_tries_while_others_wait_for_an_hour(make_gate: MakeGate, clock: Clock) -> None:
    """A door is not left open for an hour because joiners were too many: leavers try after a minute."""
    gate = make_gate()
    send(attempt(gate), status=429, retry_after="3600")

    clock.pass_by(LEAVER_PAUSE_SECONDS_MAX + 0.1)

    assert refusal(lambda: attempt(gate, "E2")) == "paused"
    attempt(gate, "L1", rank=leaver())


def test_pause_of_a_target_that_names_none_doubles(make_gate: MakeGate, clock: Clock) -> None:
    """A second, two, four, until a minute; an attempt that ends well begins anew."""
    gate = make_gate()

    def paused_for() -> int:
        permit = attempt(gate)
        send(permit, status=429)
        permit.close(Postponed("429", reason="busy"))
        seconds = 0
        while True:
            clock.pass_by(1)
            seconds += 1
            try:
                attempt(gate).close(verdict="nothing")
            except Waiting:
                continue
            return seconds

    waits = [paused_for() for _ in range(8)]
    well = attempt(gate)
    send(well)
    well.close()

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert paused_for() == 1


def test_event_that_met_the_pause_waits_with_the_others(make_gate: MakeGate) -> None:
    """A 429 is no trouble of the event: it is in line again."""
    permit = attempt(make_gate(), need=2)
    send(permit, status=429)

    meant = permit.outcome(Postponed("429", reason="busy"))

    assert isinstance(meant, Waiting)
    assert meant.reason == "paused"
    assert permit.outcome(BROKEN) is BROKEN


# ---- the circuit


def fail(gate: Gate, times: int = FAILURES_MAX, error: Postponed | Refused = FORBIDDEN) -> None:
    """Let attempts end badly."""
    for number in range(times):
        permit = attempt(gate, f"E{number}")
        send(permit, status=500)
        permit.close(error)


def circuit(redis: Redis) -> dict[bytes, bytes]:
    """Return the circuit as it stands."""
    found: dict[bytes, bytes] = redis.hgetall(keys.circuit("crm"))  # type: ignore[assignment]
    return found


@pytest.mark.parametrize("reason", ["forbidden", "broken", "unreachable", "no_answer"])
@pytest.mark.parametrize("limit", [None, 600])
def test_circuit_opens_when_a_target_fails_again_and_again(make_gate: MakeGate, limit: int | None, reason: str) -> None:
    """Five attempts in a row: then nobody asks, not even a leaver, until it is tried."""
    gate = make_gate(limit)
    fail(gate, FAILURES_MAX - 1, Postponed("no", reason=reason))
    attempt(gate, "E8").close(verdict="nothing")

    fail(gate, 1, Postponed("no", reason=reason))

    assert refusal(lambda: attempt(gate, "E9")) == "circuit"
    assert refusal(lambda: attempt(gate, "L9", rank=leaver())) == "circuit"


@pytest.mark.parametrize("reason", ["credentials", "scopes"])
@pytest.mark.parametrize("limit", [None, 600])
def test_circuit_opens_at_once_where_it_is_about_nobody(
    make_gate: MakeGate, redis: Redis, limit: int | None, reason: str
) -> None:
    """What a credential is refused all are refused: whoever met it waits with them, and a person is told once."""
    gate = make_gate(limit)
    first, second = attempt(gate, "L1", rank=leaver()), attempt(gate, "E2", rank=leaver())
    meant = []

    for permit in (first, second):
        send(permit, status=401)
        permit.close(Refused("401 no", reason=reason))
        meant.append(permit.outcome(Refused("401 no", reason=reason)))

    assert refusal(lambda: attempt(gate, "L3", rank=leaver())) == "circuit"
    assert [type(each) for each in meant] == [Waiting, Waiting]
    assert [(each.reason, each.message[:6]) for each in meant] == [("circuit", "401 no")] * 2
    assert redis.zrange(keys.FAILURES, 0, -1) == [b"target:crm"]


def test_credentials_that_fail_before_anything_is_sent_count(make_gate: MakeGate) -> None:
    """The token endpoint refused, so no request was made; asking again for each event would be no better."""
    gate = make_gate()
    permit = attempt(gate)

    permit.close(CREDENTIALS)

    assert refusal(lambda: attempt(gate, "E2")) == "circuit"
    assert permit.outcome(CREDENTIALS).reason == "circuit"


@pytest.mark.parametrize("error", [FORBIDDEN, BROKEN, Postponed("503", reason="busy")])
def test_probe_that_fails_waits_and_has_not_failed(
    make_gate: MakeGate, clock: Clock, error: Postponed | Refused
) -> None:
    """What a probe meets is the target's trouble; what others met before it opened the circuit stays their own."""
    gate = make_gate()
    permits = [attempt(gate, f"E{number}") for number in range(FAILURES_MAX)]
    for permit in permits:
        send(permit, status=500)
        permit.close(error)
    clock.pass_by(CIRCUIT_SECONDS)
    probe = attempt(gate, "L1", rank=leaver())
    send(probe, status=500)

    probe.close(error)

    assert [permit.outcome(error) for permit in permits] == [error] * FAILURES_MAX
    assert probe.outcome(error).reason == "circuit"


@pytest.mark.parametrize("error", [None, Refused("400 no", reason="refused"), Postponed("lags", reason="unconfirmed")])
def test_attempt_that_ends_otherwise_begins_the_count_anew(
    make_gate: MakeGate, redis: Redis, error: Postponed | Refused | None
) -> None:
    """A target that refuses one person's data works."""
    gate = make_gate()
    fail(gate, FAILURES_MAX - 1)
    permit = attempt(gate)
    send(permit)

    permit.close(error)

    assert circuit(redis) == {}


@pytest.mark.parametrize("reason", ["busy", "slow", "internal"])
def test_attempt_that_says_nothing_of_the_target_counts_nothing(make_gate: MakeGate, redis: Redis, reason: str) -> None:
    """A pause and a fault of ours neither open a circuit nor close it."""
    gate = make_gate()
    fail(gate, FAILURES_MAX - 1)
    permit = attempt(gate)
    send(permit, status=503, retry_after="1")

    permit.close(Postponed("later", reason=reason))

    assert circuit(redis)[b"failures"] == b"4"


def test_unavailable_without_a_time_is_a_failure(make_gate: MakeGate) -> None:
    """503 is a 5xx."""
    gate = make_gate()

    fail(gate, error=Postponed("503", reason="busy"))

    assert refusal(lambda: attempt(gate)) == "circuit"


def test_one_tries_when_the_wait_is_over(make_gate: MakeGate, clock: Clock, redis: Redis) -> None:
    """One attempt, and while it runs no other; when it ends well all flow, when not the wait doubles."""
    gate = make_gate()
    fail(gate)
    waits = []
    for _ in range(8):
        left = int(circuit(redis)[b"until"]) - clock.now
        waits.append(left / 1000)
        clock.pass_by(left / 1000 - 0.001)
        assert refusal(lambda: attempt(gate)) == "circuit"
        clock.pass_by(0.001)
        probe = attempt(gate, "E1")
        assert refusal(lambda: attempt(gate, "E2")) == "circuit"
        send(probe, status=500)
        probe.close(BROKEN)
    clock.pass_by(CIRCUIT_SECONDS_MAX)
    probe = attempt(gate, "E1")
    send(probe)
    probe.close()

    assert waits == [CIRCUIT_SECONDS, 10, 20, 40, 80, 160, 300, CIRCUIT_SECONDS_MAX]
    attempt(gate, "E2")
    attempt(gate, "E3")


def test_keeper_lets_one_leaver_try(make_gate: MakeGate, clock: Clock, redis: Redis) -> None:
    """Of all who wait the first tries, alone; the others are let in when it ended well."""
    gate = make_gate()
    fail(gate)
    for person, rank in (("E1", joiner(1)), ("L1", leaver(2)), ("E2", joiner(3))):
        park(redis, person, rank)
    before = gate.let_in()
    clock.pass_by(CIRCUIT_SECONDS)

    first, again = gate.let_in()[1], gate.let_in()[1]
    probe = attempt(gate, "L1", rank=leaver(2))
    send(probe)
    probe.close()

    assert before == (3, [])
    assert ([each.person for each in first], again) == (["L1"], [])
    assert [each.person for each in gate.let_in()[1]] == ["E1", "E2"]


def test_probe_that_never_came_is_made_by_another(make_gate: MakeGate, clock: Clock) -> None:
    """A probe whose worker died does not keep the circuit open for ever; after one that said nothing the next tries."""
    gate = make_gate()
    fail(gate)
    clock.pass_by(CIRCUIT_SECONDS)
    attempt(gate, "E1").close(verdict="nothing")
    attempt(gate, "E2")

    assert refusal(lambda: attempt(gate, "E3")) == "circuit"
    clock.pass_by(PERMIT_SECONDS)
    attempt(gate, "E3")


@pytest.mark.parametrize(("error", "told"), [(FORBIDDEN, True), (BROKEN, False)])
def test_circuit_that_needs_a_person_is_among_the_failures(
    make_gate: MakeGate, clock: Clock, redis: Redis, error: Postponed | Refused, told: bool
) -> None:
    """401 and 403 are for the operator, once, until it is mended; a broken target mends itself."""
    gate = make_gate()

    fail(gate, error=error)
    failures = redis.zrange(keys.FAILURES, 0, -1)
    clock.pass_by(CIRCUIT_SECONDS)
    probe = attempt(gate)
    send(probe)
    probe.close()

    assert failures == ([b"target:crm"] if told else [])
    assert redis.zcard(keys.FAILURES) == 0


def test_closing_leaves_the_failure_of_a_stopped_target(make_gate: MakeGate, clock: Clock, redis: Redis) -> None:
    """A target that is stopped for its schema still needs the operator when its credentials are mended."""
    gate = make_gate()
    fail(gate)
    redis.set(keys.stopped("crm"), "{}")
    clock.pass_by(CIRCUIT_SECONDS)
    probe = attempt(gate, rank=leaver())
    send(probe)

    probe.close()

    assert redis.zrange(keys.FAILURES, 0, -1) == [b"target:crm"]


# ---- a stop


def test_stopped_target_gets_suspensions_alone(make_gate: MakeGate, redis: Redis) -> None:
    """Whoever is no leaver waits until the operator accepts what changed; then all are let in."""
    gate = make_gate()
    redis.set(keys.stopped("crm"), "{}")
    refused = refusal(lambda: attempt(gate, "E1"))
    park(redis, "E1", joiner())
    attempt(gate, "L1", rank=leaver())
    held_back = gate.let_in()

    redis.delete(keys.stopped("crm"))

    assert (refused, held_back) == ("stopped", (1, []))
    assert [each.person for each in gate.let_in()[1]] == ["E1"]


@pytest.fixture(autouse=True)
def _nothing_left(redis: Redis) -> Iterator[None]:
    """Check that no key is left for ever that a target could be shut by."""
    yield
    for key in redis.keys("gatepost:used:*") + redis.keys("gatepost:pace:*"):
        assert redis.pttl(key) > 0, key
