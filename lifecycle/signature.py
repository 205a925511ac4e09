"""Standard Webhooks signatures, ``v1``: HMAC-SHA256 over ``id.timestamp.body``.

The receiver believes by it and the workers sign with it, so it lives between them. The published Python library raises
ValueError, binascii.Error or UnicodeDecodeError on a malformed header or body and drops illegal characters of a secret
silently; here each of these is an answer of its own.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hmac
from collections.abc import Iterable
from datetime import datetime

from lifecycle.errors import Unauthentic

SECRET_PREFIX = "whsec_"  # noqa: S105 - the published prefix, not a secret
KEY_BYTES_MIN, KEY_BYTES_MAX = 24, 64
TOLERANCE_SECONDS = 300
SIGNATURES_MAX = 20


def key(secret: str) -> bytes:
    """Return the key bytes of a ``whsec_`` secret.

    Raises ValueError when it is not strict base64 of 24 to 64 bytes.
    """
    if not secret.startswith(SECRET_PREFIX):
        msg = f"a secret starts with {SECRET_PREFIX}"
        raise ValueError(msg)
    try:
        found = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as error:
        msg = "what follows whsec_ is base64"
        raise ValueError(msg) from error
    if not KEY_BYTES_MIN <= len(found) <= KEY_BYTES_MAX:
        msg = f"a key has {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes, this one has {len(found)}"
        raise ValueError(msg)
    return found


def sign(key_bytes: bytes, message_id: str, sent_at: datetime, body: bytes) -> str:
    """Return one ``v1,<base64>`` signature; ``sent_at`` counts in whole seconds."""
    signed = b"%s.%d." % (message_id.encode(), int(sent_at.timestamp()))
    digest = hmac.digest(key_bytes, signed + body, "sha256")
    return f"v1,{base64.b64encode(digest).decode()}"


def verify(keys: Iterable[bytes], headers: dict[str, str], body: bytes, now: datetime) -> None:
    """Raise Unauthentic unless one of the keys made one of the signatures, within five minutes of ``now``.

    ``headers`` has the names in lower case. All keys are tried without an early exit, so that the time taken does not
    tell which one fits.
    """
    message_id = headers.get("webhook-id", "")
    stamp = headers.get("webhook-timestamp", "")
    given = headers.get("webhook-signature", "").split(" ", SIGNATURES_MAX)[:SIGNATURES_MAX]
    if not message_id or not stamp or not given[0]:
        raise Unauthentic(
            "webhook-id, webhook-timestamp and webhook-signature are required", reason="signature_missing"
        )
    _check_time(stamp, now)
    signed = b"%s.%s." % (message_id.encode("latin-1", "replace"), stamp.encode()) + body
    found = False
    for key_bytes in keys:
        wanted = b"v1," + base64.b64encode(hmac.digest(key_bytes, signed, "sha256"))
        for signature in given:
            found |= hmac.compare_digest(wanted, signature.encode("latin-1", "replace"))
    if not found:
        raise Unauthentic("no signature fits this body and these headers", reason="signature_wrong")


def _check_time(stamp: str, now: datetime) -> None:
    # The specification says integer seconds; isascii keeps out digits of other scripts, which int() would take.
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= len("99999999999")):
        raise Unauthentic("webhook-timestamp is not a number of seconds", reason="timestamp_malformed")
    if abs(now.timestamp() - int(stamp)) > TOLERANCE_SECONDS:
        raise Unauthentic(
            f"webhook-timestamp is more than {TOLERANCE_SECONDS} seconds away from now",
            reason="timestamp_expired",
        )
