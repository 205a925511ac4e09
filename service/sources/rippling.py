"""Rippling: partner webhooks as form posts, and Workflow Studio's as JSON; a bearer token at most, and nothing signed.

Set-up of a partner app: in the app's settings, Integration, Webhook, the URL ``https://HOST/hooks/NAME`` and a bearer
token, which comes back as ``Authorization: Bearer TOKEN``. Rippling can also send nothing: then write
``unsigned = true`` and no secret, keep the address to yourself, and give the source a ``directory`` in any case; what
then cannot be read is refused by 400 and not kept, for anybody may have sent it.

Set-up of Workflow Studio: a workflow with the trigger that is meant (an end date of today, say), the action "Trigger a
webhook", the same URL, and this payload with the workflow's own variables::

    {"event_name": "employee.terminated", "id": "...", "work_email": "...", "employee_number": "..."}

In which header it sends what is in its secret field was not found: send one, look, and name it by ``header``.

It promises nothing but that the sender knows the token: neither body nor time are signed, so a notice can be changed or
sent again by whoever sees it. With a ``directory`` each event is read again there and acts only as what it says. That
directory must have Rippling's ids as ``external_id``: where it has others, whom an address finds is held as
``another_id`` for a human. A form post has no id of the event and no time: each second's are others, and its time is
when it came, some 5 minutes after the change. Several may come of one change, in no stated order.

``employee.created`` and ``employee.deleted`` are access to the app, given and taken; ``employee.hired`` and
``employee.terminated`` are facts of HR, and may be told before the day (whether they are was not found). Groups,
fields, leave, deductions and the company are left out; ``company.deleted``, the removal of the app, offboards nobody.
One app may have many customers: name those meant in ``companies``.

Rotation: ``secrets = [NEW, OLD]``, change the token at Rippling, and remove the old one when ``gatepost check`` shows
it is used no more. It answers 200; how long Rippling waits and whether it tries again was not found. All of this is
from others' descriptions of Rippling's guide, which itself could not be read.

https://developer.rippling.com/documentation/developer-portal/v2-guides/webhooks
https://github.com/api-evangelist/rippling/blob/main/asyncapi/rippling-webhooks-asyncapi.yml
"""

from datetime import datetime
from typing import Annotated
from urllib.parse import parse_qsl

from pydantic import Field

from lifecycle.errors import Unreadable
from lifecycle.event import Kind
from service.sources.base import (
    ORDINARY_BYTES,
    Assurance,
    HeaderName,
    Notice,
    OwnOptions,
    Reading,
    Setup,
    header_secrets,
    no_greeting,
    no_keys,
    ok,
    problem,
)
from service.sources.documents import Part, Told, arrival_id, entry, made, parsed, person_key, profile
from service.sources.proofs import proven, the_secret

BODY_BYTES_MIN = ORDINARY_BYTES
AUTHORIZATION, SCHEME = "authorization", "bearer "
FIELDS_MAX = 50

KINDS = {
    "employee.created": Kind.CHANGED,
    "employee.updated": Kind.CHANGED,
    "employee.hired": Kind.CHANGED,
    "employee.deleted": Kind.LEAVER,
    "employee.terminated": Kind.LEAVER,
}

greet, keys_at, answer, refuse = no_greeting, no_keys, ok, problem


class Options(OwnOptions):
    """How Rippling is known, and which of an app's customers this source hears."""

    header: HeaderName = AUTHORIZATION
    """The header that carries the secret, in lower case: behind ``Bearer`` in ``authorization``, else as it is."""
    unsigned: bool = False
    """Whether nothing proves the sender, so that anybody who knows the address can send: then without ``secrets``."""
    companies: Annotated[list[str], Field(max_length=1_000)] = Field(default_factory=list)
    """Rippling's ``company_id`` of each customer; without any, all are heard."""


class _Body(Part):
    event_name: Annotated[str, Field(min_length=1)]
    company_id: str | None = None
    id: str | None = None
    work_email: str | None = None
    employee_number: str | None = None


def assurance(setup: Setup) -> Assurance:
    """Return that the sender knows a secret, where there is one."""
    options: Options = setup.options
    return Assurance.NONE if options.unsigned else Assurance.SHARED_SECRET


def check(setup: Setup) -> None:
    """Raise ValueError unless there are secrets that a header can carry, or none where none is sent."""
    options: Options = setup.options
    if not options.unsigned:
        header_secrets(setup)
    elif setup.secrets:
        msg = "none, for unsigned = true says that nothing is proven"
        raise ValueError(msg)


def verify(notice: Notice, setup: Setup, now: datetime) -> str:  # noqa: ARG001 - no time is signed
    """Compare the secret header with each live secret; without any there is nothing to compare."""
    options: Options = setup.options
    if options.unsigned:
        return ""
    given = notice.headers.get(options.header, "")
    if options.header == AUTHORIZATION:
        # RFC 9110 section 11.1: the name of a scheme has no letter case.
        given = given[len(SCHEME) :] if given.lower().startswith(SCHEME) else ""
    return proven(the_secret(given, setup.secrets), f"the {options.header} header")


def read(notice: Notice, setup: Setup, now: datetime) -> Reading:
    """Return the one event of a form post or of a workflow's JSON; one of another customer is left out."""
    body = parsed(_Body, notice.body) if notice.body.lstrip().startswith(b"{") else entry(_Body, _form(notice.body))
    options: Options = setup.options
    if body.event_name not in KINDS or (options.companies and body.company_id not in options.companies):
        return Reading((), (body.event_name,))
    person = profile(external_id=body.id, email=body.work_email, employee_number=body.employee_number)
    key = person_key(person)
    told = Told(arrival_id(now, body.event_name, body.company_id or "", key), body.event_name, person, now)
    return Reading((made(told, KINDS, setup, now),))


def sign(notice: Notice, setup: Setup, now: datetime) -> Notice:  # noqa: ARG001 - nothing is signed
    """Send the secret, as Rippling does."""
    options: Options = setup.options
    is_form = not notice.body.lstrip().startswith(b"{")
    headers = {**notice.headers, "content-type": "application/x-www-form-urlencoded" if is_form else "application/json"}
    if not options.unsigned:
        scheme = "Bearer " if options.header == AUTHORIZATION else ""
        headers[options.header] = f"{scheme}{setup.secrets[0]}"
    return notice._replace(headers=headers)


def _form(body: bytes) -> dict[str, str]:
    """Return the fields of a form post, of one that comes twice the first. Raises Unreadable."""
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX)
    except ValueError as error:
        raise Unreadable("the body is neither a form nor JSON", reason="unreadable") from error
    return dict(reversed(pairs))
