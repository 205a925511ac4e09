"""The transmitter's keys: which are taken, what is published of them, and their rotation."""

from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from joserfc import jws
from joserfc.jwk import KeySet

from lifecycle.config import parse
from lifecycle.errors import Misconfigured
from lifecycle.ssf.signing import Signing
from tests.strict_receiver import check_key
from tests.transmitter import ISSUER, pem, ssf

CLAIMS = {"iss": ISSUER, "jti": "sig_1~account-disabled", "iat": 1_772_834_401, "events": {"urn:x": {}}}
ALLOWED = "allowed: an RSA private key of 2048 to 8192 bits in PEM, without a password"


def elliptic() -> str:
    """Return a key of another kind."""
    key = generate_private_key(SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def encrypted() -> str:
    """Return a key that needs a password."""
    key = load_pem_private_key(pem().encode(), None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hush")).decode()


def public() -> str:
    """Return the wrong half of a key."""
    key = load_pem_private_key(pem().encode(), None).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def faults(folder: Path, *texts: str) -> list[str]:
    """Return what is wrong with a configuration that has these keys in files."""
    for number, text in enumerate(texts):
        (folder / f"{number}.pem").write_text(text)
    keys = [f"file:{number}.pem" for number in range(len(texts))]
    with pytest.raises(Misconfigured) as error:
        parse({"ssf": {"issuer": ISSUER, "signing_keys": keys}}, folder)
    return str(error.value).splitlines()


@pytest.mark.parametrize(
    "text", ["no key", elliptic(), encrypted(), public(), pem("weak", 1024), "-----BEGIN PRIVATE KEY-----\n-----END"]
)
def test_what_is_no_strong_rsa_key_is_a_fault_of_the_configuration(tmp_path: Path, text: str) -> None:
    """CAEP's interoperability profile wants RS256 and 2048 bits; found at the start, not at the first token."""
    assert f"ssf.signing_keys.0: found 'file:0.pem'; {ALLOWED}" in faults(tmp_path, text)


def test_same_key_twice_is_a_fault(tmp_path: Path) -> None:
    """Two keys of one name could not be told apart."""
    assert faults(tmp_path, pem(), pem()) == ["ssf.signing_keys: found a list; allowed: each key once"]


def test_key_that_is_written_down_itself_is_not_shown() -> None:
    """A fault must not put a key into a log."""
    with pytest.raises(Misconfigured) as error:
        parse({"ssf": {"issuer": ISSUER, "signing_keys": [pem()]}}, Path())

    assert "ssf.signing_keys.0: found a literal" in str(error.value)
    assert "PRIVATE" not in str(error.value)


def test_published_keys_are_public_and_named_by_their_thumbprints() -> None:
    """As RFC 7517 and RFC 7638 want it, each once, in the order of the configuration."""
    found = Signing(ssf("first", "second")).public()

    assert [check_key(each).thumbprint() for each in found] == [each["kid"] for each in found]
    assert found[0]["n"] != found[1]["n"]


def test_published_keys_are_nobodys_to_change() -> None:
    """They are kept for the whole process."""
    Signing(ssf()).public()[0]["kid"] = "mine"

    check_key(Signing(ssf()).public()[0])


def test_two_libraries_read_the_same() -> None:
    """The signature is one of RS256, the header says what it is and nothing more."""
    signing = Signing(ssf())

    token = signing.sign(CLAIMS)

    (key,) = signing.public()
    assert jwt.decode(token, jwt.PyJWK(key), ["RS256"], options={"verify_iat": False}) == CLAIMS
    read = jws.deserialize_compact(token, KeySet.import_key_set({"keys": [key]}), ["RS256"])
    assert read.headers() == {"typ": "secevent+jwt", "alg": "RS256", "kid": key["kid"]}
    assert jwt.decode(token, options={"verify_signature": False}) == CLAIMS


def test_same_claims_make_the_same_token() -> None:
    """So that a repeat is one byte for byte."""
    assert Signing(ssf()).sign(CLAIMS) == Signing(ssf()).sign(dict(CLAIMS))


def test_rotation_leaves_no_token_unreadable() -> None:
    """The next key is published before it signs, and the last one after it did."""
    before, between, after = ssf("old", "new"), ssf("new", "old"), ssf("new")
    tokens = [Signing(each).sign(CLAIMS) for each in (before, between)]

    kids = [jwt.get_unverified_header(token)["kid"] for token in tokens]

    assert kids == [Signing(before).public()[0]["kid"], Signing(after).public()[0]["kid"]]
    for published in (before, between):
        assert set(kids) == {each["kid"] for each in Signing(published).public()}
