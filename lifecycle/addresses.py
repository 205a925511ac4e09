"""Which addresses everybody can reach, and which URLs may be a subscriber's: no forged addresses (SSRF).

The table is our own, for what ``ipaddress`` calls global differs between versions of Python, and it takes multicast,
sinks and addresses of clouds' own services for global. It holds what IANA's registries of special purposes list, and
in IPv6 everything that is not global unicast.

https://www.iana.org/assignments/iana-ipv4-special-registry and https://www.iana.org/assignments/iana-ipv6-special-registry
"""

import re
from collections.abc import Collection
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

Ip = IPv4Address | IPv6Address

URL_CHARS_MAX = 4_000
NAME_CHARS_MAX, LABEL_CHARS_MAX = 253, 63
PORT_MAX = 65_535
DEFAULT_PORTS: Final = {"https": 443, "http": 80}

SPECIAL: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this host and network
            "10.0.0.0/8",
            "100.64.0.0/10",  # carriers' NAT; Alibaba's metadata
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's wire server, in a public network
            "169.254.0.0/16",  # link-local; metadata of AWS, Azure, Google
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocols; Oracle's metadata
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112, a sink that may stand in any network
            "192.52.193.0/24",  # multicast relays
            "192.88.99.0/24",  # relays of 6to4
            "192.168.0.0/16",
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
        ),
    )
)
# Outside are loopback, private, link-local, site-local, multicast, and IPv4 that is compatible, mapped or translated.
UNICAST6: Final = IPv6Network("2000::/3")
SPECIAL6: Final = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocols: Teredo, benchmarks, ORCHID, multicast relays, AS112
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4
            "2620:4f:8000::/48",  # AS112
            "3ffe::/16",  # 6bone, given back
            "3fff::/20",  # documentation
        ),
    )
)
MAPPED: Final = IPv6Network("::ffff:0:0/96")
# What DNS64 makes of IPv4 where a network has IPv6 alone (RFC 6052); 64:ff9b:1::/48 is for use within one network.
NAT64: Final = IPv6Network("64:ff9b::/96")
# RFC 5214 section 6.1: an IPv4 address within any network, as 0:5efe or 200:5efe before it.
ISATAP: Final = frozenset((0x0000_5EFE, 0x0200_5EFE))

_SHAPE: Final = re.compile(
    r"(?P<scheme>https?)://(?:\[(?P<six>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?(?:[/?#](?!.*\\)[!-~]*)?",
    re.IGNORECASE | re.ASCII,
)
# What resolvers take for a number: the whole name is then IPv4 in a spelling of its own.
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE | re.ASCII)


class Forbidden(ValueError):
    """A URL that no subscriber may have; ``reason`` is the fixed word: url, port or private_address."""

    def __init__(self, message: str, *, reason: str) -> None:
        """Keep the sentence that says what is allowed, without the URL, and the word."""
        super().__init__(message)
        self.reason = reason


def check_url(url: str, *, allow_private: bool, ports: Collection[int]) -> None:
    """Raise Forbidden, a ValueError, unless a subscriber may have this URL, as far as can be told without its name.

    ``allow_private`` lets in private addresses, ``http://`` and every port; the URL must be a plain one all the same.
    """
    match = _SHAPE.fullmatch(url) if len(url) <= URL_CHARS_MAX else None
    if match is None:
        allowed = f"https://NAME/..., in ASCII, without credentials, of at most {URL_CHARS_MAX} characters"
        raise Forbidden(f"allowed: {allowed}; other letters as xn-- and %", reason="url")
    scheme = match["scheme"].lower()
    port = int(match["port"] or DEFAULT_PORTS[scheme])
    private = _private(match["six"], match["name"])
    if port > PORT_MAX:
        raise Forbidden(f"allowed: a port up to {PORT_MAX}", reason="port")
    if allow_private:
        return
    if scheme != "https":
        raise Forbidden("allowed: https://; http:// is for private addresses with allow_private = true", reason="url")
    if private:
        raise Forbidden("allowed: a public address; a private one with allow_private = true", reason="private_address")
    if port not in ports:
        raise Forbidden(f"found port {port}; allowed: {', '.join(map(str, sorted(ports)))}", reason="port")


def _private(six: str | None, name: str | None) -> bool:
    """Tell whether a host is a private address by itself; a name is asked for when it is dialled."""
    if name is None:
        return not public(_address(IPv6Address, str(six)))
    labels = name.removesuffix(".").split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return not public(_address(IPv4Address, name))
    if len(name) > NAME_CHARS_MAX or not all(0 < len(label) <= LABEL_CHARS_MAX for label in labels):
        limits = f"at most {NAME_CHARS_MAX} characters, each part of 1 to {LABEL_CHARS_MAX}"
        raise Forbidden(f"allowed: a name of {limits}", reason="url")
    return labels[-1].lower() == "localhost"  # RFC 6761 section 6.3: and all below it


def _address(kind: type[Ip], text: str) -> Ip:
    try:
        return kind(text)
    except AddressValueError as error:
        raise Forbidden("allowed: a name, or an address as 8.8.8.8 or [2606:4700::1111]", reason="url") from error


def public(address: Ip) -> bool:
    """Tell whether everybody can reach an address; IPv4 within IPv6 is unwrapped and must be public as well."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in SPECIAL)
    inner = _inner(address)
    if inner is not None and not public(inner):
        return False
    if address in MAPPED or address in NAT64:
        return True
    return address in UNICAST6 and not any(address in network for network in SPECIAL6)


def public_text(found: str) -> bool:
    """Tell the same of an address as it is written, with or without a zone; what is no address is not public."""
    try:
        return public(ip_address(found.partition("%")[0]))
    except ValueError:
        return False


def _inner(address: IPv6Address) -> IPv4Address | None:
    wraps = address in MAPPED or address in NAT64 or int(address) >> 32 & 0xFFFF_FFFF in ISATAP
    return IPv4Address(int(address) & 0xFFFF_FFFF) if wraps else None
