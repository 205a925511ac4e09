"""TLS: an address is dialled, and the name of the URL is asked for and proven."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lifecycle.errors import Postponed
from tests.workers.subscribers.conftest import Authority, MakeCarrier
from tests.workers.subscribers.peer import LETTER, Dials, Names, Peer

PUBLIC = "9.9.9.9"


async def test_name_is_proven_although_an_address_is_dialled(
    carrier: MakeCarrier, authority: Authority, dials: Dials, tmp_path: Path
) -> None:
    """Resolved once, checked, dialled by the address; Host and SNI are the name."""
    asked: list[str] = []
    names = Names([[PUBLIC]])
    async with Peer(tls=authority.serves("siem.example", tmp_path, asked=asked)) as peer:
        dials.port = peer.port
        made = carrier("https://siem.example/hook", allow_private=False, resolve=names, tls=authority.trusted())

        replies = [await made.post(LETTER), await made.post(LETTER)]
        await made.close()

    assert [reply.status for reply in replies] == [204, 204]
    assert dials.found == [(PUBLIC, 443)]
    assert names.asked == ["siem.example"]
    assert asked == ["siem.example"]
    assert {"siem.example"} == {taken.headers["host"] for taken in peer.taken}


BAD: dict[str, Callable[[Authority, Path], object]] = {
    "another's name": lambda authority, folder: authority.serves("other.example", folder),
    "the address as a name": lambda authority, folder: authority.serves("127.0.0.1", folder),
    "out of date": lambda authority, folder: authority.serves("siem.example", folder, days=-1),
}


@pytest.mark.parametrize("how", BAD)
async def test_wrong_certificate_is_refused(
    how: str, carrier: MakeCarrier, authority: Authority, tmp_path: Path
) -> None:
    """Nothing of the letter is sent, and the reason is its own; a certificate is often mended within the hour."""
    async with Peer(tls=BAD[how](authority, tmp_path)) as peer:  # type: ignore[arg-type]
        made = carrier(f"https://siem.example:{peer.port}/", resolve=Names([["127.0.0.1"]]), tls=authority.trusted())
        with pytest.raises(Postponed) as caught:
            await made.post(LETTER)

    assert caught.value.reason == "tls"
    assert not peer.taken


async def test_unknown_authority_is_refused(carrier: MakeCarrier, authority: Authority, tmp_path: Path) -> None:
    """Whom this machine does not trust, nobody is."""
    async with Peer(tls=authority.serves("siem.example", tmp_path)) as peer:
        with pytest.raises(Postponed) as caught:
            await carrier(f"https://siem.example:{peer.port}/", resolve=Names([["127.0.0.1"]])).post(LETTER)

    assert caught.value.reason == "tls"
    assert "certificate" in caught.value.message
    assert not peer.taken


async def test_server_without_tls_is_told_apart(carrier: MakeCarrier) -> None:
    """It answers in clear text to what it does not understand."""
    async with Peer(greets=b"HTTP/1.1 400 Bad Request\r\n\r\n") as peer:
        made = carrier(f"https://127.0.0.1:{peer.port}/")
        with pytest.raises(Postponed) as caught:
            await made.post(LETTER)

    assert caught.value.reason == "tls"
    assert not peer.taken
