"""The streams of Shared Signals receivers: each belongs to the client that made it, and nobody else sees it.

To those who send, a stream is a subscriber that is called like its id. Whatever changes what it gets counts up
``keys.REVISION`` in the same step.

https://openid.net/specs/openid-sharedsignals-framework-1_0-final.html section 8
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeGuard, TypeVar
from uuid import uuid4

from pydantic import AfterValidator, AwareDatetime, BaseModel, ValidationError
from redis import Redis
from redis.client import Pipeline
from redis.exceptions import WatchError

from lifecycle import keys, outbox
from lifecycle.addresses import Forbidden, check_url
from lifecycle.config import Config
from lifecycle.errors import Conflict, Refused, Unavailable, Unknown
from lifecycle.forgetting import forget
from lifecycle.sealed import UNFIT
from lifecycle.secrets import Secret
from lifecycle.signal import Signal, Told
from lifecycle.ssf import sets
from lifecycle.ssf.excluded import Excluded
from lifecycle.ssf.section import Receiver, Ssf
from lifecycle.ssf.stream_scripts import EXCLUDE, MOVE
from lifecycle.subscriber import SSF_POLL, SSF_PUSH, Subscriber
from lifecycle.vault import Vault

PUSH: Final = "urn:ietf:rfc:8935"
POLL: Final = "urn:ietf:rfc:8936"
LEGACY_PUSH: Final = "https://schemas.openid.net/secevent/risc/delivery-method/push"
LEGACY_POLL: Final = "https://schemas.openid.net/secevent/risc/delivery-method/poll"
FORMATS: Final[Mapping[str, Literal["ssf_push", "ssf_poll"]]] = {
    PUSH: SSF_PUSH,
    POLL: SSF_POLL,
    LEGACY_PUSH: SSF_PUSH,
    LEGACY_POLL: SSF_POLL,
}
"""By the URI of a delivery method."""
SUBJECTS_MAX = 10_000
TRIES_MAX = 20
DELETED = "stream_deleted"
# Nothing is called so: of who wants no event, none is wanted.
NO_EVENTS: Final = ["urn:gatepost:no-event"]

Changed = TypeVar("Changed")


def _known_method(found: str) -> str:
    if found not in FORMATS:
        msg = f"allowed: {', '.join(FORMATS)}"
        raise ValueError(msg)
    return found


class Stream(BaseModel, frozen=True, extra="forbid"):
    """A stream as it is kept."""

    id: str
    receiver: str
    """The client that made it."""
    method: Annotated[str, AfterValidator(_known_method)] = POLL
    """The URI of its delivery method, as the receiver writes it."""
    endpoint_url: str = ""
    """Where it is pushed to."""
    authorization: str = ""
    """What is pushed with it, sealed."""
    events_requested: tuple[str, ...] | None = None
    """None for all that there are."""
    description: str | None = None
    format: str | None = None
    """How persons are named, where the receiver said so."""
    made_at: AwareDatetime
    leaving: Literal[True] | None = None
    """Whether it is being deleted: nobody finds it any more, and nothing is fanned out to it."""

    @property
    def is_polled(self) -> bool:
        """Whether its receiver comes for what it gets."""
        return FORMATS[self.method] == SSF_POLL


class StreamSubscriber(Subscriber):
    """A stream as those who send see it."""

    excluded: Excluded

    def wants(self, signal: Told) -> bool:
        """Tell whether this signal is for it: what is about the stream itself always is."""
        return super().wants(signal) and self.may_hear(signal)

    def may_hear(self, signal: Told) -> bool:
        """Tell whether it may be told of this at all: not of a subject that its receiver removed."""
        return bool(signal.only) or not self.excluded.covers(signal)


def new_id() -> str:
    """Return an id that no other stream and no other subscriber has."""
    return f"ssf-{uuid4().hex}"


def poll_url(ssf: Ssf, stream_id: str) -> str:
    """Return where a stream is polled."""
    return f"{ssf.issuer.rstrip('/')}/ssf/poll/{stream_id}"


def events_supported(receiver: Receiver) -> tuple[str, ...]:
    """Return the events that a receiver may get."""
    return sets.events_for(receiver)


def events_delivered(receiver: Receiver, stream: Stream) -> tuple[str, ...]:
    """Return those of them that a stream gets."""
    wanted = stream.events_requested
    return tuple(uri for uri in events_supported(receiver) if wanted is None or uri in wanted)


def subscriber_of(stream: Stream, ssf: Ssf, authorization: str, excluded: frozenset[str]) -> StreamSubscriber:
    """Return a stream as a subscriber. Raises KeyError where its receiver is not configured."""
    receiver = ssf.receivers[stream.receiver]
    return StreamSubscriber(
        format=FORMATS[stream.method],
        url=poll_url(ssf, stream.id) if stream.is_polled else stream.endpoint_url,
        audience=receiver.audience,
        set_events=list(events_delivered(receiver, stream)) or NO_EVENTS,
        authorization=Secret(f"stream {stream.id}", authorization) if authorization else None,
        subject=receiver.subject,
        profile=receiver.profile,
        provisioning=receiver.provisioning,
        targets=receiver.targets,
        # Nothing is sent to who polls, wherever our issuer is.
        allow_private=receiver.allow_private or stream.is_polled,
        excluded=Excluded(ssf.issuer, receiver.audience, excluded),
    )


class Joined(NamedTuple):
    """The streams of the configured receivers as subscribers, by name."""

    subscribers: dict[str, Subscriber]
    unopened: dict[str, Subscriber]
    """Those whose authorization no key opens: what they get waits until one does."""
    unusable: dict[str, str]
    """Those to whom nothing can be sent, and why."""


def joined(redis: Redis, config: Config, vault: Vault) -> Joined:
    """Return the streams as subscribers; what is wrong with one keeps none of the others away."""
    found = Joined({}, {}, {})
    if config.ssf is None:
        return found
    kept = _kept(redis)
    found.unusable.update({stream_id: UNFIT for stream_id, each in kept.items() if each is None})
    known = [each for each in kept.values() if _is_there(each) and each.receiver in config.ssf.receivers]
    for stream, excluded in zip(known, _excluded(redis, known), strict=True):
        try:
            _check_place(stream, config, config.ssf.receivers[stream.receiver])
            _join(found, stream, config.ssf, vault, excluded)
        except (ValidationError, Forbidden):
            found.unusable[stream.id] = UNFIT
    return found


def _check_place(stream: Stream, config: Config, receiver: Receiver) -> None:
    """Raise Forbidden where it may not be pushed to: what is allowed may have changed since it was asked for."""
    if not stream.is_polled:
        check_url(stream.endpoint_url, allow_private=receiver.allow_private, ports=config.signals.ports)


def _join(found: Joined, stream: Stream, ssf: Ssf, vault: Vault, excluded: frozenset[str]) -> None:
    """Let a stream join, as far as it can be opened. Raises ValidationError where it is no subscriber."""
    try:
        authorization = vault.open(stream.authorization, stream.id) if stream.authorization else ""
    except Refused as error:
        found.unopened[stream.id] = subscriber_of(stream, ssf, "", excluded)
        found.unusable[stream.id] = error.message
    else:
        found.subscribers[stream.id] = subscriber_of(stream, ssf, authorization, excluded)


def _excluded(redis: Redis, known: Sequence[Stream]) -> list[frozenset[str]]:
    with redis.pipeline(transaction=False) as pipe:
        for each in known:
            pipe.smembers(keys.excluded(each.id))
        return [frozenset(member.decode() for member in members) for members in pipe.execute()]


def of_receiver(redis: Redis, receiver: str) -> list[Stream]:
    """Return a receiver's streams, oldest first."""
    own = (each for each in _kept(redis).values() if _is_there(each) and each.receiver == receiver)
    return sorted(own, key=lambda each: (each.made_at, each.id))


def find(redis: Redis, receiver: str, stream_id: str) -> Stream:
    """Return one of a receiver's streams. Raises Unknown where it has none with this id, whoever else may."""
    stream = _own(redis, receiver, stream_id)
    if stream.leaving:
        raise _unknown()
    return stream


def create(redis: Redis, stream: Stream, streams_max: int, signals: Sequence[Signal] = ()) -> None:
    """Keep a new stream, and what it is told at once. Raises Conflict where its receiver has enough."""

    def change(pipe: Pipeline) -> None:
        if len(of_receiver(pipe, stream.receiver)) >= streams_max:
            raise Conflict(
                f"you have {streams_max} already, which is all you may have: change that one, or delete it first",
                reason="streams_max",
            )
        pipe.multi()
        _write(pipe, stream)
        for each in signals:
            outbox.keep(pipe, each)

    _transact(redis, change)


def change(redis: Redis, receiver: str, stream_id: str, to: Callable[[Stream], Stream]) -> Stream:
    """Change a stream to what is made of it as it stands, and return that. Raises Unknown, and what ``to`` raises.

    Where its delivery method changes, what waits for it goes the new way.
    """

    def step(pipe: Pipeline) -> Stream:
        before = find(pipe, receiver, stream_id)
        after = to(before)
        pipe.multi()
        if after == before:
            # Nobody has to read anew who gets what.
            return before
        _write(pipe, after)
        if before.is_polled != after.is_polled:
            pipe.eval(MOVE, 0, stream_id, FORMATS[after.method], _now())
        return after

    return _transact(redis, step)


def delete(redis: Redis, receiver: str, stream_id: str) -> None:
    """Delete a stream, what waits for it, and what is remembered of it. Raises Unknown.

    It is first marked so that nothing more is fanned out to it: where that is cut short, whoever deletes it again, or
    ``finish_deletions``, goes on.
    """

    def step(pipe: Pipeline) -> None:
        before = _own(pipe, receiver, stream_id)
        pipe.multi()
        if not before.leaving:
            _write(pipe, before.model_copy(update={"leaving": True}))

    _transact(redis, step)
    _forget(redis, stream_id)


def finish_deletions(redis: Redis) -> None:
    """Delete what is left of streams whose deletion was cut short."""
    for stream in _kept(redis).values():
        if stream and stream.leaving:
            _forget(redis, stream.id)


def _forget(redis: Redis, stream_id: str) -> None:
    forget(redis, stream_id, DELETED)
    redis.delete(keys.excluded(stream_id), keys.verified(stream_id))
    redis.hdel(keys.STREAMS, stream_id)


def exclude(redis: Redis, stream: Stream, name: str) -> None:
    """Tell a stream no more of a subject. Raises Conflict where it excludes too many."""
    if redis.eval(EXCLUDE, 0, stream.id, "SADD", name, SUBJECTS_MAX) == 0:
        raise Conflict(
            f"{SUBJECTS_MAX} subjects are removed from this stream, and no more can be", reason="subjects_max"
        )


def include(redis: Redis, stream: Stream, name: str) -> None:
    """Tell a stream of a subject again."""
    redis.eval(EXCLUDE, 0, stream.id, "SREM", name, SUBJECTS_MAX)


def _own(redis: Redis, receiver: str, stream_id: str) -> Stream:
    """Return one of a receiver's streams, also one that is being deleted. Raises Unknown."""
    found: Any = redis.hget(keys.STREAMS, stream_id)
    stream = _read(found) if found else None
    if stream is None or stream.receiver != receiver:
        raise _unknown()
    return stream


def _unknown() -> Unknown:
    return Unknown("you have no stream with this stream_id", reason="stream_unknown")


def _is_there(stream: Stream | None) -> TypeGuard[Stream]:
    return stream is not None and not stream.leaving


def _kept(redis: Redis) -> dict[str, Stream | None]:
    found: Any = redis.hgetall(keys.STREAMS)
    return {stream_id.decode(): _read(raw) for stream_id, raw in found.items()}


def _read(raw: bytes) -> Stream | None:
    """Read what is kept of a stream; None for what another version wrote, and this one does not know."""
    try:
        return Stream.model_validate_json(raw)
    except ValidationError:
        return None


def _write(pipe: Pipeline, stream: Stream) -> None:
    pipe.hset(keys.STREAMS, stream.id, stream.model_dump_json(exclude_none=True))
    pipe.incr(keys.REVISION)


def _transact(redis: Redis, step: Callable[[Pipeline], Changed]) -> Changed:
    """Read and write in one step: again where another did meanwhile. Raises Unavailable where others always do."""
    for _ in range(TRIES_MAX):
        with redis.pipeline() as pipe:
            pipe.watch(keys.STREAMS)  # type: ignore[no-untyped-call]
            found = step(pipe)
            try:
                pipe.execute()
            except WatchError:
                continue
            return found
    raise Unavailable("too many streams change at the same time", reason="busy")


def _now() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)
