"""No forged addresses: a subscriber's name never leads into a private network, in any spelling."""

import ipaddress
import socket
from collections.abc import Callable
from typing import Any

import pytest

from lifecycle.errors import Postponed, Refused
from tests.workers.receiver import Receiver
from workers.http import Http
from workers.subscribers.guard import Pinned, pin, public

PRIVATE = [
    "127.0.0.1",
    "127.8.9.1",
    "0.0.0.0",  # noqa: S104 - an address to be refused
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.254",
    "192.168.1.1",
    "100.64.0.1",  # carriers' NAT
    "100.127.255.254",
    "169.254.169.254",  # metadata of AWS, Azure, Google
    "169.254.170.2",
    "168.63.129.16",  # Azure's wire server
    "192.0.0.192",  # metadata of Oracle
    "100.100.100.200",  # metadata of Alibaba
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "[::]",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::ffff:10.0.0.1]",
    "[::ffff:169.254.169.254]",
    "[::127.0.0.1]",  # IPv4-compatible
    "[::ffff:0:127.0.0.1]",  # IPv4-translated
    "[64:ff9b::127.0.0.1]",  # NAT64
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::a9fe:a9fe]",  # NAT64 for local use
    "[2002:7f00:1::]",  # 6to4
    "[2002:a9fe:a9fe::1]",
    "[2002:c0a8:101::]",
    "[2001:0:4136:e378:8000:63bf:f5ff:fffe]",  # Teredo of 10.0.0.1
    "[2001:0:4136:e378:8000:63bf:5601:5601]",  # Teredo of 169.254.169.254
    "[fe80::1]",
    "[fe80::1%251]",
    "[fec0::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",  # metadata of AWS
    "[ff02::1]",
    "[ff0e::1]",
    "[100::1]",
    "[2001:db8::1]",
    "[3fff::1]",
    "[5f00::1]",
    # What the resolver takes for IPv4: decimal, octal, hexadecimal, and fewer parts.
    "2130706433",
    "0x7f000001",
    "017700000001",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "127.1",
    "127.0.1",
    "10.1",
    "2852039166",  # 169.254.169.254
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "0",
    "127.0.0.1.",
]
PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "134744072",  # 8.8.8.8
    "172.32.0.1",
    "100.128.0.1",
    "192.0.1.1",
    "[2606:4700:4700::1111]",
    "[::ffff:8.8.8.8]",
    "[64:ff9b::8.8.8.8]",
    "[2002:808:808::1]",
]

Resolve = Callable[..., list[Any]]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """Give a resolver of our own for made-up names: each question takes the next of a name's answers."""
    answers: dict[str, list[list[str]]] = {}
    real: Resolve = socket.getaddrinfo

    def resolve(host: str, port: int, *rest: Any, **named: Any) -> list[Any]:  # noqa: ANN401 - the resolver's own
        if host not in answers:
            return real(host, port, *rest, **named)
        found = answers[host].pop(0)
        return [entry for address in found for entry in real(address, port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return answers


@pytest.mark.parametrize("host", PRIVATE)
def test_private_address_is_refused_in_every_spelling(host: str) -> None:
    """Loopback, private, link-local, shared, documentation, multicast, wrapped in IPv6 or written as one number."""
    with pytest.raises((Refused, Postponed)) as caught:
        pin(f"https://{host}/hook", allow_private=False)

    # Postponed where the resolver of this machine does not take the spelling: nothing can be dialled either.
    assert caught.value.reason == ("private_address" if caught.type is Refused else "unreachable")


def test_table_is_long_and_most_of_it_is_understood() -> None:
    """The spellings that the resolver takes are refused for what they are, not because nobody understands them."""
    refused = 0
    for host in PRIVATE:
        try:
            pin(f"https://{host}/", allow_private=False)
        except Refused:
            refused += 1
        except Postponed:
            pass

    assert len(PRIVATE) >= 60
    assert refused >= 50


@pytest.mark.parametrize("host", PUBLIC)
def test_public_address_is_dialled(host: str) -> None:
    """The guard keeps out what is private and nothing else; the address stands in the URL, the name beside it."""
    found = pin(f"https://{host}/hook?a=b", allow_private=False)

    dialled = found.urls[0].removeprefix("https://").removesuffix(":443/hook?a=b").strip("[]")
    assert public(ipaddress.ip_address(dialled))
    assert host == found.host


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "10.1.2.3"])
def test_private_address_is_dialled_where_that_is_allowed(host: str) -> None:
    """``allow_private`` is one subscriber's own choice."""
    assert host in pin(f"http://{host}:8080/hook", allow_private=True).urls[0]


def test_name_with_one_private_address_is_refused_whole(names: dict[str, list[list[str]]]) -> None:
    """A name that resolves to a public and to a private address would be a lottery."""
    names["mixed.example"] = [["8.8.8.8", "10.0.0.1"]]

    with pytest.raises(Refused):
        pin("https://mixed.example/", allow_private=False)


def test_name_is_kept_for_the_host_header_and_for_tls(names: dict[str, list[list[str]]]) -> None:
    """The connection goes to the address; the server is asked for, and must prove, the name."""
    names["siem.example"] = [["8.8.8.8"], ["2606:4700::1111"], ["8.8.8.8"]]

    found = [
        pin("https://siem.example/hook", allow_private=False),
        pin("https://siem.example:8443/hook", allow_private=False),
        pin("http://siem.example/hook", allow_private=False),
    ]

    assert found == [
        Pinned(("https://8.8.8.8:443/hook",), "siem.example", "siem.example"),
        Pinned(("https://[2606:4700::1111]:8443/hook",), "siem.example:8443", "siem.example"),
        Pinned(("http://8.8.8.8:80/hook",), "siem.example", None),
    ]


def test_name_that_changes_its_mind_gains_nothing(names: dict[str, list[list[str]]]) -> None:
    """Rebinding: the name is resolved once, and the connection goes to the address that was checked."""
    names["siem.example"] = [["127.0.0.1"], ["10.0.0.1"], ["10.0.0.1"]]
    with Receiver() as receiver:
        pinned = pin(f"http://siem.example:{receiver.port}/hook", allow_private=True)
        http = Http()
        answer = http.send("POST", pinned.urls[0], headers={"host": pinned.host}, body=b"{}", tls_name=pinned.tls_name)
        http.close()

    assert answer.status == 204
    assert names["siem.example"] == [["10.0.0.1"], ["10.0.0.1"]]
    assert f"siem.example:{receiver.port}" == receiver.taken[0].headers["host"]


@pytest.mark.parametrize(
    "url",
    [
        "https://no-such-name.invalid/",
        f"https://{'a' * 70}.example/",
        "https://a..example/",
        "https://siem.example:99999/",
    ],
)
def test_name_that_cannot_be_resolved_is_tried_again(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that is away, or a name that no resolver takes, is an attempt that failed and no fault of ours."""
    real: Resolve = socket.getaddrinfo

    def resolve(host: str, port: int, *rest: Any, **named: Any) -> list[Any]:  # noqa: ANN401 - the resolver's own
        if host.endswith(".invalid"):
            raise socket.gaierror(-2, "Name or service not known")
        return real(host, port, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)

    with pytest.raises(Postponed) as caught:
        pin(url, allow_private=False)

    assert caught.value.reason == "unreachable"
