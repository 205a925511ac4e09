"""Standard Webhooks signatures over ``id.timestamp.body``: ``v1``, HMAC-SHA256, and ``v1a``, Ed25519.

The receiver believes by it and the workers sign with it, so it lives between them. The published Python library raises
ValueError, binascii.Error or UnicodeDecodeError on a malformed header or body and drops illegal characters of a secret
silently; here each of these is an answer of its own.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from lifecycle.errors import Unauthentic

SECRET_PREFIX = "whsec_"  # noqa: S105 - the published prefix, not a secret
PUBLIC_PREFIX, PRIVATE_PREFIX = "whpk_", "whsk_"
KEY_BYTES_MIN, KEY_BYTES_MAX = 24, 64
ED25519_BYTES = 32
# A private key may come with its public half behind it, as other libraries keep the two.
ED25519_PRIVATE_BYTES = (ED25519_BYTES, 2 * ED25519_BYTES)
TOLERANCE_SECONDS = 300
SIGNATURES_MAX = 20

Verifier = bytes | Ed25519PublicKey
"""What a signature is checked with: the key of ``v1``, or the public key of ``v1a``."""


class HeaderNames(NamedTuple):
    """Under which names a sender puts the three, in lower case: some rename them and keep all else."""

    id: str = "webhook-id"
    timestamp: str = "webhook-timestamp"
    signature: str = "webhook-signature"


STANDARD = HeaderNames()


def key(secret: str, prefix: str = SECRET_PREFIX) -> bytes:
    """Return the key bytes of a ``whsec_`` secret, or of one with another prefix.

    Raises ValueError when it is not strict base64 of 24 to 64 bytes.
    """
    found = _decoded(secret, prefix)
    if not KEY_BYTES_MIN <= len(found) <= KEY_BYTES_MAX:
        msg = f"a key has {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes, this one has {len(found)}"
        raise ValueError(msg)
    return found


def verifier(secret: str) -> Verifier:
    """Return what checks the signatures of a ``whsec_`` secret, or of a ``whpk_`` or ``whsk_`` key.

    Raises ValueError when it is none of them.
    """
    if secret.startswith(PRIVATE_PREFIX):
        return private_key(secret).public_key()
    if not secret.startswith(PUBLIC_PREFIX):
        return key(secret)
    found = _decoded(secret, PUBLIC_PREFIX)
    if len(found) != ED25519_BYTES:
        msg = f"a public key has {ED25519_BYTES} bytes, this one has {len(found)}"
        raise ValueError(msg)
    return Ed25519PublicKey.from_public_bytes(found)


def private_key(secret: str) -> Ed25519PrivateKey:
    """Return the key of a ``whsk_`` secret. Raises ValueError when it is none."""
    found = _decoded(secret, PRIVATE_PREFIX)
    if len(found) not in ED25519_PRIVATE_BYTES:
        msg = f"a private key has {' or '.join(map(str, ED25519_PRIVATE_BYTES))} bytes, this one has {len(found)}"
        raise ValueError(msg)
    return Ed25519PrivateKey.from_private_bytes(found[:ED25519_BYTES])


def _decoded(secret: str, prefix: str) -> bytes:
    if not secret.startswith(prefix):
        msg = f"a secret starts with {prefix}"
        raise ValueError(msg)
    try:
        return base64.b64decode(secret.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError) as error:
        msg = f"what follows {prefix} is base64" if prefix else "a secret is base64"
        raise ValueError(msg) from error


def sign(key_bytes: bytes, message_id: str, sent_at: datetime, body: bytes) -> str:
    """Return one ``v1,<base64>`` signature; ``sent_at`` counts in whole seconds."""
    digest = hmac.digest(key_bytes, _head(message_id, sent_at) + body, "sha256")
    return f"v1,{base64.b64encode(digest).decode()}"


def sign_asymmetric(private: Ed25519PrivateKey, message_id: str, sent_at: datetime, body: bytes) -> str:
    """Return one ``v1a,<base64>`` signature; ``sent_at`` counts in whole seconds."""
    return f"v1a,{base64.b64encode(private.sign(_head(message_id, sent_at) + body)).decode()}"


def signer(secret: str) -> Callable[[str, datetime, bytes], str]:
    """Return what signs with a ``whsec_`` secret, ``v1``, or a ``whsk_`` key, ``v1a``. Raises ValueError."""
    if secret.startswith(PRIVATE_PREFIX):
        return partial(sign_asymmetric, private_key(secret))
    return partial(sign, key(secret))


def _head(message_id: str, sent_at: datetime) -> bytes:
    return b"%s.%d." % (message_id.encode(), int(sent_at.timestamp()))


def verify(
    keys: Iterable[Verifier], headers: Mapping[str, str], body: bytes, now: datetime, names: HeaderNames = STANDARD
) -> int:
    """Return the place of the key that made one of the signatures, within five minutes of ``now``.

    ``headers`` has the names in lower case. All keys are tried without an early exit, so that the time taken does not
    tell which one fits. Raises Unauthentic where none does.
    """
    message_id, stamp, listed = (headers.get(name, "") for name in names)
    given = listed.split(" ", SIGNATURES_MAX)[:SIGNATURES_MAX]
    if not message_id or not stamp or not given[0]:
        raise Unauthentic(f"{', '.join(names[:2])} and {names[2]} are required", reason="signature_missing")
    _check_time(stamp, now, names.timestamp)
    signed = b"%s.%s." % (message_id.encode("latin-1", "replace"), stamp.encode()) + body
    found = [place for place, each in enumerate(keys) if _fits(each, signed, given)]
    if not found:
        raise Unauthentic("no signature fits this body and these headers", reason="signature_wrong")
    return found[0]


def _fits(each: Verifier, signed: bytes, given: Sequence[str]) -> bool:
    if isinstance(each, Ed25519PublicKey):
        return sum(_made_by(each, signed, signature) for signature in given) > 0
    wanted = b"v1," + base64.b64encode(hmac.digest(each, signed, "sha256"))
    return sum(hmac.compare_digest(wanted, signature.encode("latin-1", "replace")) for signature in given) > 0


def _made_by(public: Ed25519PublicKey, signed: bytes, signature: str) -> bool:
    version, _, encoded = signature.partition(",")
    try:
        public.verify(base64.b64decode(encoded.encode("latin-1", "replace"), validate=True), signed)
    except (InvalidSignature, ValueError):
        return False
    return version == "v1a"


def _check_time(stamp: str, now: datetime, name: str) -> None:
    # The specification says integer seconds; isascii keeps out digits of other scripts, which int() would take.
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= len("99999999999")):
        raise Unauthentic(f"{name} is not a number of seconds", reason="timestamp_malformed")
    if abs(now.timestamp() - int(stamp)) > TOLERANCE_SECONDS:
        raise Unauthentic(
            f"{name} is more than {TOLERANCE_SECONDS} seconds away from now",
            reason="timestamp_expired",
        )
