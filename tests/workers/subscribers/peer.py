"""The other end of a carrier: a real server on loopback that speaks raw bytes, and a record of what was dialled."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple, Self

from lifecycle.subscriber import Subscriber
from workers.subscribers.base import Letter
from workers.subscribers.guard import AddressInfo, open_socket

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]

LETTER = Letter({"content-type": "application/json", "webhook-id": "sig_1"}, b'{"type":"person.suspended"}')


class Taken(NamedTuple):
    """One request as it came: the first line, the headers with their names in lower case, the body."""

    line: str
    headers: dict[str, str]
    body: bytes


def says(raw: bytes) -> Answer:
    """Answer these bytes and wait for the next request."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(raw)

    return answer


def says_and_closes(raw: bytes = b"") -> Answer:
    """Answer these bytes and close the connection."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        writer.close()

    return answer


def says_and_resets(raw: bytes = b"") -> Answer:
    """Answer these bytes and reset the connection."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await asyncio.sleep(0.01)  # so that the bytes are read before the reset throws them away
        raw_socket: socket.socket = writer.get_extra_info("socket")
        raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return answer


def repeats(raw: bytes, *, before: bytes = b"", seconds: float = 0) -> Answer:
    """Answer these bytes again and again, until the other side has had enough."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(before)
        while not writer.is_closing():
            writer.write(raw)
            await writer.drain()
            await asyncio.sleep(seconds)

    return answer


TAKEN = says(b"HTTP/1.1 204 No Content\r\n\r\n")


@dataclass
class Peer:
    """Answers 204, or what ``answers`` holds, one after the other; ``greets`` before it is asked."""

    answers: list[Answer] = field(default_factory=list)
    tls: ssl.SSLContext | None = None
    greets: bytes = b""
    taken: list[Taken] = field(default_factory=list)
    connections: int = 0
    open_now: int = 0
    open_max: int = 0

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self.tls)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening, and end what still talks."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """Tell where letters go."""
        return f"http://127.0.0.1:{self.port}/hooks/gatepost"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_now += 1
        self.open_max = max(self.open_max, self.open_now)
        writer.write(self.greets)
        try:
            while not writer.is_closing():
                self.taken.append(await _request(reader))
                await (self.answers.pop(0) if self.answers else TAKEN)(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the carrier has closed
        finally:
            self.open_now -= 1
            writer.close()


async def _request(reader: asyncio.StreamReader) -> Taken:
    line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines if each)}
    return Taken(line, headers, await reader.readexactly(int(headers["content-length"])))


class Led(socket.socket):
    """A socket that believes to dial a public address, and is led to a server on loopback."""

    port: int

    def connect(self, _address: Any) -> None:  # noqa: ANN401 - any family's
        """Dial loopback."""
        super().connect(("127.0.0.1", self.port))


@dataclass
class Dials:
    """Makes sockets, keeps what they are for, and lets none out of this machine: public addresses lead to ``port``."""

    port: int | None = None
    found: list[tuple[str, int]] = field(default_factory=list)

    def __call__(self, info: AddressInfo) -> socket.socket:
        """Make a socket for an address that the guard has let through."""
        host, port = info[4][:2]
        self.found.append((host, port))
        if host in {"127.0.0.1", "::1"}:
            return open_socket(info)
        if self.port is None:
            raise OSError("no network here")
        led = Led(socket.AF_INET)
        led.port = self.port
        return led


@dataclass
class Names:
    """A resolver that may change its mind: each question takes the next answer, the last one stays."""

    answers: list[list[str]]
    asked: list[str] = field(default_factory=list)

    def __call__(self, name: str, _port: int) -> list[str]:
        """Answer; an answer that is empty is a name that nobody knows."""
        self.asked.append(name)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return found


def subscriber(url: str, *, allow_private: bool = True, **more: Any) -> Subscriber:  # noqa: ANN401 - its own keys
    """Make a subscriber that is as good as any to a carrier, however its URL is spelled."""
    return Subscriber.model_construct(url=url, allow_private=allow_private, **more)
