"""Several requests in one, where the target offers it: an account with its groups, or out of all of them.

RFC 7644 section 3.7: a POST has a ``bulkId``, and others name what it will make as ``bulkId:...``. An envelope with 200
says nothing of its parts, their order is not promised, and ``status`` is a text, but also a number or an object.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from redis import Redis

from lifecycle import keys
from lifecycle.errors import Postponed, Refused, Waiting
from workers.http import Answer
from workers.resource import Operation, Resource, attribute
from workers.scim.answers import parse, scim_type, status_in
from workers.scim.client import (
    BAD_REQUEST,
    CREATED,
    NO_CONTENT,
    NOT_IMPLEMENTED,
    OK,
    PATCH_SCHEMA,
    UNAUTHORIZED,
    Client,
    Conversation,
)
from workers.scim.moves import Moves, operations, shown_members

BULK_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
ACCOUNT = "account"
CONFLICT = 409
# The target offers it and does not take it: by single calls then, and no second try for a while. Whatever is refused so
# was not done; a bearer that is too old and a limit say nothing of the envelope.
UNWORKABLE = {*range(400, 500), NOT_IMPLEMENTED} - {UNAUTHORIZED, 408, 425, 429}
REST_SECONDS = 3_600
# Other trouble may be over sooner; until then single calls show whether it is the target's or the envelope's own.
REST_AFTER_TROUBLE_SECONDS = 600
# Any other word of an account may be the envelope's fault: a POST alone shows it.
TOLD = {OK, CREATED, CONFLICT}
# For a target that tells no size.
BYTES_MAX = 1_000_000
# One group more costs one request more; below that an envelope saves nothing.
GROUPS_MIN = 2

Part = dict[str, Any]
Parts = dict[str, Answer]


@dataclass(frozen=True)
class Created:
    """What came of an account and its groups."""

    account: Answer | None
    """As a POST alone would have been answered; None where the target told nothing of it."""
    joined: Mapping[str, str]
    """Groups that took it: id by name. The others are to be joined one by one, or have nobody to take."""


class Bulk:
    """The bulk endpoint of one target, and whether the fleet found it of use."""

    def __init__(self, redis: Redis, target: str, client: Client) -> None:
        """Keep whom to ask."""
        self._redis = redis
        self._target = target
        self._client = client

    def create_with_groups(self, talk: Conversation, body: Resource, group_ids: Mapping[str, str]) -> Created | None:
        """Create an account and make it a member of groups, ids by name; None to do it by single calls.

        Raises Postponed where the answer is lost: then it may have happened, as with every create.
        """
        if not talk.can.patch or talk.can.member_remove == "put":
            return None
        parts: dict[str, Part] = {"": {"method": "POST", "path": "/Users", "bulkId": ACCOUNT, "data": dict(body)}}
        for name, group_id in group_ids.items():
            parts[name] = _patch(group_id, operations(Moves(adds=(f"bulkId:{ACCOUNT}",)), by_value=False))
        told = self._send(talk, parts, len(group_ids))
        if told is None:
            return None
        account = told.pop("", None)
        if account is None or account.status not in TOLD:
            self._rest(REST_AFTER_TROUBLE_SECONDS)
        if account is None or account.status not in {OK, CREATED}:
            return Created(account, {})
        account_id = _id_of(account)
        return Created(account, {name: group_ids[name] for name, answer in told.items() if _shows(answer, account_id)})

    def leave(self, talk: Conversation, account_id: str, group_ids: Mapping[str, str]) -> list[str]:
        """Leave groups, ids by name; return the names of those that are left. The others are to be left one by one."""
        if not talk.can.patch or talk.can.member_remove == "put":
            return []
        lines = operations(Moves(removes=(account_id,)), by_value=talk.can.member_remove == "value")
        told = self._send(talk, {name: _patch(each, lines) for name, each in group_ids.items()}, len(group_ids))
        return sorted(name for name, answer in (told or {}).items() if _has_left(answer, account_id))

    def _send(self, talk: Conversation, parts: Mapping[str, Part], groups: int) -> Parts | None:
        """Ask for all parts at once and return an answer for each that was told of; None to ask one by one."""
        can = talk.can
        body = {"schemas": [BULK_SCHEMA], "Operations": list(parts.values())}
        fits = len(parts) <= can.bulk_operations_max and len(json.dumps(body)) <= (can.bulk_bytes_max or BYTES_MAX)
        if groups < GROUPS_MIN or not fits or self._rests():
            return None
        try:
            answer = self._client.send(talk, "POST", "/Bulk", body, allow={OK} | UNWORKABLE)
        except Waiting:
            raise  # nothing was sent
        except (Postponed, Refused):
            # The next attempt looks whether it happened, and goes on by single calls.
            self._rest(REST_AFTER_TROUBLE_SECONDS)
            raise
        if answer.status != OK:
            self._rest(REST_SECONDS)
            return None
        return _parts(answer, parts)

    def _rests(self) -> bool:
        """Tell whether single calls are to be made; also where a group's PUT would undo what is added beside it."""
        found: Any = self._redis.exists(keys.bulk_rests(self._target), keys.groups_replaced(self._target))
        return bool(found)

    def _rest(self, seconds: int) -> None:
        self._redis.set(keys.bulk_rests(self._target), "1", ex=seconds)


def _patch(group_id: str, lines: list[Operation]) -> Part:
    data = {"schemas": [PATCH_SCHEMA], "Operations": lines}
    return {"method": "PATCH", "path": f"/Groups/{quote(group_id, safe='')}", "data": data}


def _parts(envelope: Answer, asked: Mapping[str, Part]) -> Parts:
    """Return each part's answer by its name: found by ``bulkId``, else by the end of its ``location``, never by order.

    A location is told of every part but a failed POST (section 3.7).
    """
    found = attribute(parse(envelope), "Operations")
    told: Parts = {}
    for part in found if isinstance(found, list) else []:
        name = next((name for name, each in asked.items() if _is_of(part, each)), None)
        if name is not None:
            told[name] = _answer(part, envelope.seconds)
    return told


def _is_of(told: Any, asked: Part) -> bool:  # noqa: ANN401 - JSON
    if str(attribute(told, "method")).upper() != asked["method"]:
        return False
    if "bulkId" in asked:
        return bool(attribute(told, "bulkId") == asked["bulkId"])
    place = str(attribute(told, "location") or attribute(told, "path") or "")
    return unquote(place).rstrip("/").endswith(unquote(asked["path"]))


def _answer(part: Any, seconds: float) -> Answer:  # noqa: ANN401 - JSON
    """Return a part as the answer that a request alone would have had."""
    response, location = attribute(part, "response"), attribute(part, "location")
    headers = {"location": str(location)} if location else {}
    body = json.dumps(response).encode() if response is not None else b""
    return Answer(status_in(attribute(part, "status")), headers, body, seconds)


def _id_of(account: Answer) -> str:
    found = attribute(parse(account), "id")
    return str(found) if found else unquote(account.headers.get("location", "").rstrip("/").rpartition("/")[2])


def _shows(answer: Answer, account_id: str) -> bool:
    """Tell whether a group took an account: success, and where members are shown it is one of them."""
    shown = shown_members(parse(answer))
    return answer.status in {OK, NO_CONTENT} and (shown is None or account_id in shown)


def _has_left(answer: Answer, account_id: str) -> bool:
    if answer.status == BAD_REQUEST:
        return scim_type(answer) == "noTarget"
    return answer.status in {OK, NO_CONTENT} and account_id not in (shown_members(parse(answer)) or ())
