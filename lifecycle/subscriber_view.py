"""What is shown of a subscriber: what it is told, and how it stands. No secret, and no header that could be one."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from redis import Redis

from lifecycle import keys
from lifecycle.asked import MASK
from lifecycle.config import Config
from lifecycle.errors import Unknown
from lifecycle.outbox_scripts import CIRCUIT_FAILURES
from lifecycle.pages import PAGE_DEFAULT, PAGE_MAX, Page, moment
from lifecycle.roster import Roster, roster
from lifecycle.sealed import BEARER, Kept, KeptSecret, id_of, kind_of, public_key
from lifecycle.secrets import Secret
from lifecycle.signal import iso
from lifecycle.subscriber import Subscriber
from lifecycle.subscribers import API, FILE, RECEIVER

ACTIVE, FAILING, CIRCUIT_OPEN, PAUSED, DISABLED, UNUSABLE = (
    "active",
    "failing",
    "circuit_open",
    "paused",
    "disabled",
    "unusable",
)
STATES: Final = (ACTIVE, FAILING, CIRCUIT_OPEN, PAUSED, DISABLED, UNUSABLE)

MOMENTS: Final = ("created_at", "expires_at")
_TELLING: Final = re.compile(r"auth|cookie|token|secret|key|password|credential|signature", re.IGNORECASE)
"""Headers of these names are masked, whoever wrote them down."""


@dataclass(frozen=True)
class Shown:
    """Everything that is known of one subscriber, for showing."""

    name: str
    manager: str
    subscriber: Subscriber | None
    """None where what is kept does not fit this version."""
    kept: Kept | None
    """What is kept of one that the API made, where it fits this version."""
    unusable: str | None


def shown(redis: Redis, config: Config, now: datetime, *, after: str | None = None, limit: int = PAGE_DEFAULT) -> Page:
    """List subscribers by name, a page at a time; ``after`` is the name of the last one of the page before."""
    all_of_them = _all(redis, config, now)
    names = sorted(name for name in all_of_them if after is None or name > after)
    limit = max(1, min(limit, PAGE_MAX))
    items = _items(redis, [all_of_them[name] for name in names[:limit]], now)
    return Page(items, names[limit - 1] if len(names) > limit else None)


def one(redis: Redis, config: Config, now: datetime, name: str) -> dict[str, Any]:
    """Show one subscriber. Raises Unknown."""
    found = _all(redis, config, now).get(name)
    if found is None:
        raise Unknown(f"no subscriber {name!r}", reason="subscriber_unknown")
    return _items(redis, [found], now)[0]


def _all(redis: Redis, config: Config, now: datetime) -> dict[str, Shown]:
    listed = roster(redis, config, now)
    return {name: _shown(name, listed, config) for name in listed.names}


def _shown(name: str, listed: Roster, config: Config) -> Shown:
    manager = FILE if name in config.subscribers else API if name in listed.made else RECEIVER
    return Shown(name, manager, listed.everybody.get(name), listed.made.get(name), listed.unusable.get(name))


def _items(redis: Redis, found: Sequence[Shown], now: datetime) -> list[dict[str, Any]]:
    with redis.pipeline(transaction=False) as pipe:
        for each in found:
            pipe.hgetall(keys.subscriber(each.name))
            pipe.zcard(keys.failed(each.name))
        answers = pipe.execute()
    states = zip(answers[::2], answers[1::2], strict=True)
    return [_item(each, state, failed, now) for each, (state, failed) in zip(found, states, strict=True)]


def _item(found: Shown, state: Mapping[bytes, bytes], failed: int, now: datetime) -> dict[str, Any]:
    standing = {name.decode(): value.decode() for name, value in state.items()}
    return {
        "name": found.name,
        "managed_by": found.manager,
        **_wishes(found.subscriber),
        "secrets": _secrets(found, now),
        **_state(standing, found.unusable, now),
        "waiting": max(0, int(standing.get("waiting", 0))),
        "failed": failed,
        **{
            name: moment(int(standing[name]) / 1000) if standing.get(name) else None
            for name in ("failing_since", "last_success_at", "last_failure_at")
        },
        "created_at": iso(found.kept.created_at) if found.kept else None,
        "updated_at": iso(found.kept.updated_at) if found.kept else None,
    }


def _wishes(found: Subscriber | None) -> dict[str, Any]:
    names = (
        "format",
        "url",
        "events",
        "targets",
        "requests_per_minute",
        "allow_private",
        "audience",
        "subject",
        "profile",
        "provisioning",
        "set_events",
    )
    if found is None:
        return {**dict.fromkeys(names), "when": None, "headers": {}}
    headers = {name: _masked(name, value) for name, value in found.headers.items()}
    wishes = {name: getattr(found, name) for name in names}
    return {**wishes, "when": found.when.source if found.when else None, "headers": headers}


def _masked(name: str, value: str | Secret) -> str:
    is_reference = isinstance(value, Secret) and value.reference.startswith(("env:", "file:"))
    text = value.value if isinstance(value, Secret) else value
    return MASK if is_reference or _TELLING.search(name) else text


def _secrets(found: Shown, now: datetime) -> list[dict[str, Any]]:
    dated = {each.id: each for each in found.kept.secrets} if found.kept else {}
    if found.unusable is not None:
        return [_secret(each.id, each.kind, each) for each in dated.values() if _lives(each, now)]
    if found.subscriber is None:
        return []
    values = [(id_of(found.name, each.value), each.value) for each in found.subscriber.secrets]
    live = [_secret(known_by, kind_of(value), dated.get(known_by), public_key(value)) for known_by, value in values]
    known_by = found.subscriber.token or found.subscriber.authorization
    return [*live, _secret(id_of(found.name, known_by.value), BEARER, None)] if known_by else live


def _lives(kept: KeptSecret, now: datetime) -> bool:
    return kept.expires_at is None or now < kept.expires_at


def _secret(known_by: str, kind: str, kept: KeptSecret | None, public: str | None = None) -> dict[str, Any]:
    found = {name: getattr(kept, name, None) for name in MOMENTS}
    moments = {name: iso(at) if at else None for name, at in found.items()}
    return {"id": known_by, "kind": kind, "public_key": public, **moments}


def _state(standing: Mapping[str, str], unusable: str | None, now: datetime) -> dict[str, Any]:
    """Say how a subscriber stands, by what weighs most."""
    opens = float(standing.get("open_until") or 0) > now.timestamp() * 1000
    is_open = opens and int(standing.get("failures") or 0) >= CIRCUIT_FAILURES
    choices = (
        (unusable is not None, UNUSABLE, unusable),
        ("disabled_at" in standing, DISABLED, standing.get("reason") or None),
        ("paused_at" in standing, PAUSED, f"by {standing.get('paused_by', 'nobody known')}"),
        (is_open, CIRCUIT_OPEN, "its last attempts all failed; one tries it now and then"),
        (bool(standing.get("failing_since")), FAILING, "its last attempt failed"),
        (True, ACTIVE, None),
    )
    return next({"state": state, "reason": reason} for holds, state, reason in choices if holds)
