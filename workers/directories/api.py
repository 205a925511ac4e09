"""How directories are asked over HTTP: one question is a talk, with a time for all of its requests.

An answer that is no success becomes one of our errors, by who must act next: ``Postponed`` for a limit, whose end
all who share the credential wait for without asking, for what is broken, and for a redirect, which says nothing of who
was asked for (``reason = "redirected"``); ``Refused`` for a credential or a permission (``reason = "credentials"``,
after a bearer was renewed once) and for a request that is not understood. They tell the directory's own words, cut
short and without names that were asked for, addresses and secrets. What is asked ``apart`` waits for a limit of its
own, so that what can wait keeps no look-up waiting.

Credentials go to the host of ``base_url`` alone: a next page elsewhere is refused, and no redirect is followed.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import SplitResult, quote, urlsplit

from redis import Redis

from lifecycle import keys
from lifecycle.errors import GatepostError, Postponed, Refused
from workers.directories.answers import BUSY, FORBIDDEN, NOT_FOUND, UNAUTHORIZED, clean, failure, limited_until, spread
from workers.directories.credentials import Credential
from workers.directories.rows import TOO_LARGE
from workers.http import Answer, Http

# A page of a thousand people with all that is known of them.
ANSWER_BYTES_MAX = 16_000_000
# Well below what a job may take: the last request, begun in time, may take thirteen seconds more.
FIND_SECONDS_MAX = 20.0
LIST_SECONDS_MAX = 3_600.0
# How long a list waits for limits in all: to begin it anew would cost more of them.
LIST_WAITS_SECONDS_MAX = 600.0
PAGES_MAX = 5_000
RETRY_SECONDS, WAIT_SECONDS_MIN = 5.0, 0.1

WAITED_FOR = frozenset({"busy", "broken", "no_answer", "unreachable", "token"})
SUCCESS = range(200, 300)
PORTS = {"https": 443, "http": 80}

Query = Mapping[str, str]


class Page(NamedTuple):
    """Where a page of a list is: a path below ``base_url``, or the whole URL that the directory named."""

    path: str
    query: Query | None = None


Following = Callable[[Answer], Page | None]


def _never(_: Answer) -> bool:
    return False


@dataclass
class Api:
    """A directory that is asked over HTTP; lives as long as the process. ``api.talk().get("/users")`` asks."""

    base_url: str
    credential: Credential
    http: Http
    redis: Redis | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: {"accept": "application/json"})
    is_busy: Callable[[Answer], bool] = _never
    """Which answers tell of a limit besides 429 and 503."""
    limit: str = ""
    """The name of a limit that these requests have for themselves; empty for the one that all others share."""
    yields: bool = False
    """Whether they wait for the end of the shared one too."""

    def apart(self, limit: str, *, yields: bool) -> "Api":
        """Return it for requests that keep no others waiting: what their answers ask for concerns them alone."""
        return replace(self, limit=limit, yields=yields)

    @property
    def origin(self) -> str:
        """Return whom it asks, however that was written."""
        scheme, host, port = _origin(urlsplit(self.base_url))
        return f"{scheme}://{host}:{port}"

    def talk(self, names: Iterable[str | None] = (), *, seconds: float | None = None, patience: float = 0.0) -> "Talk":
        """Begin a question; ``names`` are whom it is about, for no error shows them; ``patience`` as in ``Talk``."""
        until = time.monotonic() + (FIND_SECONDS_MAX if seconds is None else seconds)
        return Talk(self, list(filter(None, names)), until, patience)

    def listing(self) -> "Talk":
        """Begin a question for everybody."""
        return self.talk(seconds=LIST_SECONDS_MAX, patience=LIST_WAITS_SECONDS_MAX)

    def rests_until(self) -> datetime | None:
        """Return until when nobody with this credential and limit may ask; None where everybody may."""
        if self.redis is None:
            return None
        limits = {self.limit, ""} if self.yields else {self.limit}
        found: Any = self.redis.mget([keys.rests(self.credential.name, limit) for limit in limits])
        return max(filter(None, map(_moment, found)), default=None)

    def rest(self, until: datetime) -> None:
        """Let nobody with this credential and limit ask until then."""
        milliseconds = int((until - datetime.now(UTC)).total_seconds() * 1000)
        if self.redis is not None and milliseconds > 0:
            self.redis.set(keys.rests(self.credential.name, self.limit), str(until.timestamp()), px=milliseconds)


@dataclass
class Talk:
    """One question to a directory, of one request or several."""

    api: Api
    hidden: list[str]
    until: float
    patience: float
    """How many seconds it may wait in all for what time would mend; zero raises at once."""

    def get(self, path: str, query: Query | None = None, *, allow: Iterable[int] = ()) -> Answer:
        """Return the answer of a success, or of a status in ``allow``. Raises Postponed or Refused."""
        return self.send("GET", path, query, allow=allow)

    def post(self, path: str, body: Any, *, allow: Iterable[int] = ()) -> Answer:  # noqa: ANN401 - JSON
        """Send JSON; as ``get``."""
        return self.send("POST", path, body=body, allow=allow)

    def patch(self, path: str, body: Any, *, allow: Iterable[int] = ()) -> Answer:  # noqa: ANN401 - JSON
        """Send JSON; as ``get``."""
        return self.send("PATCH", path, body=body, allow=allow)

    def delete(self, path: str, *, allow: Iterable[int] = ()) -> Answer:
        """Delete; as ``get``."""
        return self.send("DELETE", path, allow=allow)

    def pages(
        self, first: Page, following: Following, pages_max: int = PAGES_MAX, *, of_somebody: bool = False
    ) -> Iterator[Answer]:
        """Yield the pages of a list to its end. Raises as ``get`` does, and where it has no end.

        That a list ``of_somebody`` is not there, of whom the directory just showed a record, is no answer: they may
        have been deleted meanwhile, or another copy was asked. Raises Postponed, so that both are read again.
        """
        seen, page = set(), first
        for _ in range(pages_max):
            seen.add(_named(page))
            answer = self.get(page.path, page.query, allow={NOT_FOUND} if of_somebody else ())
            if answer.status == NOT_FOUND:
                raise Postponed("the directory no longer has whom it has just shown", reason="broken")
            yield answer
            after = following(answer)
            if after is None:
                return
            if _named(after) in seen:
                raise Postponed("the directory lists the same page twice", reason="broken")
            page = after
        raise Refused(f"the directory lists more than {pages_max} pages", reason=TOO_LARGE)

    def send(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        *,
        body: Any = None,  # noqa: ANN401 - JSON
        allow: Iterable[int] = (),
    ) -> Answer:
        """Send one request, with a renewed bearer once more where the first is not taken."""
        url = self._url(path, query or {})
        content = json.dumps(body).encode() if body is not None else None
        while True:
            try:
                return self._answer(method, url, content, frozenset(allow))
            except GatepostError as error:
                self.clean(error)
                wait = self._wait(error)
                if wait is None:
                    raise
                time.sleep(wait)

    def clean(self, error: GatepostError) -> None:
        """Take what is hidden out of an error that was made of an answer."""
        clean(error, [*self.hidden, *self.api.credential.secrets()])

    def _answer(self, method: str, url: str, content: bytes | None, allow: frozenset[int]) -> Answer:
        credential = self.api.credential
        answer = self._once(method, url, content)
        renewable = answer.status in {UNAUTHORIZED, FORBIDDEN} - allow and not self.api.is_busy(answer)
        if renewable and credential.renew(forbidden=answer.status == FORBIDDEN):
            answer = self._once(method, url, content)
        if answer.status in SUCCESS or answer.status in allow:
            return answer
        raise failure(answer, datetime.now(UTC), is_busy=answer.status in BUSY or self.api.is_busy(answer))

    def _once(self, method: str, url: str, content: bytes | None) -> Answer:
        headers = {**self.api.headers, "authorization": self.api.credential.header(self._may_send)}
        if content is not None:
            headers["content-type"] = "application/json"
        self._may_send()
        answer = self.api.http.send(method, url, headers=headers, body=content)
        if len(answer.body) >= ANSWER_BYTES_MAX:
            raise Postponed(f"the answer has more than {ANSWER_BYTES_MAX} bytes", reason=TOO_LARGE)
        if until := limited_until(answer, datetime.now(UTC)):
            self.api.rest(until)
        return answer

    def _may_send(self) -> None:
        """Raise Postponed where the time is over, or a limit is known to be used up."""
        if time.monotonic() > self.until:
            raise Postponed("the directory took too long in all", reason="slow")
        if until := self.api.rests_until():
            raise Postponed("the directory asked for a pause", reason="busy", retry_at=spread(until))

    def _wait(self, error: GatepostError) -> float | None:
        """Return for how long to wait before the request is sent again; None where that would be of no use."""
        if not isinstance(error, Postponed) or error.reason not in WAITED_FOR:
            return None
        named = (error.retry_at - datetime.now(UTC)).total_seconds() if error.retry_at else RETRY_SECONDS
        wait = max(named, WAIT_SECONDS_MIN)
        if wait > self.patience or time.monotonic() + wait > self.until:
            return None
        self.patience -= wait
        return wait

    def _url(self, path: str, query: Query) -> str:
        """Return where to ask. Raises Refused where that is another host."""
        if "://" in path:
            base, found = urlsplit(self.api.base_url), _split(path)
            if found is None or _origin(found) != _origin(base):
                raise Refused("the directory names a next page on another host", reason="refused")
            # What is asked is the configured host, however the other text is understood.
            return found._replace(scheme=base.scheme, netloc=base.netloc, fragment="").geturl()
        told = "&".join(f"{quote(name, safe='$')}={quote(value, safe='')}" for name, value in query.items())
        return f"{self.api.base_url.rstrip('/')}{path}" + (f"?{told}" if told else "")


def _named(page: Page) -> tuple[object, ...]:
    return (page.path, *sorted((page.query or {}).items()))


def _moment(found: bytes | None) -> datetime | None:
    try:
        return datetime.fromtimestamp(float(found), UTC) if found else None
    except (ValueError, OverflowError, OSError):
        return None


def _split(url: str) -> SplitResult | None:
    """Return the parts of what a directory named; None where it is no URL."""
    try:
        found = urlsplit(url)
        _ = found.port
    except ValueError:
        return None
    return found


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or PORTS.get(url.scheme)
