"""One subscriber's letters: what is sent, what of an answer is read, and what comes of one that is not there."""

import asyncio
import errno
import gzip
import socket
import threading
import time
import traceback
from pathlib import Path

import pytest

from lifecycle import __version__
from lifecycle.errors import Postponed, Refused
from tests.conftest import free_port
from tests.workers.subscribers.conftest import BRISK, MakeCarrier
from tests.workers.subscribers.peer import (
    LETTER,
    TAKEN,
    Answer,
    Dials,
    Names,
    Peer,
    repeats,
    says,
    says_and_closes,
    says_and_resets,
    subscriber,
)
from workers.subscribers.base import Letter
from workers.subscribers.carrier import ANSWER_BYTES_MAX, Carrier, Limits, Network
from workers.subscribers.guard import AddressInfo

OK = b"HTTP/1.1 200 OK\r\n"


async def test_letter_is_sent_as_it_is(peer: Peer, carrier: MakeCarrier) -> None:
    """The path and query stay as they are written, for they may be signed."""
    url = f"http://127.0.0.1:{peer.port}/a/../b%2Fc?sp=%2Frun&sig=a%2Bb%20c#end"

    reply = await carrier(url).post(LETTER)

    assert reply.status == 204
    assert reply.body == b""
    assert 0 < reply.seconds < 1
    assert peer.taken[0].line == "POST /a/../b%2Fc?sp=%2Frun&sig=a%2Bb%20c HTTP/1.1"
    assert peer.taken[0].body == LETTER.body
    assert peer.taken[0].headers == {
        "host": f"127.0.0.1:{peer.port}",
        "user-agent": f"gatepost/{__version__}",
        "accept": "*/*",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "content-length": str(len(LETTER.body)),
        "webhook-id": "sig_1",
    }


async def test_own_headers_are_added_and_never_override(peer: Peer, carrier: MakeCarrier) -> None:
    """A subscriber may want its own key; what we write stays ours in any letter case."""
    own = {
        "X-Api-Key": "k",
        "Webhook-ID": "sig_2",
        "CONTENT-TYPE": "text/plain",
        "User-Agent": "other",
        "Accept-Encoding": "br",
    }

    await carrier(peer.url, headers=own).post(LETTER)

    found = peer.taken[0].headers
    assert found["x-api-key"] == "k"
    assert found["webhook-id"] == "sig_1"
    assert found["content-type"] == "application/json"
    assert found["user-agent"] == f"gatepost/{__version__}"
    assert found["accept-encoding"] == "identity"


async def test_header_that_would_begin_another_is_refused(peer: Peer, carrier: MakeCarrier) -> None:
    """A token with a line break in it would write headers of its own."""
    with pytest.raises(Refused) as caught:
        await carrier(peer.url).post(Letter({"authorization": "Bearer a\r\nhost: other"}, b"{}"))

    assert caught.value.reason == "headers"
    assert not peer.taken


async def test_connection_is_kept_for_this_subscriber_alone(peer: Peer, carrier: MakeCarrier) -> None:
    """Two subscribers at one URL share nothing, for what one may reach says nothing of the other."""
    first, second = carrier(peer.url), carrier(peer.url)

    for each in (first, first, second, first, second):
        await each.post(LETTER)

    assert peer.connections == 2
    assert len(peer.taken) == 5


async def test_no_more_connections_than_allowed(peer: Peer, carrier: MakeCarrier) -> None:
    """Who comes later waits for one to be free."""
    made = carrier(peer.url, connections_max=2)

    replies = await asyncio.gather(*(made.post(LETTER) for _ in range(10)))

    assert [reply.status for reply in replies] == [204] * 10
    assert peer.open_max == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_an_answer(status: int, peer: Peer, carrier: MakeCarrier, dials: Dials) -> None:
    """One to the metadata of a cloud is not followed, nor is any other."""
    location = b"location: http://169.254.169.254/latest/meta-data/\r\n"
    peer.answers = [says(b"HTTP/1.1 %d X\r\n%scontent-length: 0\r\n\r\n" % (status, location))]

    reply = await carrier(peer.url).post(LETTER)

    assert reply.status == status
    assert reply.headers["location"].endswith("/meta-data/")
    assert dials.found == [("127.0.0.1", peer.port)]
    assert len(peer.taken) == 1


async def test_nothing_of_the_environment_is_used(
    peer: Peer, carrier: MakeCarrier, dials: Dials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No proxy, which would resolve names by itself, and no password of ``.netrc``."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    netrc = tmp_path / "netrc"
    netrc.write_text("default login us password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))

    await carrier(peer.url).post(LETTER)

    assert "authorization" not in peer.taken[0].headers
    assert dials.found == [("127.0.0.1", peer.port)]


async def test_no_cookie_comes_back(peer: Peer, carrier: MakeCarrier) -> None:
    """A subscriber cannot mark us."""
    made = carrier(f"http://siem.example:{peer.port}/", resolve=Names([["127.0.0.1"]]))
    peer.answers = [says(OK + b"set-cookie: a=b\r\ncontent-length: 0\r\n\r\n")]

    await made.post(LETTER)
    await made.post(LETTER)

    assert "cookie" not in peer.taken[1].headers


async def test_answer_is_read_as_it_comes(peer: Peer, carrier: MakeCarrier) -> None:
    """Names of headers in lower case, whatever bytes they hold; and a body that says it is packed stays packed."""
    packed = gzip.compress(b"0" * 1_000)
    head = b"Content-Encoding: gzip\r\nX-Odd: caf\xe9\xff\r\nRETRY-AFTER: 7\r\ncontent-length: %d\r\n\r\n"
    peer.answers = [says(b"HTTP/1.1 429 Slow down\r\n" + head % len(packed) + packed)]

    reply = await carrier(peer.url).post(LETTER)

    assert reply.status == 429
    assert reply.headers["retry-after"] == "7"
    assert reply.headers["x-odd"] == "caf\xe9\xff"
    assert reply.body == packed


@pytest.mark.parametrize("head", [b"content-length: 50000000\r\n\r\n", b"\r\n"])
async def test_answer_of_50_mb_is_cut_and_still_counts(head: bytes, peer: Peer, carrier: MakeCarrier) -> None:
    """So much is read and no more; the connection is closed, for the rest would come before the next answer."""
    sent = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(OK + head)
        while sent < 50_000_000:
            writer.write(b"x" * 65_536)
            await writer.drain()
            sent += 65_536

    peer.answers = [flood, TAKEN]
    made = carrier(peer.url)

    first, second = await made.post(LETTER), await made.post(LETTER)

    assert first.status == 200
    assert first.body == b"x" * ANSWER_BYTES_MAX
    assert second.status == 204
    assert peer.connections == 2
    assert sent < 20_000_000  # what the buffers of two sockets hold


NO_ANSWERS: dict[str, Answer] = {
    "closes at once": says_and_closes(),
    "resets at once": says_and_resets(),
    "resets in the headers": says_and_resets(OK + b"content-le"),
    "resets in the body": says_and_resets(OK + b"content-length: 9\r\n\r\nshort"),
    "closes in the body": says_and_closes(OK + b"content-length: 9\r\n\r\nshort"),
    "closes in a chunk": says_and_closes(OK + b"transfer-encoding: chunked\r\n\r\n9\r\nshort"),
    "chunks of no length": says_and_closes(OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n"),
    "two lengths": says(OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab"),
    "no length": says(OK + b"content-length: -1\r\n\r\n"),
    "no status": says(b"HTTP/1.1 abc\r\n\r\n"),
    "no HTTP": says(b"SSH-2.0-OpenSSH_9.9\r\n"),
    "nothing": says(b""),
    "drips headers": repeats(b"x", before=OK + b"x-a: ", seconds=0.05),
    "drips a body": repeats(b"x", before=OK + b"content-length: 900\r\n\r\n", seconds=0.05),
    "endless header": repeats(b"x" * 65_536, before=OK + b"x-a: "),
    "endless headers": repeats(b"x-a: b\r\n" * 8_192, before=OK),
    "endless status": repeats(b"x" * 65_536, before=b"HTTP/1.1 200 "),
    "endless patience": repeats(b"HTTP/1.1 102 Wait\r\n\r\n" * 10),
    "null in a header": says(OK + b"x: a\0b\r\ncontent-length: 0\r\n\r\n"),
}


@pytest.mark.parametrize("how", NO_ANSWERS)
async def test_what_is_no_whole_answer_is_tried_again(how: str, peer: Peer, carrier: MakeCarrier) -> None:
    """Within the limit in all, however little comes how often; it may have been taken, and comes again to make sure."""
    peer.answers = [NO_ANSWERS[how]]
    started = time.monotonic()

    with pytest.raises(Postponed) as caught:
        await carrier(peer.url, limits=BRISK._replace(answer_seconds=0.4)).post(LETTER)

    assert caught.value.reason == "no_answer"
    assert time.monotonic() - started < 0.8
    assert len(peer.taken) == 1


@pytest.mark.parametrize("kept", [False, True])
async def test_interim_answers_without_end_are_ended(kept: bool, peer: Peer, carrier: MakeCarrier) -> None:
    """Long before the limit, and not asked for again: each would be worked through while all others wait."""
    flood = repeats(b"HTTP/1.1 102 Wait\r\n\r\n" * 1_000)
    peer.answers = [TAKEN, flood] if kept else [flood]
    made = carrier(peer.url, limits=BRISK._replace(answer_seconds=5))
    if kept:
        await made.post(LETTER)
    started = time.monotonic()

    with pytest.raises(Postponed) as caught:
        await made.post(LETTER)

    assert caught.value.reason == "no_answer"
    assert time.monotonic() - started < 2
    assert len(peer.taken) == 1 + kept


async def test_many_small_chunks_are_cut_too(peer: Peer, carrier: MakeCarrier) -> None:
    """They cost more than they hold; what was read is kept, and the status counts."""
    peer.answers = [repeats(b"1\r\nx\r\n" * 1_000, before=OK + b"transfer-encoding: chunked\r\n\r\n"), TAKEN]
    made = carrier(peer.url)

    first, second = await made.post(LETTER), await made.post(LETTER)

    assert first.status == 200
    assert 10_000 < len(first.body) < ANSWER_BYTES_MAX
    assert set(first.body) == set(b"x")
    assert second.status == 204
    assert peer.connections == 2


async def test_answer_just_within_the_limits_is_whole(peer: Peer, carrier: MakeCarrier) -> None:
    """And the connection is kept, for the next answer may be as long."""
    body, heads = b"x" * (ANSWER_BYTES_MAX - 1), b"".join(b"x-%d: %s\r\n" % (n, b"y" * 2_000) for n in range(15))
    raw = OK + heads + b"content-length: %d\r\n\r\n" % len(body) + body
    peer.answers = [says(raw)] * 3
    made = carrier(peer.url)

    replies = [await made.post(LETTER) for _ in range(3)]

    assert [body] * 3 == [reply.body for reply in replies]
    assert {15} == {sum(name.startswith("x-") for name in reply.headers) for reply in replies}
    assert peer.connections == 1


async def test_nobody_waits_for_one_who_does_not_listen(carrier: MakeCarrier) -> None:
    """Nothing was sent, and the reason says so."""
    with pytest.raises(Postponed) as caught:
        await carrier(f"http://127.0.0.1:{free_port()}/").post(LETTER)

    assert caught.value.reason == "unreachable"
    assert "ConnectionRefusedError" in caught.value.message


async def test_slow_resolver_is_waited_for_within_the_limit(peer: Peer, carrier: MakeCarrier) -> None:
    """Nothing was sent; meanwhile another subscriber is told."""
    free = threading.Event()
    slow = carrier(
        "http://slow.example/", resolve=lambda _n, _p: [str(free.wait(5))], limits=Limits(answer_seconds=0.1)
    )
    other = carrier(f"http://siem.example:{peer.port}/", resolve=Names([["127.0.0.1"]]))

    waiting = [asyncio.ensure_future(slow.post(LETTER)) for _ in range(4)]
    await asyncio.sleep(0)
    reply = await other.post(LETTER)
    found = await asyncio.gather(*waiting, return_exceptions=True)
    free.set()

    assert reply.status == 204
    assert [getattr(each, "reason", each) for each in found] == ["unreachable"] * 4


async def test_one_who_takes_no_tls_is_given_up_soon(peer: Peer, carrier: MakeCarrier) -> None:
    """A connection that is never ready ends by its own limit, before that of the whole."""
    url = f"https://127.0.0.1:{peer.port}/"  # it waits for the end of a head that never comes
    started = time.monotonic()

    with pytest.raises(Postponed) as caught:
        await carrier(url, limits=BRISK._replace(connect_seconds=0.1)).post(LETTER)

    assert caught.value.reason == "unreachable"
    assert time.monotonic() - started < BRISK.answer_seconds
    assert peer.connections == 1


async def test_second_address_is_tried_where_the_first_is_dead(peer: Peer, carrier: MakeCarrier, dials: Dials) -> None:
    """At most four are tried, in the order of the resolver."""
    names = Names([["127.0.0.2", "127.0.0.1", "127.0.0.3", "127.0.0.4", "127.0.0.5"]])

    reply = await carrier(f"http://siem.example:{peer.port}/", resolve=names).post(LETTER)

    assert reply.status == 204
    assert dials.found == [("127.0.0.2", peer.port), ("127.0.0.1", peer.port)]


async def test_four_addresses_at_most_are_tried(carrier: MakeCarrier, dials: Dials) -> None:
    """A name with a hundred dead addresses costs four tries."""
    names = Names([[f"127.0.0.{last}" for last in range(2, 102)]])

    with pytest.raises(Postponed) as caught:
        await carrier(f"http://siem.example:{free_port()}/", resolve=names).post(LETTER)

    assert caught.value.reason == "unreachable"
    assert {f"127.0.0.{last}" for last in range(2, 6)} == {host for host, _ in dials.found}


async def test_room_that_we_lack_is_not_the_subscribers_trouble() -> None:
    """A machine that can open nothing more says so of itself."""

    def full(_info: AddressInfo) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    made = Carrier(subscriber("http://127.0.0.1:9/"), frozenset(), 1, limits=BRISK, network=Network(full))
    with pytest.raises(Postponed) as caught:
        await made.post(LETTER)
    await made.close()

    assert caught.value.reason == "no_room"


async def test_messages_hold_no_url(carrier: MakeCarrier) -> None:
    """A path may be the secret; neither the error nor its trace shows it."""
    made = [
        carrier(f"http://127.0.0.1:{free_port()}/secret"),
        carrier("http://siem.example/secret", resolve=Names([[]])),
        carrier("https://siem.example/secret", allow_private=False, resolve=Names([["10.0.0.1"]])),
        carrier("https://siem.example:8443/secret", allow_private=False),
        carrier("https://user:secret@siem.example/"),
    ]
    async with Peer([says_and_resets(OK), says(b"secret\r\n")]) as peer:
        made += [carrier(f"{peer.url}/secret"), carrier(f"{peer.url}/secret")]
        traces = [await _trace_of(each) for each in made]

    assert len(traces) == 7
    assert not any("secret" in trace for trace in traces)


async def _trace_of(carrier: Carrier) -> str:
    try:
        await carrier.post(LETTER)
    except (Postponed, Refused) as error:
        return "".join(traceback.format_exception(error)) + error.message
    raise AssertionError
