"""Setting aside what is authentic and cannot be read: whole, but for whatever proves who sent it."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from urllib.parse import unquote_to_bytes

import structlog

from lifecycle.aside import SetAside, set_aside_command
from lifecycle.errors import Unavailable, Unreadable
from service.intake import Intake
from service.sources.base import Notice, Setup

CREDENTIAL_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})
NOTICE_ID_CHARS = 32
LATIN_1_LAST = "\xff"

log = structlog.get_logger()


async def set_aside(intake: Intake, setup: Setup, notice: Notice, now: datetime, error: Unreadable) -> None:
    """Keep a notice for a human. Raises Unavailable where Redis does not take it, or the source has no more room."""
    notice = without_credentials(notice, setup.secrets)
    # Named by what it says, so that a vendor's retries of it are one failure.
    name = hashlib.sha256(f"{setup.name}\n{notice.query}\n".encode() + notice.body).hexdigest()[:NOTICE_ID_CHARS]
    # The names of a vendor's fields may be in it, and whatever is no text in them could not be shown.
    detail = error.message.encode("utf-8", "replace").decode()
    headers = dict(notice.headers)
    aside = SetAside(name, setup.name, notice.method, notice.query, headers, notice.body, now, error.reason, detail)
    (is_kept,) = await intake.run([set_aside_command(aside)])
    if not is_kept:
        # Never lost in silence: the vendor is to send it again, and most go on for days.
        log.error("notice.no_room", source=setup.name, notice=name, reason=error.reason)
        raise Unavailable("too many notices of this source are set aside", reason="aside_full")
    log.error("notice.set_aside", source=setup.name, notice=name, reason=error.reason)


def without_credentials(notice: Notice, secrets: Sequence[str]) -> Notice:
    """Return a notice without each header, and each field of the query, that has a secret in it, however spelt.

    What a source puts into the body stays there, for without it the body could not be read again.
    """
    # A secret beyond ASCII comes as UTF-8, or in a header as what HTTP once had for such letters.
    live = [secret.encode() for secret in secrets]
    live += [secret.encode("latin-1") for secret in secrets if max(secret, default="") <= LATIN_1_LAST]

    def has_one(found: str) -> bool:
        raw = found.encode("latin-1", "replace")
        forms = (raw, unquote_to_bytes(raw), unquote_to_bytes(raw.replace(b"+", b" ")))
        return any(secret in form for secret in live for form in forms)

    headers = {
        name: value for name, value in notice.headers.items() if name not in CREDENTIAL_HEADERS and not has_one(value)
    }
    query = "&".join(field for field in notice.query.split("&") if not has_one(field))
    return notice._replace(headers=headers, query=query)
