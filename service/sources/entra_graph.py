"""Microsoft Graph change notifications of Entra users and groups: a secret in each item, a token that is echoed.

Set-up: register an application in Entra with the application permissions ``User.Read.All`` and ``Group.Read.All`` and
an admin's consent, name it in ``[directories.NAME]`` with the adapter ``entra``, and name that directory and the public
``url`` of this hook, ``https://HOST/hooks/NAME``, in ``[sources.NAME]``: Gatepost then makes the subscriptions, renews
them (they live 29 days at most) and makes them again when they are gone. By hand it is, for ``users`` and for
``groups``::

    POST https://graph.microsoft.com/v1.0/subscriptions
    {"changeType": "created,updated,deleted", "resource": "users", "clientState": "SECRET",
     "notificationUrl": "https://HOST/hooks/NAME", "lifecycleNotificationUrl": "https://HOST/hooks/NAME",
     "expirationDateTime": "2026-03-30T00:00:00Z", "latestSupportedTlsVersion": "v1_2"}

Graph first posts ``?validationToken=...`` to either address and wants the token back as plain text within 10 seconds.

The secret is the ``clientState``: 32 random bytes as text or more, 128 characters at most where a subscription is made
with it, 255 where one comes back. It stands in every item, and a subscription keeps the one that it was made with.
Rotation: list the new secret before the old one in ``secrets``, make new subscriptions, delete the old ones, and take
the old secret out when ``gatepost check`` says that nobody used it for a week.

A notice may mix items of several subscriptions and tenants. Those with another ``clientState``, or of a tenant that
``tenants`` does not list, are left out and stop no other. A notice without any item of ours is answered 401. Microsoft
would rather have 202 there, so that a stranger learns nothing; but who guesses a secret of 32 bytes needs no hint, and
after a 401 Graph sends again for 4 hours, in which a secret that was forgotten here can be mended without a loss.

It cannot promise that an item is unchanged or recent: nothing is signed. So name a directory: whatever an item claims
is read there before it acts. Items are thin, come in any order and may be repeated or lost. Both a creation and the
deletion into the recycle bin come as ``users.updated``; ``users.deleted`` is told when a user is gone for good, as a
rule 30 days later. ``groups.updated`` names the users who came or went in ``members@delta``, each of whom is read
again; one that names no user, and whatever else is told of groups, is left out.

Of its subscriptions Graph says ``reauthorizationRequired``, at times every few minutes, and for other resources than
these ``subscriptionRemoved`` and ``missed``; each is handed on to whoever keeps the subscription alive.

A notice that cannot be read is set aside whole, ``clientState`` included, for without it nobody could tell again which
of its items are ours: whoever reads that Redis can read the secret there.

It is answered 202. Graph wants an answer within 3 seconds, sends again with growing pauses for 4 hours after anything
but a 2xx, and then drops it. If more than a tenth of the answers take over 10 seconds, it delays, and from 15 percent
on drops what is new for 10 minutes: the poll finds that. Two changes of a user that have neither ``sequenceNumber`` nor
``eventTime`` and come in the same second are one; both are fields that Graph sends and does not promise. Where exactly
``members@delta`` stands is known from reports alone, as Microsoft does not describe it.

https://learn.microsoft.com/en-us/graph/change-notifications-delivery-webhooks
https://learn.microsoft.com/en-us/graph/change-notifications-lifecycle-events
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

from pydantic import Field

from lifecycle.errors import Malformed, Unauthentic, Unreadable
from lifecycle.event import Event, Kind
from service.sources import graph_changes as graph
from service.sources.base import (
    ORDINARY_BYTES,
    Answer,
    Assurance,
    Counts,
    Greeting,
    Notice,
    OwnOptions,
    Reading,
    Setup,
    header_secrets,
    no_greeting,
    no_keys,
    problem,
)
from service.sources.documents import ENTRIES_MAX, Part, arrival_id, entry, json_body, read_each
from service.sources.entra_tokens import Guid
from service.sources.proofs import proven, the_digest

BODY_BYTES_MIN = ORDINARY_BYTES
TOKEN = "validationToken"  # noqa: S105 - the name of a parameter
TOKEN_CHARS_MAX = 2_048
QUERY_FIELDS_MAX = 20
CLIENT_STATE_CHARS_MAX = 255
FOREIGN_SECRET, FOREIGN_TENANT = "clientState", "tenantId"
"""Why an item is not ours: the words under which it is counted."""
LIFECYCLE = frozenset({"reauthorizationRequired", "subscriptionRemoved", "missed"})

KINDS = {
    "users.created": Kind.CHANGED,
    "users.updated": Kind.CHANGED,
    "users.deleted": Kind.LEAVER,
    "groups.updated": Kind.CHANGED,
}


class Options(OwnOptions):
    """The keys of its own."""

    tenants: list[Guid] = Field(default_factory=list)
    """The ids of the Entra tenants that are ours; none: any, if only the secret fits."""


class _Collection(Part):
    value: list[Any]


class _Item(graph.Change):
    tenantId: str = ""  # noqa: N815 - Graph's spelling
    lifecycleEvent: str | None = None  # noqa: N815 - Graph's spelling


keys_at, refuse = no_keys, problem


def assurance(setup: Setup) -> Assurance:  # noqa: ARG001 - of users and groups Graph can do no more
    """Return that the sender knows a secret."""
    return Assurance.SHARED_SECRET


def check(setup: Setup) -> None:
    """Raise ValueError for a secret that is longer than a ``clientState``, or no text of one line."""
    header_secrets(setup)
    if any(len(secret) > CLIENT_STATE_CHARS_MAX for secret in setup.secrets):
        msg = f"a clientState of {CLIENT_STATE_CHARS_MAX} characters at most"
        raise ValueError(msg)


def greet(notice: Notice, setup: Setup, now: datetime) -> Greeting | None:
    """Give a validation token back as plain text, which no browser takes for anything else."""
    no_greeting(notice, setup, now)
    token = _token(notice.query) if TOKEN in notice.query else None
    if token is None:
        return None
    return Greeting(Answer(200, token.encode(), "text/plain", {"X-Content-Type-Options": "nosniff"}))


def verify(notice: Notice, setup: Setup, now: datetime) -> str:  # noqa: ARG001 - Graph signs no time
    """Return by which secret an item proves itself; of several the oldest, whose last use is waited for."""
    try:
        items = _items(notice.body)
    except Unreadable as error:
        raise Unauthentic("no item proves its sender", reason="secret_missing") from error
    wanted = _wanted(setup)
    found = [secret for state in set(map(_state, items[:ENTRIES_MAX])) if (secret := the_digest(state, wanted))]
    return proven(max(found, key=setup.secrets.index, default=None), "each item's clientState")


def read(notice: Notice, setup: Setup, now: datetime) -> Reading:
    """Return the changes of those items that are ours."""
    wanted = _wanted(setup)
    reading = read_each(_items(notice.body), lambda item: _read(item, wanted, setup, now))
    if reading.ignored and set(reading.ignored) == {FOREIGN_SECRET} and not (reading.events or reading.upkeep):
        # A notice that was set aside, and whose secret was taken out since, must not pass for read.
        raise Unreadable("no item has a secret that is live", reason="secret_gone")
    return reading


def answer(counts: Counts) -> Answer:  # noqa: ARG001 - Graph reads no body
    """Answer 202, as Microsoft advises for what is worked on later."""
    return Answer(202)


def sign(notice: Notice, setup: Setup, now: datetime) -> Notice:  # noqa: ARG001 - nothing is signed
    """Put the secret into each item; a validation has none. Raises ValueError for what is no collection of items."""
    if not notice.body and TOKEN in notice.query:
        return notice
    document = json.loads(notice.body)
    items = document.get("value") if isinstance(document, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        msg = 'a body of the form {"value": [{...}]}'
        raise ValueError(msg)
    for item in items:
        item["clientState"] = setup.secrets[0]
    sent = {**notice.headers, "content-type": "application/json"}
    return notice._replace(headers=sent, body=json.dumps(document).encode())


def _token(query: str) -> str | None:
    try:
        found = parse_qs(query, keep_blank_values=True, errors="strict", max_num_fields=QUERY_FIELDS_MAX).get(TOKEN, [])
    except ValueError as error:
        raise Malformed("the query cannot be read", reason="query_malformed") from error
    if not found:
        return None
    if len(found) > 1 or not 0 < len(found[0]) <= TOKEN_CHARS_MAX:
        raise Malformed(f"{TOKEN} comes once, with 1 to {TOKEN_CHARS_MAX} characters", reason="challenge_missing")
    return found[0]


def _items(body: bytes) -> list[Any]:
    """Return the items of a notice. Raises Unreadable, but not for a stranger's item: whatever it holds stays there."""
    return entry(_Collection, json_body(body)).value


def _wanted(setup: Setup) -> Mapping[str, bytes]:
    return {secret: secret.encode() for secret in setup.secrets}


def _state(item: object) -> bytes:
    """Return what an item has as its secret; nothing where it has none, which fits no secret."""
    found = item.get("clientState") if isinstance(item, dict) else None
    return found.encode("utf-8", "surrogatepass") if isinstance(found, str) else b""


def _read(item: object, wanted: Mapping[str, bytes], setup: Setup, now: datetime) -> Event | str | Reading:
    if the_digest(_state(item), wanted) is None:
        return FOREIGN_SECRET
    found = entry(_Item, item)
    tenants: list[str] = setup.options.tenants
    if tenants and found.tenantId.lower() not in tenants:
        return FOREIGN_TENANT
    if found.lifecycleEvent is not None:
        return _of_subscription(found.lifecycleEvent, found.subscriptionId)
    return _change(found, setup, now)


def _of_subscription(word: str, subscription: str) -> str | Reading:
    return Reading((), upkeep=(graph.upkeep(word, subscription),)) if word in LIFECYCLE else word


def _change(item: _Item, setup: Setup, now: datetime) -> Event | str | Reading:
    subject = graph.subject(item)
    if subject is None:
        return f"{item.resource.partition('/')[0]}.{item.changeType}"
    what, name = subject
    word = f"{what}.{item.changeType.lower()}"
    if word not in KINDS:
        return word
    told = graph.Told(word, KINDS[word], _id(item, word, name, now), graph.moment(item, setup, now))
    return graph.of_group(item, told, setup, now) if what == graph.GROUPS else graph.of_user(name, told, setup, now)


def _id(item: _Item, word: str, name: str, now: datetime) -> str:
    """Return the id of a change: Graph numbers or dates most; of another there may be two that are the same."""
    data = item.resourceData
    stamp = (data.sequenceNumber or (data.eventTime and data.eventTime.isoformat())) if data else None
    if not stamp:
        return arrival_id(now, item.subscriptionId, word, name)
    return f"{item.subscriptionId}:{word}:{name}:{stamp}"
