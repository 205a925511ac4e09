"""JSON Web Tokens (RFC 7515, RFC 7519) in notices: access tokens in a header, Security Event Tokens in a body.

Pure: the keys come from ``Setup.keys`` and the time from the caller. pyjwt takes a token apart and checks signatures;
what the claims say is checked here, for pyjwt would ask the system's clock. A key is only ever found by its id among
the issuer's own: what a token says of keys (``jwk``, ``jku``, ``x5u``) is not looked at.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal, NamedTuple

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import AfterValidator

from lifecycle.errors import Unauthentic, Unreadable
from lifecycle.secrets import Secret
from service.sources.base import Keys, Notice

TOKEN_BYTES_MAX = 32_768
KID_CHARS_MAX = 256
RSA_BITS_MIN = 2_048
SECONDS_MAX = 253_402_300_799
"""The last second of the year 9999."""
LEEWAY = timedelta(minutes=2)
"""How far two clocks may be apart."""
SECURITY_EVENT = "secevent+jwt"
NO_TYPE = ""
BEARER = "bearer"


def _private_key(found: Secret) -> Secret:
    try:
        load_pem_private_key(found.value.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        msg = "allowed: a private key in PEM, without a password"
        raise ValueError(msg) from None
    return found


SigningKey = Annotated[Secret, AfterValidator(_private_key)]
"""Of a configuration: what samples are signed with."""

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "ES256"]
"""What an issuer may sign with: nothing that takes a shared secret, and never ``none``."""
_ALGORITHMS: Final[Mapping[str, Any]] = {
    name: jwt.PyJWS().get_algorithm_by_name(name) for name in ("RS256", "RS384", "RS512", "PS256", "ES256")
}

_jws = jwt.PyJWS()


@dataclass(frozen=True)
class Rules:
    """What a source demands of a token."""

    issuers: frozenset[str]
    """One of which it must come from, as written there, trailing slash and all."""
    audiences: frozenset[str]
    """One of which it must be meant for."""
    algorithms: frozenset[Algorithm] = frozenset({"RS256"})
    types: frozenset[str] | None = None
    """The values of ``typ`` that it may have, in lower case, NO_TYPE for none at all. None where it may have any but
    that of a Security Event Token: no event must pass as an access token."""
    expires: bool = True
    """Whether ``exp`` must be there, and lie ahead; else it must be absent."""
    age_max: timedelta | None = None
    """How long ago ``iat``, which must then be there, may be."""
    forbidden: frozenset[str] = frozenset()
    """Claims that it must not have."""
    leeway: timedelta = LEEWAY


class Verified(NamedTuple):
    """A token that was believed."""

    claims: dict[str, Any]
    proof: str
    """``kid:ID`` of the key that signed it."""


class _Token(NamedTuple):
    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes


def bearer(notice: Notice) -> str:
    """Return the token of the Authorization header (RFC 6750 section 2.1). Raises Unauthentic where there is none."""
    scheme, _, token = notice.headers.get("authorization", "").partition(" ")
    if scheme.lower() != BEARER or not token.strip():
        raise Unauthentic("the Authorization header has no bearer token", reason="bearer_missing")
    return token.strip()


def verified(token: str | bytes, keys: Keys, now: datetime, rules: Rules) -> Verified:
    """Return what a token says, and by which key. Raises Unauthentic, or Unavailable where the keys are not there yet.

    What needs no key comes first, so that a stranger's token is no reason to ask for keys.
    """
    found = _taken_apart(token)
    algorithm = _header(found.header, rules)
    _parties(found.claims, rules)
    _times(found.claims, rules, now)
    for name in rules.forbidden & found.claims.keys():
        raise Unauthentic(f"the token has {name}, which it must not", reason="claim_forbidden")
    kid = _kid(found.header)
    _signature(found, algorithm, keys.find(kid, now))
    return Verified(found.claims, f"kid:{kid}")


def claims_of(token: str | bytes) -> dict[str, Any]:
    """Return what a token says that was verified before. Raises Unreadable."""
    try:
        return _taken_apart(token).claims
    except Unauthentic as error:
        raise Unreadable(error.message, reason="unreadable") from error


def signed(payload: bytes, pem: str, *, kid: str, typ: str, algorithm: Algorithm = "RS256") -> str:
    """Return these bytes as a token signed with a private key. Raises ValueError for what is no key."""
    try:
        return _jws.encode(payload, pem, algorithm, {"kid": kid, "typ": typ})
    except (jwt.PyJWTError, TypeError, AttributeError) as error:
        msg = f"a private key in PEM that signs {algorithm}"
        raise ValueError(msg) from error


def _taken_apart(token: str | bytes) -> _Token:
    if len(token) > TOKEN_BYTES_MAX:
        raise Unauthentic(f"a token has at most {TOKEN_BYTES_MAX} bytes", reason="token_too_long")
    found = token.encode("ascii", "replace") if isinstance(token, str) else token
    try:
        parts = _jws.decode_complete(found, options={"verify_signature": False})
        claims = json.loads(parts["payload"])
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise Unauthentic("this is no token", reason="token_malformed") from error
    if not isinstance(claims, dict):
        raise Unauthentic("a token's claims are an object", reason="token_malformed")
    return _Token(parts["header"], claims, found.rpartition(b".")[0], parts["signature"])


def _header(header: Mapping[str, Any], rules: Rules) -> Any:  # noqa: ANN401 - an algorithm of pyjwt
    """Return what its signature is checked with."""
    if "crit" in header or "b64" in header:
        # RFC 7515 section 4.1.11: who does not know an extension that is critical must refuse. We know none.
        raise Unauthentic("the token has an extension that we do not know", reason="token_malformed")
    algorithm, typ = header.get("alg"), header.get("typ", NO_TYPE)
    if not isinstance(algorithm, str) or algorithm not in rules.algorithms:
        raise Unauthentic("the token is signed in a way that is not allowed", reason="algorithm_refused")
    # RFC 7515 section 4.1.9: the prefix may be left out, and the letter case of a media type does not count.
    kind = typ.lower().removeprefix("application/") if isinstance(typ, str) else None
    if kind is None or (kind == SECURITY_EVENT if rules.types is None else kind not in rules.types):
        raise Unauthentic("the token is of another type", reason="token_type")
    return _ALGORITHMS[algorithm]


def _kid(header: Mapping[str, Any]) -> str:
    kid = header.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= KID_CHARS_MAX:
        raise Unauthentic(f"the token names no key by 1 to {KID_CHARS_MAX} characters", reason="key_unnamed")
    return kid


def _parties(claims: Mapping[str, Any], rules: Rules) -> None:
    issuer, audience = claims.get("iss"), claims.get("aud")
    if not isinstance(issuer, str) or issuer not in rules.issuers:
        raise Unauthentic("the token comes from another issuer", reason="issuer_wrong")
    named: Sequence[object] = audience if isinstance(audience, list) else [audience]
    if not any(isinstance(each, str) and each in rules.audiences for each in named):
        raise Unauthentic("the token is meant for others", reason="audience_wrong")


def _times(claims: Mapping[str, Any], rules: Rules, now: datetime) -> None:
    at, leeway = now.timestamp(), rules.leeway.total_seconds()
    expires, begins, made = (_seconds(claims, name) for name in ("exp", "nbf", "iat"))
    if (expires is not None) != rules.expires:
        word = "must" if rules.expires else "must not"
        raise Unauthentic(f"the token {word} have exp", reason="claim_missing" if rules.expires else "claim_forbidden")
    if rules.age_max is not None and made is None:
        raise Unauthentic("the token must have iat", reason="claim_missing")
    if max(begins or 0, made or 0) > at + leeway:
        raise Unauthentic("the token is of a later time", reason="token_early")
    ends = [expires] if expires is not None else []
    ends += [made + rules.age_max.total_seconds()] if made is not None and rules.age_max is not None else []
    if any(at >= end + leeway for end in ends):
        raise Unauthentic("the token is too old", reason="token_expired")


def _seconds(claims: Mapping[str, Any], name: str) -> float | None:
    """Return a moment as seconds since 1970; None where it is absent."""
    if name not in claims:
        return None
    found = claims[name]
    # The comparison is false for what is no number at all, as JSON of Python may have it.
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= SECONDS_MAX:
        raise Unauthentic(f"{name} is no number of seconds", reason="token_malformed")
    return found


def _signature(token: _Token, algorithm: Any, key: Any) -> None:  # noqa: ANN401 - of pyjwt and of cryptography
    if not _fits(algorithm, key):
        raise Unauthentic("the key is of another kind or too weak", reason="key_weak")
    if not algorithm.verify(token.signed, key, token.signature):
        raise Unauthentic("the signature does not fit", reason="signature_wrong")


def _fits(algorithm: Any, key: Any) -> bool:  # noqa: ANN401 - of pyjwt and of cryptography
    if isinstance(algorithm, jwt.algorithms.ECAlgorithm):
        return isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)
    return isinstance(key, RSAPublicKey) and key.key_size >= RSA_BITS_MIN
