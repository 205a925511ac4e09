"""From an answer to what happens next (RFC 7644 section 3.12, RFC 6585 section 4, RFC 9110 section 10.2.3)."""

import json
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum, auto
from typing import Any, NamedTuple

from lifecycle.errors import GatepostError, Postponed, Refused
from workers.http import Answer

RETRY_AFTER_SECONDS_MAX = 3_600
DETAIL_CHARS_MAX = 300
BROKEN_STATUS = 500

# Where the words are, first the best; then what errors were seen to be wrapped in.
WORDS = ("detail", "message", "error_description", "errorsummary", "error", "title", "description")
WRAPS = ("error", "errors")
WORDS_DEPTH_MAX = 2

ERROR_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:Error"
SUCCESS = range(200, 300)


class Next(StrEnum):
    """What happens next."""

    DONE = auto()
    ACCEPTED = auto()  # it will be done later (RFC 9967): look again
    MISSING = auto()  # no such resource; for a delete that is success
    TAKEN = auto()  # somebody may be there already: a look-up decides
    CHANGED = auto()  # not what it was when it was read: read, plan again, retry
    DIALECT = auto()  # this way of asking is not known here: ask in another one
    CONTENT = auto()  # the way is known, and the fault is in one value
    REFUSED = auto()  # the operator must act
    FORBIDDEN = auto()  # the operator must give a permission
    CREDENTIALS = auto()  # a new token once, then the operator
    WAIT = auto()  # not now; the target may say when
    BROKEN = auto()  # it may have happened or not: later, beginning with a look


class Row(NamedTuple):
    """One line of the table: what an answer must be to mean this; an empty set takes everything."""

    next: Next
    statuses: Collection[int] = ()
    methods: Collection[str] = ()
    keywords: Collection[str] = ()
    words: re.Pattern[str] | None = None


CREATES, CHANGES = {"POST"}, {"PATCH", "PUT", "DELETE"}
# As Genesys Cloud's directory says it, and the like; Terraform's provider for it retries those.
VERSION_WORDS = re.compile(
    r"\bversion\b.{0,60}match|match.{0,60}\bversion\b|\bversion (conflict|mismatch)|\be-?tag\b|if-match",
    re.IGNORECASE,
)
NO_KEYWORD = {""}

# The first that fits counts. RFC 7644 sections 3.12 and 3.14, RFC 6585, and what servers were seen to say instead.
TABLE: tuple[Row, ...] = (
    Row(Next.ACCEPTED, {202}),
    Row(Next.DONE, SUCCESS),
    Row(Next.WAIT, {408, 425, 429, 503}),
    Row(Next.CREDENTIALS, {401}),
    Row(Next.FORBIDDEN, {403}),
    Row(Next.CHANGED, {412}),
    Row(Next.CHANGED, keywords={"invalidvers"}),
    Row(Next.TAKEN, {400, 409}, keywords={"uniqueness"}),
    Row(Next.TAKEN, {409}, CREATES),
    Row(Next.CHANGED, {409}, CHANGES),
    Row(Next.CHANGED, {400}, CHANGES, NO_KEYWORD, VERSION_WORDS),
    # FusionAuth answered 400 to a duplicate, Gravitee 500 to one of two creates at once.
    Row(Next.TAKEN, {400}, CREATES, NO_KEYWORD),
    Row(Next.TAKEN, {500}, CREATES),
    Row(Next.MISSING, {404, 410}, {"GET", "PATCH", "PUT", "DELETE"}),
    Row(Next.CONTENT, {400}, keywords={"invalidvalue", "mutability"}),
    Row(Next.CONTENT, {422}),
    Row(Next.REFUSED, {400}, keywords={"toomany", "sensitive"}),
    # Where there is no keyword, or one that nobody knows, another way of asking is worth a request.
    Row(Next.DIALECT, {400, 405, 415, 501}),
    Row(Next.BROKEN, {304}),  # a cache's word on a question that was not asked
    Row(Next.BROKEN, range(500, 600)),
)

# What each means for the event where nothing else is tried; DONE and ACCEPTED mean none.
POSTPONED = {Next.WAIT: "busy", Next.BROKEN: "broken", Next.CHANGED: "conflict"}
REASONS = {Next.CREDENTIALS: "credentials", Next.FORBIDDEN: "forbidden"}


def verdict(answer: Answer, method: str) -> Next:
    """Return what happens next after this answer to a request of this method."""
    keyword = scim_type(answer).lower()
    for row in TABLE:
        if (
            (not row.statuses or answer.status in row.statuses)
            and (not row.methods or method in row.methods)
            and (not row.keywords or keyword in row.keywords)
            and (row.words is None or row.words.search(said(answer)))
        ):
            return row.next
    return Next.REFUSED


def parse(answer: Answer) -> dict[str, Any]:
    """Return the JSON object of an answer; an empty one when there is none that can be read."""
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def honest(answer: Answer) -> Answer:
    """Return an answer with the status that its body tells: some send an Error with 200."""
    if answer.status not in SUCCESS or b":Error" not in answer.body:
        return answer
    body = parse(answer)
    schemas = body.get("schemas")
    status = status_in(body.get("status"))
    # Salesforce sends ``schemas`` as a text.
    if ERROR_SCHEMA not in (schemas if isinstance(schemas, list) else [schemas]) or status in SUCCESS:
        return answer
    return answer._replace(status=status or BROKEN_STATUS)


def status_in(value: Any) -> int:  # noqa: ANN401 - JSON
    """Return a status told in a body: a text by the RFC, but also a number or an object with a code; 0 for none."""
    if isinstance(value, dict):
        value = value.get("code")
    text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return int(text) if re.fullmatch(r"[1-5][0-9]{2}", text, re.ASCII) else 0


def document(answer: Answer) -> dict[str, Any]:
    """Return the JSON object of a success. Raises Postponed when it has none.

    That nobody was found is told by an object too: a leaver must not be settled by the page of a proxy.
    """
    found = parse(answer)
    if not found and answer.body.strip() != b"{}":
        raise Postponed("the target's answer is no JSON object", reason="broken")
    return found


def failure(answer: Answer, now: datetime) -> GatepostError:
    """Return the error that an answer which is no success means, where no other way is left."""
    what, words = verdict(answer, ""), said(answer)
    if what in POSTPONED:
        return Postponed(words, reason=POSTPONED[what], retry_at=retry_at(answer.headers, now))
    return Refused(words, reason=REASONS.get(what, "refused"))


def said(answer: Answer) -> str:
    """Return the target's own words: SCIM's ``detail``, a vendor's ``message``, or the start of the text."""
    words = _words(parse(answer))
    if words is not None:
        text = f"{answer.status} {scim_type(answer)} {words}".replace("  ", " ")[:DETAIL_CHARS_MAX]
        # JSON may hold halves of characters, which nothing that is kept or sent can hold.
        return text.encode("utf-8", "replace").decode()
    text = answer.body[:DETAIL_CHARS_MAX].decode("utf-8", "replace").strip()
    return f"{answer.status} {text}".strip()


def _words(body: dict[str, Any], depth: int = WORDS_DEPTH_MAX) -> str | None:
    """Return the sentence of an error, also of one that is wrapped: ``error``, ``Errors``, a list of them."""
    named = {name.lower(): value for name, value in body.items()}
    for name in WORDS:
        if isinstance(named.get(name), str):
            return str(named[name])
    for name in WRAPS if depth else ():
        inner = named.get(name)
        inner = inner[0] if isinstance(inner, list) and inner else inner
        found = _words(inner, depth - 1) if isinstance(inner, dict) else None
        if found is not None:
            return found
    return None


def scim_type(answer: Answer) -> str:
    """Return SCIM's error keyword, empty when there is none."""
    found = parse(answer).get("scimType")
    return found.strip() if isinstance(found, str) else ""


def retry_at(headers: Mapping[str, str], now: datetime, seconds_max: int = RETRY_AFTER_SECONDS_MAX) -> datetime | None:
    """Return the moment that ``Retry-After`` names, in seconds or as a date, within bounds; None without one.

    A date is one of the answer's own clock, where it tells that. What is not ahead names no time.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        wait = timedelta(seconds=int(text[:9]))
    elif moment := _date(text):
        wait = moment - (_date(headers.get("date", "")) or now)
    else:
        return None
    return now + min(wait, timedelta(seconds=seconds_max)) if wait > timedelta() else None


def _date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
