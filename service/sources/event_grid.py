"""Azure Event Grid with Microsoft Graph's events of Entra users and groups, in either schema, by a secret or a token.

Set-up: let Microsoft Graph send to a partner topic: authorize the partner in Azure, make a Graph subscription with
``"notificationUrl": "EventGrid:?azuresubscriptionid=...&resourcegroup=...&partnertopic=...&location=..."``, the same as
``lifecycleNotificationUrl`` and a ``clientState``, and activate the topic. Then add an event subscription to it with
the endpoint type Web Hook and ``https://HOST/hooks/NAME``, list its name in ``subscriptions``, and choose a proof:

- a header, the default: Delivery properties > Add, name ``Authorization``, type Static, Is secret; ``secrets`` has its
  whole value. Azure drops an Authorization header that is not well formed, so begin it with ``Bearer`` and a space.
  Name another header by ``header``.
- a secret in the address, for which ``query`` names the parameter: ``https://HOST/hooks/NAME?code=SECRET``. Addresses
  end up in logs; take letters and digits alone.
- a token of Entra: Additional features > Use Microsoft Entra authentication, with an application of yours whose service
  principal has given the role ``AzureEventGridSecureWebhookSubscriber`` to Microsoft.EventGrid; then ``tenant`` and
  ``audience`` here, and no secret.

Without ``subscriptions`` whoever knows the secret may send by an event subscription of their own: anybody may point
one at this address, and Azure asks nobody but us. With ``client_states``, which are best set, too, events of any other
Graph subscription are left out.

Handshake: in the Event Grid schema a POST whose code is given back with exactly 200; it must prove itself as a notice
does. Graph's topics speak CloudEvents, where it is an OPTIONS request. That asks for no more than leave to send, and
brings no header of ours; so its origin must be one of ``origins``, and the subscription and the secret of the address
must fit where it brings them. Azure asks again whenever the event subscription is changed.

Rotation: list the new secret before the old one, change the event subscription, take the old one out when ``gatepost
check`` says that nobody used it for a week. Without this overlap events are lost: after 400, 401, 403 and 413 Azure
never sends again, but puts them where you collect dead letters, if anywhere.

It cannot promise that an event is unchanged or recent: Azure signs nothing, and a token proves who calls, not what they
say. So name a directory: whatever an event claims is read there before it acts. Events are thin and come in any order;
a repeat is seen by its id. A creation and a deletion into the recycle bin both come as ``UserUpdated``;
``UserDeleted`` is a user who is gone for good, as a rule 30 days later. A group names the users who came or went, if
it does as Graph's own webhook; one that names none is left out. ``SubscriptionReauthorizationRequired`` and the
deletion of the event subscription are handed on to whoever keeps it alive.

What cannot be read is set aside whole, with the ``clientState`` that it has, to be sorted again by it.

It is answered 200. Azure waits 30 seconds and tries again for 24 hours or 30 times, with growing pauses. It may send up
to 5,000 events or 1 MB at once, where batches are switched on. Not described by Microsoft, so taken either way: whether
the OPTIONS request names the event subscription, which version a token has, and whether groups name their members.

https://learn.microsoft.com/en-us/azure/event-grid/subscribe-to-graph-api-events
https://learn.microsoft.com/en-us/azure/event-grid/end-point-validation-cloud-events-schema
https://learn.microsoft.com/en-us/azure/event-grid/secure-webhook-delivery
https://learn.microsoft.com/en-us/azure/event-grid/delivery-and-retry
"""

import json
import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, model_validator

from lifecycle.errors import Malformed, Unauthentic, Unreadable, Unsupported
from lifecycle.event import Event, Kind
from lifecycle.fields import Words
from lifecycle.secrets import Secret
from service.sources import entra_tokens
from service.sources import graph_changes as graph
from service.sources.base import (
    Answer,
    Assurance,
    Counts,
    Greeting,
    HeaderName,
    Notice,
    Reading,
    Setup,
    header_secrets,
    problem,
)
from service.sources.documents import Part, entry, in_zone, json_body, read_each, source_time
from service.sources.proofs import in_query, proven, the_digest, the_secret, with_query

BODY_BYTES_MIN = 1_100_000
"""A batch has 1 MB at most; the rest is for what stands between the events."""
EVENT_GRID_APP = "4962773b-9cdb-44cf-a8bf-237846a00ab7"
"""Microsoft.EventGrid, the same in every tenant of the public cloud."""
AUTHORIZATION = "authorization"
TYPE, SUBSCRIPTION = "aeg-event-type", "aeg-subscription-name"
ORIGIN = "webhook-request-origin"
VALIDATION, DELETION = "subscriptionvalidation", "subscriptiondeletion"
DELETED = "SubscriptionDeletion"
CODE_CHARS_MAX = 512
METHODS = ("OPTIONS", "POST")
FOREIGN = "clientState"
"""Why an event is not ours: the word under which it is counted."""

# Microsoft calls it an error that a creation comes as UserUpdated, to be mended one day.
KINDS = {
    "Microsoft.Graph.UserCreated": Kind.CHANGED,
    "Microsoft.Graph.UserUpdated": Kind.CHANGED,
    "Microsoft.Graph.UserDeleted": Kind.LEAVER,
    "Microsoft.Graph.GroupUpdated": Kind.CHANGED,
}
# Microsoft's own pages differ in the letter case.
WORDS = {word.lower(): word for word in KINDS}
REAUTHORIZATION = "microsoft.graph.subscriptionreauthorizationrequired"
REAUTHORIZATION_WORD = "reauthorizationRequired"
SUBSCRIPTION_NAME = re.compile(r"[0-9A-Za-z-]{1,64}")


class Options(entra_tokens.Bearer):
    """The keys of its own; one of ``header``, ``query`` and ``tenant`` says how the sender proves itself."""

    header: HeaderName | None = None
    """The header, in lower case, that has the secret; none: ``authorization``."""
    query: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    """The parameter of the address that has the secret."""
    subscriptions: list[Words] = Field(default_factory=list)
    """The names of the event subscriptions that may send; none: any, which is worth a second thought."""
    origins: list[Words] = Field(default_factory=lambda: ["eventgrid.azure.net"])
    """Who may ask by OPTIONS for leave to send."""
    client_states: list[Secret] = Field(default_factory=list)
    """The ``clientState`` of our Graph subscriptions, the new one and the old one; none: any."""

    @model_validator(mode="after")
    def _proves_itself_in_one_way(self) -> "Options":
        if sum(each is not None for each in (self.header, self.query, self.tenant)) > 1:
            msg = "allowed: one of header, query and tenant"
            raise ValueError(msg)
        return self


class _Validation(Part):
    validationCode: str = Field(min_length=1, max_length=CODE_CHARS_MAX)  # noqa: N815 - Azure's spelling


class _ValidationEvent(Part):
    data: _Validation


class _Head(Part):
    type: str | None = None
    """In the schema of CloudEvents."""
    eventType: str | None = None  # noqa: N815 - Azure's spelling
    """In the schema of Event Grid."""


class _Envelope(_Head):
    id: str
    time: datetime | None = None
    eventTime: datetime | None = None  # noqa: N815 - Azure's spelling
    data: Any = None


keys_at, refuse = entra_tokens.keys_at, problem


def assurance(setup: Setup) -> Assurance:  # noqa: ARG001 - a token says nothing of the body either
    """Return that the sender knows a secret, or has a token that others could send as well."""
    return Assurance.SHARED_SECRET


def check(setup: Setup) -> None:
    """Raise ValueError for secrets that cannot be sent, or that nobody needs beside a tenant."""
    (header_secrets if setup.options.tenant is None else entra_tokens.check)(setup)


def greet(notice: Notice, setup: Setup, now: datetime) -> Greeting | None:
    """Consent to be sent to. Raises Rejected for what is no handshake or no sender of ours, and Unavailable."""
    if notice.method == "OPTIONS":
        return _consent(notice, setup)
    if notice.method != "POST":
        raise Unsupported("Event Grid sends POST, and OPTIONS to ask", reason="method_not_allowed", allowed=METHODS)
    if notice.headers.get(TYPE, "").lower() != VALIDATION:
        return None
    verify(notice, setup, now)
    body = json.dumps({"validationResponse": _code(notice.body)}).encode()
    return Greeting(Answer(200, body, "application/json"))


def verify(notice: Notice, setup: Setup, now: datetime) -> str:
    """Return what proves the sender, whose event subscription must be one of ours."""
    options: Options = setup.options
    if options.tenant is not None:
        proof = entra_tokens.caller(notice, setup, now, options.app_id or EVENT_GRID_APP)
    elif options.query is not None:
        proof = in_query(notice, setup, options.query)
    else:
        name = options.header or AUTHORIZATION
        proof = proven(the_secret(notice.headers.get(name, ""), setup.secrets), f"the header {name}")
    _known(notice.headers.get(SUBSCRIPTION, ""), options)
    return proof


def read(notice: Notice, setup: Setup, now: datetime) -> Reading:
    """Return the events of a notice: an array in the Event Grid schema and in batches, else a single one."""
    if notice.headers.get(TYPE, "").lower() == DELETION:
        return Reading((), upkeep=(_deleted(notice),))
    found = json_body(notice.body)
    entries = found if isinstance(found, list) else [found]
    return read_each(entries, lambda each: _read(each, setup, now))


def answer(counts: Counts) -> Answer:  # noqa: ARG001 - Azure reads no body
    """Answer 200; anything above 204 is a failure to Azure."""
    return Answer(200)


def sign(notice: Notice, setup: Setup, now: datetime) -> Notice:
    """Send the secret where it is looked for, or a token, by the first event subscription. Raises ValueError."""
    options: Options = setup.options
    names = {SUBSCRIPTION: options.subscriptions[0]} if options.subscriptions else {}
    sent = notice._replace(headers={**notice.headers, "content-type": "application/json", **names})
    if options.tenant is not None:
        return entra_tokens.sign(sent, setup, now, options.app_id or EVENT_GRID_APP)
    if options.query is None:
        return sent._replace(headers={**sent.headers, options.header or AUTHORIZATION: setup.secrets[0]})
    return with_query(sent, setup, options.query)


def _consent(notice: Notice, setup: Setup) -> Greeting:
    """Answer what CloudEvents calls abuse protection: the consent is in the headers alone.

    https://github.com/cloudevents/spec/blob/main/cloudevents/http-webhook.md#4-abuse-protection
    """
    options: Options = setup.options
    origin = notice.headers.get(ORIGIN)
    if origin is None:
        raise Malformed(f"an OPTIONS request without {ORIGIN} asks nothing", reason="challenge_missing")
    if origin.lower() not in {each.lower() for each in options.origins}:
        raise Unauthentic("this origin may not send", reason="origin_unknown")
    if options.query is not None:
        in_query(notice, setup, options.query)
    if SUBSCRIPTION in notice.headers:
        _known(notice.headers[SUBSCRIPTION], options)
    # The rate must be told where it is asked for; Microsoft wants it in any case.
    headers = {"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "*", "Allow": ", ".join(METHODS)}
    return Greeting(Answer(200, headers=headers))


def _code(body: bytes) -> str:
    try:
        found = json_body(body)
        return entry(_ValidationEvent, found[0] if isinstance(found, list) and found else found).data.validationCode
    except Unreadable as error:
        raise Malformed(error.message, reason="challenge_missing") from error


def _known(name: str, options: Options) -> None:
    # Azure writes the name as it likes, at times in capitals.
    if options.subscriptions and name.lower() not in {each.lower() for each in options.subscriptions}:
        raise Unauthentic("this event subscription is not one of ours", reason="subscription_unknown")


def _deleted(notice: Notice) -> str:
    name = notice.headers.get(SUBSCRIPTION, "")
    return f"{DELETED}:{name}" if SUBSCRIPTION_NAME.fullmatch(name) else DELETED


def _read(found: object, setup: Setup, now: datetime) -> Event | str | Reading:
    head = entry(_Head, found)
    told = head.type or head.eventType
    if not told:
        raise Unreadable("an event has a type", reason="unreadable")
    word = WORDS.get(told.lower())
    if word is None and told.lower() != REAUTHORIZATION:
        return told
    envelope = entry(_Envelope, found)
    if not _is_ours(envelope.data, setup):
        return FOREIGN
    change = entry(graph.Change, envelope.data)
    if word is None:
        return Reading((), upkeep=(graph.upkeep(REAUTHORIZATION_WORD, change.subscriptionId),))
    return _change(envelope, change, word, setup, now)


def _is_ours(data: object, setup: Setup) -> bool:
    states: list[Secret] = setup.options.client_states
    found = data.get("clientState") if isinstance(data, dict) else None
    wanted = {state.value: state.value.encode() for state in states}
    given = found.encode("utf-8", "surrogatepass") if isinstance(found, str) else b""
    return not states or the_digest(given, wanted) is not None


def _change(envelope: _Envelope, change: graph.Change, word: str, setup: Setup, now: datetime) -> Event | Reading:
    subject = graph.subject(change)
    what = graph.GROUPS if ".Group" in word else graph.USERS
    if subject is None or subject[0] != what:
        raise Unreadable(f"{word}: the resource is none of {what}", reason="person_unnamed")
    at = envelope.time or envelope.eventTime
    at = source_time(in_zone(at, setup.timezone), now) if at else graph.moment(change, setup, now)
    told = graph.Told(word, KINDS[word], envelope.id, at)
    return (
        graph.of_group(change, told, setup, now)
        if what == graph.GROUPS
        else graph.of_user(subject[1], told, setup, now)
    )
