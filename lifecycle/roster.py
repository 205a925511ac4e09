"""The roster: everybody who subscribes, by the configuration, by the API, or as a stream of a Shared Signals receiver.

Whoever changes what the API or a receiver has made counts up ``keys.REVISION`` in the same step: a signal is fanned
out to those who subscribe at that moment, or not yet.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar

from pydantic import ValidationError
from redis import Redis

from lifecycle import keys
from lifecycle.config import Config
from lifecycle.errors import Refused
from lifecycle.sealed import UNFIT, Kept, opened, read, without_secrets
from lifecycle.ssf import streams
from lifecycle.subscriber import Subscriber
from lifecycle.vault import Vault

LEAVING: Final = b'{"leaving": true}'
"""What is kept of one that is being deleted: nobody subscribes by that name."""
Found = TypeVar("Found")


class Roster(NamedTuple):
    """Who subscribes, as of a revision."""

    revision: int
    subscribers: Mapping[str, Subscriber]
    unopened: Mapping[str, Subscriber] = MappingProxyType({})
    """Those whose secrets no key opens: what they want is known and waits for them, but nothing can be sent."""
    unusable: Mapping[str, str] = MappingProxyType({})
    """Everybody made by the API to whom nothing can be sent, and why."""
    made: Mapping[str, Kept | None] = MappingProxyType({})
    """What is kept of those made by the API, sealed as it is; None for what another version wrote."""

    @property
    def everybody(self) -> Mapping[str, Subscriber]:
        """All for whom signals wait, whether or not one could be sent now."""
        return {**self.unopened, **self.subscribers}

    @property
    def names(self) -> set[str]:
        """The names of all of them, and of those of whom not even the wishes can be read."""
        return {*self.subscribers, *self.unusable}


def roster(redis: Redis, config: Config, now: datetime | None = None) -> Roster:
    """Return who subscribes now; what is wrong with one keeps none of the others away."""
    vault = Vault.of(redis, config)
    # The revision first: what changes after it was read is a later one's.
    found = _made(redis, revision(redis), vault, now or datetime.now(UTC))
    joined = streams.joined(redis, config, vault)
    # Whoever is in the file is as the file says.
    return found._replace(
        subscribers={**found.subscribers, **joined.subscribers, **config.subscribers},
        unopened={**_without(found.unopened, config), **joined.unopened},
        unusable={**_without(found.unusable, config), **joined.unusable},
        made=_without(found.made, config),
    )


def _without(found: Mapping[str, Found], config: Config) -> dict[str, Found]:
    return {name: each for name, each in found.items() if name not in config.subscribers}


def revision(redis: Redis) -> int:
    """Return which revision of the roster there is."""
    found: Any = redis.get(keys.REVISION)
    return int(found or 0)


def _made(redis: Redis, as_of: int, vault: Vault, now: datetime) -> Roster:
    subscribers: dict[str, Subscriber] = {}
    without_keys: dict[str, Subscriber] = {}
    unusable: dict[str, str] = {}
    records = _records(redis)
    for name, kept in records.items():
        if kept is None:
            unusable[name] = UNFIT
            continue
        try:
            subscribers[name] = opened(name, kept, vault).subscriber(now)
        except Refused as error:
            unusable[name] = error.message
            without_keys |= _wishes(name, kept, now)
        except ValidationError:
            unusable[name] = UNFIT
    return Roster(as_of, subscribers, without_keys, unusable, records)


def _records(redis: Redis) -> dict[str, Kept | None]:
    found: Any = redis.hgetall(keys.SUBSCRIBERS)
    return {name.decode(): read(raw) for name, raw in found.items() if raw != LEAVING}


def _wishes(name: str, kept: Kept, now: datetime) -> dict[str, Subscriber]:
    """Return whoever cannot be opened, with a secret that is nobody's."""
    try:
        return {name: without_secrets(kept.section, now).subscriber(now)}
    except ValidationError:
        return {}
