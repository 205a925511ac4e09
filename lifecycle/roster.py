"""The roster: everybody who subscribes, by the configuration, by the API, or as a stream of a Shared Signals receiver.

Whoever changes what the API or a receiver has made counts up ``keys.REVISION`` in the same step: a signal is fanned
out to those who subscribe at that moment, or not yet.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from redis import Redis

from lifecycle import keys
from lifecycle.config import Config
from lifecycle.subscriber import Subscriber


class Roster(NamedTuple):
    """Who subscribes, as of a revision."""

    revision: int
    subscribers: Mapping[str, Subscriber]


def roster(redis: Redis, config: Config) -> Roster:
    """Return who subscribes now."""
    return Roster(revision(redis), config.subscribers)


def revision(redis: Redis) -> int:
    """Return which revision of the roster there is."""
    found: Any = redis.get(keys.REVISION)
    return int(found or 0)
