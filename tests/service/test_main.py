"""``python -m service`` as a process."""

import base64
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from service.captured import parse_http
from service.sources import SOURCES
from service.sources.base import Notice
from tests.conftest import ROOT, Serve
from tests.notices import SECRETS, load, names, okta, okta_entry, setup_of


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    command = [sys.executable, "-m", "service", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)  # noqa: S603 - our own


@pytest.mark.parametrize(("source", "adapter"), [("okta", "okta"), ("hris", "standard_webhooks")])
def test_sample_is_signed_as_the_source_would(
    config_file: Callable[..., Path], tmp_path: Path, source: str, adapter: str
) -> None:
    """``--sign`` prints the request with a file's bytes, and the source's own verifier believes it."""
    body = b'{"any": "bytes \xc3\xa9"}'
    (tmp_path / "sample").write_bytes(body)

    ran = run("--config", str(config_file()), "--sign", source, str(tmp_path / "sample"))

    request = json.loads(ran.stdout)
    assert (request["path"], base64.b64decode(request["body"])) == (f"/hooks/{source}", body)
    notice = Notice("POST", "", request["headers"], body)
    SOURCES[adapter].verify(notice, setup_of(adapter), datetime.now(UTC))


@pytest.mark.parametrize("name", names())
def test_captured_request_of_any_source_is_signed_anew(name: str) -> None:
    """Handshakes too, which prove nothing or as a notice does; what it asked for in its address is still asked for."""
    captured = load(name)
    source = SOURCES[captured.adapter]

    notice = source.sign(captured.notice, captured.setup, captured.at)

    if "greeting" in captured.expected:
        assert source.greet(notice, captured.setup, captured.at) is not None
    else:
        source.verify(notice, captured.setup, captured.at)


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("body", [b"", b'{"a":\n\n1}\r\n\r\n', b"\n"])
def test_captured_request_may_have_been_written_with_an_editor(end: bytes, body: bytes) -> None:
    """Lines that end with LF are lines; the body is exact either way."""
    head = end.join([b"POST /hooks/x?a=1 HTTP/1.1", b"Host: a", b"X-Two:  b: c ", b"", b""])

    assert parse_http(head + body) == Notice("POST", "a=1", {"host": "a", "x-two": "b: c"}, body)


def test_captured_request_without_a_body_may_end_with_its_head() -> None:
    """And what is no request is told so."""
    assert parse_http(b"GET /hooks/x HTTP/1.1\nHost: a") == Notice("GET", "", {"host": "a"}, b"")
    with pytest.raises(ValueError, match="METHOD TARGET VERSION"):
        parse_http(b'{"a": 1}')


LITERAL = "hunter2-a-literal-secret"


@pytest.mark.parametrize("command", [["--check"], []])
def test_what_was_typed_as_a_secret_is_never_printed(config_file: Callable[..., Path], command: list[str]) -> None:
    """Under whatever misspelt key of whatever table it stands; and no trace of ours shows it."""
    sources = {
        "a": {"adapter": "ssf", "issuer": "https://a.example", "audience": "a", "stream": {"tokn": LITERAL}},
        "b": {"adapter": "ssf", "issuer": "https://a.example", "audience": "a", "signing_key": LITERAL},
        "d": {"adapter": "okta", "secrets": ["env:OKTA_HOOK_SECRET"], "header": f"Bearer {LITERAL}"},
        "e": {"adapter": "event_grid", "secrets": ["env:OKTA_HOOK_SECRET"], "client_states": [LITERAL]},
        "f": {"adapter": "event_grid", "secrets": ["env:OKTA_HOOK_SECRET"], "query": f"code={LITERAL}"},
    }
    of_the_file = {"c": {"adapter": "hmac", "secrets": [LITERAL], "header": f"Bearer {LITERAL}"}}

    said = {
        names: run("--config", str(config_file(sources=found)), *command)
        for names, found in {"c": of_the_file, "abdef": sources}.items()
    }

    assert {ran.returncode for ran in said.values()} == {2}
    assert all(f"sources.{name}." in ran.stderr for names, ran in said.items() for name in names)
    assert not any(word in ran.stderr + ran.stdout for ran in said.values() for word in (LITERAL, "Traceback"))


def test_wrong_configuration_ends_the_start_with_its_faults(config_file: Callable[..., Path], tmp_path: Path) -> None:
    """A fault is exit 2 and one line a fault on standard error: an unknown adapter, a secret that is none, no file."""
    unknown = run("--config", str(config_file(sources={"a": {"adapter": "workday", "secrets": ["env:HRIS_WHSEC"]}})))
    sources = {
        "weak": {"adapter": "standard_webhooks", "secrets": ["env:OKTA_HOOK_SECRET"]},
        "none": {"adapter": "okta"},
        "misspelt": {"adapter": "okta", "secret": "x", "secrets": []},
    }
    wrong = run("--config", str(config_file(sources=sources)))
    no_file = run("--config", str(tmp_path / "nothing.toml"))
    no_source = run("--config", str(config_file()), "--sign", "workday", __file__)

    assert [each.returncode for each in (unknown, wrong, no_file, no_source)] == [2] * 4
    assert "sources.none.secrets: found nothing; allowed: one secret at least" in wrong.stderr
    assert "sources.misspelt.secret: found a str; unknown key; allowed: adapter, secrets, timezone" in wrong.stderr
    assert f"sources.a.adapter: found 'workday'; allowed: {', '.join(sorted(SOURCES))}" in unknown.stderr
    assert "sources.weak.secrets: found one that is not a secret of this source" in wrong.stderr
    assert SECRETS["okta"] not in wrong.stderr
    assert "nothing.toml: cannot be read" in no_file.stderr
    assert "allowed: hris, okta" in no_source.stderr
    assert not any("Traceback" in each.stderr for each in (unknown, wrong, no_file, no_source))


def test_port_that_is_taken_ends_the_start(config_file: Callable[..., Path]) -> None:
    """Nothing is gained by starting again and again: exit 2, with the address and what is wrong with it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = run("--config", str(config_file()), "--port", port)

    assert ran.returncode == 2
    assert f"--port {port}: found Address already in use" in ran.stderr


def test_process_stops_cleanly_and_logs_no_secret(serve: Serve) -> None:
    """On SIGTERM the receiver ends by itself; its log is JSON lines without a credential or a body."""
    served = serve()
    httpx.post(f"{served.url}/hooks/okta", content=b'{"who": "Bo"}', headers={"authorization": SECRETS["okta"]})
    httpx.post(f"{served.url}/hooks/okta", content=okta(okta_entry()), headers={"authorization": "wrong-secret"})

    served.process.terminate()
    served.process.wait(30)

    text = served.log.read_text()
    assert {json.loads(line)["event"] for line in text.splitlines()} >= {
        "service.started",
        "notice.set_aside",
        "request.refused",
    }
    assert not any(word in text for word in (*SECRETS.values(), "wrong-secret", '"who"', "Traceback"))


def test_what_is_not_http_gets_a_problem_document(serve: Serve) -> None:
    """Garbage is refused in our own words, and the connection is closed."""
    with socket.create_connection(("127.0.0.1", int(serve().url.rpartition(":")[2]))) as connection:
        connection.sendall(b"this is not HTTP\r\n\r\n")
        answer = b""
        while chunk := connection.recv(65_536):
            answer += chunk

    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"400 Bad Request" in head.splitlines()[0]
    assert b"application/problem+json" in head
    assert "Invalid HTTP request" in json.loads(body)["detail"]


@pytest.mark.parametrize("flood", [b"a" * 65_536, b"x-more: and more\r\n" * 4_096], ids=["one", "many"])
def test_headers_without_an_end_end_the_connection(serve: Serve, flood: bytes) -> None:
    """Whoever sends headers for ever is cut off early, long before it costs anything."""
    served = serve()
    with socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2]))) as connection:
        connection.sendall(b"POST /hooks/okta HTTP/1.1\r\nhost: x\r\nx-flood: ")
        with pytest.raises(ConnectionError):
            connection.sendall(flood * 1_000)

    assert httpx.get(f"{served.url}/health/live").status_code == 200
