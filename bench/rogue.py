"""``python -m bench.rogue KIND --port N --elsewhere URL``: a subscriber that misbehaves, in one of many ways.

It keeps what came, as ``bench.inbox`` does: a request that nobody answers ends when the sender hangs up. ``GET /taken``
tells and forgets.
"""

import argparse
import asyncio
import json
import socket
import struct
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import uvloop

from bench.inbox import TAKEN, Taken

HEAD_END = b"\r\n\r\n"
SLOW_SECONDS = 12.0
DRIP_SECONDS = 0.2
RETRY_AFTER_SECONDS = 5
LARGE_BYTES, PIECE = 50_000_000, b"x" * 65_536
RESET = struct.pack("ii", 1, 0)  # SO_LINGER without a wait: the connection is reset instead of closed


class Rogue:
    """What came, and how it is answered."""

    def __init__(self, kind: str, elsewhere: str) -> None:
        """Keep how to misbehave."""
        self._misbehave = KINDS[kind]
        self._elsewhere = elsewhere
        self._taken: list[Taken] = []

    async def serve(self, port: int) -> None:
        """Serve until a signal ends it."""
        server = await asyncio.start_server(self._talk, "127.0.0.1", port)
        async with server:
            await server.serve_forever()

    async def _talk(self, reader: StreamReader, writer: StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(HEAD_END)).decode("latin-1")
                headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
                await reader.readexactly(int(headers.get("content-length", 0)))
                path = head.split(" ", 2)[1]
                if path == TAKEN:
                    await self._tell(writer)
                else:
                    await self._take(path, headers["webhook-id"], reader, writer)
        writer.close()

    async def _take(self, path: str, item: str, reader: StreamReader, writer: StreamWriter) -> None:
        began = time.time()
        try:
            await self._misbehave(self._elsewhere, reader, writer)
        finally:
            self._taken.append(Taken(path.rpartition("/")[2], item, began, time.time()))

    async def _tell(self, writer: StreamWriter) -> None:
        found, self._taken = self._taken, []
        await _answer(writer, "200 OK", json.dumps(found).encode())


async def _answer(writer: StreamWriter, status: str, body: bytes = b"", **headers: object) -> None:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    await writer.drain()


async def _well(_elsewhere: str, _reader: StreamReader, writer: StreamWriter) -> None:
    await _answer(writer, "200 OK")


async def _slow(_elsewhere: str, _reader: StreamReader, writer: StreamWriter) -> None:
    await asyncio.sleep(SLOW_SECONDS)
    await _answer(writer, "200 OK")


async def _drips(_elsewhere: str, _reader: StreamReader, writer: StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while not writer.is_closing():
        await asyncio.sleep(DRIP_SECONDS)
        writer.write(b"x")
        await writer.drain()


async def _fails(_elsewhere: str, _reader: StreamReader, writer: StreamWriter) -> None:
    await _answer(writer, "500 Internal Server Error", b"out of order")


async def _busy(_elsewhere: str, _reader: StreamReader, writer: StreamWriter) -> None:
    await _answer(writer, "429 Too Many Requests", retry_after=RETRY_AFTER_SECONDS)


async def _redirects(elsewhere: str, _reader: StreamReader, writer: StreamWriter) -> None:
    await _answer(writer, "307 Temporary Redirect", location=elsewhere)


async def _large(_elsewhere: str, _reader: StreamReader, writer: StreamWriter) -> None:
    writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {LARGE_BYTES}\r\n\r\n".encode())
    for _ in range(LARGE_BYTES // len(PIECE)):
        writer.write(PIECE)
        await writer.drain()


async def _resets(_elsewhere: str, _reader: StreamReader, writer: StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
    await writer.drain()
    connection: Any = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()
    raise ConnectionResetError


async def _silent(_elsewhere: str, reader: StreamReader, _writer: StreamWriter) -> None:
    await reader.readexactly(1)


KINDS: Mapping[str, Callable[[str, StreamReader, StreamWriter], Awaitable[None]]] = {
    "down": _well,  # once it is back
    "slow": _slow,
    "drips": _drips,
    "500": _fails,
    "429": _busy,
    "307": _redirects,
    "50 MB": _large,
    "resets": _resets,
    "silent": _silent,
}


def main() -> None:
    """Serve on the port that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m bench.rogue", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--elsewhere", required=True)
    options = parser.parse_args()
    uvloop.run(Rogue(options.kind, options.elsewhere).serve(options.port))


if __name__ == "__main__":
    main()
