"""What a worker looks at now and then."""

import httpx
from redis import Redis

from lifecycle import keys
from tests.workers.fake_scim import FakeScim
from tests.workers.stories import place
from workers.rounds import Rounds


def test_round_asks_what_a_target_can(redis: Redis, fake: FakeScim) -> None:
    """What the target says is there for the fleet, and the next round asks nobody."""
    rounds = Rounds(lambda: [place(redis, httpx.MockTransport(fake))])

    rounds.make()
    asked = len(fake.log)
    rounds.make()

    assert asked > 0
    assert len(fake.log) == asked
    assert redis.exists(keys.capabilities("crm"))


def test_round_nests_again_what_somebody_undid(redis: Redis, fake: FakeScim) -> None:
    """Once an hour, by one process of the fleet."""
    fake.add("Groups", id="g-1", displayName="Agents")
    fake.add("Groups", id="g-2", displayName="Sellers")
    found = place(redis, httpx.MockTransport(fake))
    with found.aside() as talk:
        found.groups.warm(talk, [], {"Agents": ["Sellers"]})
    del fake.held["Groups"]["g-1"]["members"]
    redis.delete(keys.groups_nested("crm"))

    Rounds(lambda: [found]).make()

    assert fake.members_of("g-1") == ["g-2"]


def test_round_begins_and_ends(redis: Redis, fake: FakeScim) -> None:
    """A worker that ends waits for no round."""
    rounds = Rounds(lambda: [place(redis, httpx.MockTransport(fake))])

    rounds.start()
    rounds.stop()

    assert fake.log == []
