"""A connection that was kept and has died since is no fault of the subscriber: the letter is sent again, once."""

import asyncio

import pytest

from lifecycle.errors import Postponed
from tests.workers.subscribers.conftest import BRISK, MakeCarrier
from tests.workers.subscribers.peer import LETTER, TAKEN, Answer, Peer, says, says_and_closes, says_and_resets

DIES: dict[str, Answer] = {"closes": says_and_closes(), "resets": says_and_resets()}


async def test_connection_closed_while_idle_is_not_used_again(peer: Peer, carrier: MakeCarrier) -> None:
    """The usual case: it is seen to be closed before the next letter, which goes out once, by a new one."""
    peer.answers = [says_and_closes(b"HTTP/1.1 204 No Content\r\n\r\n")]
    made = carrier(peer.url)

    first = await made.post(LETTER)
    await asyncio.sleep(0.02)
    second = await made.post(LETTER)

    assert [first.status, second.status] == [204, 204]
    assert peer.connections == 2
    assert len(peer.taken) == 2


@pytest.mark.parametrize("how", DIES)
async def test_connection_that_dies_under_a_letter_is_replaced(how: str, peer: Peer, carrier: MakeCarrier) -> None:
    """The server closed it while the letter was on its way; the same letter comes by a new connection."""
    peer.answers = [TAKEN, DIES[how]]
    made = carrier(peer.url)

    replies = [await made.post(LETTER) for _ in range(3)]

    assert [reply.status for reply in replies] == [204, 204, 204]
    assert {"sig_1"} == {taken.headers["webhook-id"] for taken in peer.taken}
    assert len(peer.taken) == 4


async def test_all_kept_connections_may_die_at_once(peer: Peer, carrier: MakeCarrier) -> None:
    """A restarted server leaves many; the second try takes none of them."""
    peer.answers = [says(b"HTTP/1.1 204 No Content\r\n\r\n")] * 4
    made = carrier(peer.url)
    await asyncio.gather(*(made.post(LETTER) for _ in range(4)))
    peer.answers = [says_and_closes()]

    reply = await made.post(LETTER)

    assert reply.status == 204
    assert peer.connections == 5


@pytest.mark.parametrize("how", DIES)
async def test_letter_is_sent_again_once_and_no_more(how: str, peer: Peer, carrier: MakeCarrier) -> None:
    """A new connection that dies as well is the subscriber's own doing."""
    peer.answers = [TAKEN, DIES[how], DIES[how]]
    made = carrier(peer.url)
    await made.post(LETTER)

    with pytest.raises(Postponed) as caught:
        await made.post(LETTER)

    assert caught.value.reason == "no_answer"
    assert len(peer.taken) == 3


@pytest.mark.parametrize("how", DIES)
async def test_new_connection_that_dies_is_no_answer(how: str, peer: Peer, carrier: MakeCarrier) -> None:
    """It was not kept, so nobody can have forgotten it."""
    peer.answers = [DIES[how]]

    with pytest.raises(Postponed):
        await carrier(peer.url).post(LETTER)

    assert len(peer.taken) == 1


async def test_answer_that_had_begun_is_not_asked_for_again(peer: Peer, carrier: MakeCarrier) -> None:
    """Then the letter has arrived, and the schedule decides."""
    peer.answers = [TAKEN, says_and_closes(b"HTTP/1.1 200 OK\r\ncontent-le")]
    made = carrier(peer.url)
    await made.post(LETTER)

    with pytest.raises(Postponed):
        await made.post(LETTER)

    assert len(peer.taken) == 2


async def test_connection_is_kept_for_a_while(peer: Peer, carrier: MakeCarrier) -> None:
    """And no longer, for many servers close theirs soon."""
    made = carrier(peer.url, limits=BRISK._replace(idle_seconds=0.02))

    await made.post(LETTER)
    await asyncio.sleep(0.05)
    await made.post(LETTER)

    assert peer.connections == 2


@pytest.mark.parametrize("seconds", [0, 0.02])
async def test_answer_to_nothing_is_no_answer(seconds: float, peer: Peer, carrier: MakeCarrier) -> None:
    """One that comes unasked, at once or while the connection is idle, is not taken for that to the next letter."""

    async def twice(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await asyncio.sleep(seconds)
        writer.write(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")

    peer.answers = [twice]
    made = carrier(peer.url)

    first = await made.post(LETTER)
    await asyncio.sleep(0.04)
    second = await made.post(LETTER)

    assert [first.status, second.status] == [204, 204]
    assert peer.connections == 2


async def test_answer_that_comes_too_late_is_nobodys(peer: Peer, carrier: MakeCarrier) -> None:
    """The connection ends with the time, so the next letter has an answer of its own."""

    async def late(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        writer.write(b"HTTP/1.1 500 Late\r\ncontent-length: 0\r\n\r\n")

    peer.answers = [late]
    made = carrier(peer.url, limits=BRISK._replace(answer_seconds=0.05))

    with pytest.raises(Postponed):
        await made.post(LETTER)
    await asyncio.sleep(0.1)

    assert (await made.post(LETTER)).status == 204
    assert peer.connections == 2
