"""Auth0: event streams, which tell of users whole, and custom log streams, which tell of what was done to them.

Set-up of an event stream (the better one; early access): Dashboard > Event Streams > Create > Webhook, URL
``https://HOST/hooks/NAME``, events ``user.created``, ``user.updated``, ``user.deleted`` and, where groups grant
anything, ``group.member.*`` and ``organization.member.*``. Authorization Bearer with a token of 32 random bytes: the
secret is the header's whole value, ``Bearer TOKEN``. For basic authentication it is ``Basic`` and the base64 of user
and password; a custom header has its value alone, and its name is ``header``.

Set-up of a log stream: Dashboard > Monitoring > Streams > Create > Custom Webhook, the same URL, any content type and
format (JSON lines, array or object), Authorization Token the secret, which Auth0 sends as it is, without a scheme.
Filters: Management API - Success, Signup - Success, User/Behavioral. One source takes both, if both use one value.

Rotation: list the new secret before the old one in ``secrets``, change it at Auth0, and take the old one out when
``gatepost check`` says that nobody used it for a week.

It cannot promise that a body is unchanged, or recent: nothing is signed. With ``directory`` whatever it claims is read
there before it acts. Delivery is at least once and in any order; an event is known by ``id``, an entry of a log by
``log_id``. Auth0 wants a 2xx; a log stream tries three times a round, is paused after seven days and can be replayed.

A user with ``blocked`` is a leaver; one who is unblocked is a joiner. In a log that is a call of the Management API,
``sapi``, and the person is the one in its path: ``user_id`` beside it is the administrator. A call for all users at
once, blocks after wrong passwords (``limit_wc``), failures and test events are ignored. ``sdu`` and ``du`` do not say
beyond doubt whom they are about, so they mean "look again": the deletion's own call is the leaver. What a SCIM client
does at Auth0 is read from event streams alone. Deleting a connection tells of each of its users, which the safety
limits hold.

Unclear, so both are read: ``specversion`` with ``user.created`` and ``spec_version`` with ``com.auth0.user.created``;
log entries under ``data`` and bare; the object format as a list under ``logs`` and as one entry.

https://auth0.com/docs/customize/events/event-types
https://auth0.com/docs/customize/log-streams/custom-log-streams
https://auth0.com/docs/deploy-monitor/logs/log-event-type-codes
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from lifecycle.event import Event, Kind, Profile
from service.sources.base import (
    HeaderOptions,
    Notice,
    Reading,
    Setup,
    header_secrets,
    no_greeting,
    no_keys,
    ok,
    problem,
    shared_secret,
)
from service.sources.documents import (
    Part,
    Told,
    content_id,
    entry,
    json_entries,
    made,
    profile,
    read_each,
)
from service.sources.proofs import in_header, with_header

BODY_BYTES_MIN = 4_000_000
"""How many entries of a log come at once, Auth0 does not say; some have a whole call and its answer."""

# Whether a user is blocked stands in an event of another name, and what a call did in its path: both are part of our
# words for them.
KINDS = {
    "user.created": Kind.JOINER,
    "user.created:blocked": Kind.LEAVER,
    "user.updated": Kind.MOVER,
    "user.updated:blocked": Kind.LEAVER,
    "user.updated:unblocked": Kind.JOINER,
    "user.deleted": Kind.LEAVER,
    "group.member.added": Kind.CHANGED,
    "group.member.deleted": Kind.CHANGED,
    "organization.member.added": Kind.CHANGED,
    "organization.member.deleted": Kind.CHANGED,
    "organization.member.role.assigned": Kind.CHANGED,
    "organization.member.role.deleted": Kind.CHANGED,
    "ss": Kind.JOINER,
    "sce": Kind.CHANGED,
    "scu": Kind.CHANGED,
    "scpn": Kind.CHANGED,
    "sdu": Kind.CHANGED,
    "du": Kind.CHANGED,
    "sapi:create_user": Kind.JOINER,
    "sapi:unblock_user": Kind.JOINER,
    "sapi:update_user": Kind.CHANGED,
    "sapi:user_roles": Kind.CHANGED,
    "sapi:block_user": Kind.LEAVER,
    "sapi:delete_user": Kind.LEAVER,
}

STREAMED = frozenset(word for word in KINDS if "." in word and ":" not in word)
LOGGED = frozenset(word for word in KINDS if "." not in word and ":" not in word)
API = "sapi"
REFUSED_FROM = 300
USERS = re.compile(r"/api/v2/users(?:/([^/]+)(?:/([a-z-]+))?)?/?")
CALLS = {
    ("post", False, None): "create_user",
    ("patch", True, None): "update_user",
    ("delete", True, None): "delete_user",
    ("post", True, "roles"): "user_roles",
    ("delete", True, "roles"): "user_roles",
}
"""By method, whether a user is named, and what of the user: what a call of the Management API does."""
BLOCKS = {
    ("create_user", True): "block_user",
    ("update_user", True): "block_user",
    ("update_user", False): "unblock_user",
}
MEMBERS = {"organization": ("user", "user_id"), "group": ("member", "id")}
"""By the start of the word: where a member stands in the event, and the name of its id."""


class _Type(Part):
    type: str
    a0purpose: str | None = None


class _CloudEvent(Part):
    id: str
    time: datetime
    data: dict[str, Any]


class _Log(Part):
    date: datetime
    log_id: str | None = None
    user_id: str | None = None
    user_name: str | None = None


class _Request(Part):
    method: str
    path: str
    body: Any = None


class _Response(Part):
    statusCode: int = 200  # noqa: N815 - Auth0's spelling
    body: Any = None


class _Call(Part):
    request: _Request
    response: _Response


class _Details(Part):
    details: _Call


Options = HeaderOptions
assurance, check, greet, keys_at = shared_secret, header_secrets, no_greeting, no_keys
verify, answer, refuse, sign = in_header, ok, problem, with_header


def read(notice: Notice, setup: Setup, now: datetime) -> Reading:
    """Return the events of a delivery of either kind of stream; what is not about a user is left out."""
    return read_each(list(_entries(notice.body)), lambda found: _event(found, setup, now))


def _entries(body: bytes) -> Iterator[Any]:
    for found in json_entries(body):
        logs = found.get("logs") if isinstance(found, dict) else None
        yield from logs if isinstance(logs, list) else [found]


def _event(found: Any, setup: Setup, now: datetime) -> Event | str:  # noqa: ANN401 - JSON
    if isinstance(found, dict) and ("specversion" in found or "spec_version" in found):
        return _streamed(found, setup, now)
    inner = found.get("data") if isinstance(found, dict) else None
    return _logged({**found, **inner} if isinstance(inner, dict) else found, setup, now)


def _streamed(found: Mapping[str, Any], setup: Setup, now: datetime) -> Event | str:
    head = entry(_Type, found)
    word = head.type.removeprefix("com.auth0.")
    if head.a0purpose is not None or word not in STREAMED:
        return f"{word}:{head.a0purpose}" if head.a0purpose else word
    told = entry(_CloudEvent, found)
    content = _mapping(told.data.get("object"))
    group = MEMBERS.get(word.partition(".")[0])
    if group is not None:
        member = _mapping(content.get(group[0]))
        person = profile(external_id=member.get(group[1]))
        if member.get("member_type", "user") != "user":
            return f"{word}:other_member"
    else:
        person = _profile(content, content.get("user_id"))
        word = _with_block(word, content.get("blocked"), _mapping(told.data.get("previous_object")).get("blocked"))
    return made(Told(told.id, word, person, told.time), KINDS, setup, now)


def _with_block(word: str, blocked: object, before: object) -> str:
    if word == "user.deleted":
        return word
    if blocked is True:
        return f"{word}:blocked"
    return f"{word}:unblocked" if word == "user.updated" and before is True else word


def _logged(found: Any, setup: Setup, now: datetime) -> Event | str:  # noqa: ANN401 - JSON
    word = entry(_Type, found).type
    if word != API and word not in LOGGED:
        return word
    told = entry(_Log, found)
    if word == API:
        call = entry(_Details, found).details
        word = _called(call)
        if word == API:
            return word
        person = _concerned(call)
    else:
        name = told.user_name
        person = profile(external_id=told.user_id, user_name=name, email=name if name and "@" in name else None)
    log_id = told.log_id or content_id(json.dumps(found, sort_keys=True))
    return made(Told(log_id, word, person, told.date), KINDS, setup, now)


def _called(call: _Call) -> str:
    path = USERS.fullmatch(call.request.path)
    succeeded = call.response.statusCode < REFUSED_FROM
    does = CALLS.get((call.request.method.lower(), path[1] is not None, path[2])) if path and succeeded else None
    if does is None:
        return API
    blocked = _mapping(call.request.body).get("blocked")
    return f"{API}:{BLOCKS.get((does, blocked), does) if isinstance(blocked, bool) else does}"


def _concerned(call: _Call) -> Profile:
    """Return whom a call is about: the user in its path, or the one that it made, never the administrator."""
    path = USERS.fullmatch(call.request.path)
    told = {**_mapping(call.request.body), **_mapping(call.response.body)}
    return _profile(told, unquote(path[1]) if path and path[1] else told.get("user_id"))


def _profile(user: Mapping[str, Any], user_id: object) -> Profile:
    return profile(
        external_id=user_id,
        user_name=user.get("username"),
        email=user.get("email"),
        given_name=user.get("given_name"),
        family_name=user.get("family_name"),
        display_name=user.get("name"),
        phone=user.get("phone_number"),
    )


def _mapping(found: object) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}
