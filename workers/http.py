"""The only place that imports httpx: time limits, a cap on answers, no redirects, and its errors turned into ours."""

import time
from collections.abc import Mapping
from typing import NamedTuple

import httpx

from lifecycle import __version__
from lifecycle.errors import Postponed, Refused
from workers.deadline import Deadlined, begin

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 10.0
ANSWER_BYTES_MAX = 5_000_000
KEEP_ALIVE_SECONDS = 30.0
CONNECTIONS_MAX = 10
USER_AGENT = f"gatepost/{__version__}"


class Unreached(Postponed):
    """Nothing was sent, so nothing can have happened."""


# The first that fits counts. After the others there was no answer, and it may have happened.
ERRORS: tuple[tuple[type[httpx.HTTPError], type[Postponed], str], ...] = (
    (httpx.ConnectError, Unreached, "unreachable"),
    (httpx.ConnectTimeout, Unreached, "unreachable"),
    (httpx.PoolTimeout, Unreached, "unreachable"),
    (httpx.UnsupportedProtocol, Unreached, "unreachable"),
    (httpx.HTTPError, Postponed, "no_answer"),
)


class Answer(NamedTuple):
    """A whole answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


class Http:
    """A warm client: connections and the TLS context live as long as the process."""

    def __init__(self, *, transport: httpx.BaseTransport | None = None, bytes_max: int = ANSWER_BYTES_MAX) -> None:
        """Make the client; a transport stands in for the network in tests and pins addresses for subscribers."""
        self._bytes_max = bytes_max
        self._client = httpx.Client(
            transport=transport or _network(),
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            headers={"user-agent": USER_AGENT},
            follow_redirects=False,
            trust_env=False,
        )

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        auth: tuple[str, str] | None = None,
        tls_name: str | None = None,
    ) -> Answer:
        """Send one request and read at most ``bytes_max`` of the answer. Raises Postponed when there is no answer.

        ``tls_name`` is the name that the certificate must have when the URL names an address.
        """
        started = time.monotonic()
        begin(ANSWER_SECONDS + CONNECT_SECONDS)
        try:
            extensions = {"sni_hostname": tls_name} if tls_name else {}
            request = self._client.build_request(
                method, url, headers=dict(headers), content=body, extensions=extensions
            )
            answer = self._client.send(request, auth=auth or httpx.USE_CLIENT_DEFAULT, stream=True)
            try:
                content = _read(answer, self._bytes_max, started)
            finally:
                answer.close()
        except httpx.HTTPError as error:
            ours, reason = next((ours, reason) for kind, ours, reason in ERRORS if isinstance(error, kind))
            raise ours(f"no answer: {type(error).__name__}", reason=reason) from error
        except httpx.InvalidURL as error:
            raise Refused("the URL cannot be used", reason="url") from error
        return Answer(answer.status_code, dict(answer.headers), content, time.monotonic() - started)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _network() -> httpx.BaseTransport:
    limits = httpx.Limits(max_connections=CONNECTIONS_MAX, keepalive_expiry=KEEP_ALIVE_SECONDS)
    transport = httpx.HTTPTransport(limits=limits, trust_env=False)
    # httpx hands no network of one's own to its pool.
    transport._pool._network_backend = Deadlined()  # noqa: SLF001
    return transport


def _read(answer: httpx.Response, bytes_max: int, started: float) -> bytes:
    """Read an answer whose sender may drip or flood: both the bytes and the time in all are bounded."""
    chunks, size = [], 0
    for chunk in answer.iter_bytes():
        chunks.append(chunk)
        size += len(chunk)
        if size >= bytes_max or time.monotonic() - started > ANSWER_SECONDS + CONNECT_SECONDS:
            break
    return b"".join(chunks)[:bytes_max]
