"""The windows of the safety limits: exactly so many, in all windows or in none, by Redis's own clock."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis import Redis

from lifecycle import keys
from lifecycle.safety import Limit
from lifecycle.windows import Full, Scope, Windows

CHUNK = 1_000


def limit(**given: Any) -> Limit:  # noqa: ANN401 - a section of the configuration
    """Make a limit."""
    return Limit.model_validate(given)


def over_all(**given: Any) -> dict[Scope, Limit]:  # noqa: ANN401 - a section of the configuration
    """Make the one limit over all targets."""
    found = limit(**given)
    return {None: found}


def know(redis: Redis, number: int, target: str | None = None) -> None:
    """Let so many persons be known."""
    redis.sadd(keys.known(target), *(f"K{place}" for place in range(number)))


def test_exactly_so_many_of_a_crowd_at_once(redis: Redis) -> None:
    """However many workers ask in the same moment, and each twice."""
    windows, asked = Windows(redis), [f"E{place}" for place in range(100)] * 2

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda key: (key, windows.ask("leavers", key, over_all(max=20))), asked))

    let = {key for key, full in answers if full is None}
    assert len(let) == 20
    assert {key.encode() for key in let} == set(redis.zrange(keys.window("leavers", None), 0, -1))
    assert len({full.episode for _, full in answers if full}) == 1


def test_window_of_one_target_that_is_full_counts_nowhere(redis: Redis) -> None:
    """All or nothing, whichever of the two is full; the answer names it."""
    windows = Windows(redis)
    both: dict[Scope, Limit] = {None: limit(max=2), "crm": limit(max=1)}
    assert windows.ask("leavers", "E1", both) is None

    refused = windows.ask("leavers", "E2", both)
    elsewhere = windows.ask("leavers", "E3", {None: limit(max=2), "desk": limit(max=1)})
    over_all = windows.ask("leavers", "E4", {None: limit(max=2), "mail": limit(max=1)})

    assert refused is not None
    assert refused[:1] + refused[2:] == ("crm", 1, 1, 1)
    assert elsewhere is None
    assert over_all is not None
    assert over_all.scope is None
    assert redis.zrange(keys.window("leavers", None), 0, -1) == [b"E1", b"E3"]
    assert not redis.exists(keys.window("leavers", "mail"), keys.episode("leavers", "mail"))


def test_kinds_do_not_count_each_other(redis: Redis) -> None:
    """A leaver is no deletion."""
    windows = Windows(redis)

    answers = [windows.ask(kind, "E1", over_all(max=1)) for kind in ("leavers", "deletions", "group_removals")]

    assert answers == [None, None, None]


@pytest.mark.parametrize(
    ("known", "share", "most"), [(100, 0.29, 29), (100, 0.05, 5), (10, 0.01, 1), (0, 0.5, 1), (7, 1.0, 7), (19, 0.1, 1)]
)
def test_share_is_whole_persons_and_one_at_least(redis: Redis, known: int, share: float, most: int) -> None:
    """0.29 of a hundred is 29, whatever a binary fraction makes of it."""
    if known:
        know(redis, known)
    windows = Windows(redis)

    answers = [windows.ask("leavers", f"K{place}", over_all(share=share)) for place in range(most + 1)]

    assert answers[:-1] == [None] * most
    assert isinstance(answers[-1], Full)
    assert answers[-1].most == most


def test_who_was_counted_stays_in_what_a_share_is_of(redis: Redis) -> None:
    """A third of 3,000 may go, and it is a third of 3,000 to the last one, though each that went is known no more."""
    most = CHUNK
    know(redis, 3 * most)
    windows, third = Windows(redis), over_all(share=1 / 3)
    for place in range(most):
        assert windows.ask("leavers", f"K{place}", third) is None, place
        redis.srem(keys.known(None), f"K{place}")

    full = windows.ask("leavers", "K2999", third)

    assert full is not None
    assert (full.counted, full.most, full.known) == (most, most, 3 * most)


def test_smaller_of_both_counts(redis: Redis) -> None:
    """By number and by share: past either is past the limit."""
    know(redis, 100)
    windows = Windows(redis)

    by_share = [windows.ask("leavers", f"K{place}", over_all(max=5, share=0.02)) is None for place in range(4)]
    by_number = [windows.ask("deletions", f"K{place}", over_all(max=3, share=0.9)) is None for place in range(5)]

    assert (by_share.count(True), by_number.count(True)) == (2, 3)


def test_person_is_counted_by_the_last_time(redis: Redis) -> None:
    """An attempt that is made again is as young as its last: no span of a window ever has more than the limit."""
    windows, one = Windows(redis), over_all(max=1, window="10m")
    assert windows.ask("leavers", "E1", one) is None
    redis.zincrby(keys.window("leavers", None), -599_000, "E1")

    assert windows.ask("leavers", "E1", one) is None
    redis.zincrby(keys.window("leavers", None), -599_000, "E1")

    assert windows.ask("leavers", "E2", one) is not None


def test_nothing_stays_longer_than_its_window(redis: Redis) -> None:
    """Who was counted and since when a limit holds are forgotten by themselves."""
    windows, one = Windows(redis), over_all(max=1, window="2h")

    windows.ask("leavers", "E1", one)
    windows.ask("leavers", "E2", one)

    for name in (keys.window("leavers", None), keys.episode("leavers", None)):
        left: Any = redis.pttl(name)
        assert 7_190_000 < left <= 7_200_000
