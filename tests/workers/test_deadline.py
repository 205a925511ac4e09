"""A request has an end, however a server spreads its answer."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from lifecycle.errors import Postponed
from workers import http
from workers.http import Http

DRIP_SECONDS, DRIPS = 0.02, 200
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n"


@pytest.fixture
def dripping() -> Iterator[str]:
    """Serve one client headers that come byte by byte, each well within the limit of a read."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with closing(connection):
            connection.recv(65_536)
            connection.sendall(ANSWER)
            for _ in range(DRIPS):
                time.sleep(DRIP_SECONDS)
                connection.sendall(b"x")
            connection.sendall(b": y\r\n\r\n{}")

    def quietly() -> None:
        try:
            serve()
        except OSError:
            return

    thread = threading.Thread(target=quietly, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    listener.close()
    thread.join()


def test_headers_that_drip_end_with_the_limit(dripping: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time and all of them do not: nothing is waited for past the limit of the whole."""
    monkeypatch.setattr(http, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(http, "CONNECT_SECONDS", 0.2)

    with closing(Http()) as client, pytest.raises(Postponed) as caught:
        client.send("GET", dripping, headers={})

    assert caught.value.reason == "no_answer"


def test_answer_that_drips_is_read_where_there_is_time(dripping: str) -> None:
    """The same server, and the usual limit."""
    # The server may close a moment after the answer: the connection is kept until then, and is ours to close.
    with closing(Http()) as client:
        assert client.send("GET", dripping, headers={}).body == b"{}"
