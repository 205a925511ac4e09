"""What leads to a subscriber: kept while that is the same, and closed when it is gone."""

from datetime import UTC, datetime

from redis import Redis

from lifecycle import asked, keys
from lifecycle.config import Config
from lifecycle.subscribers import Subscribers
from tests.seed import SALT
from tests.workers.outbox.conftest import Open, signal, stop
from tests.workers.outbox.waiting import Waiting

NOWHERE = "http://127.0.0.1:9/"


def make(redis: Redis, config: Config, **fields: str) -> Subscribers:
    """Make a subscriber by the API, as an operator does."""
    redis.set(keys.SALT, SALT)
    made, body = Subscribers(redis, config), {"name": "soar", "url": "https://soar.example", **fields}
    made.create(*asked.created(body, config, datetime.now(UTC)), actor="test")
    return made


async def test_what_led_to_a_deleted_subscriber_is_closed(office: Open) -> None:
    """A process that lives for months keeps nothing of whoever came and went."""
    waiting, here = Waiting(), await office(siem={"url": NOWHERE})
    here.post._open = waiting
    made = make(here.redis, here.config)
    await here.known.refresh()
    await here.tell(signal("1"))
    led = set(here.post._carriers)

    made.delete("soar", actor="test")
    await here.known.refresh()
    await here.tell(signal("2"))
    closing = list(here.post._closing)

    assert led == {"siem", "soar"}
    assert set(here.post._carriers) == {"siem"}
    assert len(closing) == 1


async def test_all_that_was_opened_is_closed_at_the_end(office: Open) -> None:
    """What led to somebody who is gone as well, without the wait for what may be on its way."""
    waiting = Waiting()
    here = await office(siem={"url": NOWHERE}, pager={"url": "http://127.0.0.1:9/pager"})
    here.post._open = waiting
    await here.tell(signal("1"))
    here.known.config = here.config.model_copy(update={"subscribers": {"siem": here.config.subscribers["siem"]}})
    await here.known.refresh()
    await here.tell(signal("2"))

    await stop(here.post)

    assert sorted(waiting.closed) == [NOWHERE, "http://127.0.0.1:9/pager"]


async def test_subscriber_with_a_filter_is_reached_as_before(office: Open) -> None:
    """The roster is read anew every while, and nobody's connections begin anew for that."""
    here = await office(siem={"url": NOWHERE})
    here.post._open = Waiting()
    make(here.redis, here.config, when="signal.type != 'person.deleted'")
    await here.known.refresh()
    await here.tell(signal("1"))
    before = here.post._carriers["soar"]

    await here.known.refresh()
    await here.tell(signal("2"))

    assert here.post._carriers["soar"] is before
