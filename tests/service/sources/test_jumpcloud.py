"""JumpCloud, with its secret in the URL: the contract sees headers only."""

from collections.abc import Iterator
from urllib.parse import parse_qs, quote

import pytest

from lifecycle.errors import Unauthentic
from service.sources import jumpcloud
from tests.notices import SECRETS, load, old_and_new, setup_of

TOKEN = SECRETS["jumpcloud_token"]
GOOD = load("jumpcloud_token/user_suspended")


def forged() -> Iterator[str]:
    """Make queries that look like the right one."""
    sent = quote(TOKEN, safe="")
    yield from ("", "token", "token=", "token=%20", f"Token={sent}", f"tokens={sent}", f"x=token&{sent}")
    yield from (f"token={quote(TOKEN[:end], safe='')}" for end in range(1, len(TOKEN)))
    yield from (f"token={sent}{more}" for more in ("x", "%00", "+", "%20", "=", "/"))
    yield from (f"token=&token={sent}", "&".join(["x=1"] * 20 + [f"token={sent}"]))
    yield from (f"token={sent}&token={sent}", f"token={sent}&token=x", f"token=x&token={sent}", f"token[]={sent}")
    yield from (f"token={sent.swapcase()}", f"token=Bearer%20{sent}", f"token={quote(sent, safe='')}")


@pytest.mark.parametrize("query", list(forged()))
def test_forged_parameter_is_unauthentic(query: str) -> None:
    """One that is cut, longer, doubled, of another name or in another scheme is not believed."""
    with pytest.raises(Unauthentic):
        jumpcloud.verify(GOOD.notice._replace(query=query), GOOD.setup, GOOD.at)


def test_header_counts_no_more_where_a_parameter_is_configured() -> None:
    """There is one place for the secret, so that there is one to guard."""
    notice = GOOD.notice._replace(query="", headers={"authorization": TOKEN})

    with pytest.raises(Unauthentic):
        jumpcloud.verify(notice, GOOD.setup, GOOD.at)


def test_parameter_counts_only_where_it_is_configured() -> None:
    """And the other way round."""
    setup = setup_of("jumpcloud")
    notice = GOOD.notice._replace(query=f"token={setup.secrets[0]}&authorization={setup.secrets[0]}", headers={})

    with pytest.raises(Unauthentic):
        jumpcloud.verify(notice, setup, GOOD.at)


def test_sample_is_sent_with_the_secret_of_today_and_all_else_of_its_query() -> None:
    """What stood in the parameter before is no part of it any more."""
    new, old = old_and_new("jumpcloud_token")
    sample = load("jumpcloud_token/token_among_others").notice

    sent = jumpcloud.sign(sample, setup_of("jumpcloud_token", old, new), GOOD.at)

    assert parse_qs(sent.query, keep_blank_values=True) == {"tenant": ["acme"], "empty": [""], "token": [old]}
    assert jumpcloud.verify(sent, setup_of("jumpcloud_token", new, old), GOOD.at) == old


def test_secret_of_any_letters_comes_through_the_parameter() -> None:
    """As UTF-8, however much of it is escaped."""
    setup = setup_of("jumpcloud_token", "a+b&c=d e/schlüssel%")

    sent = jumpcloud.sign(GOOD.notice, setup, GOOD.at)

    assert jumpcloud.verify(sent, setup, GOOD.at) == setup.secrets[0]
    with pytest.raises(Unauthentic):
        jumpcloud.verify(sent._replace(query=sent.query.replace("%C3%BC", "%FC")), setup, GOOD.at)
