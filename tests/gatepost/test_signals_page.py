"""The manual's page on receiving signals: its examples run as they stand, against deliveries as they are sent."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from gatepost.manual import pages
from lifecycle.signal import RETRY_SECONDS, TYPES
from tests.conftest import free_port
from tests.flow.patience import eventually
from tests.foreign_tokens import AUDIENCE, ISSUER, made_key, published, token
from tests.javascript.node import MODULES, NODE
from tests.letters import OTHER, PRIVATE, PUBLIC, SECRET, Letter, letter, signal

PAGE = pages()["signals"]
LANGUAGES = ("python", "javascript", "go", "java", "ruby")


class Program(NamedTuple):
    """An example that runs: how it is reached, and where it writes."""

    client: httpx.Client
    output: Path

    def send(self, sent: Letter) -> int:
        """Send a delivery and return the status of the answer."""
        return self.client.post("/hooks/gatepost", headers=sent.headers, content=sent.body).status_code

    def lines(self) -> list[str]:
        """Return what it wrote of what it believes."""
        return self.output.read_text().splitlines()


def example(title: str) -> str:
    """Return the first code of the section of this title."""
    section = PAGE.split(f"# {title}\n", 1)[1]
    found = re.search(r"^```(?:python|javascript)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


@contextmanager
def running(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[Program]:
    """Run an example until the block ends."""
    port, output, errors = free_port(), folder / "output", folder / "errors"
    with (
        output.open("wb") as out,
        errors.open("wb") as err,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        variables = {**os.environ, **environment, "PORT": str(port)}
        process = subprocess.Popen(command, cwd=folder, env=variables, stdout=out, stderr=err)  # noqa: S603 - ours
        try:
            eventually(lambda: _answers(client, process, errors))
            yield Program(client, output)
        finally:
            process.kill()
            process.wait()


def _answers(client: httpx.Client, process: "subprocess.Popen[bytes]", errors: Path) -> bool:
    assert process.poll() is None, errors.read_text()
    try:
        return client.get("/").status_code > 0
    except httpx.TransportError:
        return False


def python(folder: Path, code: str) -> list[str]:
    """Write a Python program and return its command."""
    (folder / "example.py").write_text(code)
    return [sys.executable, "example.py"]


def javascript(folder: Path, code: str) -> list[str]:
    """Write a JavaScript program, with the libraries beside it, and return its command."""
    (folder / "example.mjs").write_text(code)
    (folder / "node_modules").symlink_to(MODULES)
    return [str(NODE), "example.mjs"]


@pytest.mark.parametrize(("title", "command"), [("Python", python), ("JavaScript", javascript)])
def test_example_believes_what_is_signed_and_nothing_else(
    tmp_path: Path, title: str, command: Callable[[Path, str], list[str]]
) -> None:
    """Once each, and what is malformed does not end it."""
    first, second = signal("evt-1"), signal("evt-2")
    now = datetime.now(UTC)
    good = letter(of=first)
    refused = [
        letter(OTHER),
        letter(PRIVATE),
        letter(at=now - timedelta(minutes=6)),
        letter(at=now + timedelta(minutes=6)),
        good._replace(body=good.body.replace(b"E1042", b"E1043")),
        good._replace(headers=good.headers | {"webhook-id": "sig_another"}),
        *(good._replace(headers=good.headers | {"webhook-signature": each}) for each in ("v1", "v1,", "v1,%", "x y z")),
        *(good._replace(headers=good.headers | {"webhook-timestamp": each}) for each in ("", "soon", "1e400")),
        good._replace(body=b"\xff\xfe"),
        good._replace(headers={}, body=b""),
    ]

    with running(command(tmp_path, example(title)), tmp_path, {"SIEM_WHSEC": SECRET}) as program:
        answers = [program.send(each) for each in (good, letter(of=first), letter(SECRET, OTHER, of=second))]
        refusals = [program.send(each) for each in refused]
        large = _announced(program, 1_000_001)
        last = program.send(letter(OTHER, SECRET, of=signal("evt-3")))

    assert answers == [204, 204, 204]
    assert refusals == [401] * len(refused)
    assert (large, last) == (413, 204)
    lines = program.lines()
    assert len(lines) == 3
    for line, event in zip(lines, ("evt-1", "evt-2", "evt-3"), strict=True):
        assert line.startswith("person.suspended ")
        assert event in line


def _announced(program: Program, length: int) -> int:
    """Send a body of this length at leisure, as far as it is wanted, and return the status of the answer."""
    with socket.create_connection((program.client.base_url.host, program.client.base_url.port or 0), 10) as connection:
        connection.sendall(f"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n".encode())
        connection.settimeout(0.3)
        with suppress(TimeoutError):
            return int(connection.recv(100).split()[1])
        connection.settimeout(10)
        connection.sendall(bytes(length))
        return int(connection.recv(100).split()[1])


def test_example_of_v1a_believes_the_key_alone() -> None:
    """Beside other signatures too, within five minutes."""
    found: dict[str, Any] = {}
    exec(example("Without a shared secret: v1a"), found)  # noqa: S102 - our own page
    good, now = letter(PRIVATE), datetime.now(UTC)

    def is_signed(sent: Letter) -> bool:
        return bool(found["is_signed"](PUBLIC, sent.headers, sent.body))

    assert is_signed(good)
    assert is_signed(letter(SECRET, PRIVATE))
    assert not is_signed(letter(SECRET))
    assert not is_signed(letter(PRIVATE, at=now - timedelta(minutes=6)))
    assert not is_signed(good._replace(body=good.body + b" "))
    assert not is_signed(good._replace(headers=good.headers | {"webhook-signature": "v1a,AAAA v1a v1,%"}))
    forged = good.headers["webhook-signature"].replace("v1a", "v1")
    assert not is_signed(good._replace(headers=good.headers | {"webhook-signature": forged}))


def test_example_of_tokens_believes_what_the_issuer_signed_for_it(tmp_path: Path) -> None:
    """With what RFC 8935 wants said of all else; that the keys are away is no fault of the token."""
    key, other = made_key("a"), made_key("b")
    refused = {
        "invalid_issuer": [token(key, iss="https://another.example")],
        "invalid_audience": [token(key, aud="https://another.example")],
        "invalid_key": [token(key, headers={"kid": "unknown"}), token(key, headers={"kid": None})],
        "authentication_failed": [token(other)],
        "invalid_request": [
            token(key, exp=2_000_000_000),
            token(key, sub="E1042"),
            token(key, events={}),
            token(key, events={"a": {}, "b": {}}),
            token(key, iat=None),
            token(key, jti=None),
            token(key, iat=int(datetime.now(UTC).timestamp()) + 600),
            token(key, headers={"typ": "JWT"}),
            token(key, algorithm="RS512"),
            "no.token.at all",
        ],
    }

    with published({"a": key}) as jwks:
        environment = {"SSF_ISSUER": ISSUER, "SSF_AUDIENCE": AUDIENCE, "SSF_JWKS_URI": jwks}
        command = python(tmp_path, example("Security Event Tokens"))
        with running(command, tmp_path, environment) as program:
            answers = [_push(program, each) for each in (token(key), token(key), token(key, jti="2", aud=[AUDIENCE]))]
            refusals = {err: [_push(program, each) for each in tokens] for err, tokens in refused.items()}
            last = _push(program, token(key, jti="3", iat=1_772_787_600))
            lines = program.lines()
    with running(command, tmp_path, environment) as program:
        away = _push(program, token(key))

    assert answers == [(202, None)] * 3
    assert refusals == {err: [(400, err)] * len(tokens) for err, tokens in refused.items()}
    assert (last, away) == ((202, None), (503, None))
    assert len(lines) == 3
    assert all("account-disabled" in line and "bo.ray@acme.example" in line for line in lines)


def _push(program: Program, body: str) -> tuple[int, str | None]:
    answer = program.client.post("/", content=body, headers={"content-type": "application/secevent+jwt"})
    return answer.status_code, answer.json()["err"] if answer.content else None


def test_page_says_what_is_so() -> None:
    """Every type, every wait of the schedule, and five languages, each with a whole program."""
    for kind in TYPES:
        assert f"`{kind}`" in PAGE
    units = ((3_600, "h"), (60, "min"), (1, "s"))
    waits = [next(f"{seconds // size} {unit}" for size, unit in units if seconds >= size) for seconds in RETRY_SECONDS]
    assert f"{', '.join(waits[:-1])} and {waits[-1]}, each within 20 % at random" in " ".join(PAGE.split())
    for language in LANGUAGES:
        assert f"\n```{language}\n" in PAGE
