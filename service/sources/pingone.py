"""PingOne webhooks: audit activities in batches, with a secret in a header.

Set-up at PingOne: Integrations > Webhooks > Add, URL ``https://HOST/hooks/NAME`` (IPv4 only), format Ping Activity
Format (JSON), a custom header, by default ``Authorization``, whose whole value is the secret; basic authentication is
one such value, ``Basic`` and the base64 of user and password. Event types User Created, User Updated, User Deleted,
Member Of Group Created and Member Of Group Deleted.

Rotation: list the new secret before the old one in ``secrets``, change the header at PingOne, and take the old one out
when ``gatepost check`` says that nobody used it for a week. A header that is wrong loses nothing for seven days, for
PingOne waits.

It cannot promise that a body is unchanged, or recent: nothing is signed. With ``directory`` whatever it claims is read
there before it acts. Without one nobody is locked out when a user is disabled: PingOne tells of that, and of enabling,
as ``USER.UPDATED``, and does not say which of the two it was. Events are thin (a user's id and login). Those of one
webhook come in order. Lockouts after wrong passwords are ignored, for whoever knows a login can cause them; so are
actions that failed.

PingOne sends up to 500 events a request and does not go on before it is answered with exactly 200; after about seven
days events are lost. So an entry that cannot be read is set aside and the request is answered 200 all the same. Only a
wrong secret, a body of more than 4 MB (``max_body_bytes``), and what cannot be read when thousands of notices are set
aside already stop the feed, until that is mended: nothing is lost meanwhile, and ``gatepost check`` says so.

Unclear: whether the array is the whole document; one inside of ``events``, ``activities`` or ``_embedded`` and a single
event are read as well. A member of a group is named by the address of the membership alone.

https://developer.pingidentity.com/pingone-api/platform/subscriptions-webhooks.html
https://docs.pingidentity.com/pingone/integrations/p1_create_webhook.html
https://developer.pingidentity.com/pingone-api/platform/audit-activities.html
"""

import re
from datetime import datetime
from typing import Any

from pydantic import Field

from lifecycle.errors import Unreadable
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
from service.sources.documents import Part, Told, entry, json_entries, made, profile, read_each
from service.sources.proofs import in_header, with_header

BODY_BYTES_MIN = 500 * 8_000
"""A full batch of activities that are several times as long as those seen."""
SUCCEEDED = frozenset({"success", "succeeded"})
WRAPPERS = ("events", "activities")
MEMBERSHIP = re.compile(r"/users/([^/?#]+)/memberOfGroups\b")

KINDS = {
    "USER.CREATED": Kind.JOINER,
    "USER.UPDATED": Kind.CHANGED,
    "USER.DELETED": Kind.LEAVER,
    "MEMBER_OF_GROUP.CREATED": Kind.CHANGED,
    "MEMBER_OF_GROUP.DELETED": Kind.CHANGED,
}


class _Action(Part):
    type: str


class _Result(Part):
    status: str


class _Head(Part):
    action: _Action
    result: _Result | None = None


class _Resource(Part):
    type: str | None = None
    id: str | None = None
    name: str | None = None
    href: str = ""


class _Activity(_Head):
    id: str
    recordedAt: datetime  # noqa: N815 - PingOne's spelling
    resources: list[_Resource] = Field(default_factory=list)


Options = HeaderOptions
assurance, check, greet, keys_at = shared_secret, header_secrets, no_greeting, no_keys
verify, answer, refuse, sign = in_header, ok, problem, with_header


def read(notice: Notice, setup: Setup, now: datetime) -> Reading:
    """Return the events of a batch; kinds that we do not carry and actions that failed are left out."""
    found = [each for part in json_entries(notice.body) for each in _unwrapped(part)]
    return read_each(found, lambda each: _event(each, setup, now))


def _unwrapped(found: Any) -> list[Any]:  # noqa: ANN401 - JSON
    if not isinstance(found, dict) or "action" in found:
        return [found]
    inner = found.get("_embedded")
    held = {**found, **inner} if isinstance(inner, dict) else found
    return next((held[name] for name in WRAPPERS if isinstance(held.get(name), list)), [found])


def _event(found: object, setup: Setup, now: datetime) -> Event | str:
    head = entry(_Head, found)
    word = head.action.type
    if word not in KINDS or not (head.result is None or head.result.status.lower() in SUCCEEDED):
        return word
    told = entry(_Activity, found)
    person = next(filter(None, map(_person, told.resources)), None)
    if person is None:
        raise Unreadable(f"{word}: no resource names a user", reason="person_unnamed")
    return made(Told(told.id, word, person, told.recordedAt), KINDS, setup, now)


def _person(resource: _Resource) -> Profile | None:
    if resource.type == "USER":
        login = resource.name
        email = login if login and "@" in login else None
        return profile(external_id=resource.id, user_name=login, email=email)
    member = MEMBERSHIP.search(resource.href)
    return profile(external_id=member[1]) if member else None
