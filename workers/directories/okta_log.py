"""What changed in an Okta org, by its System Log.

A *polling request*, without ``until`` and in ascending order, goes by the time at which Okta has stored an entry, so
one that appears late is not missed, and its ``next`` link is where the next request begins, also when nothing is new.
Where a link is not taken any more, the log is asked from the last time at which nothing was left to read, or from the
last entry that was read since, and some minutes before it, since entries and clocks may be late; what comes again bears
the same ``uuid``, as does its event hook. The log has a limit of its own, which keeps no look-up waiting.

Some kinds are told here and by no hook: imports, a change of the primary address or of the user type, a deletion that
is complete. The log goes back 90 days. Permission: a token of a read-only administrator, or of a service app the scope
``okta.logs.read``, granted and named: ``scopes = ["okta.users.read", "okta.logs.read"]`` in ``[directories.NAME]``.

https://developer.okta.com/docs/reference/system-log-query/#polling-requests
https://developer.okta.com/docs/reference/api/event-types/
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from lifecycle.event import EVENT_ID_CHARS_MAX, Kind
from workers.directories.answers import BAD_REQUEST, GONE, NOT_FOUND, next_link, objects, read
from workers.directories.api import Api
from workers.directories.base import Subject
from workers.directories.changes import ELSEWHERE, Change, Changes, Mark, mark_of
from workers.http import Answer

LOGS, LOG = "/api/v1/logs", "log"
LIMIT = 1_000
LOST = frozenset({BAD_REQUEST, NOT_FOUND, GONE})
SUCCESS = "SUCCESS"
UNKNOWN = "unknown"
DELETED = "user.lifecycle.delete.completed"
# Okta keeps entries for 90 days.
LOG_DAYS = 89
# What hooks told before we began to poll is known; what they lost just then is asked for.
FIRST = timedelta(hours=1)
OVERLAP = timedelta(minutes=15)

WORDS: Mapping[str, Kind | None] = {
    "user.lifecycle.create": Kind.JOINER,
    "user.lifecycle.activate": Kind.JOINER,
    "user.lifecycle.reactivate": Kind.JOINER,
    "user.lifecycle.unsuspend": Kind.JOINER,
    "user.lifecycle.deactivate": Kind.LEAVER,
    "user.lifecycle.suspend": Kind.LEAVER,
    "user.lifecycle.delete.initiated": Kind.LEAVER,
    DELETED: Kind.LEAVER,
    "user.account.update_profile": None,
    "user.account.update_user_type": None,
    "user.account.update_primary_email": None,
    "group.user_membership.add": None,
    "group.user_membership.remove": None,
    "system.import.user.create": Kind.JOINER,
    "system.import.user.unsuspend": Kind.JOINER,
    "system.import.user.update": None,
    "system.import.user.suspend": Kind.LEAVER,
    "system.import.user.delete": Kind.LEAVER,
}
"""The kinds that concern who works here and with what, and what each may turn out to be."""

FILTER = " or ".join(f'eventType eq "{word}"' for word in WORDS)


def changes(api: Api, position: str | None, now: datetime) -> Changes:
    """Read one page of the log. Raises Postponed or Refused."""
    api, at = api.apart(LOG, yields=False), f"okta {api.origin}"
    mark = mark_of(position, at) if position else Mark(now - FIRST, {})
    if mark.told is None or mark.since is None:
        return _again(at, mark.since, now, ELSEWHERE)
    # A clock that was ahead may have written it.
    since = min(mark.since, now)
    answer = _ask(api, mark.told.get("next"), since)
    if answer.status in LOST:
        return _again(at, since, now, "Okta does not take the place in its log any more")
    found, following = objects(read(answer)), next_link(answer)
    reached = _reached(found, since, now)
    # Without a link, which is not to be, the log is read again from a while before.
    reached = reached if following else max(reached - OVERLAP, since)
    return Changes(tuple(_each(found, now)), _position(at, following, reached), more=bool(found) and bool(following))


def _again(at: str, since: datetime | None, now: datetime, why: str) -> Changes:
    """Let the log be read again from before a moment, as far as it goes back."""
    floor, missed = now - timedelta(days=LOG_DAYS), None
    if since is None:
        missed, since = f"what happened before {now - FIRST:%Y-%m-%d %H:%MZ}: {why}", now - FIRST
    elif since < floor:
        missed = f"what happened from {since:%Y-%m-%d} to {floor:%Y-%m-%d}: Okta's log goes back {LOG_DAYS} days"
    since = min(since, now)
    lost = f"{why}: it is read again from the time up to which it had told all"
    return Changes((), _position(at, None, max(since - OVERLAP, floor)), more=True, lost=lost, missed=missed)


def _reached(found: Sequence[Mapping[str, Any]], since: datetime, now: datetime) -> datetime:
    """Return up to when all is read: up to now only where nothing is left, for a page may be of hours ago."""
    last = _moment(found[-1].get("published"), since) if found else now
    return max(since, min(last, now))


def _position(at: str, link: str | None, since: datetime) -> str:
    return json.dumps({"at": at, "since": since.isoformat(), "next": link})


def _ask(api: Api, link: str | None, since: datetime) -> Answer:
    if link is not None:
        return api.talk().get(link, allow=LOST)
    text = since.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    query = {"since": text, "sortOrder": "ASCENDING", "limit": str(LIMIT), "filter": FILTER}
    return api.talk().get(LOGS, query)


def _each(entries: Iterable[Mapping[str, Any]], now: datetime) -> Iterator[Change]:
    """Yield the entries that concern somebody; one that cannot be read keeps none of the others waiting."""
    for entry in entries:
        word, uuid = str(entry.get("eventType")), entry.get("uuid")
        outcome = entry.get("outcome")
        done = not isinstance(outcome, dict) or outcome.get("result", SUCCESS) == SUCCESS
        subject = _subject(entry.get("target"))
        if word in WORDS and done and subject and isinstance(uuid, str) and 0 < len(uuid) <= EVENT_ID_CHARS_MAX:
            at = _moment(entry.get("published"), now)
            yield Change(uuid, subject, word, at, WORDS[word], gone=word == DELETED)


def _subject(targets: object) -> Subject | None:
    """Return the user among the targets, which come in no promised order."""
    users = [each for each in targets if isinstance(each, dict)] if isinstance(targets, list) else []
    for each in users:
        found = each.get("id")
        if each.get("type") == "User" and isinstance(found, str) and 0 < len(found) <= EVENT_ID_CHARS_MAX:
            login = each.get("alternateId")
            known = isinstance(login, str) and login != UNKNOWN and 0 < len(login) <= EVENT_ID_CHARS_MAX
            return Subject(found, login if known else None, None)
    return None


def _moment(found: object, otherwise: datetime) -> datetime:
    try:
        moment = datetime.fromisoformat(str(found))
    except ValueError:
        return otherwise
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
