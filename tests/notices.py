"""Captured notices: ``load("okta/user_deactivated")`` gives a request as it came, its clock, and what must come out.

A fixture is a pair. ``KIND.http`` is the request byte for byte: start line, headers, blank line, body. ``KIND.json``
beside it is what must come out. Requests are signed with the secrets below, which are published and open nothing.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from standardwebhooks import Webhook

from service.sources.base import Notice

FIXTURES = Path(__file__).parent / "service" / "sources" / "fixtures"

SECRETS = {
    "okta": "okta-hook-secret-of-the-tests",
    "standard_webhooks": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",  # of the standard's own examples
}
OLD_SECRETS = {
    "okta": "okta-hook-secret-of-last-year",
    "standard_webhooks": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
}
AT = datetime(2026, 3, 2, 9, 0, 5, tzinfo=UTC)
"""The clock of requests that tell no time."""


class Captured(NamedTuple):
    """A notice with its clock and what must come out of it."""

    adapter: str
    notice: Notice
    at: datetime
    expected: dict[str, Any]


def names(adapter: str = "*") -> list[str]:
    """Return the names of all fixtures, or of one adapter's."""
    found = FIXTURES.glob(f"{adapter}/*.http")
    return sorted(f"{path.parent.name}/{path.stem}" for path in found)


def load(name: str) -> Captured:
    """Read one fixture."""
    path = FIXTURES / f"{name}.http"
    head, _, body = path.read_bytes().partition(b"\r\n\r\n")
    start, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = start.split(" ")
    headers = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines}
    notice = Notice(method, target.partition("?")[2], headers, body)
    expected = json.loads(path.with_suffix(".json").read_text())
    return Captured(path.parent.name, notice, _clock(headers), expected)


def _clock(headers: Mapping[str, str]) -> datetime:
    stamp = headers.get("webhook-timestamp")
    return datetime.fromtimestamp(int(stamp), UTC) if stamp else AT


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
