"""What ``gatepost check`` finds of sources: which secrets are in use, so that an old one can go, and what waits."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from redis import Redis

from lifecycle.aside import Room, room
from lifecycle.check import Line
from lifecycle.config import Source
from lifecycle.hearing import KID, Use, fingerprint, handshake, heard, upkeep
from lifecycle.secrets import Secret
from lifecycle.times import ago

# Longer than any vendor goes on to send again, so that nothing that was signed with the old one is still to come.
REST = timedelta(days=7)
SAID_MAX = 5


def lines(redis: Redis, sources: Mapping[str, Source]) -> Iterator[Line]:
    """Yield a line for each secret of each source, for each key of an issuer that signed, and for what waits."""
    for name, source in sources.items():
        found, now = heard(redis, name), datetime.now(UTC)
        if (token := handshake(redis, name)) is not None:
            words = f"handed over a token {ago(now - token.at)}"
            yield Line(f"sources.{name} handshake", None, words, f"see it by: gatepost handshake {name}")
        uses = [found.uses.get(fingerprint(name, secret.value)) for secret in source.secrets]
        for place, secret in enumerate(source.secrets):
            yield _line(f"sources.{name} secret {place + 1}", secret, uses[: place + 1], now)
        if (aside := room(redis, name)).number:
            yield _aside(f"sources.{name} set aside", aside)
        for word in dict.fromkeys(upkeep(redis, name)[-SAID_MAX:]):
            yield Line(f"sources.{name} says", None, word, "see to it at the vendor")
        for key, use in found.uses.items():
            if key.startswith(KID):
                yield Line(f"sources.{name} key", True, f"{key.removeprefix(KID)}: last used {ago(now - use.last)}")


def _aside(what: str, aside: Room) -> Line:
    words = f"{aside.number} notices of {aside.bytes} bytes that cannot be read"
    if aside.is_full:
        words = f"{words}: there is no room, so any more are answered 503, to be sent again"
    return Line(what, False if aside.is_full else None, words, "see gatepost failed; then gatepost retry, or drop")


def _line(what: str, secret: Secret, uses: Sequence[Use | None], now: datetime) -> Line:
    """Return the line of a secret whose use is the last of these; the others are of those listed before it."""
    *newer, own = uses
    words = f"{secret.reference}: " + (f"last used {ago(now - own.last)}" if own else "never used")
    if any(use is not None and _replaces(use, own) for use in newer):
        return Line(what, None, words, "it can be removed")
    return Line(what, True, words)


def _replaces(newer: Use, old: Use | None) -> bool:
    """Tell whether a newer secret was in use for REST while an old one was not.

    That an old one was not used for long says nothing by itself: a quiet source may know no other.
    """
    since = newer.first if old is None else max(newer.first, old.last)
    return newer.last - since >= REST
