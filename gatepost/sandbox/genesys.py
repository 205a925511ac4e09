"""The whole of it: one organization, one OAuth client, and the way of a request through gateway, limit and route.

SCIM is under ``/api/v2/scim/v2`` and, the same, ``/api/v2/scim`` (SCIMApi); tokens come from ``/login/oauth/token``,
which is a host of its own at the vendor's.
"""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock

from gatepost.sandbox.control import Control, Log
from gatepost.sandbox.errors import Refused, not_found
from gatepost.sandbox.faults import Fault, Faults
from gatepost.sandbox.limits import Window
from gatepost.sandbox.platform import Platform
from gatepost.sandbox.scim import Scim
from gatepost.sandbox.settings import Settings
from gatepost.sandbox.store import Store
from gatepost.sandbox.tokens import Tokens
from gatepost.sandbox.web import Answer, Cut, Request, listening

CONTROL, PLATFORM, TOKENS = "/sandbox", "/api/v2", "/login/oauth/token"
SCIM = ("/api/v2/scim/v2", "/api/v2/scim")
BASES = (*SCIM, PLATFORM)
UNAUTHORIZED = 401


class Genesys:
    """Answers every request; ``clock`` is monotonic."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        """Start an organization without people."""
        self._clock = clock
        self._lock = RLock()  # one request at a time, so that what a request sees is whole
        self._window = Window(settings.requests_per_minute)
        self._faults, self._log, self._tokens = Faults(), Log(), Tokens(settings)
        self._store = Store(settings, clock)
        self._scim = Scim(settings, self._store)
        self._platform = Platform(settings, self._store, self._tokens)
        self._control = Control(self._store, self._platform, self._tokens, self._faults, self._log)

    def answer(self, request: Request) -> Answer:
        """Answer one request. Raises Cut when the connection shall end without an answer."""
        if request.path.startswith(f"{CONTROL}/"):
            return self._controlled(request)
        fault = self._faults.take(request.method, _split(request.path)[1])
        if fault and fault.do == "cut":
            self._log.add(request, 0)
            raise Cut
        if fault and fault.do == "delay":
            time.sleep(fault.seconds)
        answer = self._done(request, fault)
        if fault and fault.do == "lose_answer":
            self._log.add(request, 0)
            raise Cut
        return answer

    def _controlled(self, request: Request) -> Answer:
        with self._lock:
            try:
                return self._control.answer(request, request.path.removeprefix(CONTROL))
            except (Refused, ValueError, LookupError, AttributeError) as error:
                refused = error if isinstance(error, Refused) else Refused(400, "bad.request", repr(error))
                return refused.answer(correlation="")

    def _done(self, request: Request, fault: Fault | None) -> Answer:
        correlation = str(uuid.uuid4())
        limited = False
        with self._lock:
            try:
                answer = self._routed(request, fault)
            except Limited as error:
                answer, limited = error.answer(correlation), True
            except Refused as error:
                answer = error.answer(correlation)
            headers = {**answer.headers, **self._window.headers(self._clock()), "ININ-Correlation-Id": correlation}
        if not fault or fault.do != "lose_answer":
            self._log.add(request, answer.status, limited=limited)
        return Answer(answer.status, answer.body, headers)

    def _routed(self, request: Request, fault: Fault | None) -> Answer:
        if fault and fault.do == "answer":
            return fault.answer()
        if (request.method, request.path) == ("POST", TOKENS):
            return self._tokens.grant(request, self._clock())
        base, path = _split(request.path)
        if (request.method, base, path) == ("GET", PLATFORM, "/users/me"):
            return self._platform.me(request)
        self._tokens.check_client(request, self._clock())
        self._limit()
        if base in SCIM:
            self._store.stale_reads = fault is not None and fault.do == "stale"
            return self._scim.answer(request, base, path)
        if base == PLATFORM:
            return self._platform.answer(request, path)
        raise not_found(path)

    def _limit(self) -> None:
        now = self._clock()
        if not self._window.take(now):
            raise Limited(self._window.reset_seconds(now))


class Limited(Refused):
    """The minute's requests are used up."""

    def __init__(self, seconds: int) -> None:
        """Say how long to wait: ``Retry-After`` and the text."""
        message = f"Rate limit exceeded the maximum. Retry the request in [{seconds}] seconds"
        super().__init__(429, "too.many.requests", message, {"retry-after": str(seconds)})


def _split(path: str) -> tuple[str, str]:
    """Return the longest base that a path is under, and the rest."""
    for base in BASES:
        if path.startswith(f"{base}/"):
            return base, path.removeprefix(base)
    return "", path


@contextmanager
def running(settings: Settings, port: int = 0) -> Iterator[str]:
    """Run a sandbox in a thread of this process; give its address."""
    with listening(Genesys(settings).answer, port) as server:
        yield server.url
