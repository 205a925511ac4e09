"""The target: a SCIM server that records every effect in order, and does to some requests what networks do."""

import random
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import httpx

from tests.flow.stage import GROUPS
from tests.workers.fake_scim import BASE, BASE_URL, FakeScim

SLOW_SECONDS = 0.5
RETRY_AFTER_SECONDS = 1
# By fault, how many of a thousand requests it happens to.
FAULTS = {"500": 8, "503": 3, "429": 3, "cut before": 10, "cut after": 15, "slow": 10}
REFUSALS = frozenset({"500", "503", "429"})
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class Effect(NamedTuple):
    """An account after a request that was meant to change it."""

    at: float
    method: str
    external_id: str
    account: str
    title: str | None
    active: bool


class Target:
    """The server, on a free port of this machine; ``is_calm`` ends the faults."""

    def __init__(self, seed: int) -> None:
        """Hold the groups that the policy names, and listen."""
        self.scim = FakeScim()
        for name in GROUPS.values():
            self.scim.add("Groups", displayName=name)
        self.effects: list[Effect] = []
        self.faults: Counter[str] = Counter()
        self.is_calm = False
        self._chance = random.Random(seed)  # noqa: S311 - the same faults at every run of a seed
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.base_url = f"http://127.0.0.1:{self._server.server_port}{BASE}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()

    def respond(self, request: httpx.Request) -> httpx.Response | None:
        """Answer a request as the server and the network do; None where the connection is cut."""
        fault = self._fault()
        if fault in REFUSALS:
            return _refusal(fault)
        if fault == "slow":
            time.sleep(SLOW_SECONDS)
        answer = None if fault == "cut before" else self._answer(request)
        return None if fault == "cut after" else answer

    def _fault(self) -> str | None:
        """Draw what happens to a request."""
        with self._lock:
            drawn = self._chance.randrange(1000)
            if self.is_calm:
                return None
            for fault, share in FAULTS.items():
                drawn -= share
                if drawn < 0:
                    self.faults[fault] += 1
                    return fault
        return None

    def _answer(self, request: httpx.Request) -> httpx.Response:
        """Do it and record what it did."""
        with self._lock:
            answer = self.scim(request)
            path = request.url.path.removeprefix(BASE)
            if request.method in WRITES and path.startswith("/Users") and answer.is_success:
                found = answer.json()
                self._record(request.method, found)
            self.scim.log.clear()
        return answer

    def _record(self, method: str, found: dict[str, Any]) -> None:
        effect = Effect(
            time.monotonic(), method, found["externalId"], str(found["id"]), found.get("title"), found["active"]
        )
        self.effects.append(effect)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a worker that is killed resets its connections."""


def _handler(target: Target) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            url = f"{BASE_URL.removesuffix(BASE)}{self.path}"
            request = httpx.Request(self.command, url, headers=dict(self.headers), content=body)
            answer = target.respond(request)
            if answer is None:
                self.close_connection = True
            else:
                self._send(answer)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve  # noqa: N815 - http.server's names

        def _send(self, answer: httpx.Response) -> None:
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name != "content-length":
                    self.send_header(name, value)
            self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: object) -> None:
            """Stay quiet: what was done is recorded."""

    return Handler


def _refusal(fault: str | None) -> httpx.Response:
    headers = {} if fault == "500" else {"retry-after": str(RETRY_AFTER_SECONDS)}
    return httpx.Response(int(fault or 500), headers=headers)
