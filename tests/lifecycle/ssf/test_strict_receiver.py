"""The strict receiver is one: what crashes nobody and is wrong all the same is refused by it."""

import json
from typing import Any

import jwt
import pytest

from lifecycle.ssf import sets
from lifecycle.ssf.keys import key as read_key
from lifecycle.ssf.signing import Signing
from tests.strict_receiver import CAEP, PROV, RISC, Refusal, StrictReceiver, check_key
from tests.transmitter import AT, AUDIENCE, ISSUER, pem, ssf, subscriber, told

SIGNING = Signing(ssf())
KID = SIGNING.public()[0]["kid"]
PUSHED = {"Content-Type": "application/secevent+jwt", "Accept": "application/json"}
DISABLED, CHANGED, REVOKED = RISC + "account-disabled", RISC + "identifier-changed", CAEP + "session-revoked"
EMAIL = {"format": "email", "email": "bo.ray@acme.example"}
REASON = {"reason_admin": {"en": "Left."}}

Claims = dict[str, Any]


def good(name: str = "account-disabled") -> Claims:
    """Return what a token of ours says."""
    return sets.claims(ISSUER, told(), f"sig_1~{name}", subscriber())


def signed(claims: Claims, key: str = "first", **header: Any) -> str:  # noqa: ANN401 - whatever a test wants to say
    """Sign claims with a key of the transmitter, or of somebody else."""
    head = {"typ": "secevent+jwt", "kid": KID, **header}
    algorithm = header.get("alg", "RS256")
    return jwt.encode(claims, read_key(pem(key)).private, algorithm, head)


def receiver(**fields: Any) -> StrictReceiver:  # noqa: ANN401 - a receiver's
    """Return a receiver of ours."""
    return StrictReceiver(ISSUER, AUDIENCE, SIGNING.public(), **fields)


SPOILT: dict[str, tuple[str, Claims]] = {
    # The defects that crash nobody: a member too many, a time to live, a second subject, another event besides.
    "member_too_many": ("invalid_request", {"sub_id": {**EMAIL, "name": "Bo"}}),
    "exp": ("invalid_request", {"exp": 1_999_999_999}),
    "sub": ("invalid_request", {"sub": "E1042"}),
    "nbf": ("invalid_request", {"nbf": 1_000_000_000}),
    "two_events": ("invalid_request", {"events": {DISABLED: {}, REVOKED: REASON}}),
    "no_event": ("invalid_request", {"events": {}}),
    "subject_inside": ("invalid_request", {"events": {DISABLED: {"subject": EMAIL}}}),
    "reason_of_our_own": ("invalid_request", {"events": {DISABLED: {"reason": "left"}}}),
    "no_reason": ("invalid_request", {"events": {REVOKED: {}}}),
    "empty_reason": ("invalid_request", {"events": {REVOKED: {"reason_admin": {}}}}),
    "milliseconds": ("invalid_request", {"events": {REVOKED: REASON | {"event_timestamp": 1_772_834_401_000}}}),
    "somebody_else": ("invalid_request", {"events": {REVOKED: REASON | {"initiating_entity": "hr"}}}),
    "underscore": ("invalid_request", {"events": {CHANGED: {"new_value": "x"}}}),
    "old_value_opaque": ("invalid_request", {"events": {CHANGED: {}}, "sub_id": {"format": "opaque", "id": "1"}}),
    "account_by_email": ("invalid_request", {"events": {PROV + "deactivate": {}}}),
    "draft": ("invalid_request", {"events": {PROV.replace("scim", "SCIM") + "deactivate": {}}}),
    "unknown_event": ("invalid_request", {"events": {"push": {}}}),
    "empty_address": ("invalid_request", {"sub_id": {"format": "email", "email": ""}}),
    "empty_subject": ("invalid_request", {"sub_id": {}}),
    "iat_as_text": ("invalid_request", {"iat": "1772834401"}),
    "iat_ahead": ("invalid_request", {"iat": int(AT.timestamp()) + 3_600}),
    "slash": ("invalid_issuer", {"iss": f"{ISSUER}/"}),
    "another_audience": ("invalid_audience", {"aud": "https://other.example"}),
    **{f"no_{name}": ("invalid_request", {name: None}) for name in ("jti", "iat", "sub_id")},
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_is_wrong_without_a_crash_is_refused(name: str) -> None:
    """By the code of RFC 8935; and what we say ourselves is taken."""
    err, spoilt = SPOILT[name]
    claims = {claim: value for claim, value in (good() | spoilt).items() if value is not None}
    receiver().take(signed(good()), AT)

    with pytest.raises(Refusal) as refusal:
        receiver().take(signed(claims), AT)

    assert refusal.value.err == err


@pytest.mark.parametrize(
    ("header", "err"),
    [
        ({"typ": "JWT"}, "invalid_request"),
        ({"typ": "application/secevent+jwt"}, "invalid_request"),
        ({"jku": "https://evil.example"}, "invalid_request"),
        ({"alg": "PS256"}, "invalid_key"),
        ({"kid": "another"}, "invalid_key"),
        ({"key": "second"}, "authentication_failed"),
    ],
)
def test_token_of_another_kind_or_of_another_signer_is_refused(header: dict[str, str], err: str) -> None:
    """Whatever it says of itself."""
    with pytest.raises(Refusal) as refusal:
        receiver().take(signed(good(), **header), AT)

    assert refusal.value.err == err


def test_what_is_no_token_is_refused() -> None:
    """It was never signed."""
    with pytest.raises(Refusal, match="no token"):
        receiver().take("no token", AT)


def test_same_token_is_taken_again_and_another_by_its_name_is_not() -> None:
    """A repeat is no news, and no event."""
    strict = receiver()
    strict.take(signed(good()), AT)
    strict.take(signed(good()), AT)

    with pytest.raises(Refusal, match="two tokens"):
        strict.take(signed(good() | {"txn": "another"}), AT)

    assert len(strict.taken) == 1


def test_legacy_receiver_refuses_what_is_of_today() -> None:
    """It looks for the subject inside CAEP's events; one of today finds none there."""
    today, legacy = (
        signed(sets.claims(ISSUER, told(), "sig_1~session-revoked", subscriber(profile=each)))
        for each in ("final", "legacy")
    )

    for strict, token in ((receiver(legacy=True), today), (receiver(), legacy)):
        with pytest.raises(Refusal):
            strict.take(token, AT)


@pytest.mark.parametrize(
    ("headers", "err"),
    [
        ({**PUSHED, "Authorization": "Bearer t"}, None),
        (
            {"Content-Type": "application/jwt", "Accept": "application/json", "Authorization": "Bearer t"},
            "invalid_request",
        ),
        ({"Content-Type": "application/secevent+jwt", "Authorization": "Bearer t"}, "invalid_request"),
        (PUSHED, "authentication_failed"),
    ],
)
def test_push_is_answered_as_rfc_8935_has_it(headers: dict[str, str], err: str | None) -> None:
    """202 without a body, or 400 with a code."""
    found = receiver(authorization="Bearer t").answer(headers, signed(good()).encode(), AT)

    assert found.status == (400 if err else 202)
    assert (json.loads(found.body)["err"] if err else found.body.decode()) == (err or "")


@pytest.mark.parametrize("more", [{"d": "AQAB"}, {"kid": "mine"}, {"alg": "RS512"}])
def test_published_key_with_a_private_part_or_another_name_is_refused(more: dict[str, str]) -> None:
    """It would give away the transmitter, or could not be found."""
    with pytest.raises(Refusal):
        check_key({**SIGNING.public()[0], **more})
