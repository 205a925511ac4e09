"""No forged addresses (SSRF): a name is resolved once, every address is checked, and the checked one is dialled.

The name stays for the Host header and for TLS, so a name that changes its mind between check and connection gains
nothing.
"""

import ipaddress
import socket
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

from lifecycle.errors import Postponed, Refused

NAT64 = ipaddress.ip_network("64:ff9b::/96")
PORTS = {"https": 443, "http": 80}

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


class Pinned(NamedTuple):
    """Where to connect and what to say: the URL has the address, ``host`` and ``tls_name`` the name."""

    url: str
    host: str
    tls_name: str | None


def pin(url: str, *, allow_private: bool) -> Pinned:
    """Resolve the URL's name and return the address to dial.

    Raises Refused when one of the addresses is not public, unless that is allowed; Postponed when there is none.
    """
    parts = urlsplit(url)
    name, port = str(parts.hostname), parts.port or PORTS[parts.scheme]
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Postponed("the subscriber's name cannot be resolved", reason="unreachable") from error
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if not allow_private and not all(public(address) for address in addresses):
        raise Refused("the subscriber's name leads to a private address", reason="private_address")
    address = addresses[0]
    netloc = f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"  # noqa: PLR2004 - IPv6
    tls_name = name if parts.scheme == "https" else None
    return Pinned(urlunsplit((parts.scheme, netloc, parts.path, parts.query, "")), parts.netloc, tls_name)


def public(address: Ip) -> bool:
    """Tell whether an address is reachable by everybody; one that is wrapped in IPv6 is unwrapped first."""
    inner = _unwrapped(address)
    if inner is not None:
        return public(inner)
    return address.is_global and not address.is_multicast


def _unwrapped(address: Ip) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
