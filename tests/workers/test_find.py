"""Whose an account is: what is believed, what is looked through, and who inherits nothing."""

import pytest
from redis import Redis

from lifecycle import keys
from lifecycle.errors import Held, Refused
from lifecycle.person import Account
from tests.workers.fake_scim import Quirk
from tests.workers.stories import BO, Meeting, person

JOINER, LEAVER = person(**BO), person("left", **BO)
ANNA = {"id": "u-1", "externalId": "E1", "userName": "anna@acme.example", "active": True}
HELD = {"id": "u-7", "userName": "bo.ray@acme.example", "active": True}


def meet(redis: Redis, *quirks: Quirk) -> Meeting:
    """Meet a server that holds Anna."""
    meeting = Meeting(redis, "scim", quirks)
    meeting.fake.add("Users", **ANNA)
    return meeting


# ---- a target's "nobody"


def test_leaver_is_found_where_the_filter_finds_nobody(redis: Redis) -> None:
    """200 and nobody is what some say to a filter that they do not know: a leaver is looked for among all."""
    meeting = meet(redis, Quirk.KNOWS_NO_FILTER)
    meeting.fake.add("Users", **HELD)

    agreement = meeting.agree(LEAVER)

    assert agreement.change == "suspended"
    assert meeting.fake.user("bo.ray@acme.example")["active"] is False
    assert meeting.fake.user("anna@acme.example")["active"] is True


def test_nobody_is_believed_once_somebody_was_found(redis: Redis) -> None:
    """An account that is there is looked up first; for an hour after it a look-up is enough for everybody."""
    meeting = meet(redis)

    first = meeting.agree(LEAVER)
    asked = len(meeting.fake.log)
    second = meeting.agree(LEAVER)

    assert first.note == second.note == "no account"
    assert meeting.said_since(asked) == [
        'GET /Users?filter=externalId eq "E1042"',
        'GET /Users?filter=userName eq "bo.ray@acme.example"',
    ]
    assert redis.ttl(keys.proof("crm")) > 0


def test_account_that_was_settled_is_what_the_filter_is_tried_with(redis: Redis) -> None:
    """The first of a list may be odd; one of ours is sure to be there."""
    meeting = meet(redis)
    redis.hset(keys.owners("crm"), "u-1", "E1")

    meeting.agree(LEAVER)

    assert meeting.fake.lines()[2:] == [
        "GET /Users/u-1",
        'GET /Users?filter=userName eq "anna@acme.example"',
    ]


def test_leaver_among_too_many_is_no_success(redis: Redis) -> None:
    """Where nobody can be found and not all can be read, nobody knows whether the leaver is locked out."""
    meeting = meet(redis, Quirk.KNOWS_NO_FILTER, Quirk.IGNORES_START, Quirk.SMALL_PAGES)
    for number in range(9):
        meeting.fake.add("Users", userName=f"user{number}@acme.example", active=True)

    with pytest.raises(Refused, match="look through"):
        meeting.agree(LEAVER)


def test_target_without_filters_is_read_once_for_both_names(redis: Redis) -> None:
    """Everybody is a long list; a second reading would show nothing that the first did not."""
    meeting = Meeting(redis, "scim", section={"profile": {"filter": False}})
    meeting.fake.add("Users", **HELD)

    agreement = meeting.agree(LEAVER)

    assert agreement.change == "suspended"
    assert [line for line in meeting.fake.lines() if "?" in line] == ["GET /Users?startIndex=1&count=100"]


# ---- whose it is


def test_address_that_is_used_again_inherits_nothing(redis: Redis) -> None:
    """The account was settled as another person's, who left: the new one of this address is for a human to decide."""
    meeting = meet(redis)
    meeting.fake.add("Users", **HELD | {"active": False})
    redis.hset(keys.owners("crm"), "u-7", "E900")

    with pytest.raises(Held, match=r"u-7.*E900") as caught:
        meeting.agree(JOINER)

    assert caught.value.reason == "other_owner"
    assert meeting.fake.user("bo.ray@acme.example")["active"] is False


def test_account_of_somebody_known_by_the_address_alone_is_the_same_humans(redis: Redis) -> None:
    """The first source told no external id; the second does, of somebody who works here under the same name."""
    meeting = meet(redis)
    meeting.fake.add("Users", **HELD)
    redis.hset(keys.owners("crm"), "u-7", "bo.ray@acme.example")

    agreement = meeting.agree(JOINER)

    assert agreement.account is not None
    assert agreement.account.id == "u-7"
    assert meeting.fake.user("bo.ray@acme.example")["externalId"] == "E1042"


def test_hold_shows_both_accounts(redis: Redis) -> None:
    """One has our externalId, another the userName that it is to get: both are named, neither is touched."""
    meeting = meet(redis)
    meeting.account = Account(id="u-7", user_name="bo@acme.example", active=True)
    meeting.fake.add("Users", **HELD | {"externalId": "E1042", "userName": "bo@acme.example"})
    meeting.fake.add("Users", id="u-8", userName="bo.ray@acme.example", active=True)
    before = meeting.fake.users()

    with pytest.raises(Held, match=r"u-7.*u-8") as caught:
        meeting.agree(JOINER)

    assert caught.value.reason == "user_name_taken"
    assert before == meeting.fake.users()
