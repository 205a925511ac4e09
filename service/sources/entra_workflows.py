"""Entra Lifecycle Workflows: an HTTP action of a Logic App, by a secret or a token; the task hears when we are done.

Set-up: Lifecycle Workflows call nothing but Logic Apps of the consumption plan, so one stands between.

1. Entra admin center > Identity Governance > Lifecycle Workflows > Custom extensions > Create: Launch and wait, with a
   time in which Gatepost is sure to be done (an hour is plenty), and a new Logic App. For Response authorization choose
   Existing application and name the application of ``[directories.NAME]`` with the adapter ``entra``: it is Gatepost
   that will say ``completed`` or ``failed``, and so that application needs no further permission.
2. In the Logic App, delete the HTTP action that calls back, and put this one after the trigger::

     "Tell_Gatepost": {"type": "Http", "runAfter": {}, "inputs": {
         "method": "POST", "uri": "https://HOST/hooks/NAME", "body": "@triggerBody()",
         "authentication": {"type": "Raw", "value": "@parameters('gatepost')"}},
       "runtimeConfiguration": {"secureData": {"properties": ["inputs"]}}}

   with a parameter ``gatepost`` of the type ``securestring`` that has the secret: it comes as the Authorization header.
   Another ``header`` is possible. Or, without a secret, switch on the system-assigned identity and write
   ``"authentication": {"type": "ManagedServiceIdentity", "audience": "api://gatepost"}`` for an application of yours
   with that ID URI; then ``tenant``, ``audience`` and ``app_id``, the application id of that identity, here.
3. Add the task Run a custom task extension to each workflow, in a leaver workflow after Disable user account, in a
   joiner workflow after Enable user account: with a directory, Gatepost acts as the account is when it looks.
4. Say in ``kinds`` what each workflow means, by its id or its display name, as in
   ``kinds = {"Offboard an employee" = "leaver"}``; of a workflow that is not listed the user is only read again.

Rotation: list the new secret before the old one in ``secrets``, change the parameter, take the old one out when
``gatepost check`` says that nobody used it for a week.

It cannot promise that a body is unchanged or recent: nothing is signed, and a token proves who calls, not what they
say. So name a directory: whatever is claimed is read there before it acts. The body has names, address and manager of
one user; the moment is that at which the task was started. A repeat is seen by the id of the task's result. Where to
report to is believed only if it has the form of Graph's own path; any other is not followed: the event counts, the
notice is set aside as well, and a human must resume the task.

It is answered 200, for after a 202 a Logic App would ask again and again. It waits 2 minutes, and tries 4 more times
after 408, 429 and 5xx; that is from memory, and so is whether ``type`` comes as ``lifecycleEvent`` alone or with a name
space before it, so either is read. If we say nothing in the extension's time, the task fails, and with it, unless it
may go on, the workflow.

https://learn.microsoft.com/en-us/entra/id-governance/lifecycle-workflow-extensibility
https://learn.microsoft.com/en-us/entra/id-governance/configure-logic-app-lifecycle-workflows
https://learn.microsoft.com/en-us/graph/api/identitygovernance-taskprocessingresult-resume
https://learn.microsoft.com/en-us/azure/logic-apps/logic-apps-securing-a-logic-app
"""

import re
from datetime import datetime
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from lifecycle.event import Event, Kind, Profile
from lifecycle.fields import Words
from service.sources import entra_tokens
from service.sources.base import (
    ORDINARY_BYTES,
    Answer,
    Assurance,
    Counts,
    HeaderName,
    Notice,
    Reading,
    Setup,
    header_secrets,
    no_greeting,
    problem,
)
from service.sources.documents import Part, event_id, in_zone, parsed, person_key, profile, source_time
from service.sources.proofs import proven, the_secret

BODY_BYTES_MIN = ORDINARY_BYTES
AUTHORIZATION = "authorization"
LIFECYCLE_EVENT = "lifecycleEvent"

# As the resume action of a task's result has it, in any of its places and in any letter case. Of ids nothing but
# letters, digits and hyphens, for an address of Graph is made of it, to which a token goes.
CALLBACK = re.compile(
    r"/identityGovernance/lifecycleWorkflows(?:/deletedItems)?(?:/[A-Za-z]{1,32}/[0-9A-Za-z-]{1,64}){1,4}"
    r"/taskProcessingResults/[0-9A-Za-z-]{1,64}/resume",
    re.ASCII | re.IGNORECASE,
)

NO_CALLBACK = "data.callbackUriPath is no path of a task's result at Graph: nobody is told what became of it"

KINDS = {LIFECYCLE_EVENT: Kind.CHANGED}


def _kind(found: object) -> Kind:
    if not isinstance(found, str) or found not in set(Kind):
        msg = f"allowed: {', '.join(Kind)}"
        raise ValueError(msg)
    return Kind(found)


class Options(entra_tokens.Bearer):
    """The keys of its own; one of ``header`` and ``tenant`` says how the Logic App proves itself."""

    header: HeaderName | None = None
    """The header, in lower case, that has the secret; none: ``authorization``."""
    kinds: dict[Words, Annotated[Kind, BeforeValidator(_kind)]] = Field(default_factory=dict)
    """What a workflow means, by its id or display name: ``joiner``, ``mover``, ``leaver`` or ``changed``."""

    @model_validator(mode="after")
    def _proves_itself_in_one_way(self) -> "Options":
        if self.tenant is not None and (self.header is not None or self.app_id is None):
            msg = "allowed: a header, or tenant, audience and app_id"
            raise ValueError(msg)
        return self


class _Manager(Part):
    id: str | None = None
    email: str | None = None


class _Subject(_Manager):
    displayName: str | None = None  # noqa: N815 - Microsoft's spelling
    userPrincipalName: str | None = None  # noqa: N815 - Microsoft's spelling
    manager: _Manager | None = None


class _Workflow(Part):
    id: str | None = None
    displayName: str | None = None  # noqa: N815 - Microsoft's spelling


class _Result(Part):
    id: str
    createdDateTime: datetime | None = None  # noqa: N815 - Microsoft's spelling


class _Data(Part):
    callbackUriPath: str | None = None  # noqa: N815 - Microsoft's spelling
    subject: _Subject
    taskProcessingResult: _Result  # noqa: N815 - Microsoft's spelling
    workflow: _Workflow | None = None


class _Head(Part):
    type: str = LIFECYCLE_EVENT


class _Callout(_Head):
    data: _Data


greet, keys_at, refuse = no_greeting, entra_tokens.keys_at, problem


def assurance(setup: Setup) -> Assurance:  # noqa: ARG001 - a token says nothing of the body either
    """Return that the sender knows a secret, or has a token that others could send as well."""
    return Assurance.SHARED_SECRET


def check(setup: Setup) -> None:
    """Raise ValueError for secrets that cannot be sent, or that nobody needs beside a tenant."""
    (header_secrets if setup.options.tenant is None else entra_tokens.check)(setup)


def verify(notice: Notice, setup: Setup, now: datetime) -> str:
    """Return what proves the Logic App: a secret, or the key that signed its token."""
    options: Options = setup.options
    if options.tenant is not None:
        return entra_tokens.caller(notice, setup, now, options.app_id or "")
    name = options.header or AUTHORIZATION
    return proven(the_secret(notice.headers.get(name, ""), setup.secrets), f"the header {name}")


def read(notice: Notice, setup: Setup, now: datetime) -> Reading:
    """Return the one event of a callout: its workflow says what it means."""
    kind = parsed(_Head, notice.body).type
    if kind.rpartition(".")[2].lower() != LIFECYCLE_EVENT.lower():
        return Reading((), (kind,))
    data = parsed(_Callout, notice.body).data
    word, meaning = _meaning(data.workflow, setup.options)
    person, result = _profile(data.subject), data.taskProcessingResult
    begun, reply_to = result.createdDateTime, data.callbackUriPath or None
    is_followed = reply_to is None or CALLBACK.fullmatch(reply_to) is not None
    event = Event(
        id=event_id(result.id),
        source=setup.name,
        kind=meaning,
        person=person_key(person),
        profile=person,
        occurred_at=source_time(in_zone(begun, setup.timezone), now) if begun else now,
        received_at=now,
        vendor_kind=word,
        reply_to=reply_to if is_followed else None,
    )
    # The person must not wait for a human because the report will.
    return Reading((event,), faults=() if is_followed else (NO_CALLBACK,))


def answer(counts: Counts) -> Answer:
    """Answer 200 with what became of it, which the Logic App's run then shows."""
    return Answer(200, b'{"accepted": %d, "duplicates": %d, "ignored": %d}' % counts, "application/json")


def sign(notice: Notice, setup: Setup, now: datetime) -> Notice:
    """Send the secret, or a token, as the Logic App does. Raises ValueError."""
    options: Options = setup.options
    sent = notice._replace(headers={**notice.headers, "content-type": "application/json"})
    if options.tenant is not None:
        return entra_tokens.sign(sent, setup, now, options.app_id or "")
    return sent._replace(headers={**sent.headers, options.header or AUTHORIZATION: setup.secrets[0]})


def _meaning(workflow: _Workflow | None, options: Options) -> tuple[str, Kind]:
    names = (workflow.id, workflow.displayName) if workflow else ()
    found = next((name for name in names if name in options.kinds), None)
    return (LIFECYCLE_EVENT, KINDS[LIFECYCLE_EVENT]) if found is None else (found, options.kinds[found])


def _profile(subject: _Subject) -> Profile:
    manager = subject.manager
    return profile(
        external_id=subject.id,
        user_name=subject.userPrincipalName,
        email=subject.email,
        display_name=subject.displayName,
        manager=(manager.id or manager.email) if manager else None,
    )
