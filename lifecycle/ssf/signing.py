"""The transmitter's keys: all are published, the first signs.

A key that comes second is known to the receivers before it signs anything; one that was the first is published for as
long as what it signed is on its way.
"""

from collections.abc import Mapping
from typing import Any

import jwt

from lifecycle.ssf.keys import ALGORITHM, key
from lifecycle.ssf.section import Ssf

TYPE = "secevent+jwt"


class Signing:
    """What signs for ``[ssf]``; cheap to make, for a process reads each key once."""

    def __init__(self, ssf: Ssf) -> None:
        """Read the keys."""
        self._keys = [key(secret.value) for secret in ssf.signing_keys]

    def public(self) -> list[dict[str, Any]]:
        """Return the public keys as a JSON Web Key Set has them."""
        return [dict(each.public) for each in self._keys]

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Return these claims as a Security Event Token; the same claims give the same token."""
        first = self._keys[0]
        return jwt.encode(dict(claims), first.private, ALGORITHM, {"typ": TYPE, "kid": first.kid})
