"""Which secret can go: an old one, once a newer one was in use for a week without it."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis

from gatepost.rotation import lines
from lifecycle.aside import ASIDE_MAX
from lifecycle.config import Config
from lifecycle.hearing import fingerprint, heard_commands
from tests.conftest import MakeConfig
from tests.notices import OLD_SECRETS, SECRETS

NEW, OLD = (each["standard_webhooks"] for each in (SECRETS, OLD_SECRETS))
DAY = timedelta(days=1)

Says = Callable[[], dict[str, str]]


@pytest.fixture
def says(config: MakeConfig, redis: Redis) -> Says:
    """Return what is said to do with each secret of a source, the new one first."""
    found: Config = config()

    def words() -> dict[str, str]:
        told = lines(redis, {"hris": found.sources["hris"]})
        return {line.what.removeprefix("sources.hris "): line.do for line in told}

    return words


def use(redis: Redis, days_ago: Mapping[str, tuple[float, ...]]) -> None:
    """Let a source be heard, by each secret so many days ago."""
    now = datetime.now(UTC)
    uses = [(now - days * DAY, fingerprint("hris", secret)) for secret, each in days_ago.items() for days in each]
    for at, name in sorted(uses):
        for command in heard_commands("hris", {name: at}):
            redis.execute_command(*command)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    "days_ago",
    [
        {},
        {OLD: (8,)},
        {OLD: (60,)},
        {NEW: (0,)},
        {NEW: (60,)},
        {NEW: (6, 0)},
        {OLD: (60, 0), NEW: (30, 20)},
        {OLD: (60, 6), NEW: (20, 0)},
        {OLD: (60, 20), NEW: (19,)},
        {OLD: (60, 20), NEW: (5, 0)},
    ],
    ids=[
        "nothing was heard",
        "the old one alone",
        "the old one alone, long ago",
        "the new one, for the first time",
        "the new one once",
        "the new one for some days",
        "the new one, tried before the old one's last use",
        "the old one, some days ago",
        "the new one once since then",
        "the new one for some days since then",
    ],
)
def test_secret_that_may_be_the_only_one_that_works_stays(
    redis: Redis, says: Says, days_ago: dict[str, tuple[float, ...]]
) -> None:
    """A source may be quiet, or may not have been told of the new secret, or may go on to send again what it signed."""
    use(redis, days_ago)

    assert says() == {"secret 1": "", "secret 2": ""}


@pytest.mark.parametrize("days_ago", [{NEW: (8, 0)}, {OLD: (60, 20), NEW: (19, 1)}, {OLD: (9,), NEW: (30, 0)}])
def test_secret_that_a_newer_one_replaced_for_a_week_can_be_removed(
    redis: Redis, says: Says, days_ago: dict[str, tuple[float, ...]]
) -> None:
    """Whether it was ever used or not; the new one stays, however seldom it is used."""
    use(redis, days_ago)

    assert says() == {"secret 1": "", "secret 2": "it can be removed"}


def test_mark_of_before_first_uses_were_noted_is_no_proof(redis: Redis, says: Says) -> None:
    """Then the week begins with the next use."""
    at = int((datetime.now(UTC) - 30 * DAY).timestamp() * 1000)
    redis.hset("gatepost:heard:hris", mapping={"at": at, fingerprint("hris", NEW): at})
    use(redis, {NEW: (1, 0)})

    assert says() == {"secret 1": "", "secret 2": ""}


@pytest.mark.parametrize(("number", "ok"), [(0, None), (1, None), (ASIDE_MAX, False)])
def test_what_is_set_aside_is_told(redis: Redis, config: MakeConfig, number: int, ok: bool | None) -> None:
    """And that there is no room for more, which somebody has to mend before the vendor gives up."""
    for each in range(number):
        redis.hset("gatepost:aside:hris", f"notice-{each}", 10)

    told = [line for line in lines(redis, config().sources) if line.what == "sources.hris set aside"]

    assert [(line.ok, line.found.partition(" ")[0]) for line in told] == ([(ok, str(number))] if number else [])
