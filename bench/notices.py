"""Canonical notices as an HRIS sends them: distinct, complete and signed, as the bytes that go on the wire."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from lifecycle import signature

SECRET = "whsec_" + "Z2F0ZXBvc3QtYmVuY2gtc2VjcmV0LTMyYnl0ZXM="
"""Signs what is measured and opens nothing."""
TYPES = ("person.joined", "person.moved", "person.left")


def notice(name: str, kind: str, number: int, title: str = "Engineer") -> bytes:
    """Return the body of one notice: ``kind`` says what happened to person ``number``."""
    user = f"bo.ray.{number}@acme.example"
    person = {
        "external_id": f"E{number}",
        "user_name": user,
        "email": user,
        "given_name": "Bo",
        "family_name": f"Ray {number}",
        "display_name": f"Bo Ray {number}",
        "title": title,
        "department": "Support",
        "employee_number": str(number),
    }
    data = {"id": name, "person": person}
    return json.dumps({"type": kind, "timestamp": datetime.now(UTC).isoformat(), "data": data}).encode()


def requests(path: str, names: Sequence[str], first_person: int) -> list[bytes]:
    """Return one whole HTTP/1.1 request for each name: joiners, movers and leavers by turns, each of another person."""
    now = datetime.now(UTC)
    return [
        _request(path, name, notice(name, TYPES[place % len(TYPES)], first_person + place), now)
        for place, name in enumerate(names)
    ]


def _request(path: str, name: str, body: bytes, now: datetime) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\n"
        "host: gatepost.acme.example\r\n"
        "user-agent: hris/1.0\r\n"
        "content-type: application/json\r\n"
        f"content-length: {len(body)}\r\n"
        f"webhook-id: {name}\r\n"
        f"webhook-timestamp: {int(now.timestamp())}\r\n"
        f"webhook-signature: {signature.sign(signature.key(SECRET), name, now, body)}\r\n\r\n"
    )
    return head.encode() + body
