"""``gatepost listen``: real processes over loopback, deliveries that the published library signed, and all else."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from gatepost.listen.expected import Options, expected
from gatepost.listen.server import listening
from gatepost.listen.shown import Repeats
from lifecycle.errors import Misconfigured
from tests.conftest import ROOT, free_port
from tests.flow.patience import eventually
from tests.foreign_tokens import AUDIENCE, ISSUER, made_key, token
from tests.letters import OTHER, PRIVATE, PUBLIC, SECRET, Letter, letter
from tests.letters import signal as made

END_SECONDS_MAX = 20


class Listening:
    """A running ``gatepost listen``."""

    def __init__(self, folder: Path, arguments: tuple[str, ...], environment: dict[str, str]) -> None:
        """Start it at any free port."""
        self._output, self._errors = folder / "output", folder / "errors"
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(  # noqa: S603 - our own
                [sys.executable, "-m", "gatepost", "listen", "--port", "0", *arguments],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
                stdout=output,
                stderr=errors,
            )
        said = eventually(lambda: self.said() if "Listening on" in self.said() else "")
        self.url = said.split("Listening on ", 1)[1].split(";")[0]
        self.port = httpx.URL(self.url).port or 0

    def said(self) -> str:
        """Return what it said beside the deliveries."""
        assert self.process.poll() is None or self._errors.exists()
        return self._errors.read_text()

    def lines(self) -> list[str]:
        """Return the lines of the deliveries."""
        return self._output.read_text().splitlines()

    def shown(self) -> list[dict[str, Any]]:
        """Return the deliveries, where they are JSON."""
        return [json.loads(line) for line in self.lines()]

    def open(self) -> socket.socket:
        """Open a connection."""
        return socket.create_connection(("127.0.0.1", self.port), 10)

    def end(self, by: signal.Signals = signal.SIGTERM) -> int:
        """End it by a signal and return the exit code."""
        self.process.send_signal(by)
        return self.process.wait(END_SECONDS_MAX)


Listen = Callable[..., Listening]


@pytest.fixture
def listen(tmp_path: Path) -> Iterator[Listen]:
    """Run ``gatepost listen`` in an empty folder: ``listen("--once", "1", SIEM_WHSEC=SECRET)``."""
    with ExitStack() as stack:

        def run(*arguments: str, **environment: str) -> Listening:
            folder = tmp_path / f"listen-{free_port()}"
            folder.mkdir()
            found = Listening(folder, arguments, environment)
            stack.callback(found.process.wait)
            stack.callback(found.process.kill)
            return found

        yield run


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    """Give one client for many requests."""
    with httpx.Client(timeout=10) as opened:
        yield opened


def by_the_library(secret: str, body: str, message_id: str = "msg_1", at: datetime | None = None) -> Letter:
    """Return a delivery that the published library signed."""
    moment = at or datetime.now(UTC)
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, moment, body),
        "content-type": "application/json",
    }
    return Letter(headers, body.encode())


def test_each_delivery_is_shown_with_what_came_of_it(listen: Listen, client: httpx.Client) -> None:
    """By which secret it is believed, how often it came, or why it is not believed; as JSON, a line each."""
    program = listen(
        "--secret", "env:NEW", "--secret", "env:OLD", "--secret", "env:KEY", "--json", NEW=SECRET, OLD=OTHER, KEY=PUBLIC
    )
    now = datetime.now(UTC)
    body = json.dumps({"type": "person.left", "data": {"person": {"external_id": "E1"}, "target": "crm"}})
    good = by_the_library(SECRET, body)
    sent = [
        good,
        good,
        by_the_library(OTHER, body, "msg_2"),
        letter(PRIVATE, SECRET),
        letter(PRIVATE),
        by_the_library("whsec_" + "QUFB" * 8, body),
        by_the_library(SECRET, body, at=now - timedelta(minutes=6)),
        good._replace(body=b"another"),
        good._replace(headers={"webhook-id": "msg_1"}),
        by_the_library(SECRET, "signed, but not JSON", "msg_3"),
        Letter({"content-type": "application/secevent+jwt"}, b"a.b.c"),
    ]

    answers = [client.post(f"{program.url}any/path", headers=each.headers, content=each.body) for each in sent]

    shown = program.shown()
    assert [answer.status_code for answer in answers] == [204] * 5 + [401] * 4 + [400, 400]
    assert [line["answered"] for line in shown] == [answer.status_code for answer in answers]
    assert [line["verified"] for line in shown] == [True] * 5 + [False] * 6
    assert shown[0] | {"at": ""} == {
        "at": "",
        "verified": True,
        "format": "standard_webhooks",
        "answered": 204,
        "id": "msg_1",
        "type": "person.left",
        "person": "E1",
        "target": "crm",
        "seen": 1,
        "proof": "env:NEW",
        "body": json.loads(body),
    }
    assert [(line["seen"], line["proof"]) for line in shown[1:5]] == [
        (2, "env:NEW"),
        (1, "env:OLD"),
        (1, "env:NEW"),
        (2, "env:KEY"),
    ]
    reasons = [line["reason"] for line in shown[5:]]
    assert reasons[:4] == ["signature_wrong", "timestamp_expired", "signature_wrong", "signature_missing"]
    assert reasons[4:] == ["not_json", "keys_missing"]
    assert answers[5].json()["detail"] == "no signature fits this body and these headers"
    assert answers[5].headers["content-type"] == "application/problem+json"
    assert answers[10].json() == {"err": "invalid_request", "description": "no keys were named to verify tokens with"}


def test_lines_are_for_people(listen: Listen, client: httpx.Client) -> None:
    """Short, and nothing that somebody sent moves about on the terminal."""
    program = listen("--secret", "env:SIEM_WHSEC", SIEM_WHSEC=SECRET)
    first, body = letter(), json.dumps({"type": "person.\x1b[2Jleft\n", "data": "none"})

    for each in (first, first, by_the_library(SECRET, body), letter(OTHER)):
        client.post(program.url, headers=each.headers, content=each.body)

    lines, message_id = program.lines(), first.headers["webhook-id"]
    assert lines[0][10:].split() == [
        "person.suspended",
        "E1042",
        "genesys",
        message_id,
        *("verified", "by", "env:SIEM_WHSEC,", "answered", "204"),
    ]
    assert lines[1].endswith(
        f"{message_id}  verified by env:SIEM_WHSEC, answered 204, a repeat: webhook-id came 2 times"
    )
    assert "  person.?[2Jleft?" in lines[2]
    assert "NOT VERIFIED" in lines[3]
    assert "signature_wrong: no signature fits" in lines[3]


def test_what_is_no_delivery_is_refused_and_ends_nothing(listen: Listen, client: httpx.Client) -> None:
    """Other methods, bodies and headers without an end, garbage, clients that hang or go away; then it ends at once."""
    program = listen("--secret", "env:SIEM_WHSEC", SIEM_WHSEC=SECRET)
    good = letter()

    methods = [client.request(method, program.url) for method in ("GET", "PUT", "DELETE", "OPTIONS")]
    large = client.post(program.url, content=bytes(1_000_001))
    with ExitStack() as stack:
        for start in (b"", b"POST / HT", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc"):
            stack.enter_context(program.open()).sendall(start)
        garbage = [_said(program, each) for each in (bytes(range(256)), b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n")]
        headers = _said(program, b"POST / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000)
        with program.open() as gone:
            gone.sendall(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc")
        after = client.post(program.url, headers=good.headers, content=good.body)
        started = time.monotonic()
        code = program.end()

    assert {(answer.status_code, answer.headers["allow"]) for answer in methods} == {(405, "POST")}
    assert large.status_code == 413
    assert [each[:12] for each in (*garbage, headers)] == [b"HTTP/1.1 400"] * 4
    assert after.status_code == 204
    assert len(program.lines()) == 1
    assert "Refused: deliveries come by POST; answered 405" in program.said()
    assert "Traceback" not in program.said()
    assert (code, time.monotonic() - started < 5) == (0, True)


def _said(program: Listening, sent: bytes) -> bytes:
    with program.open() as connection:
        connection.sendall(sent)
        return connection.recv(1_000)


def test_another_answer_shows_what_a_sender_does(listen: Listen, client: httpx.Client) -> None:
    """To what verifies; and Ctrl-C is a clean end."""
    program = listen("--secret", "env:SIEM_WHSEC", "--answer", "410", SIEM_WHSEC=SECRET)

    answers = [client.post(program.url, headers=each.headers, content=each.body) for each in (letter(), letter(OTHER))]

    assert [answer.status_code for answer in answers] == [410, 401]
    assert program.end(signal.SIGINT) == 0
    assert "answered 410" in program.lines()[0]


@pytest.mark.parametrize(("secrets", "code"), [((SECRET, SECRET), 0), ((SECRET, OTHER), 1)])
def test_script_waits_for_so_many(listen: Listen, client: httpx.Client, secrets: tuple[str, str], code: int) -> None:
    """Its exit code says whether all of them verified."""
    program = listen("--secret", "env:SIEM_WHSEC", "--once", "2", SIEM_WHSEC=SECRET)

    for secret in secrets:
        sent = letter(secret)
        client.post(program.url, headers=sent.headers, content=sent.body)

    assert program.process.wait(END_SECONDS_MAX) == code
    assert len(program.lines()) == 2


def test_reader_that_goes_away_ends_it(tmp_path: Path, client: httpx.Client) -> None:
    """As of ``gatepost listen | head -1``."""
    port = free_port()
    process = subprocess.Popen(  # noqa: S603 - our own
        [sys.executable, "-m", "gatepost", "listen", "--port", str(port), "--secret", "env:SIEM_WHSEC"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SIEM_WHSEC": SECRET},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stderr.readline()
    process.stdout.close()
    sent = letter()

    answer = client.post(f"http://127.0.0.1:{port}", headers=sent.headers, content=sent.body)

    assert answer.status_code == 204
    assert process.wait(END_SECONDS_MAX) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


def test_subscriber_of_the_configuration_needs_no_redis(listen: Listen, client: httpx.Client, tmp_path: Path) -> None:
    """It says where the configuration has to point, and believes each of the subscriber's secrets."""
    config = tmp_path / "gatepost.toml"
    config.write_text(
        '[redis]\nurl = "redis://127.0.0.1:1/0"\n'
        '[subscribers.siem]\nurl = "https://siem.acme.example/hooks"\nsecrets = ["env:SIEM_WHSEC", "env:SIEM_KEY"]\n'
    )
    program = listen("--subscriber", "siem", "--config", str(config), "--json", SIEM_WHSEC=SECRET, SIEM_KEY=PRIVATE)

    for each in (letter(), letter(PRIVATE, of=made("evt-2")), letter(OTHER)):
        client.post(program.url, headers=each.headers, content=each.body)

    assert [line.get("proof") for line in program.shown()] == ["env:SIEM_WHSEC", "env:SIEM_KEY", None]
    hint = f'[subscribers.siem] with url = "{program.url}" and allow_private = true'
    assert f"{hint}. It is https://siem.acme.example/hooks now." in program.said()


def test_tokens_wait_for_keys_that_are_away(listen: Listen, client: httpx.Client) -> None:
    """Answered 503, for it is no fault of the token; and without a secret no webhook is believed."""
    keys = f"http://127.0.0.1:{free_port()}/jwks.json"
    program = listen("--jwks", keys, "--issuer", ISSUER, "--audience", AUDIENCE, "--json")
    sent = token(made_key("a"))

    away = client.post(program.url, content=sent, headers={"content-type": "application/secevent+jwt"})
    refused = client.post(program.url, headers=letter().headers, content=letter().body)

    assert (away.status_code, away.headers["retry-after"]) == (503, "5")
    assert away.json()["detail"].startswith(f"the keys at {keys} cannot be read: ")
    assert refused.status_code == 401
    assert [line["reason"] for line in program.shown()] == ["keys_unreadable", "secret_missing"]


def test_wrong_options_are_told_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What was found, and what is allowed; a literal secret is not shown again."""
    monkeypatch.setenv("WRONG", "secret")
    config = tmp_path / "gatepost.toml"
    config.write_text("")
    found = {
        Options(): "found nothing to verify with",
        Options(secrets=(SECRET,)): "--secret: found a literal; a literal is refused; allowed: a reference",
        Options(secrets=("env:NONE_SUCH",)): "--secret: found env:NONE_SUCH; the environment has no NONE_SUCH",
        Options(secrets=("env:WRONG",)): "env:WRONG: found no secret of Standard Webhooks; allowed: a secret starts",
        Options(subscriber="siem", config=str(config)): "subscribers: found no 'siem'; allowed: none",
        Options(jwks="none.json", issuer="a"): "--audience: found nothing",
        Options(jwks="none.json", audience="a"): "--issuer: found nothing",
        Options(jwks="none.json", issuer="a", audience="a"): "--jwks: found 'none.json'; allowed: a file that is there",
        Options(
            jwks="http://siem.acme.example/", issuer="a", audience="a"
        ): "--jwks: found 'http://siem.acme.example/'",
        Options(jwks="ftp://127.0.0.1/", issuer="a", audience="a"): "--jwks: found 'ftp://127.0.0.1/'",
        Options(audience="a", config=str(config)): "ssf: found nothing; allowed: [ssf] with issuer and signing_keys",
    }

    for options, words in found.items():
        with pytest.raises(Misconfigured) as caught:
            expected(options)
        assert caught.value.message.startswith(words)
        assert SECRET not in caught.value.message


def test_port_in_use_is_a_sentence() -> None:
    """As everything that is configured wrong."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(Misconfigured) as caught:
        listening("127.0.0.1", taken.getsockname()[1])

    assert "found Address already in use" in caught.value.message
    assert caught.value.message.endswith("; allowed: a free port of this machine")


def test_ids_are_remembered_within_a_bound() -> None:
    """The longest unseen is forgotten first."""
    repeats = Repeats(2)

    assert [repeats.count("a", each) for each in "xyxzxy"] == [1, 1, 2, 1, 3, 1]
