"""Groups in groups on a target: made once, and never into a circle."""

import pytest
from redis import Redis

from lifecycle.errors import Postponed, Refused
from tests.workers.fake_scim import Quirk, answers
from tests.workers.memberships import House, house
from tests.workers.stories import referee
from workers.scim.nesting import READS_MAX, ensure_nesting


def holds(found: House, **inner: str) -> None:
    """Let groups of these ids contain one other."""
    for group_id, member in inner.items():
        group = found.fake.held["Groups"].get(group_id) or found.fake.add("Groups", id=group_id, displayName=group_id)
        group["members"] = [{"value": member, "type": "Group"}]


def nest(found: House, **nesting: list[str]) -> None:
    """Nest groups by the policy."""
    ensure_nesting(found.talk, found.groups, nesting)


def test_inner_group_becomes_a_member_of_the_outer_one(redis: Redis) -> None:
    """Once; what is so already needs a look and no write."""
    found = house(redis)

    nest(found, Agents=["Sellers"])
    writes = len(found.fake.writes())
    nest(found, Agents=["Sellers"])

    assert found.fake.held["Groups"]["g-1"]["members"][-1] == {"value": "g-2", "type": "Group"}
    assert [writes, len(found.fake.writes())] == [1, 1]
    referee(found.fake.log)


def test_several_inner_groups_are_one_request(redis: Redis) -> None:
    """The people in the outer group stay."""
    found = house(redis)
    found.fake.add("Groups", id="g-3", displayName="Choir")

    nest(found, Agents=["Choir", "Sellers"])

    assert found.fake.members_of("g-1") == ["u-1", "u-9", "g-3", "g-2"]
    assert len(found.fake.writes()) == 1


@pytest.mark.parametrize("way", [{"g-2": "g-1"}, {"g-2": "g-3", "g-3": "g-1"}], ids=["at once", "by a third"])
def test_circle_on_the_target_is_refused(way: dict[str, str], redis: Redis) -> None:
    """The policy has none, but together with what somebody nested by hand there would be one."""
    found = house(redis)
    holds(found, **way)

    with pytest.raises(Refused) as caught:
        nest(found, Agents=["Sellers"])

    assert caught.value.reason == "group_circle"
    assert "Sellers" in caught.value.message
    assert found.fake.writes() == []


def test_group_that_contains_a_circle_of_others_is_nested(redis: Redis) -> None:
    """That circle is not ours, and it does not lead to the outer group."""
    found = house(redis)
    holds(found, **{"g-2": "g-3", "g-3": "g-4", "g-4": "g-3"})

    nest(found, Agents=["Sellers"])

    assert found.fake.members_of("g-1")[-1] == "g-2"


def test_group_that_is_reached_by_two_ways_is_no_circle(redis: Redis) -> None:
    """A diamond: both inner groups contain the same third."""
    found = house(redis)
    holds(found, **{"g-2": "g-4", "g-3": "g-4"})
    found.fake.add("Groups", id="g-4", displayName="Choir")

    nest(found, Agents=["Sellers", "g-3"])

    assert set(found.fake.members_of("g-1")) == {"u-1", "u-9", "g-2", "g-3"}


def test_member_that_says_what_it_is_by_its_reference_is_followed(redis: Redis) -> None:
    """``type`` may be missing."""
    found = house(redis)
    holds(found, **{"g-3": "g-1"})
    group = found.fake.held["Groups"]["g-2"]
    group["members"] = [{"value": "g-3", "$ref": "https://crm.test/scim/v2/Groups/g-3"}]

    with pytest.raises(Refused):
        nest(found, Agents=["Sellers"])


def test_depth_without_end_is_not_followed_without_end(redis: Redis) -> None:
    """What cannot be seen through is not nested."""
    found = house(redis)
    holds(found, **{"g-2": "n-0"}, **{f"n-{number}": f"n-{number + 1}" for number in range(READS_MAX * 2)})

    with pytest.raises(Refused) as caught:
        nest(found, Agents=["Sellers"])

    assert caught.value.reason == "group_circle"
    assert len(found.fake.log) < READS_MAX + 10


def test_target_that_takes_no_group_as_a_member_says_so(redis: Redis) -> None:
    """In its own words."""
    found = house(redis)
    found.fake.next(answers(400, {"detail": "only users"}), on="PATCH")

    with pytest.raises(Refused, match="only users"):
        nest(found, Agents=["Sellers"])


def test_busy_target_is_no_refusal(redis: Redis) -> None:
    """Time will mend that."""
    found = house(redis)
    found.fake.next(answers(503), on="GET /Groups/g-1")

    with pytest.raises(Postponed):
        nest(found, Agents=["Sellers"])


def test_target_without_patch_nests_by_put(redis: Redis) -> None:
    """As it joins people."""
    found = house(redis, Quirk.NO_PATCH_501)

    nest(found, Agents=["Sellers"])

    assert found.fake.members_of("g-1") == ["u-1", "u-9", "g-2"]
