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
UNICAST = ipaddress.ip_network("2000::/3")
# Special by IANA's registries, which not every version of Python knows whole; and the wire server of Azure.
SPECIAL = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "3fff::/20")))
ADDRESSES_MAX = 4
PORTS = {"https": 443, "http": 80}

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


class Pinned(NamedTuple):
    """Where to connect and what to say: the URLs have one address each, ``host`` and ``tls_name`` the name."""

    urls: tuple[str, ...]
    host: str
    tls_name: str | None


def pin(url: str, *, allow_private: bool) -> Pinned:
    """Resolve the URL's name and return the addresses to dial, at most ADDRESSES_MAX.

    Raises Refused when one of the addresses is not public, unless that is allowed; Postponed when there is none.
    """
    parts = urlsplit(url)
    name = str(parts.hostname)
    try:
        port = parts.port or PORTS[parts.scheme]
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:  # ValueError: a port beyond 65535, a label beyond 63 characters
        raise Postponed("the subscriber's name cannot be resolved", reason="unreachable") from error
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if not allow_private and not all(public(address) for address in addresses):
        raise Refused("the subscriber's name leads to a private address", reason="private_address")
    places = [f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}" for address in addresses]  # noqa: PLR2004 - IPv6
    urls = [urlunsplit((parts.scheme, place, parts.path, parts.query, "")) for place in places[:ADDRESSES_MAX]]
    return Pinned(tuple(urls), parts.netloc, name if parts.scheme == "https" else None)


def public(address: Ip) -> bool:
    """Tell whether an address is reachable by everybody; one that is wrapped in IPv6 is unwrapped first."""
    inner = _unwrapped(address)
    if inner is not None:
        return public(inner)
    if address.version == 6 and address not in UNICAST:  # noqa: PLR2004 - IPv6
        return False
    return address.is_global and not address.is_multicast and not any(address in network for network in SPECIAL)


def _unwrapped(address: Ip) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
