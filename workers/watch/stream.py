"""The stream of a Shared Signals transmitter: created, looked at, enabled again, and made to show that it is alive.

With push delivery only calls of the management interface count as our activity: a transmitter may pause or delete the
stream of a receiver that only receives, so its status is asked for every few minutes. Now and then a verification event
is asked for, whose state the receiver knows again; one that does not come means that events do not come through.

Where the transmitter allows one stream and has one, that one is taken and pointed at us.

https://openid.net/specs/openid-sharedsignals-framework-1_0-final.html, sections 7 and 8
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import quote

import structlog
from redis import Redis

from lifecycle.errors import Postponed, Refused
from lifecycle.hearing import fingerprint, forget_upkeep, upkeep
from lifecycle.stream import Stream as Section
from lifecycle.verification import make_state, seals
from lifecycle.watching import STREAM, Watch
from workers.directories.answers import CONFLICT, NOT_FOUND, TOO_MANY, read
from workers.directories.api import Api
from workers.http import Answer
from workers.watch.base import Turn, next_at

EVERY = timedelta(minutes=5)
# The transmitter promises no time; the event itself is verified by the receiver within milliseconds.
VERIFIED_SECONDS_MAX = 900.0
PUSH = "urn:ietf:rfc:8935"
ENABLED = "enabled"
VERIFICATION, UPDATED = "verification", "stream-updated"
RISC = "https://schemas.openid.net/secevent/risc/event-type/"
EVENTS = [f"{RISC}{name}" for name in ("account-disabled", "account-enabled", "account-purged", "identifier-changed")]
"""What means something to us."""

log = structlog.get_logger()


class State(NamedTuple):
    """What is known of the stream."""

    id: str = ""
    made_for: str = ""
    """The address that it pushes to and the fingerprint of the secret that it sends; empty where neither was set."""
    asked_at: float = 0.0
    """When a verification event was asked for, the first of those that did not come."""
    again_at: float = 0.0
    """When one was asked for last."""
    verified_at: float = 0.0
    """When one came last."""

    @property
    def waits(self) -> bool:
        """Tell whether one was asked for that did not come."""
        return self.asked_at > self.verified_at


@dataclass(frozen=True)
class Transmitter:
    """Who sends, and what we want of it."""

    source: str
    issuer: str
    section: Section
    url: str | None
    secrets: Sequence[str]

    @property
    def made_for(self) -> str:
        """Return what a stream has to be made for; empty where that is not ours to say."""
        if self.url is None:
            return ""
        return f"{self.url} {fingerprint(self.source, self.secrets[0]) if self.secrets else ''}"

    def delivery(self) -> dict[str, str]:
        """Return how events shall come."""
        told = {"method": PUSH, "endpoint_url": self.url or ""}
        return told | ({"authorization_header": self.secrets[0]} if self.secrets else {})


class Stream:
    """Keeps the stream of one source."""

    name = STREAM
    every = EVERY

    def __init__(
        self,
        redis: Redis,
        wanted: Transmitter,
        metadata: Callable[[], Mapping[str, Any]],
        api: Callable[[str], Api],
    ) -> None:
        """Keep how the transmitter's metadata is got, and how one of its endpoints is asked."""
        self._redis = redis
        self._wanted = wanted
        self._metadata = metadata
        self._api = api

    def is_called(self) -> bool:
        """Tell whether the transmitter said something of the stream."""
        return bool(upkeep(self._redis, self._wanted.source))

    def is_blind(self, watch: Watch, now: float) -> bool:  # noqa: ARG002 - as in Task
        """Tell that nobody knows whether the stream lives."""
        return True

    def run(self, watch: Watch, turn: Turn) -> Watch:
        """Look at the stream, and make it what is wanted. Raises Refused where it does not live."""
        now, words = turn.clock(), upkeep(self._redis, self._wanted.source)
        state = State(*json.loads(watch.position)) if watch.position else State()
        if any(word.split(":")[0] == VERIFICATION for word in words):
            state = state._replace(verified_at=now)
        visit = Visit(self._wanted, self._metadata(), self._api, turn, watch)
        visit.keep(state)
        forget_upkeep(self._redis, self._wanted.source, words)
        visit.check(visit.asked(visit.tend(state)))
        return visit.watch.done(now, next_at(now, self.every))


@dataclass
class Visit:
    """One look at a stream."""

    wanted: Transmitter
    metadata: Mapping[str, Any]
    api: Callable[[str], Api]
    turn: Turn
    watch: Watch

    def keep(self, state: State, shown: str = "") -> None:
        """Note how the stream stands."""
        update = {"position": json.dumps(state), "shown": shown or self.watch.shown}
        self.watch = self.watch.model_copy(update=update)
        self.turn.keep(self.watch)

    def tend(self, state: State) -> State:
        """Return the stream, there and enabled. Raises as a request."""
        if not (state.id and self._is_there(state)):
            state = State(self._found())
            self.keep(state)
        if self.wanted.made_for not in {"", state.made_for}:
            change = {"stream_id": state.id, "delivery": self.wanted.delivery()}
            self._send("PATCH", "configuration_endpoint", body=change)
            state = state._replace(made_for=self.wanted.made_for)
            self.keep(state)
        return state

    def _is_there(self, state: State) -> bool:
        """Tell whether the stream is there, and have it enabled. Raises Postponed while it is not."""
        answer = self._send("GET", "status_endpoint", state.id, allow=(NOT_FOUND,))
        if answer.status == NOT_FOUND:
            log.warning("stream.gone", source=self.wanted.source)
            return False
        status = str(read(answer).get("status"))
        if status == ENABLED:
            return True
        change = {"stream_id": state.id, "status": ENABLED, "reason": "the receiver is there"}
        answer = self._send("POST", "status_endpoint", body=change)
        after = str(read(answer).get("status")) if answer.body else status
        log.warning("stream.enabled", source=self.wanted.source, before=status[:20], after=after[:20])
        if after != ENABLED:
            raise Postponed(f"the transmitter has the stream {status[:20]}", reason="stream_paused")
        return True

    def _found(self) -> str:
        """Return the stream that is configured, that pushes to us, or that is created now."""
        if self.wanted.section.id:
            return self.wanted.section.id
        if self.wanted.url is None:
            raise Refused("neither url nor stream.id says which stream is ours", reason="stream_unknown")
        ours = [each for each in self._streams() if _delivery(each).get("endpoint_url") == self.wanted.url]
        return _id(ours[0]) if ours else self._created()

    def _created(self) -> str:
        body = {
            "delivery": self.wanted.delivery(),
            "events_requested": self.wanted.section.events or EVENTS,
            "description": "Gatepost",
        }
        answer = self._send("POST", "configuration_endpoint", body=body, allow=(CONFLICT,))
        if answer.status == CONFLICT:
            # One receiver may have one stream only; whatever it pushed to before, it is ours (section 8.1.1.1).
            there = list(self._streams())
            if len(there) != 1:
                raise Refused("a stream exists already; name it by stream.id", reason="stream_exists")
            return _id(there[0])
        made = read(answer)
        if made.get("iss") != self.wanted.issuer:
            raise Refused("the stream is of another issuer than the source", reason="issuer")
        log.info("stream.created", source=self.wanted.source)
        return _id(made)

    def _streams(self) -> Iterator[Mapping[str, Any]]:
        """Yield the streams of this receiver; some transmitters show one without a list around it."""
        answer = self._send("GET", "configuration_endpoint", allow=(NOT_FOUND,))
        found = [] if answer.status == NOT_FOUND else read(answer)
        yield from (each for each in (found if isinstance(found, list) else [found]) if isinstance(each, dict))

    def asked(self, state: State) -> State:
        """Ask for a verification event when it is time."""
        every, now = self.wanted.section.verify_every.total_seconds(), self.turn.clock()
        wait = VERIFIED_SECONDS_MAX if state.waits else every
        if not every or now < state.again_at + wait or "verification_endpoint" not in self.metadata:
            return state
        sealed = make_state(seals(self.wanted.secrets, self.wanted.issuer)[0], datetime.fromtimestamp(now, UTC))
        body = {"stream_id": state.id, "state": sealed}
        answer = self._send("POST", "verification_endpoint", body=body, allow=(TOO_MANY,))
        if answer.status == TOO_MANY:
            return state
        return state._replace(asked_at=state.asked_at if state.waits else now, again_at=now)

    def check(self, state: State) -> None:
        """Note what is known. Raises Postponed where events do not come through."""
        at = datetime.fromtimestamp(state.verified_at, UTC)
        self.keep(state, f"enabled, verified {at:%Y-%m-%d %H:%M}" if state.verified_at else "enabled, not verified yet")
        if state.waits and self.turn.clock() - state.asked_at > VERIFIED_SECONDS_MAX:
            text = "no verification event came that was asked for: see that url is right and can be reached"
            raise Postponed(text, reason="not_verified")

    def _send(
        self,
        method: str,
        endpoint: str,
        stream_id: str | None = None,
        *,
        body: object = None,
        allow: Sequence[int] = (),
    ) -> Answer:
        url = self.metadata.get(endpoint)
        if not isinstance(url, str):
            raise Refused(f"the transmitter's metadata has no {endpoint}", reason="metadata")
        self.turn.lease.renew()
        joined = f"{'&' if '?' in url else '?'}stream_id={quote(stream_id, safe='')}" if stream_id else ""
        return self.api(url).talk(self.wanted.secrets).send(method, url + joined, body=body, allow=allow)


def _delivery(found: Mapping[str, Any]) -> Mapping[str, Any]:
    delivery = found.get("delivery")
    return delivery if isinstance(delivery, dict) else {}


def _id(found: Mapping[str, Any]) -> str:
    stream_id = found.get("stream_id")
    if not isinstance(stream_id, str) or not stream_id:
        raise Refused("the transmitter names no stream_id", reason="metadata")
    return stream_id
