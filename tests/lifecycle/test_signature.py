"""Standard Webhooks signatures, with the published library as the referee."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from lifecycle import signature
from lifecycle.errors import Unauthentic

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
KEY = signature.key(SECRET)
AT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
BODY = b'{"type": "person.left"}'


def headers(**changed: str) -> dict[str, str]:
    """Return the headers of a good message, changed as a test wants."""
    good = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(AT.timestamp())),
        "webhook-signature": Webhook(SECRET).sign("msg_1", AT, BODY.decode()),
    }
    return good | {name.replace("_", "-"): value for name, value in changed.items()}


@given(message_id=st.text(st.characters(codec="ascii", exclude_characters="."), min_size=1), body=st.text())
def test_library_signs_as_we_do(message_id: str, body: str) -> None:
    """Over any id and body, the published library makes our signature and we believe it."""
    theirs = Webhook(SECRET).sign(message_id, AT, body)

    assert signature.sign(KEY, message_id, AT, body.encode()) == theirs
    signature.verify([KEY], headers(webhook_id=message_id, webhook_signature=theirs), body.encode(), AT)


def test_library_believes_what_we_sign() -> None:
    """A subscriber that uses the published library accepts our signal."""
    now = datetime.now(UTC)
    sent = {
        "webhook-id": "sig_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature.sign(KEY, "sig_1", now, BODY),
    }

    assert Webhook(SECRET).verify(BODY, sent) == {"type": "person.left"}


def test_any_of_several_signatures_and_keys_is_enough() -> None:
    """During a rotation a sender signs with both keys, or the receiver knows both; other versions are passed over."""
    good = headers()["webhook-signature"]
    listed = f"v1a,AAAA v1,{base64.b64encode(bytes(32)).decode()} {good}"

    signature.verify([KEY], headers(webhook_signature=listed), BODY, AT)
    signature.verify([signature.key(OTHER), KEY], headers(), BODY, AT)
    with pytest.raises(Unauthentic):
        signature.verify([signature.key(OTHER)], headers(), BODY, AT)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"webhook_id": ""}, "signature_missing"),
        ({"webhook_timestamp": ""}, "signature_missing"),
        ({"webhook_signature": ""}, "signature_missing"),
        ({"webhook_signature": " "}, "signature_missing"),
        ({"webhook_timestamp": "now"}, "timestamp_malformed"),
        ({"webhook_timestamp": "1772442000.0"}, "timestamp_malformed"),
        ({"webhook_timestamp": "-1772442000"}, "timestamp_malformed"),
        ({"webhook_timestamp": "²"}, "timestamp_malformed"),
        ({"webhook_timestamp": "9" * 5_000}, "timestamp_malformed"),
        ({"webhook_timestamp": "0"}, "timestamp_expired"),
        ({"webhook_timestamp": "99999999999"}, "timestamp_expired"),
        ({"webhook_signature": "v1"}, "signature_wrong"),
        ({"webhook_signature": "v1,"}, "signature_wrong"),
        ({"webhook_signature": "v1,not base64"}, "signature_wrong"),
        ({"webhook_signature": "v1,ÿ"}, "signature_wrong"),
        ({"webhook_signature": ","}, "signature_wrong"),
        ({"webhook_id": "msg_2"}, "signature_wrong"),
    ],
)
def test_malformed_header_is_unauthentic(changed: dict[str, str], reason: str) -> None:
    """Whatever is wrong with a header has one answer and a word for it; the published library raises what it likes."""
    with pytest.raises(Unauthentic) as refused:
        signature.verify([KEY], headers(**changed), BODY, AT)

    assert refused.value.reason == reason


def test_number_of_signatures_is_bounded() -> None:
    """A header with endless signatures costs a bounded number of comparisons: one past the bound is not looked at."""
    good = headers()["webhook-signature"]
    many = " ".join(["v1,AAAA"] * signature.SIGNATURES_MAX)

    with pytest.raises(Unauthentic):
        signature.verify([KEY], headers(webhook_signature=f"{many} {good}"), BODY, AT)
    signature.verify([KEY], headers(webhook_signature=f"{many[: -len(' v1,AAAA')]} {good}"), BODY, AT)


@pytest.mark.parametrize(("seconds", "believed"), [(300, True), (-300, True), (300.5, False), (-300.5, False)])
def test_window_is_five_minutes_both_ways(seconds: float, believed: bool) -> None:
    """On the edge believed, half a second past it not."""
    now = AT + timedelta(seconds=seconds)

    if believed:
        signature.verify([KEY], headers(), BODY, now)
    else:
        with pytest.raises(Unauthentic):
            signature.verify([KEY], headers(), BODY, now)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_not base64!",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS",
        f"whsec_{base64.b64encode(bytes(23)).decode()}",
        f"whsec_{base64.b64encode(bytes(65)).decode()}",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa\n",
    ],
)
def test_weak_or_broken_secret_is_refused(secret: str) -> None:
    """A secret is whsec_ and strict base64 of 24 to 64 bytes; the published library drops illegal letters."""
    with pytest.raises(ValueError, match=r"whsec_|bytes"):
        signature.key(secret)


@pytest.mark.parametrize("size", [24, 64])
def test_edges_of_the_key_are_keys(size: int) -> None:
    """The specification's smallest and largest keys are ones."""
    assert len(signature.key(f"whsec_{base64.b64encode(bytes(size)).decode()}")) == size
