"""What is told of a person who has accounts on several targets, and by which names: from events to tokens."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from redis import Redis

from lifecycle import keys
from lifecycle.event import Event, Kind, State
from lifecycle.person import Account
from lifecycle.signal import Told
from lifecycle.ssf import sets
from lifecycle.ssf.signing import Signing
from tests.conftest import MakeConfig
from tests.strict_receiver import StrictReceiver, Taken
from tests.transmitter import AUDIENCE, ISSUER, kept, ssf, subscriber
from tests.workers.fake_scim import FakeScim
from tests.workers.leaving import AT_ONCE, BACK, JOINED, LATER, LEFT, MAIL, deletion, fall_due, make_scene
from tests.workers.stories import AT, BO, Stage, event, person, place
from workers.outcome import Result
from workers.scim.client import Conversation
from workers.signals import signals_for
from workers.task import Agreement

OTHER_MAIL = "bo.ray.left@acme.example"
LEFT_AS_ANOTHER = event(Kind.LEAVER, "left", minute=2, external_id="E1042", email=OTHER_MAIL)


@pytest.fixture
def erp() -> FakeScim:
    """Give the other target's server."""
    return FakeScim(frozenset())


def tokens(stage: Stage, **shape: Any) -> Iterator[tuple[str, Taken]]:  # noqa: ANN401 - keys of a section
    """Yield each token of what was told so far, in the order of the signals, with its target."""
    whose, signing = subscriber(provisioning="none", **shape), Signing(ssf())
    strict = StrictReceiver(ISSUER, AUDIENCE, signing.public())
    entries: Any = stage.redis.xrange(keys.OUTBOX)
    for _, fields in entries:
        record: Any = stage.redis.hgetall(keys.signal(fields[b"id"].decode()))
        signal = Told.of(record)
        if whose.wants(signal):
            for item in sets.items(signal, whose, None):
                yield signal.target, strict.take(sets.token(signing, ISSUER, signal, item, whose), datetime.now(UTC))


def heard(stage: Stage, start: int = 0, **shape: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - keys of a section
    """Return the event and the target of each token after the first ``start``."""
    return [(each.uri.rpartition("/")[2], target) for target, each in tokens(stage, **shape)][start:]


def away(stage: Stage, server: FakeScim | None = None, **section: Any) -> None:  # noqa: ANN401 - a section
    """Let the other target answer nobody, or be the server again."""
    down = httpx.MockTransport(lambda _: httpx.Response(500))
    places: Any = stage.world.places
    places["erp"] = place(stage.redis, httpx.MockTransport(server) if server else down, name="erp", **section)


def test_leaver_is_told_of_each_target_as_soon_as_it_is_known(
    redis: Redis, config: MakeConfig, fake: FakeScim, erp: FakeScim
) -> None:
    """Early, though one target does not answer yet, and again when it does; all of it under one txn."""
    stage = make_scene(redis, config, fake, others={"erp": erp})
    stage.tell(JOINED)
    away(stage)

    stage.tell(LEFT)
    first = heard(stage)
    away(stage, erp)
    stage.work()

    assert first == [("session-revoked", "crm"), ("account-disabled", "crm")]
    assert heard(stage, 2) == [("session-revoked", "erp"), ("account-disabled", "erp")]
    assert len({each.claims["txn"] for _, each in tokens(stage)}) == 1


def test_who_comes_back_is_enabled_once_no_account_is_suspended(
    redis: Redis, config: MakeConfig, fake: FakeScim, erp: FakeScim
) -> None:
    """Not by the first target that answers; whoever hears of that one alone need not wait for the other."""
    stage = make_scene(redis, config, fake, others={"erp": erp})
    stage.tell(JOINED)
    stage.tell(LEFT)
    start, alone = len(heard(stage)), len(heard(stage, targets=["crm"]))
    away(stage)

    stage.tell(BACK)
    first = heard(stage, start)
    away(stage, erp)
    stage.work()

    assert stage.state("back") == State.APPLIED
    assert (first, heard(stage, start)) == ([], [("account-enabled", "erp")])
    assert heard(stage, alone, targets=["crm"]) == [("account-enabled", "crm")]


def test_who_comes_back_everywhere_at_once_is_enabled_once(
    redis: Redis, config: MakeConfig, fake: FakeScim, erp: FakeScim
) -> None:
    """By the last signal of the attempt, of whichever target that is."""
    stage = make_scene(redis, config, fake, others={"erp": erp})
    stage.tell(JOINED)
    stage.tell(LEFT)
    start = len(heard(stage))

    stage.tell(BACK)

    assert heard(stage, start) == [("account-enabled", stage.signals()[-1]["data"]["target"])]
    assert [signal["type"] for signal in stage.signals()[-2:]] == ["person.restored"] * 2


def test_who_is_deleted_on_one_target_is_not_purged(
    redis: Redis, config: MakeConfig, fake: FakeScim, erp: FakeScim
) -> None:
    """An account is left, and may be given back; to whom hears of the other target alone none is."""
    stage = make_scene(redis, config, fake, others={"erp": erp}, **AT_ONCE)
    stage.tell(JOINED)

    stage.tell(LEFT)

    assert [signal["type"] for signal in stage.signals()].count("person.deleted") == 1
    assert ("account-purged", "crm") not in heard(stage)
    assert heard(stage, targets=["crm"])[-1] == ("account-purged", "crm")


def test_who_is_deleted_everywhere_is_purged_once(
    redis: Redis, config: MakeConfig, fake: FakeScim, erp: FakeScim
) -> None:
    """With the last account."""
    stage = make_scene(redis, config, fake, others={"erp": erp}, **AT_ONCE)
    away(stage, erp, **AT_ONCE)
    stage.tell(JOINED)

    stage.tell(LEFT)

    assert [signal["type"] for signal in stage.signals()].count("person.deleted") == 2
    assert [event for event, _ in heard(stage)].count("account-purged") == 1
    assert heard(stage)[-1] == ("account-purged", stage.signals()[-1]["data"]["target"])


def test_who_was_deleted_on_one_target_and_comes_back_is_enabled(
    redis: Redis, config: MakeConfig, fake: FakeScim, erp: FakeScim
) -> None:
    """The other one was never reached, so that nothing is restored there; nobody was told of a purge."""
    stage = make_scene(redis, config, fake, others={"erp": erp}, **AT_ONCE)
    stage.tell(JOINED)
    away(stage)
    stage.tell(LEFT)
    away(stage, erp)

    stage.tell(BACK)

    assert [event for event, _ in heard(stage)] == ["session-revoked", "account-disabled", "account-enabled"]
    # Of a person who was purged a new account is just that.
    assert [event for event, _ in heard(stage, targets=["crm"])][2:] == ["account-purged"]


def test_target_that_is_configured_no_more_keeps_nobody_from_being_purged() -> None:
    """What is left there nobody looks after."""
    gone = Result("crm", State.APPLIED, Agreement(Account(id="u-7"), deleted_at=AT), Conversation(lambda: None))
    known = person("left", **BO).model_copy(update={"accounts": {"old": Account(id="o-1", active=False)}})

    for targets, expected in ((["crm"], {"account-purged"}), (["crm", "old"], set())):
        (signal,) = signals_for(known, LEFT, [gone], AT, targets=targets)
        found = {each.partition("~")[2] for each in sets.items(kept(signal), subscriber(provisioning="none"), None)}
        assert found == expected


def test_leaver_and_deletion_have_the_name_that_was_told(redis: Redis, config: MakeConfig, fake: FakeScim) -> None:
    """The address that comes with the leave is nobody's to a receiver, a month later as well."""
    stage = make_scene(redis, config, fake, **LATER)
    stage.tell(JOINED)

    stage.tell(LEFT_AS_ANOTHER)
    fall_due(stage, deletion(stage))
    stage.work()

    assert [each for each, _ in heard(stage)] == ["session-revoked", "account-disabled", "account-purged"]
    assert {each.subject["email"] for _, each in tokens(stage)} == {MAIL}


def test_leaver_whose_renaming_made_no_signal_has_the_name_that_was_told(
    redis: Redis, config: MakeConfig, fake: FakeScim
) -> None:
    """A target that does not manage addresses was not changed by it."""
    stage = make_scene(redis, config, fake, attributes={"userName": "person.external_id"})
    stage.tell(JOINED)
    stage.tell(event(Kind.MOVER, "moved", minute=1, external_id="E1042", email=OTHER_MAIL))
    assert (stage.state("moved"), len(stage.signals())) == (State.UNCHANGED, 1)

    stage.tell(LEFT)

    assert {each.subject["email"] for _, each in tokens(stage)} == {MAIL}


@pytest.mark.parametrize("leaves", [LEFT, LEFT_AS_ANOTHER], ids=["as before", "as another"])
def test_account_of_before_names_were_kept_has_those_that_were_known(
    redis: Redis, config: MakeConfig, fake: FakeScim, leaves: Event
) -> None:
    """A record of an earlier version is read, and nobody leaves by a name that came with the leave."""
    stage = make_scene(redis, config, fake)
    stage.tell(JOINED)
    found: Any = redis.get(keys.person("E1042"))
    record = json.loads(found)
    assert record["accounts"]["crm"].pop("told") == {"email": MAIL, "user_name": MAIL}
    redis.set(keys.person("E1042"), json.dumps(record))

    stage.tell(leaves)

    assert {each.subject["email"] for _, each in tokens(stage)} == {MAIL}
