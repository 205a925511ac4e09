"""The table of addresses, against Python's own and against everything that wraps one."""

import ipaddress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lifecycle.addresses import NAT64, SPECIAL, SPECIAL6, UNICAST6, Forbidden, check_url, public, public_text
from tests.forged import ALLOWED, FORGED

Network = IPv4Network | IPv6Network
# The whole of IANA's two registries of special purposes, as of October 2025, and multicast.
REGISTRIES = """
0.0.0.0/8 0.0.0.0/32 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.0.0/29
192.0.0.8/32 192.0.0.9/32 192.0.0.10/32 192.0.0.170/31 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24 192.88.99.0/24
192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4 255.255.255.255/32 224.0.0.0/4
::1/128 ::/128 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23 2001::/32 2001:1::1/128 2001:1::2/128 2001:1::3/128
2001:2::/48 2001:3::/32 2001:4:112::/48 2001:10::/28 2001:20::/28 2001:30::/28 2001:db8::/32 2002::/16
2620:4f:8000::/48 3fff::/20 5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8
"""
FEW = settings(max_examples=40, deadline=None)


def _within(network: Network) -> st.SearchStrategy[IPv4Address | IPv6Address]:
    numbers = st.integers(int(network.network_address), int(network.broadcast_address))
    return numbers.map(IPv4Address if network.version == 4 else IPv6Address)


special4 = st.sampled_from(SPECIAL).flatmap(_within)
any6 = st.integers(0, 2**128 - 1).map(IPv6Address)


@pytest.mark.parametrize("network", REGISTRIES.split())
def test_all_of_the_registries_is_special(network: str) -> None:
    """From the first address of a network to the last."""
    found = ipaddress.ip_network(network)

    assert not public(found.network_address)
    assert not public(found.broadcast_address)


@FEW
@given(special4)
def test_special_address_is_not_public(address: IPv4Address) -> None:
    """Nor is one that wraps it, nor one that wraps that one's text in another spelling."""
    number = int(address)
    wrapped = [
        number,  # compatible
        0xFFFF << 32 | number,  # mapped
        0xFFFF << 48 | number,  # translated
        int(NAT64.network_address) | number,
        0x0064_FF9B_0001 << 80 | number,  # NAT64 for local use
        0x2002 << 112 | number << 80,  # 6to4
        0x2001_0000 << 96 | number ^ 0xFFFF_FFFF,  # Teredo
        0x2606_4700 << 96 | 0x5EFE << 32 | number,  # ISATAP
        0x2606_4700 << 96 | 0x0200_5EFE << 32 | number,
    ]

    assert not public(address)
    assert not any(public(IPv6Address(each)) for each in wrapped)
    assert not any(public_text(f"{IPv6Address(each)}%eth0") for each in wrapped)


@FEW
@given(st.sampled_from(SPECIAL6).flatmap(_within) | any6.filter(lambda found: found not in UNICAST6))
def test_special_or_no_unicast_is_not_public(address: IPv6Address) -> None:
    """Whatever the rest of it is; what DNS64 makes of a public address is the one exception."""
    inner = IPv4Address(int(address) & 0xFFFF_FFFF)
    wraps = address in NAT64 or address.ipv4_mapped is not None

    assert public(address) == (wraps and public(inner))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1).map(IPv4Address) | any6 | _within(UNICAST6))
@example(IPv4Address("192.0.0.9"))
@example(IPv6Address("64:ff9b:1::1"))
def test_what_python_does_not_call_global_is_not_public(address: IPv4Address | IPv6Address) -> None:
    """Ours is the stricter one; and what is of no special kind at all is public."""
    if not address.is_global or address.is_multicast:
        assert not public(address) or address in NAT64 or getattr(address, "ipv4_mapped", None)
    elif address.version == 4:
        assert public(address) == (not any(address in network for network in SPECIAL))


@pytest.mark.parametrize("text", ["", "siem.example", "127.1", "1.2.3.4.5", "::1%", "%", "9.9.9.9.", "0x9.9.9.9"])
def test_what_is_no_address_is_not_public(text: str) -> None:
    """Only what is understood is let through."""
    assert not public_text(text)


@pytest.mark.parametrize("host", FORGED)
def test_forged_host_is_refused_as_it_is_written(host: str) -> None:
    """When a subscriber is made, before anything is asked of anybody."""
    with pytest.raises(Forbidden) as caught:
        check_url(f"https://{host}/hook", allow_private=False, ports={443})

    assert caught.value.reason in {"private_address", "url"}
    assert str(caught.value).startswith("allowed: ")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ALLOWED)
def test_public_host_is_allowed_as_it_is_written(host: str) -> None:
    """A name is asked for when it is dialled."""
    check_url(f"https://{host}/hook", allow_private=False, ports={443})
    check_url(f"HTTPS://{host}:8443/hook?a=b", allow_private=False, ports={443, 8443})
    check_url(f"http://{host}:8080", allow_private=True, ports=())


@pytest.mark.parametrize("host", ["127.0.0.1", "10.1.2.3", "[::1]", "[fd00::1]", "localhost", "siem"])
def test_private_host_is_allowed_to_whom_it_is(host: str) -> None:
    """By http and on any port."""
    check_url(f"http://{host}:9000/hook", allow_private=True, ports={443})
