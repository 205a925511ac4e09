"""What proves a sender: secrets and digests compared in constant time, and signed times."""

import hmac
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlencode

from lifecycle.errors import Unauthentic
from service.sources.base import Notice, Setup

QUERY_FIELDS_MAX = 20


def the_secret(given: str, secrets: Iterable[str]) -> str | None:
    """Return which live secret this is: each is compared in constant time, without an early exit."""
    return _fitting(given.encode("latin-1", "replace"), {secret: secret.encode() for secret in secrets})


def in_header(notice: Notice, setup: Setup, now: datetime) -> str:  # noqa: ARG001 - as in Source
    """Compare the header that HeaderOptions names with each live secret: its whole value, scheme included."""
    name = setup.options.header
    return proven(the_secret(notice.headers.get(name, ""), setup.secrets), f"the header {name}")


def in_query(notice: Notice, setup: Setup, name: str) -> str:
    """Compare a parameter of the address with each live secret. Raises Unauthentic.

    Two of one name prove nothing: a proxy and we might not read the same one.
    """
    try:
        fields = parse_qsl(
            notice.query, keep_blank_values=True, errors="surrogateescape", max_num_fields=QUERY_FIELDS_MAX
        )
    except ValueError as error:
        raise Unauthentic("the query cannot be read", reason="secret_missing") from error
    given = [value.encode("utf-8", "surrogateescape") for field, value in fields if field == name]
    wanted = {secret: secret.encode() for secret in setup.secrets}
    return proven(the_digest(given[0], wanted) if len(given) == 1 else None, f"the parameter {name}")


def with_query(notice: Notice, setup: Setup, name: str) -> Notice:
    """Send the first secret in a parameter of the address; the others stay."""
    others = [field for field in parse_qsl(notice.query, keep_blank_values=True) if field[0] != name]
    query = urlencode([*others, (name, setup.secrets[0])])
    return notice._replace(query=query, headers={**notice.headers, "content-type": "application/json"})


def with_header(notice: Notice, setup: Setup, now: datetime) -> Notice:  # noqa: ARG001 - as in Source
    """Send the first secret in the header that HeaderOptions names."""
    sent = {setup.options.header: setup.secrets[0], "content-type": "application/json"}
    return notice._replace(headers={**notice.headers, **sent})


def the_digest(given: bytes, wanted: Mapping[str, bytes]) -> str | None:
    """Return by which secret this digest was made; ``wanted`` has the right digest of each live secret."""
    return _fitting(given, wanted)


def the_hex_hmac(given: str, signed: bytes, secrets: Iterable[str]) -> str | None:
    """Return by which secret the HMAC-SHA256 of these bytes was made that is given as 64 hexadecimal digits.

    Letters of either case are the same digit.
    """
    wanted = {secret: hmac.new(secret.encode(), signed, "sha256").hexdigest().encode() for secret in secrets}
    return _fitting(given.lower().encode("latin-1", "replace"), wanted)


def _fitting(given: bytes, wanted: Mapping[str, bytes]) -> str | None:
    found = None
    for secret, right in wanted.items():
        if hmac.compare_digest(given, right):
            found = secret
    return found


def proven(secret: str | None, what: str) -> str:
    """Return the secret that fits. Raises Unauthentic where none does; ``what`` names what was compared."""
    if secret is None:
        raise Unauthentic(f"{what} does not fit", reason="secret_wrong")
    return secret


def recent(sent_at: datetime | None, now: datetime, tolerance: timedelta) -> None:
    """Raise Unauthentic unless a signed time is there and at most ``tolerance`` away from now, either way."""
    if sent_at is None:
        raise Unauthentic("the signed time is missing or is no time", reason="timestamp_malformed")
    if abs(now - sent_at) > tolerance:
        seconds = int(tolerance.total_seconds())
        raise Unauthentic(f"the signed time is more than {seconds} seconds away from now", reason="timestamp_expired")


def decimal_time(stamp: str, *, milliseconds: bool = False) -> datetime | None:
    """Return the moment of a number of seconds, or milliseconds, since 1970 in a header; None for anything else.

    A nought in front is refused: where nothing stands between a time and what is signed before it, it could be of that.
    """
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= len("99999999999999")) or stamp.startswith("0"):
        return None
    try:
        return datetime.fromtimestamp(int(stamp) / (1000 if milliseconds else 1), UTC)
    except (OverflowError, OSError, ValueError):
        return None
