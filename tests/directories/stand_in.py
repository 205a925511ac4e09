"""What the stand-ins of the directories' services share: a real server on loopback, its people, faults on request."""

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

TOKEN_PATH = "/token"


class Asked(NamedTuple):
    """One request; header names in lower case."""

    method: str
    path: str
    """Not decoded, so that a slash within a name is seen."""
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def parts(self) -> list[str]:
        """Return the decoded segments of the path."""
        return [unquote(each) for each in self.path.strip("/").split("/")]


class Told(NamedTuple):
    """One answer: JSON, or bytes as they are."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = {}

    @property
    def content(self) -> bytes:
        """Return the bytes."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


Fault = Callable[[Asked], Told]


@dataclass
class Someone:
    """One of a service's people, in words that all of them have."""

    id: str
    user_name: str = ""
    email: str = ""
    title: str | None = None
    groups: list[str] = field(default_factory=list)
    works_here: bool = True
    is_deleted: bool = False
    more: dict[str, Any] = field(default_factory=dict)
    """What the vendor's object has besides, or instead."""


@dataclass
class StandIn(ABC):
    """A service that behaves as its vendor's documentation says."""

    people: dict[str, Someone] = field(default_factory=dict)
    page: int = 100
    """As many as a page has at most."""
    asked: list[Asked] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    """The bearers that are taken; emptied, all are refused until another is fetched."""
    given: int = 0
    """How many bearers were given."""

    def __post_init__(self) -> None:
        """Make no trouble yet."""
        self._faults: list[Fault] = []
        self._stale: dict[str, Someone] | None = None

    # ---- for tests

    def add(self, *people: Someone) -> None:
        """Hire, or change, people."""
        self.people |= {each.id: each for each in people}

    def next(self, fault: Fault | Told, times: int = 1) -> None:
        """Answer the next requests in another way; those for a bearer do not count."""
        self._faults += [fault if callable(fault) else lambda _: fault] * times

    def freeze(self) -> None:
        """Show from now on, where the service's copies lag, what is so now."""
        self._stale = deepcopy(self.people)

    def thaw(self) -> None:
        """Show what is so."""
        self._stale = None

    @property
    def lagging(self) -> dict[str, Someone]:
        """Return the people as a copy shows them."""
        return self.people if self._stale is None else self._stale

    @property
    def calls(self) -> list[str]:
        """Return what was asked of the service: methods and paths."""
        return [f"{each.method} {each.path}" for each in self.asked if each.path != TOKEN_PATH]

    # ---- the server

    def __enter__(self) -> Self:
        """Listen on a free port."""
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                parts = urlsplit(self.path)
                query = dict(parse_qsl(parts.query, keep_blank_values=True))
                headers = {name.lower(): value for name, value in self.headers.items()}
                told = stand_in.tell(Asked(self.command, parts.path, query, headers, body))
                self.send_response_only(told.status)
                usual = {"content-type": "application/json", "date": self.date_time_string()}
                for name, value in {**usual, **told.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(told.content)))
                self.end_headers()
                try:
                    self.wfile.write(told.content)
                except ConnectionError:
                    return  # Whoever asked has read enough.

            do_POST = do_PATCH = do_DELETE = do_PUT = do_GET  # noqa: N815 - the library's names

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
    def url(self) -> str:
        """Tell where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def tell(self, asked: Asked) -> Told:
        """Answer one request."""
        self.asked.append(asked)
        if asked.path == TOKEN_PATH:
            return self._grant({name: values[0] for name, values in parse_qs(asked.body.decode()).items()})
        if self._faults:
            return self._faults.pop(0)(asked)
        if not self.opens(asked.headers.get("authorization", "")):
            return self.problem(401, "the credential is not known")
        return self.answer(asked)

    def _grant(self, form: dict[str, str]) -> Told:
        fault = self.refuses(form)
        if fault:
            return Told(401, {"error": "invalid_client", "error_description": fault})
        self.given += 1
        self.tokens.append(f"bearer-{self.given}")
        return Told(200, {"access_token": self.tokens[-1], "token_type": "Bearer", "expires_in": 3600})

    def opens(self, authorization: str) -> bool:
        """Tell whether a header is taken."""
        return authorization.removeprefix("Bearer ") in self.tokens

    def refuses(self, form: dict[str, str]) -> str:
        """Return what is wrong with what the token endpoint was sent; empty where nothing is."""
        return f"no bearers here for {form.get('client_id')}"

    # ---- what each vendor has

    @property
    @abstractmethod
    def section(self) -> dict[str, Any]:
        """Return the keys of ``[directories.NAME]``."""

    @abstractmethod
    def answer(self, asked: Asked) -> Told:
        """Answer a request that was let in."""

    @abstractmethod
    def problem(self, status: int, words: str) -> Told:
        """Say what is wrong, in the vendor's form."""


def bearing(people: Iterable[Someone], name: str, value: str, *, exact: bool = False) -> list[Someone]:
    """Return who has a name."""

    def same(found: str) -> bool:
        return found == value if exact else found.lower() == value.lower()

    return [each for each in people if same(getattr(each, name))]
