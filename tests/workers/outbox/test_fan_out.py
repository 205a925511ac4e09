"""Fan-out: each signal once to each that wants it, whoever does it and however often."""

import asyncio
from datetime import UTC, datetime

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from lifecycle import asked, keys
from lifecycle.config import Config
from lifecycle.queue import connect
from lifecycle.replay import Replay
from lifecycle.roster import Roster
from lifecycle.subscribers import Subscribers
from tests import transmitter
from tests.seed import SALT
from tests.workers.outbox.conftest import Office, Open, signal
from workers.outbox.fan_out import ENTRIES_MAX, ROSTER_TRIES_MAX, WAYS_MAX, FanOut
from workers.outbox.known import Known
from workers.outbox.lane import dismiss

NOWHERE = "http://127.0.0.1:9/"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


async def test_signal_goes_to_whom_it_is_for(office: Open) -> None:
    """By type, by target, and by what its body says."""
    here = await office(
        all={"url": NOWHERE},
        leavers={"url": NOWHERE, "events": ["person.suspended"]},
        joiners={"url": NOWHERE, "events": ["person.provisioned"]},
        slow={"url": NOWHERE, "when": "signal.data.latency_ms > 1000"},
    )
    one = signal()
    here.keep(one)

    assert await here.spread() == 2

    told = [each["subscriber"] for each in here.records.signal(one.id)["deliveries"]]
    assert told == ["all", "leavers"]


async def test_filter_that_cannot_be_evaluated_lets_the_signal_through(office: Open) -> None:
    """Told once too often is better than never."""
    here = await office(siem={"url": NOWHERE, "when": "signal.data.confirmed_at > 5"})
    here.keep(signal())

    assert await here.spread() == 1


async def test_filter_that_asks_an_empty_list_costs_nobody_a_signal(office: Open) -> None:
    """Neither the others nor itself, and a replay does not end there either."""
    here = await office(
        siem={"url": NOWHERE}, odd={"url": NOWHERE, "when": "signal.data.groups_removed[0] == 'Admins'"}
    )
    here.keep(signal("1"), signal("2"))

    assert await here.spread() == 4
    assert Replay(here.redis, here.config, "odd").since(LONG_AGO, actor="test").enlisted == 0


async def test_fault_in_one_format_costs_nobody_else_a_signal(office: Open) -> None:
    """A signal that one of them cannot make sense of is told to all others, and what comes after it to all."""
    here = await office(siem={"url": NOWHERE})
    subscribers = {"edr": transmitter.subscriber(), **here.config.subscribers}
    here.known.config = here.config.model_copy(update={"subscribers": subscribers})
    await here.known.refresh()
    bad, good = signal("1"), signal("2")
    here.keep(bad._replace(type="person.updated", facts='{"old": ["nobody", "knows"]}'), good)

    await here.spread()
    replay = Replay(here.redis, here.known.config, "edr").since(LONG_AGO, actor="test")

    assert told(here, bad.id) == ["siem"]
    assert told(here, good.id) == ["edr", "siem"]
    assert replay.enlisted == 0


def told(here: Office, signal_id: str) -> list[str]:
    """Return to whom a signal goes."""
    return sorted(each["subscriber"] for each in here.records.signal(signal_id)["deliveries"])


class Restless(Known):
    """Reads a roster that was changed again when it is read, so many times."""

    def __init__(self, config: Config, redis: AsyncRedis, patient: Redis, times: int) -> None:
        """Keep how often."""
        super().__init__(config, redis, patient)
        self._patient_one, self._times = patient, times

    async def refresh(self) -> None:
        """Read it; then somebody changes it."""
        await super().refresh()
        self._times -= 1
        if self._times >= 0:
            self._patient_one.incr(keys.REVISION)


async def test_nothing_is_fanned_out_before_what_comes_first(office: Open) -> None:
    """While the roster is never still one portion cannot go, and then those after it wait as well."""
    size = WAYS_MAX // ENTRIES_MAX + 1
    here = await office(**{f"siem{number}": {"url": NOWHERE} for number in range(size)})
    ones = [signal(str(number), person="E1") for number in range(ENTRIES_MAX)]
    here.keep(*ones)
    with connect(here.config.redis.url, patient=True) as patient:
        restless = Restless(here.config, here.wire, patient, ROSTER_TRIES_MAX + 1)
        await restless.refresh()
        fan_out = FanOut(here.wire, restless, lambda: None)
        entries = await fan_out.entries()

        first, second = await fan_out.step(entries), await fan_out.step(entries)

    assert (first, second) == (0, size * ENTRIES_MAX)
    line = here.redis.lrange(keys.line("siem0", "E1"), 0, -1)
    assert line == [one.id.encode() for one in ones]


async def test_signal_that_is_kept_twice_is_told_once_with_its_first_body(office: Open) -> None:
    """An attempt that is repeated makes the same signal; what was told stays as it was."""
    here, one = await office(NOWHERE), signal()
    here.keep(one)
    here.keep(one._replace(body='{"type": "x", "data": {}}'))
    await here.spread()

    assert here.redis.hget(keys.signal(one.id), "body") == one.body.encode()
    assert here.redis.hget(keys.subscriber("siem"), "waiting") == b"1"
    assert here.redis.xlen(keys.OUTBOX) == 0


async def test_two_processes_fan_out_each_signal_once(office: Open) -> None:
    """Both read the same entries, and one of them is first."""
    here, other = await office(NOWHERE), await office(NOWHERE)
    here.keep(*(signal(str(number), person=f"E{number % 3}") for number in range(30)))

    numbers = await asyncio.gather(here.spread(), other.spread())

    assert sum(numbers) == 30
    assert here.redis.llen(keys.line("siem", "E0")) == 10


async def test_signal_goes_to_who_subscribes_at_that_moment(office: Open) -> None:
    """A roster that was changed since it was read is read anew before anything is done."""
    here = await office(NOWHERE)
    here.keep(signal())
    here.known.roster = Roster(here.known.roster.revision, {})
    here.redis.incr(keys.REVISION)

    assert await here.spread() == 1


async def test_signal_that_cannot_be_read_holds_up_no_other(office: Open) -> None:
    """It goes to nobody, and stays where it is for people to look at."""
    here, bad, good = await office(NOWHERE), signal("1"), signal("2")
    here.keep(bad, good)
    here.redis.hdel(keys.signal(bad.id), "type")

    assert await here.spread() == 1
    assert here.redis.xlen(keys.OUTBOX) == 0


async def test_signals_wait_for_one_whose_secrets_no_key_opens(office: Open) -> None:
    """What it wants is known: nothing is lost while the key is missing, nothing is sent, and nobody is dismissed."""
    here = await office(NOWHERE)
    here.redis.set(keys.SALT, SALT)
    now, body = datetime.now(UTC), {"name": "soar", "url": "https://soar.example", "events": ["person.suspended"]}
    Subscribers(here.redis, here.config).create(*asked.created(body, here.config, now), actor="test")
    keyless = here.config.model_copy(update={"service": here.config.service.model_copy(update={"admin_tokens": []})})
    here.known.config = keyless
    here.keep(signal("1"), signal("2", type_="person.deleted"))

    told = await here.spread()
    dismiss(here.redis, keyless)
    await here.send()

    assert told == 3
    assert set(here.known.roster.subscribers) == {"siem"}
    assert here.redis.hget(keys.subscriber("soar"), "waiting") == b"1"
    assert here.delivery(signal("1"), "soar")["tried"] == []
