"""What an answer of a directory says: its JSON, until when a limit asks to wait, and words that may be shown. Pure."""

import json
import random
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, quote_plus

from lifecycle.errors import GatepostError, Postponed, Refused
from workers.http import Answer
from workers.scim.answers import DETAIL_CHARS_MAX, RETRY_AFTER_SECONDS_MAX, retry_at, said

# So that not all who waited for a limit to end ask in the same moment.
SPREAD_SECONDS_MAX = 5.0
BAD_REQUEST, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, METHOD_NOT_ALLOWED = 400, 401, 403, 404, 405
CONFLICT, GONE, PRECONDITION_FAILED, UNPROCESSABLE, TOO_MANY = 409, 410, 412, 422, 429
BUSY, BROKEN = frozenset({TOO_MANY, 503}), frozenset({408, 425, *range(500, 600)})
LIMIT_LEFT, LIMIT_RESET = "x-rate-limit-remaining", "x-rate-limit-reset"
# BambooHR says in a header what was wrong.
WORDS_HEADER = "x-bamboohr-error-message"
ADDRESS = re.compile(r"[^\s@\"'<>(]+(?:@|%40)[^\s@\"'<>)]+")
HIDDEN_CHARS_MIN = 3
NEXT_LINK = re.compile(r"<([^>]*)>\s*;[^,<]*rel=\"?next\"?", re.IGNORECASE)


def failure(answer: Answer, now: datetime, *, is_busy: bool) -> GatepostError:
    """Return the error that an answer which is no success means."""
    words = answer.headers.get(WORDS_HEADER)
    text = f"{answer.status} {words}"[:DETAIL_CHARS_MAX] if words else said(answer)
    if is_busy:
        moment = limited_until(answer, now)
        return Postponed(text, reason="busy", retry_at=spread(moment) if moment else None)
    if answer.status in BROKEN:
        return Postponed(text, reason="broken", retry_at=retry_at(answer.headers, now))
    if answer.status in range(300, 400):
        # A service that is moved, or a proxy that wants a login: nothing is wrong with whoever was asked for.
        return Postponed(f"{answer.status}: a redirect, which is not followed", reason="redirected")
    credentials = answer.status in {UNAUTHORIZED, FORBIDDEN}
    return Refused(text, reason="credentials" if credentials else "refused")


def clean(error: GatepostError, hidden: Iterable[str]) -> None:
    """Take names, addresses and secrets out of what an error says, also as they stand in a URL."""
    for each in hidden:
        if len(each) >= HIDDEN_CHARS_MIN:
            forms = "|".join(map(re.escape, dict.fromkeys((each, quote(each, safe=""), quote(each), quote_plus(each)))))
            error.message = re.sub(forms, "...", error.message, flags=re.IGNORECASE)
    error.message = ADDRESS.sub("...", error.message)
    error.args = (error.message,)


def segment(text: str) -> str:
    """Return a value as one segment of a path. Dots alone would be resolved away (RFC 3986 section 5.2.4)."""
    if not text.strip("."):
        raise Refused("the name cannot be asked for", reason="refused")
    return quote(text, safe="")


def read(answer: Answer) -> Any:  # noqa: ANN401 - JSON
    """Return what an answer says. Raises Postponed where it is no JSON: the page of a proxy is not the directory."""
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError) as error:
        raise Postponed("the directory's answer is no JSON", reason="broken") from error


def objects(found: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - JSON
    """Return the objects of a list. Raises Postponed where there is no such list: that is not "nobody"."""
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise Postponed("the directory's answer has no list of objects", reason="broken")
    return found


def limited_until(answer: Answer, now: datetime) -> datetime | None:
    """Return until when a limit asks all to wait; None where none does.

    Okta names the second at which its limit begins anew, by its own clock, and with every answer how much is left.
    """
    used_up = answer.headers.get(LIMIT_LEFT, "").strip() == "0"
    if answer.status not in BUSY and not used_up:
        return None
    if named := retry_at(answer.headers, now):
        return named
    text = answer.headers.get(LIMIT_RESET, "").strip()
    if not (text.isascii() and text.isdigit()):
        return None
    wait = int(text[:12]) - _clock(answer, now).timestamp() + 1
    return now + timedelta(seconds=min(max(wait, 0.0), RETRY_AFTER_SECONDS_MAX))


def _clock(answer: Answer, now: datetime) -> datetime:
    try:
        found = parsedate_to_datetime(answer.headers.get("date", ""))
    except (ValueError, TypeError):
        return now
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def spread(moment: datetime) -> datetime:
    """Return a moment soon after one that many wait for."""
    return moment + timedelta(seconds=random.uniform(0, SPREAD_SECONDS_MAX))  # noqa: S311 - jitter, not a secret


def next_link(answer: Answer) -> str | None:
    """Return where the header ``Link`` says that the next page is (RFC 8288)."""
    found = NEXT_LINK.search(answer.headers.get("link", ""))
    return found[1] if found else None
