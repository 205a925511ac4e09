"""What one subscriber may be reached by, without the network: names, sockets, and whose lookups wait for whose."""

import asyncio
import socket
import threading

import pytest

from lifecycle.errors import Postponed, Refused
from tests.workers.subscribers.peer import Names, subscriber
from workers.subscribers.guard import ADDRESSES_MAX, Barred, Guard, open_socket, resolve

PUBLIC = "9.9.9.9"


def _guard(names: Names | None = None, *, allow_private: bool = False) -> Guard:
    return Guard(subscriber("https://siem.example/", allow_private=allow_private), frozenset([443]), names or resolve)


@pytest.mark.parametrize(
    "name",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "0x7f.1",
        "0",
        "::1",
        "::ffff:7f00:1",
        "localhost",
    ],
)
async def test_what_the_machine_takes_for_an_address_is_refused(name: str) -> None:
    """Should a spelling come past the check of the URL, its address does not."""
    with pytest.raises(Refused) as caught:
        await _guard().addresses(name, 443)

    assert caught.value.reason == "private_address"


async def test_machine_is_asked_for_each_address_once() -> None:
    """In its own order, with what may be a zone."""
    assert resolve("127.0.0.1", 443) == ["127.0.0.1"]


async def test_four_addresses_are_dialled_and_all_are_checked() -> None:
    """The fifth is not dialled, and counts all the same."""
    many = [f"9.9.9.{last}" for last in range(9)]

    assert await _guard(Names([many])).addresses("siem.example", 443) == many[:ADDRESSES_MAX]
    with pytest.raises(Refused):
        await _guard(Names([[*many, "10.0.0.1"]])).addresses("siem.example", 443)


async def test_private_addresses_are_found_where_that_is_allowed() -> None:
    """The name may still lead to both."""
    found = await _guard(Names([["10.0.0.1", PUBLIC]]), allow_private=True).addresses("siem.example", 443)

    assert found == ["10.0.0.1", PUBLIC]


async def test_name_that_nobody_knows_is_tried_again() -> None:
    """A resolver that is away is an attempt that failed and no fault of ours."""
    with pytest.raises(Postponed) as caught:
        await _guard(Names([[]])).addresses("siem.example", 443)

    assert caught.value.reason == "unreachable"
    assert "gaierror" in caught.value.message


async def test_answer_without_addresses_is_tried_again() -> None:
    """Nothing to dial is nothing to allow."""
    with pytest.raises(Postponed) as caught:
        await Guard(subscriber("https://siem.example/"), frozenset(), lambda _name, _port: []).addresses("a", 443)

    assert caught.value.reason == "unreachable"


@pytest.mark.parametrize(
    ("host", "port", "let"),
    [
        (PUBLIC, 443, True),
        ("2606:4700::1111", 443, True),
        (PUBLIC, 80, False),
        ("127.0.0.1", 443, False),
        ("::1", 443, False),
        ("fe80::1%eth0", 443, False),
        ("::ffff:10.0.0.1", 443, False),
        ("siem.example", 443, False),
        ("", 443, False),
    ],
)
def test_socket_is_made_for_what_is_allowed(host: str, port: int, *, let: bool) -> None:
    """The last question before an address is dialled; a name is no address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    info = (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))

    if let:
        _guard().socket(info).close()
    else:
        with pytest.raises(Barred):
            _guard().socket(info)
    _guard(allow_private=True).socket(info).close()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this kernel has no such limit")
def test_kernel_gives_up_on_one_who_takes_nothing() -> None:
    """Else a connection that is closed with bytes left to write would stay for ever."""
    info = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (PUBLIC, 443))

    with open_socket(info) as made:
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 15_000


def test_kernel_keeps_no_megabytes_of_one_who_floods() -> None:
    """It would take them before we have read that there is too much; Linux makes room for twice what is asked for."""
    info = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (PUBLIC, 443))

    with open_socket(info) as made:
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) <= 2 * 65_536


async def test_slow_resolver_holds_nobody_else() -> None:
    """Each has a thread of its own, and only one: a hundred letters wait for one lookup."""
    free, asked = threading.Event(), []

    def slow(name: str, _port: int) -> list[str]:
        asked.append(name)
        free.wait(5)
        return [PUBLIC]

    guards = [Guard(subscriber("https://slow.example/"), frozenset([443]), slow) for _ in range(40)]
    waiting = [asyncio.ensure_future(each.addresses("slow.example", 443)) for each in guards for _ in range(100)]
    others = [_guard(Names([[PUBLIC]])).addresses("siem.example", 443) for _ in range(40)]

    found = await asyncio.wait_for(asyncio.gather(*others), 1)
    free.set()

    assert found == [[PUBLIC]] * 40
    assert await asyncio.gather(*waiting) == [[PUBLIC]] * 4_000
    assert len(asked) == 40


async def test_who_gives_up_takes_the_lookup_from_nobody() -> None:
    """One letter's time is over; the next one still gets the answer, and the one after that asks anew."""
    free, asked = threading.Event(), []

    def slow(name: str, _port: int) -> list[str]:
        asked.append(name)
        free.wait(5)
        return [PUBLIC]

    guard = Guard(subscriber("https://siem.example/"), frozenset([443]), slow)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(guard.addresses("siem.example", 443), 0.01)
    second = asyncio.ensure_future(guard.addresses("siem.example", 443))
    await asyncio.sleep(0)
    free.set()

    assert await second == [PUBLIC]
    assert len(asked) == 1
    assert await guard.addresses("siem.example", 443) == [PUBLIC]
    assert len(asked) == 2


def test_lookup_may_outlive_the_loop() -> None:
    """The program ends while a resolver is slow; its answer is nobody's."""
    free = threading.Event()

    def slow(_name: str, _port: int) -> list[str]:
        free.wait(5)
        return [PUBLIC]

    async def impatient() -> None:
        guard = Guard(subscriber("https://siem.example/"), frozenset([443]), slow)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(guard.addresses("siem.example", 443), 0.01)

    before = set(threading.enumerate())
    asyncio.run(impatient())
    free.set()
    for left in set(threading.enumerate()) - before:
        left.join(5)


@pytest.mark.parametrize("url", ["https://siem.example/", "https://9.9.9.9/", "https://siem.example:443/a?b=c#d"])
def test_plain_url_passes(url: str) -> None:
    """The rest is in the matrix of ``subscribers/test_forged.py``."""
    Guard(subscriber(url, allow_private=False), frozenset([443]), resolve).check()


def test_refusal_says_what_is_allowed() -> None:
    """And does not repeat the URL."""
    with pytest.raises(Refused) as caught:
        Guard(subscriber("https://siem.example:8443/secret", allow_private=False), frozenset([443]), resolve).check()

    assert caught.value.message == "the subscriber's URL cannot be used; found port 8443; allowed: 443"
