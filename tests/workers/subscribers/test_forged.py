"""No forged addresses: whatever is spelled, resolved or changed, no connection is made and no socket dials."""

import pytest

from lifecycle.errors import Postponed, Refused
from tests.forged import ALLOWED, FORGED
from tests.workers.subscribers.conftest import MakeCarrier
from tests.workers.subscribers.peer import LETTER, Dials, Names, Peer

PUBLIC = "9.9.9.9"
# What a resolver answers, as it writes it.
ADDRESSES = [
    "127.0.0.1",
    "10.0.0.1",
    "169.254.169.254",
    "168.63.129.16",
    "100.100.100.200",
    "0.0.0.0",  # noqa: S104 - an address to be refused
    "::1",
    "::",
    "::ffff:127.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::808:808",
    "2002:7f00:1::1",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "2606:4700::5efe:7f00:1",
    "fd00:ec2::254",
    "fe80::1%eth0",
    "fe80::1%2",
    "fec0::1",
    "ff02::1",
    "not an address",
]


@pytest.mark.parametrize("host", FORGED)
async def test_spelling_never_connects(host: str, peer: Peer, carrier: MakeCarrier, dials: Dials) -> None:
    """Not even the name is asked for; the port is no excuse, and what there would be to find is there."""
    names = Names([["127.0.0.1"]])
    made = carrier(f"https://{host}:{peer.port}/", allow_private=False, ports=(443, peer.port), resolve=names)

    with pytest.raises(Refused) as caught:
        await made.post(LETTER)

    assert caught.value.reason in {"private_address", "url"}
    assert (dials.found, names.asked, peer.connections) == ([], [], 0)


def test_matrix_is_long() -> None:
    """The promise is sixty."""
    assert len(set(FORGED)) > 100


@pytest.mark.parametrize("host", ALLOWED)
async def test_public_host_is_dialled(host: str, peer: Peer, carrier: MakeCarrier, dials: Dials) -> None:
    """The guard keeps out what is private and nothing else."""
    made = carrier(f"https://{host}/", allow_private=False, resolve=Names([[PUBLIC]]))

    with pytest.raises(Postponed) as caught:
        await made.post(LETTER)

    assert caught.value.reason == "unreachable"
    literal = host.strip("[]") if host.startswith("[") or host.replace(".", "").isdigit() else PUBLIC
    assert {address for address, _ in dials.found} == {literal}
    assert {port for _, port in dials.found} == {443}


@pytest.mark.parametrize("address", ADDRESSES)
async def test_name_with_one_private_address_is_refused_whole(address: str, carrier: MakeCarrier, dials: Dials) -> None:
    """A name that leads to a public and to a private address would be a lottery, wherever in the answer they are."""
    for answer in ([address], [PUBLIC, address], [address, PUBLIC], [*[PUBLIC] * 9, address]):
        made = carrier("https://siem.example/", allow_private=False, resolve=Names([answer]))

        with pytest.raises(Refused) as caught:
            await made.post(LETTER)

        assert caught.value.reason == "private_address"
    assert dials.found == []


async def test_name_that_changes_its_mind_gains_nothing(carrier: MakeCarrier, dials: Dials, peer: Peer) -> None:
    """Public when it is checked, loopback when it would be asked for again: it is not, and the first is dialled."""
    names = Names([[PUBLIC], ["127.0.0.1"]])
    url = f"https://siem.example:{peer.port}/"
    made = carrier(url, allow_private=False, ports=(peer.port,), resolve=names)

    with pytest.raises(Postponed):
        await made.post(LETTER)

    assert {host for host, _ in dials.found} == {PUBLIC}
    assert len(names.asked) == 1
    with pytest.raises(Refused):
        await made.post(LETTER)
    assert {host for host, _ in dials.found} == {PUBLIC}
    assert peer.connections == 0


async def test_name_that_alternates_is_checked_each_time(carrier: MakeCarrier, dials: Dials, peer: Peer) -> None:
    """Every new connection asks and checks anew."""
    names = Names([[PUBLIC], ["127.0.0.1"]] * 10)
    url = f"https://siem.example:{peer.port}/"
    made = carrier(url, allow_private=False, ports=(peer.port,), resolve=names)

    kinds = []
    for _ in range(10):
        with pytest.raises((Postponed, Refused)) as caught:
            await made.post(LETTER)
        kinds.append(caught.type)

    assert kinds == [Postponed, Refused] * 5
    assert {host for host, _ in dials.found} == {PUBLIC}
    assert peer.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "10.0.0.1"])
async def test_socket_itself_is_guarded(host: str, carrier: MakeCarrier, dials: Dials, peer: Peer) -> None:
    """A library that goes round the check and the resolver, as it does for addresses, still dials nothing."""
    made = carrier(f"https://siem.example:{peer.port}/", allow_private=False, ports=(peer.port,))
    made._url = f"https://{host}:{peer.port}/"

    with pytest.raises(Refused) as caught:
        await made.post(LETTER)

    assert caught.value.reason == "private_address"
    assert (dials.found, peer.connections) == ([], 0)


async def test_port_itself_is_guarded(carrier: MakeCarrier, dials: Dials) -> None:
    """The same of a port that is not among those allowed."""
    made = carrier("https://siem.example/", allow_private=False, resolve=Names([[PUBLIC]]))
    made._url = "https://siem.example:6379/"

    with pytest.raises(Refused):
        await made.post(LETTER)

    assert dials.found == []


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://siem.example:8443/", "port"),
        ("https://siem.example:80/", "port"),
        ("https://siem.example:0/", "url"),
        ("https://siem.example:65536/", "port"),
        ("https://siem.example:443443/", "url"),
        ("https://siem.example:+443/", "url"),
        ("https://siem.example:/", "url"),
        ("http://siem.example/", "url"),
        ("http://siem.example:443/", "url"),
        ("ftp://siem.example/", "url"),
        ("file:///etc/passwd", "url"),
        ("unix:///run/redis.sock", "url"),
        ("wss://siem.example/", "url"),
        ("gopher://siem.example:443/", "url"),
        ("//siem.example/", "url"),
        ("https:siem.example", "url"),
        ("https:///siem.example", "url"),
        (" https://siem.example/", "url"),
        ("https://siem.example/\r\nhost: other", "url"),
        ("https://siem.example/caf\xe9", "url"),
        ("https://siem.example/" + "x" * 4_000, "url"),
    ],
)
async def test_only_https_at_the_allowed_ports(url: str, reason: str, carrier: MakeCarrier, dials: Dials) -> None:
    """A private service behind a public name often has a port of its own."""
    names = Names([[PUBLIC]])

    with pytest.raises(Refused) as caught:
        await carrier(url, allow_private=False, resolve=names).post(LETTER)

    assert caught.value.reason == reason
    assert (dials.found, names.asked) == ([], [])


async def test_private_address_is_reached_where_that_is_allowed(peer: Peer, carrier: MakeCarrier) -> None:
    """By http, on any port, by name or by address: it is one subscriber's own choice."""
    port = peer.port
    made = [
        carrier(f"http://127.0.0.1:{port}/"),
        carrier(f"http://localhost:{port}/", resolve=Names([["127.0.0.1"]])),
        carrier(f"http://siem.internal:{port}/", resolve=Names([["127.0.0.1"]])),
        carrier(f"HTTP://siem.internal.:{port}/", resolve=Names([["127.0.0.1"]])),
    ]

    replies = [await each.post(LETTER) for each in made]

    assert [reply.status for reply in replies] == [204] * 4
    hosts = [taken.headers["host"].removesuffix(f":{port}") for taken in peer.taken]
    assert hosts == ["127.0.0.1", "localhost", "siem.internal", "siem.internal"]


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "user:secret@127.0.0.1", "[::1%25lo]"])
async def test_odd_spelling_is_refused_to_everybody(host: str, peer: Peer, carrier: MakeCarrier) -> None:
    """``allow_private`` is no reason to guess what is meant."""
    with pytest.raises(Refused) as caught:
        await carrier(f"http://{host}:{peer.port}/").post(LETTER)

    assert caught.value.reason == "url"
    assert peer.connections == 0
