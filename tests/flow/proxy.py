"""A proxy before the target: records every request that Gatepost sends, and does to chosen ones what networks do."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import unquote

FORWARD_SECONDS_MAX = 15
HOLD_SECONDS_MAX = 60
HOP_BY_HOP = frozenset({"connection", "content-length", "date", "host", "keep-alive", "server", "transfer-encoding"})


class Reply(NamedTuple):
    """What a request is answered."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass
class Sent:
    """One request as it came, and its answer: 0 for a connection that was cut, None while there is none."""

    at: float
    method: str
    path: str
    body: str
    status: int | None = None

    def names(self, texts: Iterable[str]) -> bool:
        """Tell whether the path or the body holds one of the texts."""
        return any(text in self.path or text in self.body for text in texts)


class Turn(NamedTuple):
    """A fault's turn: it may forward the request, answer it, or cut the connection."""

    forward: Callable[[], Reply]
    answer: Callable[[Reply], None]
    cut: Callable[[], None]


Act = Callable[[Turn], None]


@dataclass
class Fault:
    """What happens to the next ``times`` requests of a method that name a text."""

    method: str
    text: str
    act: Act
    times: int


def answers(status: int, **headers: str) -> Act:
    """Answer in the target's place."""
    found = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return lambda turn: turn.answer(Reply(status, found))


def cut_before(turn: Turn) -> None:
    """Cut the connection before the target has seen the request."""
    turn.cut()


def cut_after(turn: Turn) -> None:
    """Let the target act, then cut the connection before it can say so."""
    turn.forward()
    turn.cut()


class Hold:
    """Let the target act, keep its answer until released, then cut: ``reached`` is set when the target has acted."""

    def __init__(self) -> None:
        """Nothing is held yet."""
        self.reached = threading.Event()
        self.released = threading.Event()

    def __call__(self, turn: Turn) -> None:
        """Hold one request."""
        reply = turn.forward()
        self.reached.set()
        self.released.wait(HOLD_SECONDS_MAX)
        turn.answer(reply)


class Proxy:
    """The proxy as a server on a free port of this machine."""

    def __init__(self, target_port: int) -> None:
        """Listen; requests are served from ``start`` on."""
        self._target_port = target_port
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._holds: list[Hold] = []
        self.seen: list[Sent] = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def start(self) -> None:
        """Serve in a thread of its own."""
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self.heal()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def about(self, *texts: str) -> list[Sent]:
        """Return the requests that name one of these texts, oldest first."""
        with self._lock:
            return [sent for sent in self.seen if sent.names(texts)]

    def on(self, method: str, text: str, act: Act, *, times: int = 1) -> None:
        """Do something to the next requests of a method that name a text."""
        with self._lock:
            self._faults.append(Fault(method, text, act, times))

    def hold(self, method: str, text: str) -> Hold:
        """Keep the answer of the next such request until released."""
        hold = Hold()
        self._holds.append(hold)
        self.on(method, text, hold)
        return hold

    def heal(self) -> None:
        """Forget every fault and release what is held."""
        with self._lock:
            self._faults.clear()
        for hold in self._holds:
            hold.released.set()
        self._holds.clear()

    def take(self, method: str, path: str, body: bytes) -> tuple[Sent, Act | None]:
        """Record a request and return what shall happen to it; None for nothing unusual."""
        sent = Sent(monotonic(), method, unquote(path), body.decode("utf-8", "replace"))
        with self._lock:
            self.seen.append(sent)
            for fault in self._faults:
                if fault.times and method == fault.method and sent.names([fault.text]):
                    fault.times -= 1
                    return sent, fault.act
        return sent, None

    def forward(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        """Ask the target."""
        connection = HTTPConnection("127.0.0.1", self._target_port, timeout=FORWARD_SECONDS_MAX)
        try:
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            kept = tuple((name, value) for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP)
            return Reply(answer.status, kept, answer.read())
        finally:
            connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    proxy: Proxy

    def handle_error(self, *_: Any) -> None:  # noqa: ANN401 - the standard library's signature
        """Stay quiet when a client went away: tests kill them on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet an answer
    server: _Server

    def do(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        sent, act = self.server.proxy.take(self.command, self.path, body)

        def answer(reply: Reply) -> None:
            sent.status = reply.status
            self._answer(reply)

        def forward() -> Reply:
            return self.server.proxy.forward(self.command, self.path, headers, body)

        def cut() -> None:
            sent.status = 0
            self.close_connection = True

        if act is None:
            answer(forward())
        else:
            act(Turn(forward, answer, cut))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do  # noqa: N815 - the standard library's names

    def _answer(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, *_: object) -> None:
        """Stay quiet: what came is recorded."""
