"""What a token must be to be believed, whoever sends it."""

import json
from contextlib import suppress
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.errors import Unauthentic, Unavailable, Unreadable
from service.sources.base import NoKeys, Notice
from service.sources.tokens import (
    KID_CHARS_MAX,
    LEEWAY,
    TOKEN_BYTES_MAX,
    Rules,
    bearer,
    claims_of,
    signed,
    verified,
)
from tests.notices import AT

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
ISSUER, AUDIENCE = "https://idp.example.com/", "https://hooks.acme.example/"
RSA_KEY = rsa.generate_private_key(65_537, 2_048)
SHORT_KEY = rsa.generate_private_key(65_537, 1_024)  # noqa: S505 - to be refused
EC_KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_CURVE = ec.generate_private_key(ec.SECP384R1())
PRIVATE: dict[str, Any] = {"rsa": RSA_KEY, "short": SHORT_KEY, "ec": EC_KEY, "p384": OTHER_CURVE}

ACCESS = Rules(frozenset({ISSUER}), frozenset({AUDIENCE}))
EVENT = Rules(
    frozenset({ISSUER}),
    frozenset({AUDIENCE}),
    types=frozenset({"secevent+jwt"}),
    expires=False,
    age_max=DAY,
    forbidden=frozenset({"sub"}),
)
WIDE = Rules(frozenset({ISSUER}), frozenset({AUDIENCE}), frozenset({"RS256", "RS384", "RS512", "PS256", "ES256"}))


class Published:
    """The issuer's keys; it counts who asks."""

    def __init__(self) -> None:
        """Nobody asked yet."""
        self.asked: list[str] = []

    def find(self, kid: str, now: object) -> Any:  # noqa: ANN401, ARG002 - as in Keys
        """Return the public half of a key. Raises Unauthentic."""
        self.asked.append(kid)
        if kid not in PRIVATE:
            raise Unauthentic("the issuer has no such key", reason="key_unknown")
        return PRIVATE[kid].public_key()


def at(moment: timedelta) -> int:
    """Return a moment so far from the tests' clock."""
    return int((AT + moment).timestamp())


def access(**claims: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever a test wants to say
    """Return what an access token says; None takes a claim away."""
    said = {"iss": ISSUER, "aud": AUDIENCE, "iat": at(-MINUTE), "nbf": at(-MINUTE), "exp": at(MINUTE), "sub": "app"}
    return {name: value for name, value in {**said, **claims}.items() if value is not None}


def event(**claims: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever a test wants to say
    """Return what a Security Event Token says; None takes a claim away."""
    return access(**{"exp": None, "nbf": None, "sub": None, **claims})


def token(claims: object, *, key: str = "rsa", algorithm: str = "RS256", header: dict[str, Any] | None = None) -> str:
    """Sign claims with a key, under its name unless the header says otherwise."""
    return jwt.PyJWS().encode(
        json.dumps(claims).encode(), PRIVATE[key], algorithm, {"typ": "JWT", "kid": key, **(header or {})}
    )


def secevent(claims: object) -> str:
    """Sign claims as a Security Event Token."""
    return token(claims, header={"typ": "secevent+jwt"})


def why(found: str | bytes, rules: Rules = ACCESS) -> str:
    """Return the word by which a token is refused."""
    with pytest.raises(Unauthentic) as error:
        verified(found, Published(), AT, rules)
    return error.value.reason


def test_access_token_of_the_issuer_is_believed() -> None:
    """What it says comes back, with the id of the key that signed it, in bytes and in text."""
    found = token(access(roles=["sender"]))

    assert verified(found, Published(), AT, ACCESS) == (access(roles=["sender"]), "kid:rsa")
    assert verified(found.encode(), Published(), AT, ACCESS).claims["sub"] == "app"


def test_security_event_token_is_believed() -> None:
    """It has no end and is no older than allowed; the long form of its type and other letters say the same."""
    for typ in ("secevent+jwt", "application/secevent+jwt", "SecEvent+JWT"):
        assert verified(token(event(), header={"typ": typ}), Published(), AT, EVENT).proof == "kid:rsa"


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [("rsa", "RS256"), ("rsa", "RS384"), ("rsa", "RS512"), ("rsa", "PS256"), ("ec", "ES256")],
)
def test_algorithm_that_is_asked_for_is_believed(key: str, algorithm: str) -> None:
    """Each public-key algorithm that a source may ask for works, and none but RS256 unasked."""
    found = token(access(), key=key, algorithm=algorithm)

    assert verified(found, Published(), AT, WIDE).proof == f"kid:{key}"
    assert algorithm == "RS256" or why(found) == "algorithm_refused"


def test_one_of_several_issuers_and_audiences_is_enough() -> None:
    """A token may be meant for others as well."""
    rules = Rules(frozenset({"https://other.example/", ISSUER}), frozenset({"a", AUDIENCE}))

    assert verified(token(access(aud=["x", 7, AUDIENCE])), Published(), AT, rules).proof == "kid:rsa"


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        (access(iss="https://idp.example.com"), "issuer_wrong"),
        (access(iss=None), "issuer_wrong"),
        (access(iss=[ISSUER]), "issuer_wrong"),
        (access(aud="https://hooks.acme.example/x"), "audience_wrong"),
        (access(aud=None), "audience_wrong"),
        (access(aud=[]), "audience_wrong"),
        (access(aud=[[AUDIENCE]]), "audience_wrong"),
        (access(aud={AUDIENCE: 1}), "audience_wrong"),
        (access(exp=None), "claim_missing"),
        (access(exp=at(-LEEWAY)), "token_expired"),
        (access(exp="tomorrow"), "token_malformed"),
        (access(exp=True), "token_malformed"),
        (access(exp=float("nan")), "token_malformed"),
        (access(exp=float("inf")), "token_malformed"),
        (access(exp=[]), "token_malformed"),
        (access(nbf=at(LEEWAY + MINUTE)), "token_early"),
        (access(iat=at(LEEWAY + MINUTE)), "token_early"),
        ([access()], "token_malformed"),
        ("text", "token_malformed"),
        (None, "token_malformed"),
    ],
    ids=repr,
)
def test_access_token_that_says_something_else_is_refused(claims: object, reason: str) -> None:
    """Another issuer, another audience, another time, or no object at all: each by its own word."""
    assert why(token(claims)) == reason


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        (event(exp=at(MINUTE)), "claim_forbidden"),
        (event(sub="somebody"), "claim_forbidden"),
        (event(iat=None), "claim_missing"),
        (event(iat=at(-DAY - LEEWAY)), "token_expired"),
        (event(iat=at(LEEWAY + MINUTE)), "token_early"),
        (event(iat=10**400), "token_malformed"),
        (event(iat=-1), "token_malformed"),
    ],
    ids=repr,
)
def test_security_event_token_that_says_something_else_is_refused(claims: object, reason: str) -> None:
    """What has an end or a subject of its own is another kind of token; what is old is a replay."""
    assert why(secevent(claims), EVENT) == reason


def test_clocks_may_be_a_little_apart() -> None:
    """An issuer whose clock is a minute ahead or behind is believed."""
    early = access(iat=at(MINUTE), nbf=at(MINUTE), exp=at(2 * MINUTE))

    assert verified(token(early), Published(), AT, ACCESS).claims == early
    assert verified(token(access(exp=at(-MINUTE))), Published(), AT, ACCESS)
    assert verified(secevent(event(iat=at(-DAY - MINUTE))), Published(), AT, EVENT)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"typ": "secevent+jwt"}, "token_type"),
        ({"typ": "application/SecEvent+JWT"}, "token_type"),
        ({"typ": 7}, "token_type"),
        ({"typ": None}, ""),
        ({"kid": None}, "key_unnamed"),
        ({"kid": ""}, "key_unnamed"),
        ({"kid": "x" * (KID_CHARS_MAX + 1)}, "key_unnamed"),
        ({"kid": "x" * KID_CHARS_MAX}, "key_unknown"),
        ({"kid": "ec"}, "key_weak"),
        ({"crit": ["exp"], "exp": 1}, "token_malformed"),
    ],
    ids=repr,
)
def test_header_that_says_something_else_is_refused(header: dict[str, Any], reason: str) -> None:
    """An event is no access token; a key must be named and be the issuer's; an unknown extension is none of ours."""
    made = {name: value for name, value in {"alg": "RS256", "kid": "rsa", **header}.items() if value is not None}
    found = by_hand(made, access())

    if reason:
        assert why(found) == reason
    else:
        assert verified(found, Published(), AT, ACCESS).proof == "kid:rsa"


def by_hand(header: object, claims: object) -> bytes:
    """Sign a header of any kind with the RSA key."""
    encode = jwt.utils.base64url_encode
    signed = b".".join(encode(json.dumps(part).encode()) for part in (header, claims))
    signature = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256).sign(signed, RSA_KEY)
    return signed + b"." + encode(signature)


def test_type_must_be_the_one_that_is_asked_for() -> None:
    """An access token is no event, nor is one without a type, unless a source bears with it."""
    lax = Rules(frozenset({ISSUER}), frozenset({AUDIENCE}), types=frozenset({"", "secevent+jwt"}), expires=False)
    bare = by_hand({"alg": "RS256", "kid": "rsa"}, event())

    assert why(token(event()), EVENT) == "token_type"
    assert why(bare, EVENT) == "token_type"
    assert verified(bare, Published(), AT, lax).proof == "kid:rsa"


@pytest.mark.parametrize("algorithm", ["none", "HS256", "HS512", "ES384", "EdDSA", "rs256", "", None, 7, []])
def test_other_algorithms_are_refused_whatever_the_rules(algorithm: object) -> None:
    """No signature at all, or one by a secret that is everybody's public key, is believed by no source."""
    assert why(by_hand({"alg": algorithm, "kid": "rsa"}, access()), WIDE) == "algorithm_refused"


def test_public_key_is_no_shared_secret() -> None:
    """The oldest trick: HMAC with the bytes of the public key."""
    header, claims = ({"alg": "HS256", "kid": "rsa"}, access())
    encode = jwt.utils.base64url_encode
    signed = b".".join(encode(json.dumps(part).encode()) for part in (header, claims))
    pem = jwt.algorithms.RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=False).encode()
    forged = signed + b"." + encode(jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(signed, pem))

    assert why(forged, WIDE) == "algorithm_refused"


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_weak_key_and_key_of_another_kind_are_refused() -> None:
    """1024 bits are too few, and a key signs what its kind signs."""
    assert why(token(access(), key="short")) == "key_weak"
    assert why(token(access(), header={"kid": "p384"}), WIDE) == "key_weak"
    assert why(token(access(), key="ec", algorithm="ES256", header={"kid": "rsa"}), WIDE) == "key_weak"
    assert why(token(access(), key="ec", algorithm="ES256", header={"kid": "p384"}), WIDE) == "key_weak"


def test_signature_must_fit() -> None:
    """A changed claim, a signature of another token, a cut one and none are refused."""
    found, other = token(access()), token(access(sub="else"))
    head, claims, signature = found.split(".")

    for changed in (
        f"{head}.{other.split('.')[1]}.{signature}",
        f"{head}.{claims}.{other.split('.')[2]}",
        f"{head}.{claims}.",
        f"{head}.{claims}.{signature[:-2]}",
    ):
        assert why(changed) in {"signature_wrong", "token_malformed"}
    for broken in (f"{head}.{claims}", f"{found}.{signature}", f"{found}\n", f" {found}", "", "a.b.c", "..", "é.é.é"):
        assert why(broken) == "token_malformed"


def test_strangers_token_asks_for_no_key() -> None:
    """What is not from the issuer, or not for us, or not of now, is refused before any key is looked for."""
    keys = Published()

    for claims in (access(iss="https://evil.example/"), access(aud="x"), access(exp=1)):
        with pytest.raises(Unauthentic):
            verified(token(claims), keys, AT, ACCESS)

    assert keys.asked == []


def test_keys_that_are_not_there_yet_are_our_own_trouble() -> None:
    """A good token before the first fetch is not refused: the sender tries again."""
    with pytest.raises(Unavailable):
        verified(token(access()), NoKeys(), AT, ACCESS)


def test_token_without_end_is_refused_unread() -> None:
    """A bound is a bound."""
    assert why("a" * (TOKEN_BYTES_MAX + 1)) == "token_too_long"
    assert why(token(access(pad="x" * TOKEN_BYTES_MAX))) == "token_too_long"


@pytest.mark.parametrize("claims", [b"[" * 9_000, b"\xff\xfe", b"{", b'{"iss": 1e999}', b"1" * 5_000])
def test_claims_that_are_no_json_are_refused(claims: bytes) -> None:
    """Nesting without end, broken letters, numbers without end."""
    head = jwt.utils.base64url_encode(b'{"alg": "RS256", "kid": "rsa"}')

    assert why(b".".join([head, jwt.utils.base64url_encode(claims), b"AAAA"])) in {"token_malformed", "issuer_wrong"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(["alg", "kid", "typ", "crit", "b64", "iss", "aud", "exp", "nbf", "iat", "sub", "x"])


@settings(deadline=None)
@given(header=st.dictionaries(names, json_values), claims=st.dictionaries(names, json_values), junk=st.text())
def test_any_token_raises_only_our_errors(header: dict[str, Any], claims: dict[str, Any], junk: str) -> None:
    """Whatever stands in a token, it is believed or Unauthentic."""
    for found in (
        by_hand({"alg": "RS256", "kid": "rsa"} | header, access()),
        by_hand({"alg": "RS256", "kid": "rsa"}, access() | claims),
    ):
        with suppress(Unauthentic):
            assert verified(found, Published(), AT, ACCESS).proof == "kid:rsa"
    assert why(junk) in {"token_malformed", "token_too_long"}


def test_bearer_is_taken_from_its_header() -> None:
    """Letter case of the scheme does not count; another scheme, or no token, is no bearer."""
    for value in ("Bearer a.b.c", "bearer a.b.c", "BEARER  a.b.c "):
        assert bearer(Notice("POST", "", {"authorization": value}, b"")) == "a.b.c"
    for headers in ({}, {"authorization": "Basic YTpi"}, {"authorization": "Bearer "}, {"authorization": "a.b.c"}):
        with pytest.raises(Unauthentic) as error:
            bearer(Notice("POST", "", headers, b""))
        assert error.value.reason == "bearer_missing"


def test_claims_of_a_verified_token_are_read_without_a_key() -> None:
    """Reading comes after verifying, maybe much later; what cannot be read is told apart from what is not believed."""
    assert claims_of(token(access())) == access()
    with pytest.raises(Unreadable):
        claims_of(b"a.b.c")


def test_own_samples_are_signed() -> None:
    """A private key signs a sample that is believed; what is no private key is told."""
    pem = RSA_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    made = signed(json.dumps(event()).encode(), pem, kid="rsa", typ="secevent+jwt")

    assert verified(made, Published(), AT, EVENT).claims == event()
    for wrong in ("", "not a key", pem[:-40], pem.replace("PRIVATE", "PUBLIC")):
        with pytest.raises(ValueError, match="private key"):
            signed(b"{}", wrong, kid="rsa", typ="JWT")
