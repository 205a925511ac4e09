"""A strict receiver of Security Event Tokens: it refuses what any of the specifications forbids, and what none names.

Written from the specifications, not from our code, with a grammar of its own: RFC 8417 (tokens), RFC 9493 (subjects),
RFC 8935 (push), RFC 9967 (``prov:*``), SSF 1.0, CAEP 1.0, RISC 1.0 and CAEP's interoperability profile. Each token is
read by two libraries, which must agree.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

import jsonschema
import jwt
from joserfc import jws
from joserfc.jwk import KeySet, RSAKey

CAEP: Final = "https://schemas.openid.net/secevent/caep/event-type/"
RISC: Final = "https://schemas.openid.net/secevent/risc/event-type/"
SSF: Final = "https://schemas.openid.net/secevent/ssf/event-type/"
PROV: Final = "urn:ietf:params:scim:event:prov:"
PATCH_OP: Final = "urn:ietf:params:scim:api:messages:2.0:PatchOp"

Schema = Mapping[str, Any]


def _closed(required: Mapping[str, Any], optional: Mapping[str, Any] | None = None) -> Schema:
    """Return the schema of an object that has these members and no other."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


_TEXT: Final = {"type": "string", "minLength": 1}
_ADDRESS: Final = {"type": "string", "pattern": r"^[^\s@]+@[^\s@]+$"}
_LOCALIZED: Final = {"type": "object", "minProperties": 1, "additionalProperties": _TEXT}
# Seconds: milliseconds, as some transmitters send them, are past this.
_SECONDS: Final = {"type": "integer", "minimum": 1_000_000_000, "maximum": 9_999_999_999}
_NAMES: Final = {"type": "array", "items": {"type": "string", "pattern": r"^[^\[\]\s@]+$"}, "minItems": 1}
_OPERATION: Final = _closed({"op": {"enum": ["add", "replace", "remove"]}, "path": _TEXT}, {"value": {}})
_PATCH: Final = _closed(
    {"schemas": {"const": [PATCH_OP]}, "Operations": {"type": "array", "items": _OPERATION, "minItems": 1}}
)
_RESOURCE: Final = {
    "type": "object",
    "required": ["schemas", "id", "userName"],
    "not": {"anyOf": [{"required": ["password"]}, {"required": ["groups"]}]},
}

SUBJECTS: Final[Mapping[str, Schema]] = {
    "email": _closed({"format": {"const": "email"}, "email": _ADDRESS}),
    "iss_sub": _closed({"format": {"const": "iss_sub"}, "iss": _TEXT, "sub": _TEXT}),
    "opaque": _closed({"format": {"const": "opaque"}, "id": _TEXT}),
    "scim": _closed(
        {"format": {"const": "scim"}, "uri": {"type": "string", "pattern": "^/Users/[^/]+$"}},
        {"externalId": _TEXT, "id": _TEXT},
    ),
}
_REVOKED: Final = {
    "initiating_entity": {"enum": ["admin", "user", "policy", "system"]},
    "reason_admin": _LOCALIZED,
    "event_timestamp": _SECONDS,
}
EVENTS: Final[Mapping[str, Schema]] = {
    CAEP + "session-revoked": _closed({"reason_admin": _LOCALIZED}, {**_REVOKED, "reason_user": _LOCALIZED}),
    RISC + "account-disabled": _closed({}, {"reason": {"enum": ["hijacking", "bulk-account"]}}),
    RISC + "account-enabled": _closed({}),
    RISC + "account-purged": _closed({}),
    RISC + "identifier-changed": _closed({}, {"new-value": _TEXT}),
    PROV + "create:notice": _closed({"attributes": _NAMES}, {"version": _TEXT}),
    PROV + "create:full": _closed({"data": _RESOURCE}, {"version": _TEXT}),
    PROV + "patch:notice": _closed({"attributes": _NAMES}, {"version": _TEXT}),
    PROV + "patch:full": _closed({"data": _PATCH}, {"version": _TEXT}),
    PROV + "activate": _closed({}),
    PROV + "deactivate": _closed({}),
    PROV + "delete": _closed({}),
    SSF + "verification": _closed({}, {"state": {"type": "string"}}),
    SSF + "stream-updated": _closed(
        {"status": {"enum": ["enabled", "paused", "disabled"]}}, {"reason": {"type": "string", "minLength": 1}}
    ),
}
_CLAIMS: Final = {"iss": _TEXT, "aud": _TEXT, "iat": _SECONDS, "jti": _TEXT}
_ONE_EVENT: Final = {"type": "object", "minProperties": 1, "maxProperties": 1}
CLAIMS: Final = _closed({**_CLAIMS, "events": _ONE_EVENT, "sub_id": {"type": "object"}}, {"txn": _TEXT})
LEGACY_CLAIMS: Final = _closed({**_CLAIMS, "events": _ONE_EVENT})
_PUBLIC: Final = _closed(
    {
        "kty": {"const": "RSA"},
        "n": _TEXT,
        "e": _TEXT,
        "kid": _TEXT,
        "use": {"const": "sig"},
        "alg": {"const": "RS256"},
    }
)


class Refusal(Exception):
    """What is wrong, and ``err``, the code of RFC 8935 for it."""

    def __init__(self, err: str, words: str) -> None:
        """Keep the code."""
        super().__init__(f"{err}: {words}")
        self.err = err


class Taken(NamedTuple):
    """A token that was taken, read."""

    uri: str
    event: dict[str, Any]
    subject: dict[str, Any]
    claims: dict[str, Any]


class Responded(NamedTuple):
    """What a push is answered with."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class StrictReceiver:
    """One receiver with its memory of the tokens that it took."""

    issuer: str
    audience: str
    keys: Sequence[Mapping[str, Any]]
    """The transmitter's JSON Web Keys as published now."""
    legacy: bool = False
    """Whether it is one of before the final specifications, as Apple's: CAEP's subjects are inside the event."""
    authorization: str | None = None
    """The header that every push must have."""
    taken: list[Taken] = field(default_factory=list)
    known: dict[str, str] = field(default_factory=dict)

    def answer(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Responded:
        """Answer a push (RFC 8935 sections 2.2 and 2.3)."""
        try:
            self._request({name.lower(): value for name, value in headers.items()})
            self.take(body.decode("ascii", "replace"), now)
        except Refusal as refusal:
            told = json.dumps({"err": refusal.err, "description": str(refusal)}).encode()
            return Responded(400, {"content-type": "application/json", "content-language": "en"}, told)
        return Responded(202, {}, b"")

    def take(self, token: str, now: datetime) -> Taken:
        """Take a token; the same one again is taken, and not counted. Raises Refusal."""
        claims = self._believed(token)
        found = self._read(claims, now)
        jti = claims["jti"]
        if self.known.setdefault(jti, token) != token:
            raise Refusal("invalid_request", f"two tokens have the id {jti}")
        if all(each.claims["jti"] != jti for each in self.taken):
            self.taken.append(found)
        return found

    def _request(self, headers: Mapping[str, str]) -> None:
        if headers.get("content-type") != "application/secevent+jwt":
            raise Refusal("invalid_request", f"content-type {headers.get('content-type')}")
        if headers.get("accept") != "application/json":
            raise Refusal("invalid_request", f"accept {headers.get('accept')}")
        if self.authorization is not None and headers.get("authorization") != self.authorization:
            raise Refusal("authentication_failed", "authorization")

    def _believed(self, token: str) -> dict[str, Any]:
        """Return what a token says, by two libraries."""
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise Refusal("invalid_request", "no token") from error
        if header.keys() != {"alg", "typ", "kid"} or header["typ"] != "secevent+jwt":
            raise Refusal("invalid_request", f"header {header}")
        if header["alg"] != "RS256":
            raise Refusal("invalid_key", f"alg {header['alg']}")
        first, second = self._by_pyjwt(token, header["kid"]), self._by_joserfc(token)
        if first != second:
            raise Refusal("invalid_request", "two libraries read it differently")
        return first

    def _by_pyjwt(self, token: str, kid: str) -> dict[str, Any]:
        options: Any = {"verify_aud": False, "verify_iat": False, "require": ["iss", "aud", "iat", "jti"]}
        key = next((jwt.PyJWK(dict(each)) for each in self.keys if each["kid"] == kid), None)
        if key is None:
            raise Refusal("invalid_key", f"no key {kid} is published")
        try:
            found: dict[str, Any] = jwt.decode(token, key, ["RS256"], options=options)
        except jwt.InvalidSignatureError as error:
            raise Refusal("authentication_failed", "signature") from error
        except jwt.PyJWTError as error:
            raise Refusal("invalid_request", str(error)) from error
        return found

    def _by_joserfc(self, token: str) -> dict[str, Any]:
        keys = KeySet([check_key(each) for each in self.keys])
        found: dict[str, Any] = json.loads(jws.deserialize_compact(token, keys, ["RS256"]).payload)
        return found

    def _read(self, claims: dict[str, Any], now: datetime) -> Taken:
        if claims.get("iss") != self.issuer:
            raise Refusal("invalid_issuer", str(claims.get("iss")))
        if claims.get("aud") != self.audience:
            raise Refusal("invalid_audience", str(claims.get("aud")))
        uri = next(iter(claims.get("events") or {}), "")
        if uri not in EVENTS:
            raise Refusal("invalid_request", f"no event of these specifications: {uri}")
        inside = self.legacy and uri.startswith(CAEP)
        # Among them that neither ``exp`` nor ``sub`` nor ``nbf`` is there.
        _valid(claims, LEGACY_CLAIMS if inside else CLAIMS)
        if claims["iat"] > now.timestamp():
            raise Refusal("invalid_request", "iat lies ahead")
        event = dict(claims["events"][uri])
        subject = _inside(event) if inside else claims["sub_id"]
        _valid(event, EVENTS[uri])
        _subject(uri, subject)
        if "txn" in claims and uri.startswith(SSF):
            raise Refusal("invalid_request", "a stream's own event has no cause")
        return Taken(uri, event, subject, claims)


def check_key(found: Mapping[str, Any]) -> RSAKey:
    """Return a published key: RSA of 2048 bits at least, nothing private, named by its thumbprint (RFC 7638)."""
    _valid(found, _PUBLIC)
    key = RSAKey.import_key(dict(found))
    if key.thumbprint() != found["kid"] or key.raw_value.key_size < 2048 or key.is_private:
        raise Refusal("invalid_key", found["kid"])
    return key


def _inside(event: dict[str, Any]) -> dict[str, Any]:
    """Take the subject out of an event of before the final specifications."""
    subject = event.pop("subject", None)
    if not isinstance(subject, dict) or subject.keys() != {"user"}:
        raise Refusal("invalid_request", f"subject {subject}")
    found: dict[str, Any] = subject["user"]
    return found


def _subject(uri: str, subject: Any) -> None:  # noqa: ANN401 - whatever a token says
    kind = subject.get("format") if isinstance(subject, dict) else None
    allowed = {"opaque"} if uri.startswith(SSF) else {"scim"} if uri.startswith(PROV) else SUBJECTS.keys()
    allowed = {"email"} if uri == RISC + "identifier-changed" else allowed
    if kind not in allowed:
        raise Refusal("invalid_request", f"format {kind} of {uri}")
    _valid(subject, SUBJECTS[str(kind)])


def _valid(found: Any, schema: Schema) -> None:  # noqa: ANN401 - whatever a token says
    try:
        jsonschema.validate(found, schema, cls=jsonschema.Draft202012Validator)
    except jsonschema.ValidationError as error:
        raise Refusal("invalid_request", f"{error.json_path}: {error.message}") from error
