"""The gate before a target: nothing is sent past the limit, a pause, an open circuit or a stop; and nobody sleeps here.

The limit is one credential's for the whole fleet. An attempt asks for all the requests that it needs at once, because
one that is cut in the middle begins again with a look-up. Who is not let in is parked by ``settle``, leavers first, and
let in by ``workers.keeper``.
"""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple
from uuid import uuid4

from redis import Redis

from lifecycle import keys, metrics
from lifecycle.errors import GatepostError, Postponed, Refused, Waiting
from lifecycle.target import Target
from workers.gate_scripts import CLOSE, ENTER, GIVE_UP, GRANT, MORE, PAUSE
from workers.http import Answer
from workers.pauses import TOO_MANY, UNAVAILABLE, pause_of
from workers.scim.grants import credential_of

WINDOW_SECONDS = 60.0
# A server may see two requests closer together than they were sent.
GUARD_SECONDS = 0.1
# Longer than a job may take: what a dead worker had reserved counts until then.
PERMIT_SECONDS = 50.0
GRANT_SECONDS = 10.0
GRANTS_AT_ONCE_MAX, GRANTS_OUTSTANDING_MAX = 20, 32

# Where the target names no time.
PAUSE_SECONDS, PAUSE_SECONDS_MAX = 1.0, 60.0
# A leaver keeps to what the target asked for this long, then it is tried: an hour is long for an open door.
LEAVER_PAUSE_SECONDS_MAX = 60.0
# How long what is nobody's waits for each request, outside of every job, and how often it asks.
ASIDE_SECONDS_MAX, ASIDE_LOOK_SECONDS = 10.0, 0.1
# Younger knowledge of whether the fleet pauses is not refreshed before a request.
PAUSE_LOOK_SECONDS = 0.05

FAILURES_MAX = 5
CIRCUIT_SECONDS, CIRCUIT_SECONDS_MAX = 5.0, 300.0
# Leavers come before all others, among themselves by time received; milliseconds.
LEAVERS_FIRST = 10**13

# How an attempt ended, for the circuit. What is in neither table shows that the target works.
FAILED = frozenset({"credentials", "forbidden", "scopes", "broken", "unreachable", "no_answer"})
SAYS_NOTHING = frozenset({"busy", "slow", "internal", "token", "rate", "paused", "circuit", "stopped"})
FOR_A_PERSON = frozenset({"credentials", "forbidden", "scopes"})
# These are never about one person: the first opens the circuit, and whoever met it waits with all the others.
AT_ONCE = frozenset({"credentials", "scopes"})
Verdict = Literal["ok", "failed", "nothing"]

WHY = {
    "rate": "the limit of requests is used up",
    "paused": "the target asked to be left alone for a while",
    "circuit": "the target fails; one request tries it now and then",
    "stopped": "the target is stopped for all but suspensions",
}


class Rank(NamedTuple):
    """Who comes first: leavers, then whoever was heard of first."""

    leaver: bool
    received_at: datetime

    @property
    def score(self) -> int:
        """The place in the line; the lower, the sooner."""
        return int(self.received_at.timestamp() * 1000) - LEAVERS_FIRST * self.leaver


@dataclass(frozen=True)
class Rate:
    """How often one credential may be used; None for as often as one likes."""

    limit: int | None = None
    leaver_share: float = 0.0
    window_seconds: float = WINDOW_SECONDS

    @classmethod
    def of(cls, target: Target, default: int | None) -> "Rate":
        """Return what a target's section says, else the adapter."""
        return cls(target.requests_per_minute or default, target.leaver_share)


class Let(NamedTuple):
    """Somebody who waited and is let in now."""

    person: str
    leaver: bool


class Gate:
    """The gate of one target."""

    def __init__(
        self, redis: Redis, name: str, target: Target, rate: Rate, *, clock: Callable[[], int] | None = None
    ) -> None:
        """Keep the limit; a clock stands in for Redis's own in tests."""
        self.name = name
        self.rate = rate
        self._redis = redis
        self._clock = clock
        credential = credential_of(target)
        self._pace = keys.pace(credential)
        self._keys = [keys.used(credential), self._pace, keys.waiting(name), keys.needs(name), keys.granted(name)]
        self._keys += [keys.circuit(name), keys.stopped(name), keys.FAILURES]
        self._family, self._numbers = uuid4().hex, itertools.count(1)
        self._scripts = {text: redis.register_script(text) for text in (ENTER, MORE, CLOSE, GIVE_UP, PAUSE, GRANT)}

    def permit(self, person: str = "") -> "Permit":
        """Return a permit of which nothing is asked yet; nobody's is for what a worker asks outside of its jobs."""
        return Permit(self, person, Rank(leaver=False, received_at=datetime.now(UTC)))

    def let_in(self) -> tuple[int, list[Let]]:
        """Let in who is first and may; return how many still wait, and who was let in. Asked again and again."""
        found = self.run(GRANT, self.name_permit(), GRANTS_AT_ONCE_MAX, GRANTS_OUTSTANDING_MAX, GRANT_SECONDS * 1000)
        waiting, *let = found
        return waiting, [Let(person.decode(), bool(leaver)) for person, leaver in zip(let[::2], let[1::2], strict=True)]

    def give_up(self, person: str) -> None:
        """Leave to others what was kept for somebody who was let in and needs nothing any more."""
        self.run(GIVE_UP, person)

    def name_permit(self) -> str:
        """Return a name that no permit ever had."""
        return f"{self._family}-{next(self._numbers)}"

    def run(self, script: str, *arguments: str | float) -> Any:  # noqa: ANN401 - a script's answer
        """Make one step."""
        rate = self.rate
        window = [rate.window_seconds * 1000, GUARD_SECONDS * 1000]
        common = [self._clock() if self._clock else "", rate.limit or 0, *window, rate.leaver_share]
        return self._scripts[script](keys=self._keys, args=[*common, PERMIT_SECONDS * 1000, *arguments])

    def pause_ends(self, *, leaver: bool) -> float:
        """Return until when these wait, in milliseconds on Redis's clock."""
        found: Any = self._redis.hget(self._pace, "leavers_until" if leaver else "paused_until")
        return float(found or 0)

    def pause(self, seconds: float) -> None:
        """Keep the whole fleet from sending; 0 where the target named no time."""
        bounds = (PAUSE_SECONDS * 1000, PAUSE_SECONDS_MAX * 1000, LEAVER_PAUSE_SECONDS_MAX * 1000)
        self.run(PAUSE, seconds * 1000, *bounds)

    def has_waited(self, seconds: float) -> None:
        """Count how long somebody waited."""
        with self._redis.pipeline() as pipe:
            metrics.observe(pipe, "gatepost_rate_wait_seconds", self.name, seconds=seconds)
            pipe.execute()


@dataclass
class Permit:
    """One attempt's leave to send: so many requests, each asked for before it is made, and what came of them."""

    gate: Gate
    person: str
    rank: Rank
    wish: int = 1
    """How many requests the attempt will most likely make: asked for with the first of them."""
    paused: bool = False
    """Whether the target asked for a pause in this attempt."""
    shut: bool = False
    """Whether the attempt ended before a target that fails for everybody."""
    _asked: bool = False
    _id: str = ""
    _tokens: int = 0
    _to_close: bool = False
    _sent: list[float] = field(default_factory=list)
    """When, in milliseconds on Redis's clock; infinite while no answer is there."""
    _clocks_apart: float = 0.0
    _seen_at: float = 0.0

    def enter(self, need: int, rank: Rank) -> None:
        """Ask for all the requests of the attempt. Raises Waiting, with nothing taken, when it has to wait."""
        self.rank, self._asked = rank, True
        asked_at = time.monotonic()
        arguments = (self.person, need, self.kind, rank.score if self.person else 0, self.gate.name_permit())
        may, reason, permit, tokens, now, waited, to_close = self.gate.run(ENTER, *arguments)
        if not may:
            raise _waiting(reason.decode(), tokens)
        self._id, self._tokens, self._to_close = permit.decode(), tokens, bool(to_close)
        self._sent = []
        self._synchronise(asked_at, now)
        if waited >= 0:
            self.gate.has_waited(waited / 1000)

    @property
    def kind(self) -> int:
        """What the scripts are told of it: 1 for a leaver, 2 for nobody."""
        return int(self.rank.leaver) if self.person else 2

    def use(self) -> None:
        """Ask before each request. Raises Waiting when the fleet pauses now, or no request more is to be had."""
        deadline = time.monotonic() + (0 if self.person else ASIDE_SECONDS_MAX)
        while True:
            try:
                return self._use()
            except Waiting as error:
                if error.reason != "rate" or time.monotonic() > deadline:
                    raise
            time.sleep(ASIDE_LOOK_SECONDS)

    def _use(self) -> None:
        if not self._id:
            self.enter(self.wish, self.rank)
        if self.gate.rate.limit is not None and len(self._sent) >= self._tokens:
            self._ask_for_one_more()
        elif time.monotonic() - self._seen_at > PAUSE_LOOK_SECONDS:
            self._look_for_a_pause()
        self._sent.append(float("inf"))

    def heard(self, answer: Answer) -> None:
        """Note an answer: when it came, the latest that its request can have been counted, and whether to pause."""
        if self._sent:
            self._sent[-1] = self._now()
        seconds = pause_of(answer, datetime.now(UTC))
        if seconds is not None:
            self.paused = self.paused or answer.status in {TOO_MANY, UNAVAILABLE}
            self.gate.pause(seconds)

    def close(self, error: GatepostError | None = None, *, verdict: Verdict | None = None) -> None:
        """End the attempt: give back what was not used, and tell the circuit."""
        verdict = verdict or self._verdict(error)
        if not self._asked and self.person:
            self.gate.give_up(self.person)
        if not self._id or not (self._to_close or verdict == "failed"):
            return
        reason = error.reason if error else ""
        told = self._tell(verdict, reason)
        self.shut = verdict == "failed" and (reason in AT_ONCE or told == "probed")
        self._id = ""

    def _tell(self, verdict: Verdict, reason: str) -> str:
        now = self._now()
        failures_max = 1 if reason in AT_ONCE else FAILURES_MAX
        circuit = (failures_max, CIRCUIT_SECONDS * 1000, CIRCUIT_SECONDS_MAX * 1000)
        told = (verdict, reason, int(reason in FOR_A_PERSON), f"target:{self.gate.name}", *circuit)
        sent = (min(at, now) for at in self._sent)
        answer: bytes = self.gate.run(CLOSE, self._id, self._tokens, self.kind, *told, *sent)
        return answer.decode()

    def outcome(self, error: GatepostError) -> GatepostError:
        """Return what the error of a closed attempt means: whoever met what all meet waits for its end with them."""
        need = max(self._tokens, len(self._sent), 1)
        if self.shut:
            return Waiting(f"{error.message}; {WHY['circuit']}", reason="circuit", need=need)
        if error.reason in AT_ONCE:
            # Refused on its way, past the first request: the next attempt begins there, and shows whose trouble it is.
            return Postponed(error.message, reason=error.reason)
        return _waiting("paused", need) if self.paused and error.reason == "busy" else error

    @property
    def need(self) -> int:
        """How many requests the next attempt asks for: it begins again, and needs more than this one had."""
        return len(self._sent) + max(2, len(self._sent) // 2)

    def _ask_for_one_more(self) -> None:
        asked_at = time.monotonic()
        why, now, most = self.gate.run(MORE, self._id, len(self._sent) + 1, self.kind)
        if why == b"rate" and self.person and len(self._sent) >= most:
            # It had all that there is, so the next attempt would end here too.
            raise Refused(f"needs more requests than the limit allows: {most} were not enough", reason="limit")
        if why:
            raise _waiting(why.decode(), self.need)
        self._tokens += 1
        self._synchronise(asked_at, now)

    def _look_for_a_pause(self) -> None:
        self._seen_at = time.monotonic()
        if self.gate.pause_ends(leaver=self.rank.leaver) > self._now():
            raise _waiting("paused", self.need)

    def _synchronise(self, asked_at: float, now: int) -> None:
        """Learn Redis's clock. Counted from before the call, a moment is never earlier than it was."""
        self._clocks_apart = now - asked_at * 1000
        self._seen_at = time.monotonic()

    def _now(self) -> float:
        return round(time.monotonic() * 1000 + self._clocks_apart)

    def _verdict(self, error: GatepostError | None) -> Verdict:
        if error is None:
            return "ok" if self._sent else "nothing"
        if error.reason in FAILED:
            return "failed"
        if error.reason == "busy":
            # 503 without a time is one more way of being broken.
            return "nothing" if self.paused or getattr(error, "retry_at", None) else "failed"
        return "nothing" if error.reason in SAYS_NOTHING or not self._sent else "ok"


def _waiting(reason: str, need: int) -> Waiting:
    return Waiting(WHY[reason], reason=reason, need=need)
