"""What ``gatepost check`` finds of subscribers: how each stands, and which keys what the API keeps was sealed by."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from redis import Redis

from lifecycle.check import Line
from lifecycle.config import Config
from lifecycle.pages import PAGE_MAX
from lifecycle.roster import roster
from lifecycle.sealed import sealed_texts
from lifecycle.subscriber_view import ACTIVE, CIRCUIT_OPEN, DISABLED, FAILING, PAUSED, UNUSABLE, shown
from lifecycle.times import ago
from lifecycle.vault import Vault

NAMES_MAX = 10
# Whether it is well, and what to do.
STANDS: Mapping[str, tuple[bool | None, str]] = {
    ACTIVE: (True, ""),
    FAILING: (None, "see its attempts by: gatepost signals --subscriber {name}"),
    CIRCUIT_OPEN: (None, "see its attempts by: gatepost signals --subscriber {name}"),
    PAUSED: (None, "resume it by PATCH, unless it is meant to wait"),
    DISABLED: (False, "mend the receiver, then enable it by PATCH"),
    UNUSABLE: (False, "put the key back, or delete it and make it anew"),
}


def lines(redis: Redis, config: Config, now: datetime) -> Iterator[Line]:
    """Yield a line for each subscriber, and for each that was sealed by another key than the first."""
    after: str | None = None
    while True:
        page = shown(redis, config, now, after=after, limit=PAGE_MAX)
        yield from (_line(item, now) for item in page.items)
        if page.next is None:
            break
        after = page.next
    yield from _sealed(redis, config, now)


def _line(item: dict[str, Any], now: datetime) -> Line:
    ok, do = STANDS[item["state"]]
    since = f" since {ago(now - datetime.fromisoformat(item['failing_since']))}" if item["failing_since"] else ""
    words = [f"{item['state']}{since}", *([item["reason"]] if item["reason"] else [])]
    words += [f"{item[what]} {what}" for what in ("waiting", "failed") if item[what]]
    if ok and item["failed"]:
        ok, do = None, "send them again by: gatepost replay {name} --failed"
    return Line(f"subscribers.{item['name']}", ok, ", ".join(words), do.format(name=item["name"]))


def _sealed(redis: Redis, config: Config, now: datetime) -> Iterator[Line]:
    """Tell whether a key can go: what cannot be opened at all has its line already."""
    listed, vault = roster(redis, config, now), Vault.of(redis, config)
    if listed.made and not config.signals.encryption_keys:
        words = f"absent: what the API keeps of {len(listed.made)} is sealed by service.admin_tokens"
        yield Line("signals.encryption_keys", None, words, "name one, or their secrets are lost with the token")
    opened = {name: kept for name, kept in sorted(listed.made.items()) if kept and name not in listed.unusable}
    old = [name for name, kept in opened.items() if not all(map(vault.is_current, sealed_texts(kept)))]
    if old:
        words = f"by a key that is not the first: {', '.join(old[:NAMES_MAX])}{' ...' if len(old) > NAMES_MAX else ''}"
        yield Line("subscribers sealed", None, words, "keep that key until each was changed, by PATCH with {} at least")
    elif opened:
        yield Line("subscribers sealed", True, f"{len(opened)} by the first key: no other is needed for them")
