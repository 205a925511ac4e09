"""``python -m bench.inbox --port N``: subscribers that cost next to nothing, so that the lane is what is measured.

One process is all of them: each has a path of its own, whose last part is its name. It answers 204, at once or after a
while, and keeps who got what, and when. ``GET /taken`` tells and forgets.
"""

import argparse
import asyncio
import json
import time
import urllib.request
from typing import NamedTuple, cast

import httptools
import uvloop

TAKEN = "/taken"
ID_HEADER = b"webhook-id"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


class Taken(NamedTuple):
    """One request of a signal, from its last byte to its answer, by the clock of this machine."""

    subscriber: str
    item: str
    began: float
    ended: float


class Inbox:
    """What came."""

    def __init__(self, answer_seconds: float) -> None:
        """Start with nothing."""
        self.answer_seconds = answer_seconds
        self.taken: list[Taken] = []

    def told(self) -> bytes:
        """Return the answer that tells it, and forget it."""
        body = json.dumps(self.taken).encode()
        self.taken = []
        return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body


class Connection(asyncio.Protocol):
    """One kept connection."""

    def __init__(self, inbox: Inbox) -> None:
        """Keep where to write what comes."""
        self._inbox = inbox
        self._parser = httptools.HttpRequestParser(self)
        self._item, self._path = "", b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class is no subclass

    def data_received(self, data: bytes) -> None:
        """Read; the parser calls the methods below."""
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """Keep whose it is."""
        self._path = url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep what it is."""
        if name.lower() == ID_HEADER:
            self._item = value.decode()

    def on_message_complete(self) -> None:
        """Answer."""
        if self._path.decode() == TAKEN:
            self._transport.write(self._inbox.told())
            return
        name, began = self._path.rpartition(b"/")[2].decode(), time.time()
        if self._inbox.answer_seconds:
            loop = asyncio.get_running_loop()
            loop.call_later(self._inbox.answer_seconds, self._answer, name, self._item, began)
        else:
            self._answer(name, self._item, began)

    def _answer(self, name: str, item: str, began: float) -> None:
        self._inbox.taken.append(Taken(name, item, began, time.time()))
        self._transport.write(NO_CONTENT)


async def serve(port: int, inbox: Inbox) -> None:
    """Serve until a signal ends it."""
    server = await asyncio.get_running_loop().create_server(lambda: Connection(inbox), "127.0.0.1", port)
    await server.serve_forever()


def fetch(port: int) -> list[Taken]:
    """Return what came to an inbox, or to ``bench.rogue``, since it was asked last."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{TAKEN}") as answer:
        return [Taken(*each) for each in json.load(answer)]


def main() -> None:
    """Serve on the port that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m bench.inbox", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--answer-seconds", type=float, default=0.0)
    options = parser.parse_args()
    uvloop.run(serve(options.port, Inbox(options.answer_seconds)))


if __name__ == "__main__":
    main()
