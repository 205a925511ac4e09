"""Which secrets are in use, in ``gatepost check``, so that an old one can go; and what sources say of themselves."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from redis import Redis

from lifecycle.check import Line
from lifecycle.config import Source
from lifecycle.hearing import KID, Heard, fingerprint, handshake, heard, upkeep
from lifecycle.secrets import Secret
from lifecycle.times import ago

# Longer than any vendor goes on to send again, so that nothing that was signed with it is still to come.
REST = timedelta(days=7)
SAID_MAX = 5


def lines(redis: Redis, sources: Mapping[str, Source]) -> Iterator[Line]:
    """Yield a line for each secret of each source, and for each key of an issuer that signed of late."""
    for name, source in sources.items():
        found, now = heard(redis, name), datetime.now(UTC)
        if (token := handshake(redis, name)) is not None:
            words = f"handed over a token {ago(now - token.at)}"
            yield Line(f"sources.{name} handshake", None, words, f"see it by: gatepost handshake {name}")
        for place, secret in enumerate(source.secrets):
            yield _line(name, secret, place, found, now)
        for word in dict.fromkeys(upkeep(redis, name)[-SAID_MAX:]):
            yield Line(f"sources.{name} says", None, word, "see to it at the vendor")
        for key, at in found.uses.items():
            if key.startswith(KID):
                yield Line(f"sources.{name} key", True, f"{key.removeprefix(KID)}: last used {ago(now - at)}")


def _line(name: str, secret: Secret, place: int, found: Heard, now: datetime) -> Line:
    what = f"sources.{name} secret {place + 1}"
    at = found.uses.get(fingerprint(name, secret.value))
    words = f"{secret.reference}: " + (f"last used {ago(now - at)}" if at else "never used")
    if place and found.at is not None and (at is None or now - at > REST):
        return Line(what, None, words, "it can be removed")
    return Line(what, True, words)
