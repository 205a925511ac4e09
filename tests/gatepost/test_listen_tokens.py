"""``gatepost listen`` as a strict receiver of Security Event Tokens."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gatepost.listen import keys
from gatepost.listen.base import Heard, Letter
from gatepost.listen.expected import Options, expected
from gatepost.listen.tokens import MEDIA_TYPE, Tokens
from lifecycle.errors import Rejected, Unauthentic, Unavailable
from lifecycle.secrets import Secret
from tests.foreign_tokens import AUDIENCE, ISSUER, key_set, made_key, published, token

RISC = "https://schemas.openid.net/secevent/risc/event-type/"


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    """Give what believes one key by a file."""
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(key_set({"a": made_key("a")})))
    return Tokens(keys.KeySet(str(path)), ISSUER, AUDIENCE)


async def hear(tokens: Tokens, sent: str | bytes, **headers: str) -> Heard:
    """Let it hear a token."""
    body = sent if isinstance(sent, bytes) else sent.encode()
    return await tokens.hear(Letter({"content-type": MEDIA_TYPE} | headers, body), datetime.now(UTC))


@pytest.mark.parametrize(
    ("claims", "person"),
    [
        ({}, "bo.ray@acme.example"),
        ({"sub_id": {"format": "iss_sub", "iss": ISSUER, "sub": "E1042"}}, "E1042"),
        ({"sub_id": {"format": "scim", "uri": "/Users/1", "externalId": "E1042", "id": "1"}}, "E1042"),
        ({"sub_id": {"format": "opaque", "id": "stream-1"}}, "stream-1"),
        ({"sub_id": {"format": "complex", "user": {"format": "email", "email": "bo@acme.example"}}}, "bo@acme.example"),
        (
            {"sub_id": None, "events": {f"{RISC}account-disabled": {"subject": {"email": "bo@acme.example"}}}},
            "bo@acme.example",
        ),
        ({"aud": ["another", AUDIENCE]}, "bo.ray@acme.example"),
        ({"iat": 6}, "bo.ray@acme.example"),
        ({"headers": {"typ": "application/SecEvent+jwt"}}, "bo.ray@acme.example"),
    ],
)
async def test_token_of_the_issuer_is_believed(tokens: Tokens, claims: dict[str, Any], person: str) -> None:
    """However it names the person."""
    days_old = {"iat": _days_ago(claims["iat"])} if "iat" in claims else {}

    heard = await hear(tokens, token(made_key("a"), **claims | days_old))

    assert (heard.id, heard.type, heard.person, heard.proof) == ("1", "account-disabled", person, "kid a")
    assert heard.said["txn"] == "cause"


def _days_ago(days: int) -> int:
    return int((datetime.now(UTC) - timedelta(days=days)).timestamp())


REFUSED: dict[str, tuple[str, str | Callable[[], str]]] = {
    "no token": ("token_malformed", "a.b.c"),
    "nothing": ("token_malformed", ""),
    "not ASCII": ("token_malformed", "é.é.é"),
    "too long": ("token_too_long", "a" * 65_537),
    "nested": ("token_malformed", "W1tb" * 15_000 + ".e30.AA"),
    "of another type": ("token_type", lambda: token(made_key("a"), headers={"typ": "JWT"})),
    "without a type": ("token_type", lambda: token(made_key("a"), headers={"typ": None})),
    "without a key's name": ("key_unnamed", lambda: token(made_key("a"), headers={"kid": None})),
    "of an unknown key": ("key_unknown", lambda: token(made_key("a"), headers={"kid": "b"})),
    "of another key": ("signature_wrong", lambda: token(made_key("b"))),
    "of another algorithm": ("algorithm_refused", lambda: token(made_key("a"), algorithm="RS512")),
    "of another issuer": ("issuer_wrong", lambda: token(made_key("a"), iss=f"{ISSUER}/")),
    "for another": ("audience_wrong", lambda: token(made_key("a"), aud="another")),
    "for nobody": ("claim_missing", lambda: token(made_key("a"), aud=None)),
    "without iat": ("claim_missing", lambda: token(made_key("a"), iat=None)),
    "without jti": ("claim_missing", lambda: token(made_key("a"), jti=None)),
    "with an empty jti": ("claim_malformed", lambda: token(made_key("a"), jti="")),
    "with a text as iat": ("claim_malformed", lambda: token(made_key("a"), iat="1772787600")),
    "with exp": ("claim_forbidden", lambda: token(made_key("a"), exp=2_000_000_000)),
    "with sub": ("claim_forbidden", lambda: token(made_key("a"), sub="E1042")),
    "too old": ("token_expired", lambda: token(made_key("a"), iat=_days_ago(8))),
    "of tomorrow": ("token_early", lambda: token(made_key("a"), iat=_days_ago(-1))),
    "without events": ("events_malformed", lambda: token(made_key("a"), events=None)),
    "with no event": ("events_malformed", lambda: token(made_key("a"), events={})),
    "with two events": ("events_malformed", lambda: token(made_key("a"), events={"a": {}, "b": {}})),
    "with a text as event": ("events_malformed", lambda: token(made_key("a"), events={"a": "b"})),
    "about nobody": ("subject_missing", lambda: token(made_key("a"), sub_id=None)),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_a_strict_receiver_refuses(tokens: Tokens, name: str) -> None:
    """With 400 and a code of RFC 8935."""
    reason, made = REFUSED[name]

    with pytest.raises(Rejected) as caught:
        await hear(tokens, made if isinstance(made, str) else made())

    reply = tokens.refuse(caught.value)
    assert (caught.value.reason, reply.status) == (reason, 400)
    assert set(json.loads(reply.body)) == {"err", "description"}


async def test_bearer_is_demanded_where_it_is_agreed_on(tokens: Tokens) -> None:
    """A subscriber of the configuration has one, or not."""
    wanted = Tokens(tokens._keys, ISSUER, AUDIENCE, Secret("env:BEARER", "the-bearer"))

    heard = await hear(wanted, token(made_key("a")), authorization="Bearer the-bearer")

    assert heard.id == "1"
    for header in ({}, {"authorization": "Bearer another"}, {"authorization": "the-bearer"}):
        with pytest.raises(Unauthentic, match="not the bearer"):
            await hear(wanted, token(made_key("a")), **header)


async def test_rotated_key_is_fetched() -> None:
    """For names that nobody knows at most once in a while; that the keys are away is no fault of a token."""
    known = {"a": made_key("a")}
    old, new = token(made_key("a")), token(made_key("b"), headers={"kid": "b"})
    with published(known) as url:
        eager, slow = (Tokens(keys.KeySet(url, seconds), ISSUER, AUDIENCE) for seconds in (0, 3_600))
        for tokens in (eager, slow):
            await hear(tokens, old)
        known["b"] = made_key("b")
        heard = await hear(eager, new)
        with pytest.raises(Unauthentic, match="no such key"):
            await hear(slow, new)

    assert heard.proof == "kid b"
    assert (await hear(eager, old)).proof == "kid a"
    with pytest.raises(Unavailable):
        await hear(eager, token(made_key("a"), headers={"kid": "c"}))


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n", b"HTTP/1.1 200 OK\r\nx: "])
async def test_set_that_drips_holds_no_delivery_for_long(head: bytes) -> None:
    """Neither in its headers nor in its body, and one that is known never; it is read by one at a time."""
    with dripping(head) as (url, asked):
        found = Tokens(keys.KeySet(url, 0, 0.4), ISSUER, AUDIENCE)
        begun = time.monotonic()
        for _ in range(2):
            with pytest.raises(Unavailable):
                await hear(found, token(made_key("a")))

        assert time.monotonic() - begun < 2
        assert len(asked) <= 2


@contextmanager
def dripping(head: bytes) -> Iterator[tuple[str, list[socket.socket]]]:
    """Serve a set of which a byte comes now and then; with it, who asked."""
    asked: list[socket.socket] = []
    stop = threading.Event()

    def drip(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                asked.append(connection)
                threading.Thread(target=drop, args=[connection]).start()

    def drop(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.sendall(head)
            while not stop.wait(0.05):
                connection.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=[listener])
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/jwks", asked
        finally:
            stop.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    "found", ["", "[]", "{", '{"keys": 1}', '{"keys": [1, {}, {"kid": "a"}]}', "[" * 50_000, "{}" + " " * 300_000]
)
async def test_set_of_nothing_has_no_keys(tmp_path: Path, found: str) -> None:
    """Whatever stands there."""
    path = tmp_path / "jwks.json"
    path.write_text(found)

    with pytest.raises((Unauthentic, Unavailable)):
        await hear(Tokens(keys.KeySet(str(path)), ISSUER, AUDIENCE), token(made_key("a")))


@pytest.mark.parametrize("options", [Options(subscriber="siem"), Options(audience=AUDIENCE)])
async def test_configuration_has_the_keys(tmp_path: Path, options: Options) -> None:
    """Of a subscriber of the format ``ssf_push``, or of the issuer alone; each of them, however they are called."""
    pems = [_pem(tmp_path / f"{place}.pem", key) for place, key in enumerate((made_key("a"), made_key("b")))]
    config = tmp_path / "gatepost.toml"
    config.write_text(
        f'[ssf]\nissuer = "{ISSUER}"\nsigning_keys = {json.dumps(pems)}\n'
        f'[subscribers.siem]\nformat = "ssf_push"\nurl = "https://siem.acme.example/ssf"\naudience = "{AUDIENCE}"\n'
    )

    found = expected(options._replace(config=str(config))).formats.tokens

    for key in (made_key("a"), made_key("b")):
        sent = Letter({"content-type": MEDIA_TYPE}, token(key, headers={"kid": "whatever"}).encode())
        assert (await found.hear(sent, datetime.now(UTC))).id == "1"


def _pem(path: Path, key: RSAPrivateKey) -> str:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return f"file:{path}"
