"""A subscriber: a real HTTP server on loopback that keeps what it was sent and answers as it is told."""

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import NamedTuple, Self


class Taken(NamedTuple):
    """One request as it came; header names in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


class Told(NamedTuple):
    """One answer to give."""

    status: int
    headers: dict[str, str]
    body: bytes


def told(status: int, body: bytes = b"", **headers: str) -> Told:
    """Make an answer; ``retry_after="7"`` becomes a header."""
    return Told(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


@dataclass
class Receiver:
    """Answers 204, or what ``answers`` holds, one after the other."""

    answers: list[Told] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)

    def __enter__(self) -> Self:
        """Listen on a free port."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.taken.append(Taken(self.path, headers, body))
                answer = receiver.answers.pop(0) if receiver.answers else told(204)
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(answer.body)))
                self.end_headers()
                try:
                    self.wfile.write(answer.body)
                except ConnectionError:
                    return  # The sender has read enough.

            do_GET = do_POST  # noqa: N815 - a redirect that is followed becomes a GET

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def port(self) -> int:
        """Tell where it listens."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Tell where signals go."""
        return f"http://127.0.0.1:{self.port}/hooks/gatepost"
