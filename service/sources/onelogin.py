"""OneLogin event webhooks: every event of the account in batches, with a secret in a header.

Set-up at OneLogin: Developers > Webhooks > New Webhook > Event Webhook for Log Management, format JSON array, listener
URL ``https://HOST/hooks/NAME``, custom header ``Authorization: SECRET``, where the secret is the header's whole value,
as in ``Bearer`` and 32 random bytes. The format for SIEM, one JSON document a line, is read as well. OneLogin has no
filter: all events come, and those that say nothing of a person's coming, changing or going are ignored.

Rotation: list the new secret before the old one in ``secrets``, change the header at OneLogin, and take the old one out
when ``gatepost check`` says that nobody used it for a week.

It cannot promise that a body is unchanged, or recent: nothing is signed. With ``directory`` whatever it claims is read
there before it acts. Events are thin (a user's id and full name, sometimes more under ``user_attributes``) and their
order is not promised. A batch goes out with ten events or after ten seconds, so a leaver may wait ten seconds there.

A locked user is no leaver: whoever knows a name can lock it by wrong passwords, and a lock ends by itself. What
OneLogin did in an application or a directory, and what failed, says nothing of the person either. An event is known by
``uuid``; one without is known by its content. ``event_timestamp`` is UTC, in a form that is not ISO 8601.

Unclear: what OneLogin takes for an answer, how long it waits and whether it tries again; it is answered 200. The names
of the event types are those of OneLogin's list of types, as two published programs have it.

https://developers.onelogin.com/api-docs/1/events/webhooks
https://developers.onelogin.com/api-docs/1/events/event-resource
"""

import json
from datetime import datetime
from typing import Annotated, Any

from pydantic import BeforeValidator

from lifecycle.event import Event, Kind, Profile
from service.sources.base import (
    ORDINARY_BYTES,
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
from service.sources.documents import Part, Told, content_id, entry, json_entries, made, profile, read_each
from service.sources.proofs import in_header, with_header

BODY_BYTES_MIN = ORDINARY_BYTES

TYPES = {
    4: "USER_ASSIGNED_ROLE",
    13: "CREATED_USER",
    14: "UPDATED_USER",
    15: "DEACTIVATED_USER",
    16: "ACTIVATED_USER",
    17: "DELETED_USER",
    21: "SUSPENDED_USER",
    32: "REACTIVATED_USER",
    48: "IMPORTED_USER",
    147: "USER_MANUALLY_ADDED_TO_ROLE",
    148: "USER_MANUALLY_REMOVED_FROM_ROLE",
    149: "USER_AUTO_ADDED_TO_ROLE",
    150: "USER_AUTO_REMOVED_FROM_ROLE",
    291: "USER_CREATED_BY_TIDP",
    512: "API_SET_CUSTOM_ATTRS",
    513: "API_ADD_ROLES",
    514: "API_REMOVE_ROLES",
    529: "API_UPDATE_USER",
    530: "API_DESTROY_USER",
    533: "API_CREATE_USER",
    551: "SUSPENDED_USER_VIA_API",
    552: "REACTIVATED_USER_VIA_API",
}
"""OneLogin's numbers and its names for them."""

JOINERS = frozenset({13, 16, 32, 48, 291, 533, 552})
LEAVERS = frozenset({15, 17, 21, 530, 551})
KINDS = {
    name: Kind.JOINER if number in JOINERS else Kind.LEAVER if number in LEAVERS else Kind.CHANGED
    for number, name in TYPES.items()
}


def _iso(found: object) -> object:
    return found.removesuffix(" UTC") + "Z" if isinstance(found, str) and found.endswith(" UTC") else found


class _Head(Part):
    event_type_id: int


class _Attributes(Part):
    username: str | None = None
    email: str | None = None
    firstname: str | None = None
    lastname: str | None = None
    title: str | None = None
    department: str | None = None


class _Entry(_Head):
    uuid: str | None = None
    event_timestamp: Annotated[datetime, BeforeValidator(_iso)]
    user_id: str | None = None
    user_name: str | None = None
    user_attributes: _Attributes | None = None


Options = HeaderOptions
assurance, check, greet, keys_at = shared_secret, header_secrets, no_greeting, no_keys
verify, answer, refuse, sign = in_header, ok, problem, with_header


def read(notice: Notice, setup: Setup, now: datetime) -> Reading:
    """Return the events of a batch; types that we do not carry are left out."""
    return read_each(json_entries(notice.body), lambda found: _event(found, setup, now))


def _event(found: Any, setup: Setup, now: datetime) -> Event | str:  # noqa: ANN401 - JSON
    number = entry(_Head, found).event_type_id
    if number not in TYPES:
        return f"event type {number}"
    told = entry(_Entry, found)
    event_id = told.uuid or content_id(json.dumps(found, sort_keys=True))
    return made(Told(event_id, TYPES[number], _profile(told), told.event_timestamp), KINDS, setup, now)


def _profile(told: _Entry) -> Profile:
    # user_name is the full name, and the address of a user who has none.
    name, more = told.user_name, told.user_attributes or _Attributes()
    address = name if name and "@" in name else None
    return profile(
        external_id=told.user_id,
        user_name=more.username,
        email=more.email or address,
        given_name=more.firstname,
        family_name=more.lastname,
        display_name=None if address else name,
        title=more.title,
        department=more.department,
    )
