"""JumpCloud webhook channels: Directory Insights events, with a secret in a header or in the URL.

Set-up at JumpCloud: Settings > Notification Channels > Webhooks > Add, URL ``https://HOST/hooks/NAME``, a static header
marked as sensitive, by default ``Authorization``, whose whole value is the secret. Then Insights > Alerts > Rules >
Rule For Event Based Alerts with the channel, and the events that are listed below. Test Webhook shows that the channel
arrives, whatever becomes of the test: one that is no event is set aside, and may be dropped.

The secret may stand in the URL instead: ``https://HOST/hooks/NAME?token={{TOKEN}}``, protected as sensitive data, with
``parameter = "token"``. A header is better: proxies write URLs into their logs.

Rotation: list the new secret before the old one in ``secrets``, change the channel at JumpCloud, and take the old one
out when ``gatepost check`` says that nobody used it for a week. JumpCloud does not try again after a 401, so a secret
that is changed without this overlap loses events.

It cannot promise that a body is unchanged, or recent: nothing is signed. With ``directory`` whatever it claims is read
there before it acts. Events are thin (a user's id and name; a suspension has no address) and their order is not
promised. A lockout after wrong passwords is no leaver, for whoever knows a name can cause it. A schedule of an
activation or suspension is ignored: the event comes when it is carried out.

JumpCloud is answered 200 and tries again three times after 5xx, 408 and 429; what fails then is lost but for its own
Directory Insights.

Unclear: the envelope of an event that a rule sends. The event is read where it is the whole document, and where it is
under ``di_event`` or ``data`` of it. The values in ``changes`` are not used: what they look like is not published.

https://jumpcloud.com/support/create-an-insights-rule
https://docs.jumpcloud.com/api/insights/directory/1.0/index.html
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from lifecycle.errors import Unreadable
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
from service.sources.documents import Part, Told, entry, json_entries, made, profile, read_each
from service.sources.proofs import in_header, in_query, with_header, with_query

BODY_BYTES_MIN = ORDINARY_BYTES
USER = frozenset({"user", "systemuser"})
ASSOCIATION = "association_change"
ENVELOPES = (("data", "di_event"), ("di_event",), (), ("data",))
"""Where the event may be; the inner one first, for an alert has a type of its own."""

KINDS = {
    "user_create": Kind.JOINER,
    "user_activated": Kind.JOINER,
    "user_unsuspended": Kind.JOINER,
    "user_update": Kind.CHANGED,
    "user_suspended": Kind.LEAVER,
    "user_delete": Kind.LEAVER,
    ASSOCIATION: Kind.CHANGED,
}


class Options(HeaderOptions):
    """Where the secret is."""

    parameter: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] | None = None
    """The parameter of the URL that carries the secret; where it is given, the header counts no more."""


class _Head(Part):
    event_type: str
    success: bool | None = None


class _Resource(Part):
    type: str | None = None
    id: str | None = None
    username: str | None = None


class _End(Part):
    type: str | None = None
    object_id: str | None = None


class _Connection(Part):
    source: _End = Field(default_factory=_End, alias="from")
    to: _End = Field(default_factory=_End)


class _Association(Part):
    connection: _Connection = Field(default_factory=_Connection)


class _Entry(_Head):
    id: str
    timestamp: datetime
    resource: _Resource = Field(default_factory=_Resource)


class _Change(_Entry):
    association: _Association = Field(default_factory=_Association)


assurance, check, greet, keys_at = shared_secret, header_secrets, no_greeting, no_keys
answer, refuse = ok, problem


def verify(notice: Notice, setup: Setup, now: datetime) -> str:
    """Compare the parameter of the URL, or else the header, with each live secret."""
    name = setup.options.parameter
    return in_header(notice, setup, now) if name is None else in_query(notice, setup, name)


def read(notice: Notice, setup: Setup, now: datetime) -> Reading:
    """Return the events of a webhook; kinds that we do not carry are left out."""
    return read_each(json_entries(notice.body), lambda found: _event(_inner(found), setup, now))


def sign(notice: Notice, setup: Setup, now: datetime) -> Notice:
    """Send the secret where it is expected."""
    name = setup.options.parameter
    return with_header(notice, setup, now) if name is None else with_query(notice, setup, name)


def _inner(found: Any) -> Any:  # noqa: ANN401 - JSON
    for path in ENVELOPES:
        inner = found
        for name in path:
            inner = inner.get(name) if isinstance(inner, dict) else None
        if isinstance(inner, dict) and "event_type" in inner:
            return inner
    return found


def _event(found: object, setup: Setup, now: datetime) -> Event | str:
    head = entry(_Head, found)
    word = head.event_type
    if word not in KINDS or head.success is False:
        return word
    told = entry(_Change if word == ASSOCIATION else _Entry, found)
    person = next(_people(told), None)
    if person is None and word == ASSOCIATION:
        return f"{word}:no_user"
    if person is None:
        raise Unreadable(f"{word}: resource is no user", reason="person_unnamed")
    return made(Told(told.id, word, person, told.timestamp), KINDS, setup, now)


def _people(told: _Entry) -> Iterator[Profile]:
    resource = told.resource
    if resource.type in USER or (resource.type is None and not isinstance(told, _Change)):
        yield profile(external_id=resource.id, user_name=resource.username)
    if isinstance(told, _Change):
        ends = (told.association.connection.source, told.association.connection.to)
        yield from (profile(external_id=end.object_id) for end in ends if end.type in USER)
