"""What the contract of all sources does not reach: refusals by RFC 8935, subjects, states, an agreed header."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import jwt
import pytest

from lifecycle.config import Source as Section
from lifecycle.config import own_options
from lifecycle.errors import Misconfigured, Oversized, Rejected, Unauthentic, Unreadable, Unsupported
from lifecycle.verification import make_state
from service.sources import ssf
from service.sources.base import KeysAt, Notice, Setup
from tests.notices import AT, FIXTURES, load, setup_of

SETUP = setup_of("ssf")
WITH_HEADER = setup_of("ssf_authorization")
KEY = (FIXTURES / "ssf" / "signing_key.pem").read_text()
ISSUER, AUDIENCE = SETUP.options.issuer, SETUP.options.audience
SUBJECT = {"format": "iss_sub", "iss": ISSUER, "sub": "00u9old"}
VERIFICATION = ssf.SSF + "verification"


def claims(**said: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever a test wants to say
    """Return what a token says; None takes a claim away."""
    default = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "jti": "set-1",
        "iat": int(AT.timestamp()),
        "sub_id": SUBJECT,
        "events": {ssf.DISABLED: {}},
    }
    return {name: value for name, value in {**default, **said}.items() if value is not None}


def pushed(said: object, **header: Any) -> Notice:  # noqa: ANN401 - the same
    """Return a push of these claims, signed by the fixtures' transmitter."""
    head = {"typ": "secevent+jwt", "kid": "2026-01", **header}
    token = jwt.PyJWS().encode(json.dumps(said).encode(), KEY, header.get("alg", "RS256"), head)
    return Notice("POST", "", {"content-type": "application/secevent+jwt"}, token.encode())


def refusal(notice: Notice, setup: Setup = SETUP, after: timedelta = timedelta(0)) -> dict[str, str]:
    """Return the body by which a push is refused."""
    with pytest.raises(Unauthentic) as error:
        ssf.verify(notice, setup, AT + after)
    answer = ssf.refuse(error.value)
    assert answer is not None
    assert (answer.status, answer.media_type, dict(answer.headers)) == (
        400,
        "application/json",
        {"content-language": "en"},
    )
    body: dict[str, str] = json.loads(answer.body)
    assert body.keys() == {"err", "description"}
    return body


def read(**said: Any) -> Any:  # noqa: ANN401 - a reading
    """Return the reading of a token."""
    return ssf.read(pushed(claims(**said)), SETUP, AT)


@pytest.mark.parametrize(
    ("notice", "err"),
    [
        (Notice("POST", "", {}, b""), "invalid_request"),
        (Notice("POST", "", {}, b'{"sets": {}}'), "invalid_request"),
        (Notice("POST", "", {}, b"a" * 40_000), "invalid_request"),
        (pushed(claims(), typ="JWT"), "invalid_request"),
        (pushed(claims(exp=2_000_000_000)), "invalid_request"),
        (pushed(claims(sub="00u9old")), "invalid_request"),
        (pushed(claims(iat=None)), "invalid_request"),
        (pushed(claims(iat=int(AT.timestamp()) + 600)), "invalid_request"),
        (pushed(claims(iss="https://idp.example.com")), "invalid_issuer"),
        (pushed(claims(iss=None)), "invalid_issuer"),
        (pushed(claims(aud="https://hooks.other.example/")), "invalid_audience"),
        (pushed(claims(aud=None)), "invalid_audience"),
        (pushed(claims(), kid="2025-12"), "invalid_key"),
        (pushed(claims(), alg="RS512"), "invalid_key"),
        (pushed(claims(), kid="2026-02"), "authentication_failed"),
        (pushed(claims(events={VERIFICATION: {"state": "gatepost.1.x"}})), "invalid_state"),
    ],
)
def test_refusal_says_what_was_wrong(notice: Notice, err: str) -> None:
    """By the words of RFC 8935 and SSF, with a sentence, and without what was sent."""
    said = refusal(notice)

    assert said["err"] == err
    assert "idp.example.com" not in said["description"]


def test_token_is_believed_for_a_week() -> None:
    """A transmitter that could not reach us for days sends the same token, with the old time."""
    notice = pushed(claims())

    assert ssf.verify(notice, SETUP, AT + timedelta(days=6, hours=23)) == "kid:2026-01"
    assert refusal(notice, after=timedelta(days=7, hours=1))["err"] == "invalid_request"


@pytest.mark.parametrize(
    "error", [Unsupported("x", reason="method_not_allowed"), Oversized("x", reason="body_too_large")]
)
def test_what_never_was_a_token_is_refused_as_everywhere(error: Rejected) -> None:
    """With 405 or 413, which say more than 400."""
    assert ssf.refuse(error) is None


@pytest.mark.parametrize("used", ["Bearer new", "Bearer old"])
def test_agreed_header_is_rotated_without_losing_a_token(used: str) -> None:
    """Each live secret counts, and it is told which one it was; the token must be right as well."""
    notice = load("ssf_authorization/account_disabled").notice
    with_secret = notice._replace(headers={"authorization": used})

    for live in (("Bearer new", "Bearer old"), ("Bearer old", "Bearer new")):
        assert ssf.verify(with_secret, replace(WITH_HEADER, secrets=live), AT) == used
    assert refusal(with_secret, replace(WITH_HEADER, secrets=("Bearer newer",)))["err"] == "authentication_failed"
    assert refusal(with_secret._replace(body=b"x"), replace(WITH_HEADER, secrets=(used,)))["err"] == "invalid_request"


def test_header_alone_proves_nothing_where_none_is_agreed_on() -> None:
    """Without a secret the token is what counts, whatever the header says."""
    notice = load("ssf_authorization/account_disabled").notice

    assert ssf.verify(notice, replace(WITH_HEADER, secrets=()), AT) == "kid:ec-1"


def test_state_of_ours_must_be_right() -> None:
    """Sealed with any live secret, or where there is none, with the issuer; another's state is not ours to judge."""
    old, ours = (make_state(secret, AT) for secret in ("Bearer old", ISSUER))
    live = replace(SETUP, secrets=("Bearer new", "Bearer old"))
    sent = {"authorization": "Bearer new"}

    def asked(state: object) -> Notice:
        return pushed(claims(events={VERIFICATION: {"state": state}}))

    assert ssf.verify(asked(old)._replace(headers=sent), live, AT) == "Bearer new"
    assert refusal(asked(ours)._replace(headers=sent), live)["err"] == "invalid_state"
    assert ssf.verify(asked(ours), SETUP, AT) == "kid:2026-01"
    assert refusal(asked(old), SETUP)["err"] == "invalid_state"
    others: list[object] = ["an-operators-own", None, 7, [], {}]
    for other in others:
        assert ssf.verify(asked(other), SETUP, AT) == "kid:2026-01"
    odds: list[object] = [None, [], "text", {VERIFICATION: None}, {VERIFICATION: []}]
    for odd in odds:
        assert ssf.verify(pushed(claims(events=odd)), SETUP, AT) == "kid:2026-01"


@pytest.mark.parametrize(
    "said",
    [
        {"sub_id": None},
        {"sub_id": {}},
        {"sub_id": {"format": "phone_number", "phone_number": "+12065550100"}},
        {"sub_id": {"format": "iss_sub", "iss": "https://elsewhere.example/", "sub": "00u9old"}},
        {"sub_id": {"format": "iss_sub", "sub": "00u9old"}},
        {"sub_id": {"format": "iss_sub", "iss": ISSUER, "sub": ""}},
        {"sub_id": {"format": "email", "email": ["bo.ray@acme.example"]}},
        {"sub_id": {"format": "account", "uri": "mailto:bo.ray@acme.example"}},
        {"sub_id": {"format": "did", "url": "did:example:1"}},
        {"sub_id": {"format": "aliases", "identifiers": "none"}},
        {"sub_id": {"format": "aliases", "identifiers": [7, {}, {"format": "aliases", "identifiers": []}]}},
        {"sub_id": {"format": "email", "email": "x" * 300}},
        {"sub_id": "00u9old"},
        {"jti": None},
        {"jti": "x" * 257},
        {"iat": "yesterday"},
        {"toe": 10**30},
        {"events": {}},
        {"events": None},
        {"events": {ssf.DISABLED: None}},
        {"events": {ssf.DISABLED: {}, ssf.ENABLED: {}}},
        {"events": {ssf.DISABLED: {"event_timestamp": "soon"}}},
        {"events": {ssf.STREAM_UPDATED: {"status": "sleeping"}}},
        {"events": {ssf.STREAM_UPDATED: {}}},
    ],
    ids=repr,
)
def test_authentic_token_that_cannot_be_read_is_for_a_human(said: dict[str, Any]) -> None:
    """A leaver of whom it is not clear who they are must not get lost."""
    with pytest.raises(Unreadable) as error:
        read(**said)

    assert "bo.ray" not in error.value.message


@pytest.mark.parametrize(
    "subject",
    [
        {"format": "complex"},
        {"format": "complex", "user": "00u9old"},
        {"group": {"format": "opaque", "id": "all"}},
        {"format": "jwt_id", "iss": ISSUER, "jti": "B70BA622"},
        {"format": "jwt-id", "iss": ISSUER, "jti": "B70BA622"},
        {"format": "saml_assertion_id", "issuer": ISSUER, "assertion_id": "_8e8d"},
        {"format": "ip-addresses", "ip-addresses": ["10.29.37.75"]},
    ],
    ids=repr,
)
def test_what_is_about_no_person_is_left_out(subject: dict[str, Any]) -> None:
    """Not even a leaver: it is about a session, or about everybody."""
    reading = read(sub_id=subject)

    assert (reading.events, reading.ignored) == ((), (ssf.DISABLED,))


def test_alias_of_a_complex_subject_is_understood() -> None:
    """The member may be of any format."""
    aliases = {"format": "aliases", "identifiers": [{"format": "email", "email": "bo.ray@acme.example"}, SUBJECT]}

    (event,) = read(sub_id={"format": "complex", "user": aliases}).events

    assert (event.person, event.profile.email) == ("00u9old", "bo.ray@acme.example")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"issuer": "https://tr.example.com"},
            KeysAt("https://tr.example.com/.well-known/ssf-configuration", True, "https://tr.example.com"),
        ),
        (
            {"issuer": "https://tr.example.com/"},
            KeysAt("https://tr.example.com/.well-known/ssf-configuration", True, "https://tr.example.com/"),
        ),
        (
            {"issuer": "https://tr.example.com:8443/issuer1/"},
            KeysAt(
                "https://tr.example.com:8443/.well-known/ssf-configuration/issuer1",
                True,
                "https://tr.example.com:8443/issuer1/",
            ),
        ),
        (
            {"issuer": "https://a.example", "metadata_url": "https://a.example/.well-known/risc-configuration"},
            KeysAt("https://a.example/.well-known/risc-configuration", True, "https://a.example"),
        ),
        ({"issuer": "urn:acme:idp", "jwks_uri": "https://b.example/keys"}, KeysAt("https://b.example/keys")),
    ],
)
def test_keys_are_where_the_issuer_says(options: dict[str, str], expected: KeysAt) -> None:
    """By the metadata at its well-known place, or at another one, or directly."""
    section = Section.model_validate({"adapter": "ssf", "audience": AUDIENCE, **options})

    found = own_options("sources.x", section, ssf.Options)

    assert ssf.keys_at(Setup("x", (), found)) == expected


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, "sources.x.issuer: found nothing; required"),
        ({"issuer": "urn:acme:idp"}, "allowed: an issuer that is a URL, or else metadata_url or jwks_uri as well"),
        ({"issuer": ISSUER, "algorithms": ["HS256"]}, "sources.x.algorithms.0: found 'HS256'"),
        ({"issuer": ISSUER, "algorithms": []}, "sources.x.algorithms"),
        ({"issuer": ISSUER, "audience": []}, "sources.x.audience"),
        ({"issuer": ISSUER, "audience": ""}, "sources.x.audience.0: found ''; allowed: string should have at least 1"),
        ({"issuer": ISSUER, "audience": 7}, "sources.x.audience: found 7; allowed: a valid list"),
        ({"issuer": ISSUER, "signing_key": "literal"}, "a literal is refused"),
        ({"issuer": ISSUER, "signing_key": "env:NO_PEM"}, "found 'env:NO_PEM'; allowed: a private key in PEM"),
        ({"issuer": ISSUER, "stream": {"tokn": "a literal"}}, "sources.x.stream.tokn: found a str; unknown key; "),
        ({"issuer": ISSUER, "jwks_url": "https://b.example"}, "sources.x.jwks_url: found a str; unknown key"),
    ],
)
def test_wrong_options_are_told_at_the_start(
    options: dict[str, Any], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each by its key, once."""
    monkeypatch.setenv("NO_PEM", "a-literal-key")
    section = Section.model_validate({"adapter": "ssf", "audience": AUDIENCE, **options})

    with pytest.raises(Misconfigured) as error:
        own_options("sources.x", section, ssf.Options)

    assert line in error.value.message
    assert ("audience" in options) <= (len(error.value.lines) == 1)
    assert not any(word in error.value.message for word in ("a literal'", "a-literal-key"))


def test_sample_of_claims_is_signed() -> None:
    """What is not said of issuer, audience and id is filled in; it is issued now, whatever it says."""
    body = json.dumps({"sub_id": SUBJECT, "events": {ssf.PURGED: {}}, "iat": 1}).encode()

    notice = ssf.sign(Notice("POST", "", {}, body), SETUP, AT)

    assert ssf.verify(notice, SETUP, AT) == "kid:2026-01"
    (event,) = ssf.read(notice, SETUP, AT).events
    assert (event.vendor_kind, event.occurred_at) == (ssf.PURGED, AT)
    assert notice.headers == {"content-type": "application/secevent+jwt"}


def test_sample_needs_a_key_and_claims() -> None:
    """What is missing is a sentence."""
    keyless = SETUP.options.model_copy(update={"signing_key": None})
    body = json.dumps(claims()).encode()

    with pytest.raises(ValueError, match="signing_key, a private key"):
        ssf.sign(Notice("POST", "", {}, body), replace(SETUP, options=keyless), AT)
    for wrong in (b"", b"[]", b"x"):
        with pytest.raises(ValueError, match=r"\S"):
            ssf.sign(Notice("POST", "", {}, wrong), SETUP, AT)
