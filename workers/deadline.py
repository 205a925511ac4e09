"""A limit for a whole request: httpx limits each read by itself, and a server that drips would be waited for."""

import threading
import time
from collections.abc import Iterable
from ssl import SSLContext
from typing import Any

import httpcore

_limits = threading.local()


def begin(seconds: float) -> None:
    """Let the requests of this thread end by then, until it begins anew."""
    _limits.ends_at = time.monotonic() + seconds


def _left(timeout: float | None, error: type[httpcore.TimeoutException]) -> float:
    left: float = getattr(_limits, "ends_at", float("inf")) - time.monotonic()
    if left <= 0:
        raise error("the time for the whole request is over")
    return left if timeout is None else min(left, timeout)


class _Stream(httpcore.NetworkStream):
    """A connection on which nothing is waited for past the limit."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, _left(timeout, httpcore.ConnectTimeout)))

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - the library's signature
        return self._stream.get_extra_info(info)


class Deadlined(httpcore.NetworkBackend):
    """The network, with a limit for each request whole."""

    def __init__(self) -> None:
        """Keep the real one."""
        self._network = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect, and wrap what was made."""
        limit = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._network.connect_tcp(host, port, limit, local_address, socket_options))
