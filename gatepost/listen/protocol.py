"""HTTP/1.1 as uvicorn speaks it by h11, with bounds: whoever sends garbage, drips or hangs is in nobody's way."""

import asyncio
from http import HTTPStatus
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from gatepost.listen.shown import say

HEAD_BYTES_MAX = 65_536
CONNECTIONS_MAX = 200
REQUEST_SECONDS_MAX = 10.0
"""In which a request has to be whole, however slowly it comes."""


class Protocol(H11Protocol):
    """One connection: closed when a request is not whole in time, and at once when there are too many."""

    connections_max: ClassVar[int] = CONNECTIONS_MAX
    request_seconds_max: ClassVar[float] = REQUEST_SECONDS_MAX
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Begin, unless there are too many."""
        super().connection_made(transport)
        self._expect()
        if len(self.connections) > self.connections_max:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._expect()
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Wait for the next request for as long as a connection may be idle."""
        self._forget()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._forget()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """End with the server; a request that is not whole is not waited for."""
        super().shutdown()
        if self.cycle is not None and self.cycle.more_body:  # type: ignore[redundant-expr] # None before the first
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, and close."""
        say(f"Refused: no HTTP; answered {HTTPStatus.BAD_REQUEST}")
        super().send_400_response(msg)

    def _expect(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.request_seconds_max, self.transport.abort)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
