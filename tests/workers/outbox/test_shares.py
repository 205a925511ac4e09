"""How much is on its way at once: a bound for all, a share for each, and nothing twice."""

import asyncio

from lifecycle import keys
from tests.workers.outbox.conftest import Open, signal
from tests.workers.outbox.waiting import Waiting
from workers.outbox.post import ON_THEIR_WAY_MAX, OWN_ON_THEIR_WAY, SHARED_ON_THEIR_WAY_MAX

WELL, SIEM = "http://127.0.0.1:9/well", "http://127.0.0.1:9/siem"
SLOW = SHARED_ON_THEIR_WAY_MAX // (ON_THEIR_WAY_MAX - OWN_ON_THEIR_WAY) + 2
"""So many that are slow take all that there is to share."""
SECONDS_MAX = 20


async def test_many_slow_ones_leave_its_share_to_one_that_is_well(office: Open) -> None:
    """Wherever it stands in the roster; what is on its way in all has a bound all the same."""
    waiting = Waiting({f"http://127.0.0.1:9/{number}" for number in range(SLOW)})
    slow = {f"slow{number}": {"url": f"http://127.0.0.1:9/{number}"} for number in range(SLOW)}
    here = await office(**slow, well={"url": WELL})
    here.post._open = waiting
    here.keep(*(signal(str(number), person=f"E{number}") for number in range(2 * ON_THEIR_WAY_MAX)))
    await here.spread()

    most = SHARED_ON_THEIR_WAY_MAX + SLOW * OWN_ON_THEIR_WAY
    async with asyncio.timeout(SECONDS_MAX):
        while sum(url == WELL for url, _ in waiting.taken) < 2 * ON_THEIR_WAY_MAX:
            await here.post.step()
            await asyncio.sleep(0.001)
        while waiting.now.total() < most:  # what the one that is well had of what all share is free a moment later
            await here.post.step()
            await asyncio.sleep(0.001)

    assert await here.post.step() == 0
    each = [waiting.now[url] for url in waiting.slow]
    assert sum(each) == most
    assert OWN_ON_THEIR_WAY <= min(each) <= max(each) == ON_THEIR_WAY_MAX
    waiting.go.set()
    await here.post.settle()


async def test_one_alone_gets_all_that_one_may_have(office: Open) -> None:
    """Those for whom nothing waits take nothing of what is shared."""
    waiting = Waiting({SIEM})
    idle = {f"idle{number}": {"url": WELL, "events": ["review.completed"]} for number in range(2 * SLOW)}
    here = await office(**idle, siem={"url": SIEM})
    here.post._open = waiting
    here.keep(*(signal(str(number), person=f"E{number}") for number in range(2 * ON_THEIR_WAY_MAX)))
    await here.spread()

    assert await here.post.step() == ON_THEIR_WAY_MAX
    assert await here.post.step() == 0
    waiting.go.set()
    await here.post.settle()


async def test_what_is_on_its_way_here_is_not_sent_again_though_its_claim_ended(office: Open) -> None:
    """Redis stood still for longer than a claim lasts: the claim is this process's own again, and that is all."""
    waiting, one = Waiting({SIEM}), signal()
    here = await office(siem={"url": SIEM})
    here.post._open = waiting
    here.keep(one, signal("2"))
    await here.spread()
    await here.post.step()
    here.redis.zadd(keys.lines("siem"), {"E1042": 1})

    again = await here.post.step()
    await asyncio.sleep(0)
    (claim,) = here.post._claims.values()
    await here.post.renew([claim])
    claimed_until = here.redis.zscore(keys.lines("siem"), "E1042")

    assert again == 0
    assert waiting.taken == [(SIEM, one.id)]
    assert claimed_until == float(claim.until) > 1
    waiting.go.set()
    await here.post.settle()
    assert here.delivery(one)["attempts"] == 1
