"""Signals as they are sent, verified by the libraries that JavaScript receivers use."""

import json
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from jwt.algorithms import RSAAlgorithm

from tests.javascript.node import LIBRARIES, Letter, Result, verified, verified_tokens
from tests.letters import OTHER, PRIVATE, SECRET, letter

NOW, OLD = timedelta(), timedelta(minutes=5, seconds=5)


def _sent(*secrets: str, ago: timedelta = NOW, known: str = SECRET, body: str | None = None, **headers: str) -> Letter:
    """Return a delivery as a receiver has it that knows one secret; a body or headers may be another's."""
    made = letter(*secrets, at=datetime.now(UTC) - ago)
    changed = {name.replace("_", "-"): value for name, value in headers.items()}
    return Letter(known, made.headers | changed, made.body.decode() if body is None else body)


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_is_signed_with_the_secret_is_believed(library: str) -> None:
    """By each of several secrets, beside an Ed25519 key, and within five minutes either way."""
    letters = [
        _sent(),
        _sent(SECRET, OTHER),
        _sent(OTHER, SECRET),
        _sent(SECRET, OTHER, known=OTHER),
        _sent(PRIVATE, SECRET),
        _sent(SECRET, PRIVATE),
        _sent(ago=OLD - timedelta(seconds=30)),
        _sent(ago=timedelta(seconds=30) - OLD),
    ]

    found = verified(letters, library)

    # Svix's says nothing of what it believes.
    said = [json.loads(each.body) if library == "standardwebhooks" else None for each in letters]
    assert found == [Result(said=each) for each in said]


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_is_not_is_refused(library: str) -> None:
    """Another's, changed on the way, too old, too early, or without what is needed to tell."""
    body = letter().body.decode()
    refused = {
        "No matching signature found": [
            _sent(known=OTHER),
            _sent(OTHER),
            _sent(PRIVATE),
            _sent(body=body.replace("E1042", "E1043")),
            _sent(body=f" {body}"),
            _sent(body=""),
            _sent(webhook_id="sig_another"),
            _sent(webhook_timestamp=str(int(datetime.now(UTC).timestamp()) - 60)),
        ],
        "Message timestamp too old": [_sent(ago=OLD), _sent(ago=timedelta(days=400))],
        "Message timestamp too new": [_sent(ago=-OLD)],
        "Missing required headers": [_sent(webhook_id=""), _sent(webhook_signature="")],
        "Invalid Signature Headers": [_sent(webhook_timestamp="soon")],
    }

    found = verified([each for letters in refused.values() for each in letters], library)

    assert [each.why for each in found] == [why for why, letters in refused.items() for _ in letters]


def test_security_event_token_is_believed_of_its_issuer_alone() -> None:
    """As jose checks issuer, audience, type and algorithm."""
    key = generate_private_key(65_537, 2_048)
    jwks = {"keys": [RSAAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": "a", "use": "sig"}]}
    claims = {"iss": "https://gatepost.acme.example", "aud": "siem", "iat": 1_772_787_600, "jti": "1", "events": {}}
    headers = {"typ": "secevent+jwt", "kid": "a"}
    tokens = [
        jwt.encode(claims, key, "RS256", headers),
        jwt.encode(claims | {"aud": "another"}, key, "RS256", headers),
        jwt.encode(claims | {"iss": "https://another.example"}, key, "RS256", headers),
        jwt.encode(claims, key, "RS256", {"kid": "a"}),
        jwt.encode(claims, key, "PS256", headers),
        jwt.encode(claims, generate_private_key(65_537, 2_048), "RS256", headers),
    ]
    wanted = {"issuer": claims["iss"], "audience": "siem", "typ": "secevent+jwt", "algorithms": ["RS256"]}

    found = verified_tokens(tokens, jwks, **wanted)

    assert found[0].said == claims
    assert [each.refused for each in found[1:]] == [
        "JWTClaimValidationFailed",
        "JWTClaimValidationFailed",
        "JWTClaimValidationFailed",
        "JOSEAlgNotAllowed",
        "JWSSignatureVerificationFailed",
    ]
