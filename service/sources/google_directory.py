"""Google Workspace Directory push notifications: a channel's token in a header, one user per notice.

Set-up: a service account with domain-wide delegation for ``admin.directory.user.readonly``, the same as for
``[directories.NAME]`` with the adapter ``google``, makes a channel for each kind of change it wants to hear of::

    POST https://admin.googleapis.com/admin/directory/v1/users/watch?customer=my_customer&event=update
    {"id": "A-NEW-UUID", "type": "web_hook", "address": "https://HOST/hooks/NAME", "token": "SECRET",
     "params": {"ttl": "21600"}}

``event`` is one of ``add``, ``delete``, ``makeAdmin``, ``undelete``, ``update``: five channels for all, each with an id
of its own. A suspension is an ``update``. The certificate of the address must be one that everybody trusts.

Google begins each channel with a notice ``sync``, which says that it works. A channel ends by itself, and cannot be
renewed: make a new one before, under another id; for a while both send, which is harmless. ``gatepost check`` shows
when each channel ends, as it said itself at its beginning and in its last hour; ``silent_after`` tells when none is
left.

The secret is the channel's ``token``, 256 characters at most; a channel keeps the one that it was made with. Rotation:
list the new secret before the old one in ``secrets``, make new channels with it, stop the old ones or let them end,
and take the old secret out when ``gatepost check`` says that nobody used it for a week.

It cannot promise that a notice is unchanged or recent: nothing is signed. So name a directory: whatever it claims is
read there before it acts. It is thin, a user's id and address, has no time, and comes in no order; a repeat is seen by
the channel and the number of the message. A notice that names no user, as Google's pages show one in places, says
only that something changed, and is left out.

It is answered 200. Google takes 200, 201, 202, 204 and 102, and tries again with growing pauses after 500, 502, 503
and 504; whatever else is answered, the notice is lost, for Google is not polled yet. How long Google waits for the
answer, how often it tries and how long a channel may live at most, it does not say.

https://developers.google.com/workspace/admin/directory/v1/guides/push
https://developers.google.com/workspace/admin/directory/reference/rest/v1/users/watch
"""

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from lifecycle.errors import Unreadable
from lifecycle.event import Event, Kind
from service.sources.base import (
    ORDINARY_BYTES,
    Answer,
    Assurance,
    Counts,
    Notice,
    OwnOptions,
    Reading,
    Setup,
    header_secrets,
    no_greeting,
    no_keys,
    problem,
)
from service.sources.documents import Part, parsed, person_key, profile
from service.sources.proofs import proven, the_secret

BODY_BYTES_MIN = ORDINARY_BYTES
TOKEN = "x-goog-channel-token"  # noqa: S105 - the name of a header
CHANNEL, NUMBER, STATE = "x-goog-channel-id", "x-goog-message-number", "x-goog-resource-state"
EXPIRATION = "x-goog-channel-expiration"
TOKEN_CHARS_MAX = 256
SYNC = "sync"
USER = "admin#directory#user"
ENDS_SOON = timedelta(hours=1)

CHANNEL_ID = re.compile(r"[!-~]{1,64}")
MESSAGE_NUMBER = re.compile(r"[0-9]{1,20}")

KINDS = {
    "add": Kind.CHANGED,
    "update": Kind.CHANGED,
    "makeAdmin": Kind.CHANGED,
    "undelete": Kind.CHANGED,
    "delete": Kind.LEAVER,
}


class _User(Part):
    kind: str = USER
    id: str | None = None
    primaryEmail: str | None = None  # noqa: N815 - Google's spelling


Options = OwnOptions
greet, keys_at, refuse = no_greeting, no_keys, problem


def assurance(setup: Setup) -> Assurance:  # noqa: ARG001 - Google can do no more
    """Return that the sender knows a secret."""
    return Assurance.SHARED_SECRET


def check(setup: Setup) -> None:
    """Raise ValueError for a secret that is longer than a channel's token, or that a header cannot carry."""
    header_secrets(setup)
    if any(len(secret) > TOKEN_CHARS_MAX for secret in setup.secrets):
        msg = f"a channel's token of {TOKEN_CHARS_MAX} characters at most"
        raise ValueError(msg)


def verify(notice: Notice, setup: Setup, now: datetime) -> str:  # noqa: ARG001 - Google signs no time
    """Compare the channel's token with each live secret."""
    return proven(the_secret(notice.headers.get(TOKEN, ""), setup.secrets), "the channel's token")


def read(notice: Notice, setup: Setup, now: datetime) -> Reading:
    """Return the change of one user, and what the channel says of its end."""
    channel, state = notice.headers.get(CHANNEL, ""), notice.headers.get(STATE, "")
    if not CHANNEL_ID.fullmatch(channel) or not state:
        raise Unreadable("a notice names its channel and the state of a user", reason="unreadable")
    ends = _ends(notice, channel, now)
    if state not in KINDS:
        return Reading((), (state,), upkeep=ends)
    user = parsed(_User, notice.body) if notice.body.strip() else _User()
    if user.kind != USER:
        return Reading((), (user.kind,), upkeep=ends)
    if not (user.id or user.primaryEmail):
        return Reading((), (f"{state} of nobody",), upkeep=ends)
    return Reading((_event(user, _id(notice, channel), setup, now, state),), upkeep=ends)


def answer(counts: Counts) -> Answer:  # noqa: ARG001 - Google reads no body
    """Answer 200."""
    return Answer(200)


def sign(notice: Notice, setup: Setup, now: datetime) -> Notice:  # noqa: ARG001 - nothing is signed
    """Send the token, as Google does."""
    sent = {TOKEN: setup.secrets[0], "content-type": "application/json; utf-8"}
    return notice._replace(headers={**notice.headers, **sent})


def _event(user: _User, name: str, setup: Setup, now: datetime, state: str) -> Event:
    found = profile(external_id=user.id, user_name=user.primaryEmail, email=user.primaryEmail)
    return Event(
        id=name,
        source=setup.name,
        kind=KINDS[state],
        person=person_key(found),
        profile=found,
        occurred_at=now,
        received_at=now,
        vendor_kind=state,
    )


def _id(notice: Notice, channel: str) -> str:
    number = notice.headers.get(NUMBER, "")
    if not MESSAGE_NUMBER.fullmatch(number):
        raise Unreadable("a notice has a number", reason="event_id")
    return f"{channel}:{number}"


def _ends(notice: Notice, channel: str, now: datetime) -> tuple[str, ...]:
    """Return what is to be handed on of the channel's end: at its beginning, and when the end is near."""
    at = _moment(notice.headers.get(EXPIRATION, ""))
    if at is None or (notice.headers.get(STATE) != SYNC and at - now > ENDS_SOON):
        return ()
    return (f"channel:{channel} expires {at:%Y-%m-%dT%H:%M:%SZ}",)


def _moment(text: str) -> datetime | None:
    """Return a date of an e-mail's form in UTC; None for what is none, for then nothing is known of an end."""
    try:
        found = parsedate_to_datetime(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
