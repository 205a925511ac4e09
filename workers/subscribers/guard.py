"""No forged addresses (SSRF): where one subscriber's letters may go, asked three times on the way.

The URL is checked as it is written; its name is resolved once for a connection and all of the answers are checked; and
the very address that a socket is about to dial is checked again. So no spelling, no name that changes its mind, and
nothing that the library between does on its own leads into a private network. The name stays for Host and for TLS.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from lifecycle.addresses import Forbidden, check_url, public_text
from lifecycle.errors import Postponed, Refused
from lifecycle.subscriber import Subscriber

ADDRESSES_MAX = 4
UNHEARD_MILLISECONDS_MAX = 15_000
RECEIVE_BYTES = 65_536

Resolve = Callable[[str, int], Sequence[str]]
AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]
"""What ``getaddrinfo`` gives: family, type, protocol, canonical name, and the address with its port."""
OpenSocket = Callable[[AddressInfo], socket.socket]


def resolve(name: str, port: int) -> list[str]:
    """Ask the machine's resolver, however long that takes, and return the addresses in the order to try them."""
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def open_socket(info: AddressInfo) -> socket.socket:
    """Make the socket for an address.

    The kernel gives up on a peer that takes none of what was written, and takes no megabytes from one that floods: it
    would copy them for nothing, while the others wait.
    """
    opened = socket.socket(*info[:3])
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNHEARD_MILLISECONDS_MAX)
    return opened


class Barred(OSError):
    """A socket was about to dial an address that is not allowed; an OSError, for the library lets others fall."""


class Guard:
    """What one subscriber may be reached by."""

    def __init__(
        self, subscriber: Subscriber, ports: frozenset[int], resolve: Resolve, open_socket: OpenSocket = open_socket
    ) -> None:
        """Keep what is allowed, and what asks for names and makes sockets."""
        self._url, self._allow_private, self._ports = subscriber.url, subscriber.allow_private, ports
        self._resolve, self._open_socket = resolve, open_socket
        self._asked: asyncio.Future[Sequence[str] | Exception] | None = None

    def check(self) -> None:
        """Raise Refused unless the subscriber may have its URL."""
        try:
            check_url(self._url, allow_private=self._allow_private, ports=self._ports)
        except Forbidden as error:
            raise Refused(f"the subscriber's URL cannot be used; {error}", reason=error.reason) from error

    async def addresses(self, name: str, port: int) -> list[str]:
        """Return the addresses of its name to dial, at most ADDRESSES_MAX.

        Raises Refused when one of them is not public, unless that is allowed; Postponed when there is none.
        """
        found = await self._answer(name, port)
        if isinstance(found, Exception) or not found:
            kind = type(found).__name__ if found else "no address"
            raise Postponed(f"the subscriber's name cannot be resolved: {kind}", reason="unreachable")
        if not self._allow_private and not all(map(public_text, found)):
            raise Refused("the subscriber's name leads to a private address", reason="private_address")
        return list(found[:ADDRESSES_MAX])

    def socket(self, info: AddressInfo) -> socket.socket:
        """Make the socket for an address that is about to be dialled. Raises Barred when it is not allowed."""
        host, port = info[4][:2]
        if not self._allow_private and not (public_text(str(host)) and port in self._ports):
            raise Barred("about to dial a private address")
        return self._open_socket(info)

    async def _answer(self, name: str, port: int) -> Sequence[str] | Exception:
        # Resolvers block, and the loop's own threads are few: a slow one would hold the lookups of all. So each
        # subscriber has one lookup at a time, in a thread of its own, and who comes meanwhile waits for the same.
        # The thread ends with the lookup, and no exit waits for it.
        if self._asked is None or self._asked.done():
            loop = asyncio.get_running_loop()
            asked: asyncio.Future[Sequence[str] | Exception] = loop.create_future()
            look_up = partial(self._look_up, loop, asked, name, port)
            threading.Thread(target=look_up, name="gatepost-resolve", daemon=True).start()
            self._asked = asked
        return await asyncio.shield(self._asked)

    def _look_up(
        self,
        loop: asyncio.AbstractEventLoop,
        asked: "asyncio.Future[Sequence[str] | Exception]",
        name: str,
        port: int,
    ) -> None:
        found: Sequence[str] | Exception
        try:
            found = self._resolve(name, port)
        except Exception as error:  # noqa: BLE001 - whatever it is, who waits must be told
            found = error
        with suppress(RuntimeError):  # the loop ended while the resolver was slow
            loop.call_soon_threadsafe(asked.set_result, found)
