"""Security Event Tokens by push: the request, and what an answer means."""

import json
from datetime import timedelta
from typing import Any

import pytest

from lifecycle.config import Config
from lifecycle.errors import Refused
from lifecycle.secrets import Secret
from lifecycle.ssf import sets
from lifecycle.ssf.keys import key
from lifecycle.ssf.signing import Signing
from lifecycle.subscriber import Subscriber
from tests.strict_receiver import StrictReceiver
from tests.transmitter import AT, AUDIENCE, ISSUER, ssf, subscriber, told
from workers.subscribers import FORMATS
from workers.subscribers.base import Reply, Verdict

CONFIG = Config(ssf=ssf())
PUSH = FORMATS["ssf_push"]
BEARER, OWN = Secret("env:PUSH_TOKEN", "t-1"), Secret("authorization_header", "Basic dTpw")


def reply(status: int, body: bytes = b"") -> Reply:
    """Return an answer."""
    return Reply(status, {}, body, 0.01)


def refusal(err: object, status: int = 400) -> Reply:
    """Return a refusal as RFC 8935 has it."""
    return reply(status, json.dumps({"err": err, "description": "words of theirs"}).encode())


@pytest.mark.parametrize(
    ("fields", "authorization"),
    [({}, None), ({"token": BEARER}, "Bearer t-1"), ({"authorization": OWN}, "Basic dTpw")],
)
def test_letter_is_one_token_as_rfc_8935_has_it(fields: dict[str, Any], authorization: str | None) -> None:
    """A strict receiver takes each, with the header that it asked for and no other."""
    signal, whose = told(), subscriber(**fields)
    strict = StrictReceiver(ISSUER, AUDIENCE, Signing(ssf()).public(), authorization=authorization)

    for item in sets.items(signal, whose, None):
        letter = PUSH.letter(CONFIG, signal, item, whose, AT)
        answer = strict.answer(letter.headers, letter.body, AT)
        assert (answer.status, answer.body) == (202, b"")
        assert letter.headers.get("authorization") == authorization

    assert len(strict.taken) == 3


def test_letter_is_the_same_in_every_attempt() -> None:
    """However much later it is sent."""
    signal, whose = told(), subscriber()
    (item, *_) = sets.items(signal, whose, None)

    first, again = (PUSH.letter(CONFIG, signal, item, whose, AT + each) for each in (timedelta(0), timedelta(days=3)))

    assert first == again


def test_letter_without_a_transmitter_is_refused() -> None:
    """The section was taken out of the configuration while a token was on its way."""
    with pytest.raises(Refused) as error:
        PUSH.letter(Config(), told(), "sig_1~account-disabled", subscriber(), AT)

    assert error.value.reason == "ssf_missing"


@pytest.mark.parametrize("fields", [{"token": BEARER, "authorization": OWN}, {"audience": None}])
def test_subscriber_that_cannot_be_told_is_a_fault(fields: dict[str, Any]) -> None:
    """Two ways to authorize, or nobody to name."""
    with pytest.raises(ValueError, match=r"audience|authorization"):
        subscriber(**fields)


@pytest.mark.parametrize("field", ["token", "authorization"])
def test_secret_that_would_end_its_header_is_a_fault(field: str) -> None:
    """What follows a line break would be a header of somebody else's."""
    with pytest.raises(ValueError, match="printable ASCII"):
        subscriber(**{field: Secret("env:PUSH_TOKEN", "t-1\r\nhost: evil")})


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (reply(202), (Verdict.TAKEN, "")),
        (reply(200, b"ok"), (Verdict.TAKEN, "")),
        (reply(204), (Verdict.TAKEN, "")),
        (refusal("invalid_request"), (Verdict.NEVER, "invalid_request")),
        (refusal("invalid_issuer"), (Verdict.NEVER, "invalid_issuer")),
        (refusal("invalid_audience"), (Verdict.NEVER, "invalid_audience")),
        (refusal("invalid_state"), (Verdict.NEVER, "invalid_state")),
        (refusal("invalid_key"), (Verdict.AGAIN, "invalid_key")),
        (refusal("authentication_failed"), (Verdict.AGAIN, "authentication_failed")),
        (refusal("access_denied"), (Verdict.AGAIN, "access_denied")),
        (refusal("of_their_own"), (Verdict.AGAIN, "of_their_own")),
        (refusal("Words that say too much, bo.ray@acme.example"), (Verdict.AGAIN, "400")),
        (refusal(["invalid_request"]), (Verdict.AGAIN, "400")),
        (refusal("invalid_request", status=500), (Verdict.AGAIN, "500")),
        (refusal("invalid_request", status=404), (Verdict.AGAIN, "404")),
        (reply(400), (Verdict.AGAIN, "400")),
        (reply(400, b'["err"]'), (Verdict.AGAIN, "400")),
        (reply(400, b'{"err": "invalid_requ'), (Verdict.AGAIN, "400")),
        (reply(400, b"\xff\xfe{"), (Verdict.AGAIN, "400")),
        (reply(400, b"[" * 100_000), (Verdict.AGAIN, "400")),
        (reply(301), (Verdict.AGAIN, "301")),
        (reply(401), (Verdict.AGAIN, "401")),
        (reply(410), (Verdict.AGAIN, "410")),
        (reply(429), (Verdict.AGAIN, "429")),
        (reply(503), (Verdict.AGAIN, "503")),
    ],
    ids=str,
)
def test_answer_means_taken_never_or_again(answer: Reply, expected: tuple[Verdict, str]) -> None:
    """What is wrong with the token stays wrong; what is wrong over there may be mended."""
    assert PUSH.verdict(answer) == expected


def test_every_format_that_is_sent_is_listed() -> None:
    """The one that is left waits to be come for."""
    formats = Subscriber.model_fields["format"].annotation

    assert {*FORMATS} == {*formats.__args__} - {"ssf_poll"}  # type: ignore[union-attr]


def test_key_that_signs_is_read_once_a_process() -> None:
    """A key takes tens of milliseconds to read, a token less than one to sign."""
    signal, whose = told(), subscriber()
    PUSH.letter(CONFIG, signal, f"{signal.id}~account-disabled", whose, AT)

    before = key.cache_info().misses
    for _ in range(5):
        PUSH.letter(Config(ssf=ssf()), signal, f"{signal.id}~account-disabled", whose, AT)

    assert key.cache_info().misses == before
