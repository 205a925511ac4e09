"""From an answer to what happens next (RFC 7644 section 3.12, RFC 6585 section 4, RFC 9110 section 10.2.3)."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from lifecycle.errors import GatepostError, Postponed, Refused
from workers.http import Answer

RETRY_AFTER_SECONDS_MAX = 3_600
DETAIL_CHARS_MAX = 300

# Time will mend these; the rest of 5xx too, but 501, which says that it never will.
BUSY = {408: "busy", 425: "busy", 429: "busy", 503: "busy"}
CREDENTIALS = {401: "credentials", 403: "forbidden"}


def parse(answer: Answer) -> dict[str, Any]:
    """Return the JSON object of an answer; an empty one when there is none that can be read."""
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def failure(answer: Answer, now: datetime) -> GatepostError:
    """Return the error that an answer which is no success means."""
    words = said(answer)
    if answer.status in BUSY:
        return Postponed(words, reason=BUSY[answer.status], retry_at=retry_at(answer.headers, now))
    if answer.status in CREDENTIALS:
        return Refused(words, reason=CREDENTIALS[answer.status])
    if answer.status >= 500 and answer.status != 501:  # noqa: PLR2004 - RFC 9110 section 15.6
        return Postponed(words, reason="broken", retry_at=retry_at(answer.headers, now))
    return Refused(words, reason="refused")


def said(answer: Answer) -> str:
    """Return the target's own words: SCIM's ``detail``, a vendor's ``message``, or the start of the text."""
    body = parse(answer)
    for name in ("detail", "message", "error_description", "error", "title"):
        if isinstance(body.get(name), str):
            return f"{answer.status} {scim_type(answer)} {body[name]}".replace("  ", " ")[:DETAIL_CHARS_MAX]
    text = answer.body[:DETAIL_CHARS_MAX].decode("utf-8", "replace").strip()
    return f"{answer.status} {text}".strip()


def scim_type(answer: Answer) -> str:
    """Return SCIM's error keyword, empty when there is none."""
    found = parse(answer).get("scimType")
    return found if isinstance(found, str) else ""


def retry_at(headers: Mapping[str, str], now: datetime, seconds_max: int = RETRY_AFTER_SECONDS_MAX) -> datetime | None:
    """Return the moment that ``Retry-After`` names, in seconds or as a date, within bounds; None without one."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        wait = timedelta(seconds=min(int(text[:9]), seconds_max))
        return now + wait
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(moment, now), now + timedelta(seconds=seconds_max))
