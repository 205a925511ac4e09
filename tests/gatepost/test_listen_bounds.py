"""``gatepost listen`` against senders that drip or are too many: a process with less patience, over loopback."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from tests.conftest import ROOT
from tests.flow.patience import eventually
from tests.gatepost.hasty import Hasty
from tests.letters import SECRET, letter

HEAD = b"POST / HTTP/1.1\r\nhost: a\r\n"
GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


@contextmanager
def hasty(patience_seconds: float) -> Iterator[int]:
    """Run it; give its port."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SIEM_WHSEC": SECRET}
    command = [sys.executable, "-m", "tests.gatepost.hasty", str(patience_seconds)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.kill()


def _open(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 10)


def _drip(connection: socket.socket) -> None:
    """Send a byte at a time until the connection ends."""
    with suppress(ConnectionError):
        while True:
            connection.sendall(b"a")
            time.sleep(0.02)


def _answer(connection: socket.socket, sent: bytes) -> bytes:
    """Send and return the start of what is answered; nothing from a connection that has ended."""
    try:
        connection.sendall(sent)
        return connection.recv(1_000)[:12]
    except ConnectionError:
        return b""


def test_request_has_to_be_whole_in_time() -> None:
    """However it drips; a connection that is idle after an answer is kept for longer."""
    sent = letter()
    fields = {**sent.headers, "content-length": str(len(sent.body))}
    whole = HEAD + b"".join(f"{name}: {value}\r\n".encode() for name, value in fields.items()) + b"\r\n" + sent.body

    with hasty(patience_seconds=0.4) as port, _open(port) as kept:
        first = _answer(kept, whole)
        for start in (b"", HEAD, HEAD + b"content-length: 1000000\r\n\r\n"):
            with _open(port) as connection:
                connection.sendall(start)
                _drip(connection)
        last = _answer(kept, whole)

    assert first == last == b"HTTP/1.1 204"


def test_connection_too_many_is_closed_at_once() -> None:
    """Those that were there before are in no trouble, and when they are gone there is room again."""
    with hasty(patience_seconds=60) as port:
        with ExitStack() as stack:
            opened = [stack.enter_context(_open(port)) for _ in range(Hasty.connections_max)]
            one_more = stack.enter_context(_open(port))
            answers = [_answer(each, GET) for each in (one_more, *opened)]
        later = eventually(lambda: _answer_of_new(port))

    assert answers == [b"", *[b"HTTP/1.1 405"] * Hasty.connections_max]
    assert later == b"HTTP/1.1 405"


def _answer_of_new(port: int) -> bytes:
    with _open(port) as connection:
        return _answer(connection, GET)
