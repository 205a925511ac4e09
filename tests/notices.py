"""Captured notices: ``load("okta/user_deactivated")`` gives a request as it came, its clock, and what must come out.

A fixture is a pair. ``KIND.http`` is the request byte for byte: start line, headers, blank line, body. ``KIND.json``
beside it is what must come out, and where the request tells a time of its own, ``at``, its clock. ``source.json`` of a
folder has the secrets that its requests are signed with, which are published and open nothing; ``ack``, what the vendor
wants of a success; and whatever the source is configured with besides: ``options``, ``jwks``; ``adapter`` where the
folder is a second way to configure one.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jwt
from standardwebhooks import Webhook

from lifecycle.config import Source as Section
from lifecycle.config import own_options
from lifecycle.errors import Unauthentic
from service.captured import parse_http
from service.sources import SOURCES
from service.sources.base import NoKeys, Notice, Setup

FIXTURES = Path(__file__).parent / "service" / "sources" / "fixtures"
AT = datetime(2026, 3, 2, 9, 0, 5, tzinfo=UTC)
"""The clock of requests that tell no time."""


class Captured(NamedTuple):
    """A notice with its clock, how its source is configured, and what must come out of it."""

    folder: str
    adapter: str
    setup: Setup
    notice: Notice
    at: datetime
    expected: dict[str, Any]


class Jwks:
    """The published keys of a folder, as a receiver has them when they were fetched a moment ago."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        """Keep them by id."""
        self._keys = {each.key_id: each.key for each in jwt.PyJWKSet.from_dict(dict(found)).keys}

    def find(self, kid: str, now: datetime) -> Any:  # noqa: ANN401, ARG002 - as in Keys
        """Return the key of this id. Raises Unauthentic."""
        if kid not in self._keys:
            raise Unauthentic("the issuer has no such key", reason="key_unknown")
        return self._keys[kid]


def folders() -> list[str]:
    """Return the names of all folders of fixtures."""
    return sorted(path.name for path in FIXTURES.iterdir())


def described(folder: str) -> dict[str, Any]:
    """Return what a folder says of its source."""
    found: dict[str, Any] = json.loads((FIXTURES / folder / "source.json").read_text())
    return found


def adapter_of(folder: str) -> str:
    """Return the name of the module that a folder is for."""
    return str(described(folder).get("adapter", folder))


def old_and_new(folder: str) -> tuple[str, ...]:
    """Return both live secrets of a rotation, the new one first; none of a source that has none."""
    found = described(folder)
    return tuple(found[name] for name in ("secret", "old_secret") if found.get(name))


@cache
def setup_of(folder: str, *secrets: str) -> Setup:
    """Return a folder's source as configured, with its new secret unless others are named."""
    found, adapter = described(folder), SOURCES[adapter_of(folder)]
    section = Section.model_validate(
        {"adapter": adapter_of(folder), **found.get("options", {})}, context={"base": FIXTURES / folder}
    )
    keys = Jwks(found["jwks"]) if "jwks" in found else NoKeys()
    options = own_options(f"sources.{folder}", section, adapter.Options)
    return Setup(folder, secrets or old_and_new(folder)[:1], options, keys, found.get("timezone", "UTC"))


def names(folder: str = "*") -> list[str]:
    """Return the names of all fixtures, or of one folder's."""
    found = FIXTURES.glob(f"{folder}/*.http")
    return sorted(f"{path.parent.name}/{path.stem}" for path in found)


@cache
def load(name: str) -> Captured:
    """Read one fixture."""
    path, folder = FIXTURES / f"{name}.http", name.partition("/")[0]
    notice = parse_http(path.read_bytes())
    expected = json.loads(path.with_suffix(".json").read_text())
    at = _clock(notice.headers, expected.pop("at", None))
    return Captured(folder, adapter_of(folder), setup_of(folder), notice, at, expected)


def _clock(headers: Mapping[str, str], told: str | None) -> datetime:
    if told is not None:
        return datetime.fromisoformat(told)
    stamp = headers.get("webhook-timestamp")
    return datetime.fromtimestamp(int(stamp), UTC) if stamp else AT


SECRETS = {folder: str(described(folder)["secret"]) for folder in folders() if "secret" in described(folder)}
OLD_SECRETS = {
    folder: str(described(folder)["old_secret"]) for folder in folders() if "old_secret" in described(folder)
}


def canonical(kind: str = "person.left", **data: Any) -> bytes:  # noqa: ANN401 - whatever a test wants to say
    """Return the body of a canonical notice; what a test does not say is said here."""
    said = {"id": "evt-1", "person": {"external_id": "E1042", "email": "bo.ray@acme.example"}} | data
    return json.dumps({"type": kind, "timestamp": "2026-03-02T08:59:58Z", "data": said}).encode()


def signed(
    body: bytes, *, message_id: str = "msg_1", at: datetime | None = None, secret: str = SECRETS["standard_webhooks"]
) -> dict[str, str]:
    """Return the headers that a sender of Standard Webhooks would send now, by the published library."""
    at = (at or datetime.now(UTC)).replace(microsecond=0)
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, at, body.decode()),
    }


def okta(*entries: dict[str, Any]) -> bytes:
    """Return the body of an Okta event hook."""
    return json.dumps({"eventType": "com.okta.event_hook", "data": {"events": list(entries)}}).encode()


def okta_entry(uuid: str = "uuid-1", kind: str = "user.lifecycle.deactivate", user: str = "00u9old") -> dict[str, Any]:
    """Return one event of an Okta hook."""
    return {
        "uuid": uuid,
        "published": "2026-03-02T09:00:02.400Z",
        "eventType": kind,
        "outcome": {"result": "SUCCESS"},
        "target": [{"id": user, "type": "User", "alternateId": f"{user}@acme.example", "displayName": "Bo Ray"}],
    }
