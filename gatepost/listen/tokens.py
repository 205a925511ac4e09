"""Deliveries as Security Event Tokens (RFC 8417) by push (RFC 8935), read as a strict receiver reads them.

Believed is a token of the type ``secevent+jwt`` that the issuer signed by RS256 with a key that it names, that is meant
for the audience, has ``iat`` and ``jti`` but neither ``exp`` nor ``sub``, tells of one event and says whom it is about.
A transmitter sends a token again as it was, so its ``iat`` may be as old as a signal is tried.

https://openid.net/specs/openid-sharedsignals-framework-1_0-final.html
"""

import hmac
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

import jwt

from gatepost.listen.base import JSON, Heard, Letter, Reply, text_in
from gatepost.listen.keys import ALGORITHM, Keys
from lifecycle.errors import Malformed, Rejected, Unauthentic
from lifecycle.secrets import Secret

MEDIA_TYPE, TYPE = "application/secevent+jwt", "secevent+jwt"
TOKEN_BYTES_MAX = 65_536
AGE_MAX = timedelta(days=7)
LEEWAY = timedelta(minutes=2)
FORBIDDEN = frozenset({"exp", "sub"})
# How a subject names a person (RFC 9493, RFC 9967), the clearest first.
NAMES = ("email", "sub", "externalId", "id", "uri", "phone_number")

# RFC 8935 section 2.4; what is not here is a request that is none.
ERRS = {
    "algorithm_refused": "invalid_key",
    "key_unnamed": "invalid_key",
    "key_unknown": "invalid_key",
    "signature_wrong": "authentication_failed",
    "bearer_wrong": "authentication_failed",
    "issuer_wrong": "invalid_issuer",
    "audience_wrong": "invalid_audience",
}
INVALID_REQUEST = "invalid_request"
REASONS = {
    jwt.InvalidAlgorithmError: "algorithm_refused",
    jwt.InvalidSignatureError: "signature_wrong",
    jwt.InvalidIssuerError: "issuer_wrong",
    jwt.InvalidAudienceError: "audience_wrong",
    jwt.MissingRequiredClaimError: "claim_missing",
    jwt.ImmatureSignatureError: "token_early",
}


class Tokens:
    """Believes what the issuer signed for the audience; with a bearer only where that comes too."""

    NAME, KNOWN_BY = "secevent+jwt", "jti"
    TAKEN: int = HTTPStatus.ACCEPTED

    def __init__(self, keys: Keys, issuer: str, audience: str, bearer: Secret | None = None) -> None:
        """Keep what is demanded of a token."""
        self._keys = keys
        self._issuer, self._audience = issuer, audience
        self._bearer = bearer

    async def hear(self, letter: Letter, now: datetime) -> Heard:
        """Return what a token says. Raises Unauthentic, Malformed, or Unavailable where the keys cannot be fetched."""
        self._check_bearer(letter)
        kid = _kid(letter.body)
        claims = self._claims(letter.body, await self._keys.find(kid))
        _check(claims, now)
        ((name, event),) = claims["events"].items()
        return Heard(
            id=claims["jti"],
            type=name.rpartition("/event-type/")[2].removeprefix("urn:ietf:params:scim:event:"),
            person=_person(claims.get("sub_id") or event["subject"]),
            target="",
            proof=f"kid {kid}",
            said=claims,
        )

    def _check_bearer(self, letter: Letter) -> None:
        if self._bearer is None:
            return
        wanted, given = f"Bearer {self._bearer.value}", letter.headers.get("authorization", "")
        if not hmac.compare_digest(wanted.encode(), given.encode()):
            raise Unauthentic("the Authorization header is not the bearer that was agreed on", reason="bearer_wrong")

    def _claims(self, token: bytes, keys: list[Any]) -> dict[str, Any]:
        """Return the claims that one of the keys signed: the one that the token names, or all that have no name."""
        fault: jwt.PyJWTError = jwt.InvalidSignatureError("no key fits")
        for key in keys:
            try:
                return jwt.decode(
                    token,
                    key,
                    [ALGORITHM],
                    issuer=self._issuer,
                    audience=self._audience,
                    leeway=LEEWAY,
                    options={"require": ["iss", "aud", "iat", "jti"], "verify_exp": False, "verify_sub": False},
                )
            except jwt.PyJWTError as error:
                fault = error
        reason = next((REASONS[kind] for kind in type(fault).__mro__ if kind in REASONS), "token_malformed")
        raise Unauthentic(f"the token is refused: {fault}", reason=reason) from fault

    def refuse(self, error: Rejected) -> Reply:
        """Refuse as RFC 8935 section 2.3 wants it."""
        return refusal(error)


class NoTokens:
    """Refuses every token, where nothing was named to verify them with."""

    NAME, KNOWN_BY = Tokens.NAME, Tokens.KNOWN_BY
    TAKEN: int = Tokens.TAKEN

    async def hear(self, letter: Letter, now: datetime) -> Heard:  # noqa: ARG002 - whatever it is
        """Refuse. Raises Unauthentic."""
        raise Unauthentic("no keys were named to verify tokens with", reason="keys_missing")

    def refuse(self, error: Rejected) -> Reply:
        """Refuse as RFC 8935 section 2.3 wants it."""
        return refusal(error)


def refusal(error: Rejected) -> Reply:
    """Return the answer to a token that is not believed (RFC 8935 section 2.3)."""
    body = {"err": ERRS.get(error.reason, INVALID_REQUEST), "description": error.message}
    return Reply(HTTPStatus.BAD_REQUEST, json.dumps(body).encode(), JSON, {"content-language": "en"})


def _kid(token: bytes) -> str:
    """Return the id of the key that signed, once it is a token of the right type."""
    if len(token) > TOKEN_BYTES_MAX:
        raise Malformed(f"a token has at most {TOKEN_BYTES_MAX} bytes", reason="token_too_long")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise Malformed("this is no token", reason="token_malformed") from error
    typ, kid = header.get("typ"), header.get("kid")
    # RFC 7515 section 4.1.9: the prefix may be there, and the letter case of a media type does not count.
    if not isinstance(typ, str) or typ.lower().removeprefix("application/") != TYPE:
        raise Unauthentic(f"the token's typ is not {TYPE}", reason="token_type")
    if not isinstance(kid, str) or not kid:
        raise Unauthentic("the token names no key by kid", reason="key_unnamed")
    return kid


def _person(subject: Mapping[str, Any]) -> str:
    """Return how a subject names a person; a complex one has it as its user."""
    named = subject.get("user", subject)
    return next(filter(None, (text_in(named, each) for each in NAMES)), "")


def _check(claims: Mapping[str, Any], now: datetime) -> None:
    """Check what makes a token a Security Event Token. Raises Unauthentic or Malformed."""
    for name in claims.keys() & FORBIDDEN:
        raise Unauthentic(f"the token has {name}, which it must not", reason="claim_forbidden")
    if not claims["jti"]:
        raise Malformed("jti is empty", reason="claim_malformed")
    if isinstance(claims["iat"], bool) or not isinstance(claims["iat"], int | float):
        raise Malformed("iat is no number", reason="claim_malformed")
    if now.timestamp() - claims["iat"] > AGE_MAX.total_seconds():
        raise Unauthentic(f"the token is more than {AGE_MAX.days} days old", reason="token_expired")
    events = claims.get("events")
    found = [*events.values()] if isinstance(events, dict) else []
    if len(found) != 1 or not isinstance(found[0], dict):
        raise Malformed("events is not an object with one event", reason="events_malformed")
    if not isinstance(claims.get("sub_id") or found[0].get("subject"), dict):
        raise Malformed("neither sub_id nor subject says whom it is about", reason="subject_missing")
