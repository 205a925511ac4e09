"""One person from mailbox to settled outcome: real Redis, servers in memory."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from types import MappingProxyType
from typing import Any

import httpx
import pytest
from redis import Redis
from rq.timeouts import JobTimeoutException
from structlog.testing import capture_logs

from lifecycle import keys, target
from lifecycle.event import Event, Kind, Profile
from lifecycle.metrics import FleetCollector
from lifecycle.person import Status
from lifecycle.queue import QUEUES, lanes
from lifecycle.settlement import dump_deliveries
from tests.workers.conftest import MakeStage
from tests.workers.fake_scim import FakeScim, Quirk, answers, cuts_after, cuts_before
from tests.workers.stories import AT, BO, Stage, event
from tests.workers.test_token import configured
from workers.agree import BUSY_TRIES_MAX, FEW_TRIES_MAX, RETRY_CAP_SECONDS, TRIES_MAX, backoff
from workers.converge import converge
from workers.gate import FAILURES_MAX
from workers.http import Http
from workers.jobs import place_of
from workers.outcome import World
from workers.task import Agreement, Task

JOINED = event(Kind.JOINER, "joined", **BO)
MOVED = event(Kind.MOVER, "moved", minute=1, title="Lead")
LEFT = event(Kind.LEAVER, "left", minute=2, external_id="E1042")
BACK = event(Kind.JOINER, "back", minute=3, **BO | {"title": "Chief"})
STORY = (JOINED, MOVED, LEFT, BACK)
AGENTS = {"grants": [{"when": "person.department == 'Support'", "groups": ["Agents"]}]}


# ---- the story


def test_story_of_a_person_is_told_on_the_target(stage: Stage, fake: FakeScim) -> None:
    """A joiner has an account, a mover's shows the change, a leaver is out, a rehire is back in the same account."""
    seen = []

    for told in STORY:
        stage.tell(told)
        bo = fake.user("bo.ray@acme.example")
        seen.append((bo["id"], bo["active"], bo["title"], stage.state(told.id)))

    own_id = seen[0][0]
    assert [
        (own_id, True, "Agent", "applied"),
        (own_id, True, "Lead", "applied"),
        (own_id, False, "Lead", "applied"),
        (own_id, True, "Chief", "applied"),
    ] == seen
    assert [signal["type"] for signal in stage.signals()] == [
        "person.provisioned",
        "person.updated",
        "person.suspended",
        "person.restored",
    ]


@pytest.mark.parametrize("order", list(permutations(range(4))), ids=lambda order: "".join(map(str, order)))
def test_any_order_of_arrival_ends_in_the_same_state(stage: Stage, fake: FakeScim, order: tuple[int, ...]) -> None:
    """Order is the source's time: however late something arrives, the newest fact stands and nothing is done twice."""
    for place in order:
        stage.tell(STORY[place])

    bo = fake.user("bo.ray@acme.example")
    assert (bo["active"], bo["title"], bo["externalId"]) == (True, "Chief", "E1042")
    assert len(fake.users()) == 1
    assert {"applied", "unchanged", "superseded"} >= {stage.state(each.id) for each in STORY}


def test_five_events_in_one_mailbox_cost_one_conversation(stage: Stage, fake: FakeScim) -> None:
    """What arrived together is folded together: one account is made as it should be in the end, and left alone."""
    stage.hear(*STORY, event(Kind.MOVER, "moved2", minute=4, department="Sales"))

    stage.work()

    assert [said.method for said in fake.log] == ["GET", "POST"]
    assert fake.user("bo.ray@acme.example")["title"] == "Chief"
    assert [stage.state(name) for name in ("joined", "moved", "left", "back", "moved2")] == [
        "superseded",
        "superseded",
        "superseded",
        "applied",
        "applied",
    ]


def test_same_event_twice_is_kept_once(stage: Stage, fake: FakeScim) -> None:
    """The source's own id makes a repeat visible."""
    stage.tell(JOINED)

    assert stage.hear(JOINED) == [0]
    stage.work()

    assert len(fake.log) == 2


def test_leaver_is_confirmed_and_the_time_to_it_is_counted(stage: Stage, fake: FakeScim) -> None:
    """A leaver ends when the target shows it; how long that took from receipt is on the fleet's counters."""
    stage.tell(JOINED)

    stage.tell(LEFT)

    assert stage.redis.hget(keys.METRICS, '["gatepost_time_to_revoke_seconds", "crm", "sum"]') is not None
    (told,) = [signal["data"] for signal in stage.signals() if signal["type"] == "person.suspended"]
    assert told["confirmed_at"] is not None
    assert told["account"] == {"id": fake.user("bo.ray@acme.example")["id"], "active": False}


def test_person_nobody_said_joined_gets_no_account(stage: Stage, fake: FakeScim) -> None:
    """A mover of somebody who is on no target changes nothing."""
    stage.tell(MOVED)

    assert stage.state("moved") == "unchanged"
    assert fake.writes() == []
    assert stage.signals() == []


# ---- one job a person


def test_person_that_another_job_works_on_is_left_to_it(stage: Stage, fake: FakeScim) -> None:
    """Nothing is done, and a later look is there for the case that the holder dies: when its lease ends."""
    stage.hear(JOINED)
    assert stage.people.take("E1042")
    now = datetime.now(UTC)

    stage.work()

    assert fake.log == []
    assert stage.state("joined") == "kept"
    (look,) = stage.later()
    assert now <= look <= now + timedelta(milliseconds=keys.LEASE_MILLISECONDS + 1000)


def test_lease_that_was_lost_stops_the_attempt_before_it_writes(stage: Stage, fake: FakeScim) -> None:
    """Another job took the person between look-up and write: no write is sent and nothing is settled."""
    stage.hear(JOINED)

    def robbed(proceed: Callable[[], httpx.Response]) -> httpx.Response:
        stage.redis.set(keys.lease("E1042"), "another job")
        return proceed()

    fake.next(robbed, on="GET")

    stage.work()

    assert [said.method for said in fake.log] == ["GET"]
    assert stage.state("joined") == "kept"
    assert stage.person().facts == {}
    assert stage.mailbox() == ["hris:joined"]
    assert stage.redis.get(keys.lease("E1042")) == b"another job"
    assert len(stage.later()) == 1


def test_lease_that_ran_out_does_not_lose_the_event(stage: Stage, fake: FakeScim) -> None:
    """Nobody else has the person, and yet what was found may be stale: a later look finds it again."""
    stage.hear(JOINED)

    def late(proceed: Callable[[], httpx.Response]) -> httpx.Response:
        answer = proceed()
        stage.redis.delete(keys.lease("E1042"))
        return answer

    fake.next(late, on="POST")

    stage.work()
    looks = stage.later()
    stage.work()

    assert len(looks) == 1
    assert stage.state("joined") == "applied"
    assert len(fake.users()) == 1


def test_lease_that_was_lost_after_the_last_write_settles_nothing(stage: Stage, fake: FakeScim) -> None:
    """What was written is found again by the job that has the person now; it is not settled twice."""
    stage.hear(JOINED)

    def robbed(proceed: Callable[[], httpx.Response]) -> httpx.Response:
        answer = proceed()
        stage.redis.set(keys.lease("E1042"), "another job")
        return answer

    fake.next(robbed, on="POST")

    stage.work()
    stage.redis.delete(keys.lease("E1042"))
    settled = stage.state("joined")
    stage.work()

    assert settled == "kept"
    assert stage.state("joined") == "applied"
    assert len(fake.users()) == 1
    assert [signal["type"] for signal in stage.signals()] == ["person.provisioned"]


def test_event_that_arrives_meanwhile_is_done_before_the_person_is_let_go(stage: Stage, fake: FakeScim) -> None:
    """The job that holds the person drains the mailbox, so there is no moment at which an event arrives unseen."""
    stage.hear(JOINED)

    def meanwhile(proceed: Callable[[], httpx.Response]) -> httpx.Response:
        stage.hear(LEFT)
        return proceed()

    fake.next(meanwhile, on="POST")

    stage.work()

    assert fake.user("bo.ray@acme.example")["active"] is False
    assert stage.state("left") == "applied"
    assert stage.mailbox() == []
    assert stage.is_free()


def test_jobs_at_once_make_one_account(make_stage: MakeStage, fake: FakeScim) -> None:
    """Two workers that take the same person at the same moment do not both create."""
    stage = make_stage(crm=fake)
    stage.hear(*STORY[:2])
    start = threading.Barrier(4)

    def job() -> None:
        start.wait()
        converge(stage.world, "E1042", "people")

    threads = [threading.Thread(target=job) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(fake.users()) == 1
    assert sum(said.method == "POST" for said in fake.log) == 1
    assert stage.mailbox() == []


def test_job_without_anything_to_read_asks_nobody(stage: Stage, fake: FakeScim) -> None:
    """A job that comes too late finds an empty mailbox, and leaves the person free."""
    stage.work()

    assert fake.log == []
    assert stage.is_free()
    assert stage.later() == []


# ---- later


def test_attempt_that_time_will_mend_is_scheduled_and_then_done(stage: Stage, fake: FakeScim) -> None:
    """A target that is away postpones the event; a later look is in the schedule, and ends it."""
    fake.next(cuts_before())
    now = datetime.now(UTC)

    stage.tell(JOINED)
    state, reason, looks = stage.state("joined"), stage.found("joined")["reason"], stage.later()
    stage.work()

    assert (state, reason) == ("postponed", "unreachable")
    assert len(looks) == 1
    assert now <= looks[0] + timedelta(seconds=1)
    assert looks[0] <= datetime.now(UTC) + timedelta(seconds=3)
    assert stage.state("joined") == "applied"
    assert stage.delivery("joined")["attempts"] == 2


def test_time_that_the_target_names_is_kept_by_all(stage: Stage, fake: FakeScim) -> None:
    """429 with Retry-After: the person waits in line, nobody else asks meanwhile, and no worker sleeps."""
    fake.next(answers(429, retry_after="120"))

    stage.tell(JOINED)
    stage.hear(event(Kind.JOINER, "other", person="E2", external_id="E2", email="e2@acme.example"))
    stage.work("E2", early=True)
    waiting = (stage.let_in(), [stage.found(name)["reason"] for name in ("joined", "other")], len(fake.log))
    stage.fall_due()

    assert waiting == ([], ["paused", "paused"], 1)
    assert stage.later() == []
    assert stage.let_in() == ["people", "people"]
    stage.work()
    assert (stage.state("joined"), stage.delivery("joined")["attempts"]) == ("applied", 2)


def test_who_was_turned_away_has_tried_nothing(make_stage: MakeStage, fake: FakeScim) -> None:
    """Nothing was sent, so nothing can have happened: it is no attempt, and the next one is not cautious."""
    stage = make_stage(crm=fake)
    stage.redis.set(keys.stopped("crm"), "{}")

    stage.tell(JOINED)
    stopped = (stage.state("joined"), stage.found("joined")["reason"], stage.delivery("joined")["attempts"])
    stage.redis.delete(keys.stopped("crm"))
    offered = stage.let_in()
    stage.work()

    assert (stopped, offered) == (("postponed", "stopped", 0), ["people"])
    assert (stage.state("joined"), len(fake.log), stage.delivery("joined")["attempts"]) == ("applied", 2, 1)


def test_leaver_is_let_in_to_the_leavers_lane(stage: Stage, fake: FakeScim) -> None:
    """A leaver that waits before a gate is offered among leavers, and before all who joined earlier."""
    stage.tell(JOINED)
    fake.next(answers(429, retry_after="30"))
    stage.tell(MOVED)
    stage.hear(LEFT)
    stage.work(lane="leavers", early=True)
    waiting = (stage.state("left"), fake.user("bo.ray@acme.example")["active"])

    stage.fall_due()
    offered = stage.let_in()
    stage.work(lane="leavers")

    assert (waiting, offered) == (("postponed", True), ["leavers"])
    assert fake.user("bo.ray@acme.example")["active"] is False
    assert stage.redis.zcard(keys.waiting("crm")) == 0


def test_who_needs_nothing_any_more_is_not_let_in(stage: Stage, fake: FakeScim) -> None:
    """A wait that ended otherwise, by protection, by a superseding event, by an empty mailbox, ends in the line too."""
    fake.next(answers(429, retry_after="30"))
    stage.tell(JOINED)
    for ref in stage.mailbox():
        stage.redis.lrem(keys.mailbox("E1042"), 0, ref)

    stage.work()

    assert stage.let_in() == []
    assert stage.redis.zcard(keys.waiting("crm")) == stage.redis.hlen(keys.needs("crm")) == 0


def test_later_look_for_a_leaver_is_in_the_leavers_lane(stage: Stage, fake: FakeScim) -> None:
    """A leaver that is postponed waits among leavers, not behind joiners."""
    stage.tell(JOINED)
    fake.next(answers(503))

    stage.hear(LEFT)
    stage.work(lane="leavers")

    assert len(stage.later("leavers")) == 1
    assert stage.later("people") == []


def test_suspension_that_is_not_shown_waits_for_confirmation(make_stage: MakeStage) -> None:
    """No signal says suspended before the target shows it."""
    fake = FakeScim()
    stage = make_stage(crm=fake)
    stage.tell(JOINED)
    fake.quirks = frozenset({Quirk.IGNORES_PATCH})

    stage.tell(LEFT)
    before = (stage.state("left"), [signal["type"] for signal in stage.signals()])
    fake.quirks = frozenset()
    stage.work()

    assert before == ("postponed", ["person.provisioned"])
    assert stage.state("left") == "applied"
    assert [signal["type"] for signal in stage.signals()] == ["person.provisioned", "person.suspended"]


def test_create_whose_answer_was_lost_is_told_once(stage: Stage, fake: FakeScim) -> None:
    """The account is there although nobody said so: the next attempt finds it, and subscribers hear of it once."""
    fake.next(cuts_after(), on="POST")

    stage.tell(JOINED)
    stage.work()
    stage.work()

    assert len(fake.users()) == 1
    assert [signal["type"] for signal in stage.signals()] == ["person.provisioned"]


def test_suspension_whose_answer_was_lost_is_told_once(stage: Stage, fake: FakeScim) -> None:
    """The write happened, its answer got lost: the next attempt writes nothing and tells that the leaver is out."""
    stage.tell(JOINED)
    fake.next(cuts_after(), on="PATCH")

    stage.tell(LEFT)
    stage.work()

    assert sum(said.method == "PATCH" for said in fake.log) == 1
    assert [signal["type"] for signal in stage.signals()] == ["person.provisioned", "person.suspended"]


def test_target_that_is_to_be_left_alone_is_not_asked_for_others(stage: Stage, fake: FakeScim) -> None:
    """Who arrives while a target waits does not ask it before its time, and stands in line once."""
    fake.next(answers(429, retry_after="120"))
    stage.tell(JOINED)

    for number in range(3):
        stage.hear(event(Kind.MOVER, f"m{number}", minute=5 + number, title=f"Lead {number}"))
        stage.work(early=True)
    waiting = (len(fake.log), stage.redis.zcard(keys.waiting("crm")), stage.state("m2"))
    stage.work()

    assert waiting == (1, 1, "postponed")
    assert {stage.state(name) for name in ("joined", "m2")} == {"applied"}
    assert fake.user("bo.ray@acme.example")["title"] == "Lead 2"


def test_leaver_does_not_wait_for_the_time_of_others(stage: Stage, fake: FakeScim) -> None:
    """Whoever leaves is tried at once, however long the target asked for that other events wait."""
    stage.tell(JOINED)
    fake.next(answers(500, retry_after="120"))
    stage.tell(MOVED)

    stage.hear(LEFT)
    stage.work(lane="leavers", early=True)

    assert fake.user("bo.ray@acme.example")["active"] is False


def test_job_that_took_too_long_is_an_attempt(stage: Stage, fake: FakeScim) -> None:
    """RQ's limit ends the attempt, not the event: it is postponed and tried again with a look-up first."""

    def slow(_: Callable[[], httpx.Response]) -> httpx.Response:
        raise JobTimeoutException

    fake.next(slow, on="POST")

    stage.tell(JOINED)
    before = (stage.state("joined"), stage.found("joined")["reason"], stage.delivery("joined")["attempts"])
    stage.work()

    assert before == ("postponed", "slow", 1)
    assert stage.state("joined") == "applied"


def test_event_does_not_wait_for_a_target_that_is_gone(make_stage: MakeStage, fake: FakeScim) -> None:
    """What was postponed on a target that the configuration no longer has fails, instead of waiting for ever."""
    desk = FakeScim()
    desk.next(answers(503))
    make_stage(crm=fake, desk=desk).tell(JOINED)

    stage = make_stage(crm=fake)
    stage.work()

    assert stage.state("joined") == "failed"
    assert stage.found("joined")["reason"] == "target_unknown"


def test_group_that_wants_other_credentials_stops_nobody(make_stage: MakeStage) -> None:
    """401 for a group alone, the account itself being fine: the circuit stays closed, and after some tries it fails."""
    fake = FakeScim()
    fake.add("Groups", displayName="Agents")
    stage = make_stage(crm=fake, policy=AGENTS)
    fake.next(answers(401), on="PATCH /Groups", times=FEW_TRIES_MAX)
    states = []

    for _ in range(FEW_TRIES_MAX):
        stage.tell(JOINED)
        states.append((stage.state("joined"), stage.found("joined")["reason"]))

    assert states == [("postponed", "credentials")] * (FEW_TRIES_MAX - 1) + [("failed", "credentials")]
    assert not stage.redis.exists(keys.circuit("crm"))


def test_credentials_that_end_on_the_way_are_waited_for(make_stage: MakeStage) -> None:
    """The account was made and then the token ended: the next attempt opens the circuit, and the event waits."""
    fake = FakeScim()
    fake.add("Groups", displayName="Agents")
    stage = make_stage(crm=fake, policy=AGENTS)
    fake.next(answers(401), on="PATCH /Groups")
    stage.tell(JOINED)
    fake.next(answers(401))
    stage.work()
    reason = stage.found("joined")["reason"]

    while probe(stage):
        pass

    assert (reason, stage.state("joined")) == ("circuit", "applied")


def test_leaver_is_told_though_a_group_had_trouble_before(make_stage: MakeStage) -> None:
    """Earlier trouble must not hide that a write whose answer was lost has locked somebody out."""
    fake = FakeScim()
    stage = make_stage(crm=fake, policy=AGENTS)
    stage.tell(JOINED)
    fake.next(cuts_after(), on="PATCH")

    stage.tell(LEFT)
    stage.work()

    assert stage.state("joined") == "failed"
    assert [signal["type"] for signal in stage.signals()][-1] == "person.suspended"


# ---- the circuit


PERSONS = 9


def everybody(kind: Kind = Kind.JOINER) -> list[Event]:
    """Return an event of each of a few persons."""
    minute = 100 if kind is Kind.LEAVER else 0
    persons = [f"E{number}" for number in range(PERSONS)]
    return [
        event(kind, f"{kind}-{key}", minute=minute, person=key, external_id=key, email=f"{key}@acme.example")
        for key in persons
    ]


def probe(stage: Stage) -> list[str]:
    """Let the wait of the circuit be over, and work on whoever is let in; return where they stand then."""
    stage.redis.hset(keys.circuit("crm"), "until", 1)
    for lane in QUEUES:
        stage.redis.delete(f"rq:queue:{lane}")
    stage.let_in()
    found = [job.args for lane in QUEUES for job in lanes(stage.redis)[lane].get_jobs()]
    for person, lane in found:
        converge(stage.world, person, lane)
    return [person for person, _ in found]


def test_target_that_refuses_our_credentials_is_asked_no_more(stage: Stage, fake: FakeScim) -> None:
    """No leaver is lost to a wrong secret: all wait, one tries now and then, and all end as if nothing had been."""
    for each in everybody():
        stage.tell(each)
    left = everybody(Kind.LEAVER)
    stage.hear(*left)
    asked = len(fake.log)
    fake.next(answers(401, {"detail": "wrong token"}), times=4)

    for each in left:
        stage.work(each.person, "leavers")
    first = (len(fake.log) - asked, {(stage.state(each.id), stage.found(each.id)["reason"]) for each in left})
    tried = [probe(stage) for _ in range(3)]
    failures = [failure["id"] for failure in stage.records.failures().items]
    oldest = [
        sample.value
        for metric in FleetCollector(stage.redis).collect()
        for sample in metric.samples
        if sample.name == "gatepost_oldest_event_seconds" and sample.labels["lane"] == "leavers"
    ]
    waits, detail = stage.delivery(left[0].id), stage.found(left[0].id)["detail"]
    while probe(stage):
        pass

    assert first == (1, {("postponed", "circuit")})
    assert tried == [["E0"]] * 3
    assert failures == ["target:crm"]
    assert oldest[0] > 0
    assert (waits["attempts"], detail) == (1, "401 wrong token; the target fails; one request tries it now and then")
    assert {stage.state(each.id) for each in left} == {"applied"}
    assert not any(user["active"] for user in fake.users())
    assert stage.records.failures().items == []
    assert "delivery.failed" not in {signal["type"] for signal in stage.signals()}


def test_target_that_forbids_five_is_asked_no_more(stage: Stage, fake: FakeScim) -> None:
    """403 may be about one person, who fails; five in a row are not, and then whoever tries waits on when it fails."""
    told = everybody()
    stage.hear(*told)
    fake.next(answers(403), times=FAILURES_MAX + 2)

    for each in told:
        stage.work(each.person)
    before = [stage.found(each.id)["reason"] for each in told]
    for _ in range(2):
        probe(stage)
    after = [stage.state(each.id) for each in told]
    while probe(stage):
        pass

    assert before == ["forbidden"] * FAILURES_MAX + ["circuit"] * 4
    assert after == ["failed"] * FAILURES_MAX + ["postponed"] * 4
    assert [stage.state(each.id) for each in told] == ["failed"] * FAILURES_MAX + ["applied"] * 4


class Login:
    """A token endpoint that answers as it is told, in front of a server that takes any of its tokens."""

    def __init__(self, fake: FakeScim, *said: httpx.Response) -> None:
        """Keep the answers; the last one is given for ever."""
        self.asked = 0
        self._fake, self._said = fake, said

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer."""
        if request.url.host != "login.test":
            return self._fake(request)
        self.asked += 1
        return self._said[min(self.asked, len(self._said)) - 1]


def with_login(stage: Stage, login: Login) -> Stage:
    """Have the bearer of the target fetched."""
    crm = place_of(stage.redis, "crm", configured(), Http(transport=httpx.MockTransport(login)))
    stage.world = World(stage.config, stage.people, {"crm": crm})
    return stage


@pytest.mark.parametrize(
    "refusal",
    [
        httpx.Response(401, json={"error": "invalid_client"}),
        httpx.Response(400, json={"error": "invalid_client"}),
        httpx.Response(400, json={"error": "invalid_scope"}),
        httpx.Response(404),
    ],
    ids=["401", "400", "scope", "404"],
)
def test_secret_that_is_wrong_is_tried_once_for_all(stage: Stage, fake: FakeScim, refusal: httpx.Response) -> None:
    """RFC 6749 section 5.2: the token endpoint stands behind the gate too; whom it refuses it refuses for everybody."""
    granted = httpx.Response(200, json={"access_token": fake.token, "expires_in": 3_600})
    login = Login(fake, refusal, granted)
    with_login(stage, login)
    told = everybody()
    stage.hear(*told)

    for each in told:
        stage.work(each.person)
    shut = (login.asked, len(fake.log), {stage.found(each.id)["reason"] for each in told})
    failures = [failure["id"] for failure in stage.records.failures().items]
    while probe(stage):
        pass

    assert shut == (1, 0, {"circuit"})
    assert failures == ["target:crm"]
    assert {stage.state(each.id) for each in told} == {"applied"}
    assert login.asked == 2


def test_token_endpoint_that_is_busy_is_left_alone(stage: Stage, fake: FakeScim) -> None:
    """Its 429 is a pause for the fleet as any other."""
    login = Login(fake, httpx.Response(429, headers={"retry-after": "60"}))
    with_login(stage, login)
    told = everybody()
    stage.hear(*told)

    for each in told:
        stage.work(each.person, early=True)

    assert login.asked == 1
    assert {stage.found(each.id)["reason"] for each in told} == {"paused"}


def test_fetch_of_a_token_does_not_outlive_the_lease(stage: Stage, fake: FakeScim) -> None:
    """The token endpoint may take nearly as long as a lease lasts: it is renewed before the fetch and after it."""
    left = []

    def slow(request: httpx.Request) -> httpx.Response:
        if request.url.host != "login.test":
            left.append(int(stage.redis.pttl(keys.lease("E1042"))))
            return fake(request)
        left.append(int(stage.redis.pttl(keys.lease("E1042"))))
        stage.redis.pexpire(keys.lease("E1042"), 2_000)
        return httpx.Response(200, json={"access_token": fake.token})

    crm = place_of(stage.redis, "crm", configured(), Http(transport=httpx.MockTransport(slow)))
    stage.world = World(stage.config, stage.people, {"crm": crm})

    stage.tell(JOINED)

    assert stage.state("joined") == "applied"
    assert min(left) > keys.LEASE_MILLISECONDS - 2_000


# ---- one human under a name


def by_address(kind: Kind, name: str, minute: int) -> Event:
    """Return an event of a source that knows an e-mail address only."""
    told = event(kind, name, minute=minute)
    profile = Profile.model_validate({"email": "bo.ray@acme.example"})
    return told.model_copy(update={"person": "bo.ray@acme.example", "profile": profile})


def test_leaver_known_by_address_alone_is_the_person_who_has_it(stage: Stage, fake: FakeScim) -> None:
    """The event moves to the person of that address, whose account is then locked."""
    stage.tell(JOINED)

    stage.tell(by_address(Kind.LEAVER, "gone", 5))
    stage.work()

    assert fake.user("bo.ray@acme.example")["active"] is False
    assert (stage.state("gone"), stage.found("gone")["person"]) == ("applied", "E1042")


@pytest.mark.parametrize("late", [Kind.MOVER, Kind.LEAVER])
def test_address_that_was_given_to_another_stays_with_the_other(stage: Stage, fake: FakeScim, late: Kind) -> None:
    """A late word on whoever had it takes it back from nobody: a leaver by address is the one who has it now."""
    shared: dict[str, Any] = {"email": "bo.ray@acme.example"}
    stage.tell(event(Kind.JOINER, "old", person="E1", external_id="E1", user_name="bo.old", **shared))
    stage.tell(event(Kind.LEAVER, "old-left", minute=1, person="E1", external_id="E1"))
    stage.tell(event(Kind.JOINER, "new", minute=2, person="E2", external_id="E2", user_name="bo.new", **shared))
    stage.tell(event(late, "late", minute=3, person="E1", external_id="E1", title="Emerita", **shared))

    stage.tell(by_address(Kind.LEAVER, "gone", 5))
    for key in ("E1", "E2"):
        stage.work(key)

    assert (stage.state("gone"), stage.found("gone")["person"]) == ("applied", "E2")
    assert not fake.user("bo.new")["active"]


def test_joiner_known_by_address_alone_inherits_nothing(stage: Stage, fake: FakeScim) -> None:
    """An address may be somebody else's by now: who joins by it is not taken for whoever had it."""
    stage.tell(JOINED)
    stage.tell(LEFT)

    stage.tell(by_address(Kind.JOINER, "new", 5))

    assert fake.user("bo.ray@acme.example")["active"] is False
    assert stage.state("new") == "held"


# ---- effective dates


def fall_due(stage: Stage, scheduled: Event) -> None:
    """Let the day of a scheduled event come: what is kept of it says so."""
    due = scheduled.model_copy(update={"effective_at": AT})
    stage.redis.hset(keys.event(scheduled.ref), "doc", due.to_json())


def test_leaver_of_tomorrow_is_scheduled(stage: Stage, fake: FakeScim) -> None:
    """Nothing is done before its time; the leavers' lane has a look at that moment."""
    tomorrow = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    stage.tell(JOINED)

    stage.tell(event(Kind.LEAVER, "leaves", minute=5, effective_at=tomorrow))

    assert stage.state("leaves") == "scheduled"
    assert fake.user("bo.ray@acme.example")["active"] is True
    assert [tomorrow] == stage.later("leavers")
    assert stage.is_free()


def test_scheduled_leaver_does_not_keep_others_waiting(stage: Stage, fake: FakeScim) -> None:
    """Events that are due go on while another waits for its day, and do not schedule it again."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    stage.tell(JOINED)
    stage.tell(event(Kind.LEAVER, "leaves", minute=5, effective_at=tomorrow))

    stage.tell(event(Kind.MOVER, "moves", minute=6, title="Lead"))

    assert fake.user("bo.ray@acme.example")["title"] == "Lead"
    assert stage.state("moves") == "applied"
    assert len(stage.later("leavers")) == 1


def test_scheduled_leaver_is_done_when_it_is_due(stage: Stage, fake: FakeScim) -> None:
    """At its moment the event folds like any other."""
    leaves = event(Kind.LEAVER, "leaves", minute=5, effective_at=datetime.now(UTC) + timedelta(days=1))
    stage.tell(JOINED)
    stage.tell(leaves)
    waited = stage.state("leaves")

    fall_due(stage, leaves)
    stage.work()

    assert waited == "scheduled"
    assert stage.state("leaves") == "applied"
    assert fake.user("bo.ray@acme.example")["active"] is False


def test_scheduled_leaver_is_cancelled_by_a_newer_rehire(stage: Stage, fake: FakeScim) -> None:
    """The leave was announced, then the source said that the person stays: when its day comes it changes nothing."""
    leaves = event(Kind.LEAVER, "leaves", minute=5, effective_at=datetime.now(UTC) + timedelta(days=1))
    stage.tell(JOINED)
    stage.tell(leaves)
    stage.tell(event(Kind.JOINER, "stays", minute=6, **BO))

    fall_due(stage, leaves)
    stage.work()

    assert stage.state("leaves") == "superseded"
    assert stage.found("leaves")["detail"] == "outranked by hris:stays"
    assert fake.user("bo.ray@acme.example")["active"] is True


# ---- several targets


def test_target_that_is_down_keeps_nobody_from_the_others(make_stage: MakeStage) -> None:
    """Each target has its own outcome; the event stays open for the one that is away, and only that is asked again."""
    crm, desk = FakeScim(), FakeScim()
    stage = make_stage(crm=crm, desk=desk)
    desk.next(cuts_before(), times=2)

    stage.tell(JOINED)
    before = (stage.state("joined"), stage.delivery("joined", "crm"), stage.delivery("joined", "desk"))
    stage.work()
    stage.work()

    assert before[0] == "postponed"
    assert before[1]["outcome"] == "applied"
    assert before[2]["outcome"] == "postponed"
    assert stage.state("joined") == "applied"
    assert [said.method for said in crm.log] == ["GET", "POST"]
    assert len(desk.users()) == 1
    assert stage.delivery("joined", "desk")["attempts"] == 3


def test_credentials_of_one_target_keep_nobody_from_the_others(make_stage: MakeStage) -> None:
    """One target has its credentials wrong: the event waits there, is applied elsewhere, and that is told."""
    crm, desk = FakeScim(), FakeScim(token="another token")
    stage = make_stage(crm=crm, desk=desk)

    stage.tell(JOINED)

    assert (stage.state("joined"), stage.delivery("joined", "desk")["reason"]) == ("postponed", "circuit")
    assert stage.delivery("joined", "crm")["outcome"] == "applied"
    assert [(signal["type"], signal["data"]["target"]) for signal in stage.signals()] == [("person.provisioned", "crm")]


def test_each_of_two_targets_that_are_away_is_looked_at(make_stage: MakeStage) -> None:
    """They are to be asked at different moments: the look at the first leaves one for the second."""
    crm, desk = FakeScim(), FakeScim()
    stage = make_stage(crm=crm, desk=desk)
    crm.next(answers(500, retry_after="60"))
    desk.next(answers(500, retry_after="600"))
    stage.tell(JOINED)
    looks = stage.later()
    deliveries = stage.people.mailbox("E1042")[0].deliveries
    due = {"crm": replace(deliveries["crm"], retry_at=str(AT)), "desk": deliveries["desk"]}
    stage.redis.hset(keys.event(JOINED.ref), "deliveries", dump_deliveries(due))

    stage.work(early=True)

    (first, second) = stage.later()
    assert looks == [first]
    assert timedelta(seconds=530) < second - first < timedelta(seconds=550)
    assert (len(crm.users()), len(desk.users())) == (1, 0)


def test_target_that_refuses_does_not_undo_the_others(make_stage: MakeStage) -> None:
    """One target forbids it: the event fails there and is applied elsewhere, and both are told."""
    crm, desk = FakeScim(), FakeScim()
    stage = make_stage(crm=crm, desk=desk)
    desk.next(answers(403))

    stage.tell(JOINED)

    assert stage.state("joined") == "failed"
    assert stage.delivery("joined", "desk")["reason"] == "forbidden"
    assert stage.delivery("joined", "crm")["outcome"] == "applied"
    assert {("person.provisioned", "crm"), ("delivery.failed", "desk")} == {
        (signal["type"], signal["data"]["target"]) for signal in stage.signals()
    }


def test_no_target_at_all_ignores_the_event(make_stage: MakeStage) -> None:
    """A configuration without targets settles what comes, and says why."""
    stage = make_stage()

    stage.tell(JOINED)

    assert stage.state("joined") == "ignored"
    assert stage.found("joined")["reason"] == "no_target"


# ---- policy and safety


def test_protected_person_is_ignored_without_a_request(make_stage: MakeStage, fake: FakeScim) -> None:
    """Nothing changes a protected account, not even a look is taken."""
    stage = make_stage(crm=fake, policy={"protected": ["BO.RAY@acme.example"]})

    stage.tell(JOINED)
    stage.tell(LEFT)

    assert fake.log == []
    assert (stage.state("left"), stage.found("left")["reason"]) == ("ignored", "protected")


def test_falling_out_of_scope_is_leaving(make_stage: MakeStage, fake: FakeScim) -> None:
    """A person whom the policy no longer covers loses the access that we gave."""
    stage = make_stage(crm=fake, policy={"scope": "person.user_type != 'contractor'"} | AGENTS)
    fake.add("Groups", displayName="Agents")

    stage.tell(JOINED)
    stage.tell(event(Kind.MOVER, "moved", minute=1, user_type="contractor"))

    assert fake.user("bo.ray@acme.example")["active"] is False
    assert fake.members("Agents") == []
    assert stage.signals()[-1]["data"]["reason"] == "out_of_scope"


def test_two_candidates_hold_the_event(stage: Stage, fake: FakeScim) -> None:
    """A guess could lock out the wrong person: it waits for a human, among the failures."""
    for name in ("bo.ray@acme.example", "bo.ray2@acme.example"):
        fake.add("Users", userName=name, externalId="E1042", active=True)

    stage.tell(LEFT)

    assert (stage.state("left"), stage.found("left")["reason"]) == ("held", "several_accounts")
    assert all(user["active"] for user in fake.users())
    assert [failure["id"] for failure in stage.records.failures().items] == ["event:hris:left"]
    assert stage.later("leavers") == []


# ---- faults of ours


class Faulty:
    """A target module with a bug."""

    ATTRIBUTES: Mapping[str, str] = MappingProxyType({})
    PROFILE = target.Profile()
    REQUESTS_PER_MINUTE = None

    def agree(self, task: Task) -> Agreement:
        """Fail as no target does."""
        raise ZeroDivisionError(task.talk)


def faulty(stage: Stage) -> Stage:
    """Put the module with the bug in the place of the target's."""
    crm = stage.world.places["crm"]
    place = replace(crm, adapter=Faulty())
    stage.world = World(stage.config, stage.people, {"crm": place})
    return stage


def test_fault_of_ours_is_postponed_and_after_five_tries_failed(stage: Stage) -> None:
    """A bug neither loses the event nor kills the lane; it is not hoped away for a day either."""
    sound = stage.world
    faulty(stage).hear(JOINED)
    states = []

    with capture_logs():
        for _ in range(FEW_TRIES_MAX):
            stage.work()
            states.append((stage.state("joined"), stage.found("joined")["reason"]))
    stage.world = sound
    stage.records.retry("event:hris:joined", actor="anna")
    stage.work()

    assert states == [("postponed", "internal")] * 4 + [("failed", "internal")]
    assert stage.state("joined") == "applied"


def test_fault_of_ours_is_logged_without_the_person(stage: Stage) -> None:
    """The line names the target and has the trace for us; the record names the kind of fault, not its text."""
    faulty(stage)

    with capture_logs() as lines:
        stage.tell(JOINED)

    (line,) = [line for line in lines if line["event"] == "target.fault"]
    assert (line["target"], line["log_level"]) == ("crm", "error")
    assert stage.found("joined")["detail"] == "a fault of ours: ZeroDivisionError"


def test_expression_that_fails_for_this_person_is_a_failure(make_stage: MakeStage, fake: FakeScim) -> None:
    """The operator must mend the mapping; the sentence names the expression and no value of the person."""
    stage = make_stage(crm=fake, policy={"grants": [{"when": "person.custom.level > 3", "groups": ["Agents"]}]})

    stage.tell(JOINED)

    assert (stage.state("joined"), stage.found("joined")["reason"]) == ("failed", "expression")
    assert "person.custom.level > 3" in stage.found("joined")["detail"]
    assert fake.log == []


def test_expression_that_fails_does_not_stop_a_leaver(make_stage: MakeStage, fake: FakeScim) -> None:
    """For a leaver no expression stands in the way of the suspension."""
    fake.add("Users", userName="bo.ray@acme.example", externalId="E1042", active=True)
    broken = {"scope": "person.custom.level > 3", "grants": [{"when": "person.custom.level > 3", "groups": ["Agents"]}]}
    stage = make_stage(crm=fake, policy=broken)

    stage.tell(event(Kind.LEAVER, "left", external_id="E1042"))

    assert stage.state("left") == "applied"
    assert fake.user("bo.ray@acme.example")["active"] is False


# ---- failed, and again


def test_failed_event_that_is_retried_is_applied(stage: Stage, fake: FakeScim) -> None:
    """After the operator mended what was wrong, a retry goes the whole way again and leaves the list of failures."""
    fake.next(answers(403, {"detail": "no permission"}))
    stage.tell(JOINED)
    before = (stage.state("joined"), stage.found("joined")["detail"], len(stage.records.failures().items))

    stage.records.retry("event:hris:joined", actor="anna")
    stage.work()

    assert before == ("failed", "403 no permission", 1)
    assert stage.state("joined") == "applied"
    assert stage.records.failures().items == []
    assert "retry" in {step["step"] for step in stage.found("joined")["timeline"]}


def test_failed_event_that_fails_again_is_told_again(stage: Stage, fake: FakeScim) -> None:
    """A second failure is news for the subscribers, with an id of its own."""
    fake.next(answers(403), times=2)

    stage.tell(JOINED)
    stage.records.retry("event:hris:joined", actor="anna")
    stage.work()

    failed = [signal for signal in stage.records.signals().items if signal["type"] == "delivery.failed"]
    assert len({signal["id"] for signal in failed}) == 2


def test_group_that_is_missing_fails_the_event_and_keeps_the_account(make_stage: MakeStage, fake: FakeScim) -> None:
    """The account was made, its id is kept, and after the group was made a retry only joins it."""
    stage = make_stage(crm=fake, policy=AGENTS)
    stage.tell(JOINED)
    before = (stage.state("joined"), stage.found("joined")["reason"], stage.person().accounts["crm"].id)
    fake.add("Groups", displayName="Agents")
    requests = len(fake.writes())

    stage.records.retry("event:hris:joined", actor="anna")
    stage.work()

    own_id = fake.user("bo.ray@acme.example")["id"]
    assert before == ("failed", "group_missing", own_id)
    assert stage.state("joined") == "applied"
    assert [said.method for said in fake.writes()[requests:]] == ["PATCH"]
    assert [own_id] == fake.members("Agents")


def test_retry_looks_before_it_creates(stage: Stage, fake: FakeScim) -> None:
    """The event may have made an account before it failed, and some servers show one only by its name."""
    fake.next(answers(403), on="POST")
    stage.tell(JOINED)
    asked = len(fake.log)

    stage.records.retry("event:hris:joined", actor="anna")
    before = stage.delivery("joined")
    stage.work()

    assert (before["attempts"], stage.delivery("joined")["attempts"]) == (1, 2)
    assert [said.method for said in fake.log[asked:]] == ["GET", "GET", "POST"]


def test_retry_of_an_old_failure_does_not_undo_what_came_after(stage: Stage, fake: FakeScim) -> None:
    """A retry is no replay: the joiner failed, the person left meanwhile, and the retry leaves the person out."""
    fake.next(answers(403))
    stage.tell(JOINED)
    stage.tell(LEFT)

    stage.records.retry("event:hris:joined", actor="anna")
    stage.work()

    assert stage.state("joined") == "superseded"
    assert fake.users() == []


# ---- what is kept of it


def test_timeline_tells_each_request_and_outcome(stage: Stage, fake: FakeScim) -> None:
    """Every outcome can be explained: method, path, status, and why; no value of the person."""
    stage.tell(JOINED)

    timeline = stage.found("joined")["timeline"]
    assert [step["step"] for step in timeline] == ["kept", "fold", "request", "request", "settle"]
    assert [(step["detail"]["method"], step["detail"]["path"], step["detail"]["status"]) for step in timeline[2:4]] == [
        ("GET", "/Users?filter=externalId eq ...", 200),
        ("POST", "/Users", 201),
    ]
    assert timeline[4]["detail"]["outcome"] == "applied"
    assert timeline[4]["detail"]["account"] == fake.user("bo.ray@acme.example")["id"]
    assert "acme.example" not in str(timeline)


def test_logs_hold_no_personal_data_and_no_secret(stage: Stage, fake: FakeScim) -> None:
    """A line for each settled event: ids, kinds, states and counts."""
    fake.next(answers(500, "<html>bo.ray@acme.example is down</html>"))

    with capture_logs() as lines:
        for told in STORY:
            stage.tell(told)

    text = str(lines)
    assert {"event.settled"} == {line["event"] for line in lines}
    assert not [word for word in ("acme.example", "Ray", fake.token, "E1042") if word in text]


def test_requests_are_counted_by_method_and_status(stage: Stage, fake: FakeScim) -> None:
    """The fleet's counters are written in the same step as the outcome; a lost answer counts as none."""
    fake.next(cuts_before(), on="GET")

    stage.tell(JOINED)
    stage.work()

    found: Any = stage.redis.hgetall(keys.METRICS)
    requests = {name.decode(): int(value) for name, value in found.items() if b"scim_requests" in name}
    assert requests == {
        '["gatepost_scim_requests", "crm", "GET", "none"]': 1,
        '["gatepost_scim_requests", "crm", "GET", "200"]': 2,
        '["gatepost_scim_requests", "crm", "POST", "201"]': 1,
    }


def test_state_of_a_person_keeps_each_fact_with_its_event(stage: Stage) -> None:
    """What is known can be traced to who said it and when."""
    stage.tell(JOINED)
    stage.tell(MOVED)

    found = stage.person()
    assert (found.facts["title"].value, found.facts["title"].event) == ("Lead", "hris:moved")
    assert (found.facts["department"].value, found.facts["department"].event) == ("Support", "hris:joined")
    assert found.status is not None
    assert found.status.value == Status.ACTIVE


def test_mailbox_of_many_events_is_drained_in_one_job(stage: Stage, fake: FakeScim) -> None:
    """A mailbox longer than one reading is worked off reading by reading."""
    moves: list[Event] = [
        event(Kind.MOVER, f"m{number}", minute=number + 1, title=f"T{number}") for number in range(450)
    ]
    stage.hear(JOINED, *moves)

    stage.work()

    assert stage.mailbox() == []
    assert fake.user("bo.ray@acme.example")["title"] == "T449"
    assert len(fake.log) <= 6


# ---- waits


@pytest.mark.parametrize("tries", [0, 1, 5, 8, 16, 400])
def test_waits_grow_at_random_up_to_five_minutes(tries: int) -> None:
    """Exponential with full jitter, so that a thousand events do not come back at the same moment."""
    waits = [backoff(tries).total_seconds() for _ in range(300)]

    longest = min(RETRY_CAP_SECONDS, 2.0**tries)
    assert all(0 <= wait <= longest for wait in waits)
    assert max(waits) > longest * 0.8
    assert min(waits) < longest * 0.2
    assert longest <= 300


def test_request_that_is_always_too_many_ends(stage: Stage, fake: FakeScim) -> None:
    """A target that answers all but one person's change makes that event a failure; else all would pause for ever."""
    stage.tell(JOINED)
    fake.next(answers(429, retry_after="30"), on="PATCH /Users", times=2 * BUSY_TRIES_MAX)
    stage.hear(MOVED)

    for _ in range(BUSY_TRIES_MAX):
        stage.work()

    assert (stage.state("moved"), stage.found("moved")["reason"]) == ("failed", "paused")
    assert stage.let_in() == []
    assert stage.redis.zcard(keys.waiting("crm")) == 0


def test_target_that_is_too_busy_for_all_is_waited_for(stage: Stage, fake: FakeScim) -> None:
    """429 for the first request of each attempt is nobody's own."""
    fake.next(answers(429, retry_after="30"), times=BUSY_TRIES_MAX + 1)
    stage.hear(JOINED)

    for _ in range(BUSY_TRIES_MAX + 1):
        stage.work()
    waits = stage.state("joined")
    stage.work()

    assert (waits, stage.state("joined")) == ("postponed", "applied")


def test_tries_end(stage: Stage, fake: FakeScim, redis: Redis) -> None:
    """A target that stays away for about a day makes the event a failure, which a person sees."""
    fake.next(cuts_before(), times=10)
    stage.tell(JOINED)
    deliveries = redis.hget(keys.event("hris:joined"), "deliveries")
    assert isinstance(deliveries, bytes)
    before = deliveries.replace(b'"attempts": 1', f'"attempts": {TRIES_MAX - 1}'.encode())
    redis.hset(keys.event("hris:joined"), "deliveries", before)

    stage.work()

    assert (stage.state("joined"), stage.found("joined")["reason"]) == ("failed", "unreachable")


def test_joiner_without_a_name_waits_a_moment_for_the_rest(stage: Stage, fake: FakeScim) -> None:
    """A later event overtook the first one, which has the address: nobody is alarmed, and all of it is applied."""
    stage.tell(event(Kind.JOINER, "again", minute=5, external_id="E1042", title="Lead"))
    first = stage.state("again")

    stage.tell(event(Kind.JOINER, "joined", **BO))

    assert (first, stage.state("again"), stage.state("joined")) == ("postponed", "applied", "applied")
    assert "delivery.failed" not in {signal["type"] for signal in stage.signals()}
    assert fake.user(BO["email"])["title"] == "Lead"
