"""Who subscribes and what is to be told, as this process last read it."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable

import structlog
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from lifecycle import keys
from lifecycle.config import Config
from lifecycle.log import fault
from lifecycle.roster import Roster, roster
from lifecycle.signal import Told

SIGNALS_MAX = 2_000
REVISION_SECONDS, ROSTER_SECONDS_MAX = 0.5, 30.0
"""How often it is asked whether the roster was changed, and how old it may be: a secret that was rotated out ends by
the clock, without a change of the roster."""

log = structlog.get_logger()


class Known:
    """The roster, and the signals that were read of late: one goes to many subscribers."""

    def __init__(self, config: Config, redis: AsyncRedis, patient: Redis, signals_max: int = SIGNALS_MAX) -> None:
        """Keep both connections; the second is for the thread in which secrets are opened."""
        self.config = config
        self._signals_max = signals_max
        self._redis = redis
        self._patient = patient
        self._signals: OrderedDict[str, Told] = OrderedDict()
        self._read_at = self._asked_at = 0.0
        self.roster = Roster(-1, {})

    async def refresh(self) -> None:
        """Read the roster anew."""
        self.roster = await asyncio.to_thread(roster, self._patient, self.config)
        self._read_at = time.monotonic()
        if self.roster.names:
            await self._redis.sadd(keys.SUBSCRIBER_NAMES, *self.roster.names)

    async def refresh_if_old(self) -> None:
        """Read the roster anew where it was changed, or read long ago."""
        if time.monotonic() - self._asked_at < REVISION_SECONDS:
            return
        self._asked_at = time.monotonic()
        revision = int(await self._redis.get(keys.REVISION) or 0)
        if revision != self.roster.revision or time.monotonic() - self._read_at > ROSTER_SECONDS_MAX:
            await self.refresh()

    async def signals(self, ids: Iterable[str]) -> dict[str, Told]:
        """Return these signals; one that is not kept any more, or cannot be read, is missing."""
        wanted = list(dict.fromkeys(ids))
        # Kept aside: while the others are read, somebody else may read so many that these are forgotten.
        found = {each: self._signals[each] for each in wanted if each in self._signals}
        missing = [each for each in wanted if each not in found]
        if missing:
            async with self._redis.pipeline(transaction=False) as pipe:
                for each in missing:
                    pipe.hgetall(keys.signal(each))
                records = await pipe.execute()
            for each, record in zip(missing, records, strict=True):
                if (told := _told(each, record)) is not None:
                    found[each] = self._signals[each] = told
        while len(self._signals) > self._signals_max:
            self._signals.popitem(last=False)
        return found


def _told(signal_id: str, record: dict[bytes, bytes]) -> Told | None:
    try:
        return Told.of(record)
    except (KeyError, ValueError) as error:
        log.error("signal.unreadable", signal=signal_id, **fault(error))  # noqa: TRY400 - it may hold personal data
        return None
