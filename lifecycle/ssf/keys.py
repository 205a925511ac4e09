"""RSA keys that sign Security Event Tokens: read from PEM, checked, and named by what they are (RFC 7638)."""

import base64
import hashlib
import json
from functools import lru_cache
from typing import Annotated, Any, Final, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.algorithms import RSAAlgorithm
from pydantic import AfterValidator

from lifecycle.secrets import Secret

RSA_BITS_MIN, RSA_BITS_MAX = 2_048, 8_192
ALGORITHM = "RS256"
KEYS_CACHED_MAX = 20

_ALLOWED: Final = f"allowed: an RSA private key of {RSA_BITS_MIN} to {RSA_BITS_MAX} bits in PEM, without a password"


class Key(NamedTuple):
    """A key that signs: the private part, and what is published of it."""

    private: RSAPrivateKey
    public: dict[str, Any]

    @property
    def kid(self) -> str:
        """Its name."""
        return str(self.public["kid"])


@lru_cache(KEYS_CACHED_MAX)
def key(pem: str) -> Key:
    """Read a key; once a process, for it takes longer than a signature. Raises ValueError for what is none."""
    try:
        private = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError(_ALLOWED) from None
    if not isinstance(private, RSAPrivateKey) or not RSA_BITS_MIN <= private.key_size <= RSA_BITS_MAX:
        raise ValueError(_ALLOWED)
    shown = RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
    named = {name: shown[name] for name in ("e", "kty", "n")}
    return Key(private, named | {"kid": _thumbprint(named), "use": "sig", "alg": ALGORITHM})


def _thumbprint(named: dict[str, Any]) -> str:
    # RFC 7638 section 3: the required members alone, in order of the alphabet, without spaces.
    text = json.dumps(named, separators=(",", ":"), sort_keys=True)
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def _checked(found: Secret) -> Secret:
    key(found.value)
    return found


SigningKey = Annotated[Secret, AfterValidator(_checked)]
"""Of a configuration: what tokens are signed with."""
