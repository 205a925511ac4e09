"""Schema drift: what breaks a managed path stops the target once; the rest moves the baseline."""

import json
from typing import Any

import pytest
from redis import Redis

from lifecycle import keys
from lifecycle.paths import Path, parse_path
from lifecycle.standing import accept
from workers.scim.drift import check, describe, differences
from workers.scim.schema import read_schema

CORE = "urn:ietf:params:scim:schemas:core:2.0:User"
ACME = "urn:acme:2.0:User"
MANAGED = [parse_path(text) for text in ("title", "name.givenName", 'emails[type eq "work"].value', f"{ACME}:grade")]
FAILURE = "target:crm"


def described(managed: list[Path] = MANAGED, **changed: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Describe a target whose attributes are these, but for what is changed; None takes one away."""
    attributes = {
        "userName": {},
        "active": {"type": "boolean"},
        "title": {},
        "name": {"type": "complex", "subAttributes": [{"name": "givenName"}]},
        "emails": {"type": "complex", "multiValued": True, "subAttributes": [{"name": "value"}, {"name": "type"}]},
        **changed,
    }
    grade = attributes.pop("grade", {"type": "integer"})
    documents = [
        {"id": urn, "attributes": [{"name": name, **said} for name, said in found.items() if said is not None]}
        for urn, found in ((CORE, attributes), (ACME, {"grade": grade}))
    ]
    return describe(read_schema(documents), managed)


def stopped(redis: Redis) -> dict[str, Any] | None:
    """Return why the target is stopped."""
    found: Any = redis.get(keys.stopped("crm"))
    return json.loads(found) if found else None


def failures(redis: Redis) -> list[str]:
    """Return what waits for a person."""
    found: Any = redis.zrange(keys.FAILURES, 0, -1)
    return [each.decode() for each in found]


BREAKING = [
    ({"title": None}, "title is gone"),
    ({"grade": None}, f"{ACME}:grade is gone"),
    ({"userName": {"mutability": "readOnly"}}, "userName is now readOnly, was readWrite"),
    ({"title": {"mutability": "immutable"}}, "title is now immutable, was readWrite"),
    ({"active": {"type": "string"}}, "active is now string, was boolean"),
    ({"title": {"multiValued": True}}, "title has now many values, had one"),
    ({"name": {"type": "complex"}}, "name.givenName is gone"),
    (
        {"name": {"type": "complex", "mutability": "readOnly", "subAttributes": [{"name": "givenName"}]}},
        "name.givenName is now readOnly, was readWrite",
    ),
    (
        {"emails": {"type": "complex", "subAttributes": [{"name": "value"}]}},
        'emails[type eq "work"].value has now one value, had many',
    ),
]


@pytest.mark.parametrize(("changed", "how"), BREAKING, ids=[how for _, how in BREAKING])
def test_difference_that_breaks_a_managed_path_stops_the_target(
    redis: Redis, changed: dict[str, Any], how: str
) -> None:
    """One failure that says which path and how, instead of one a person."""
    check(redis, "crm", described())
    assert (stopped(redis), failures(redis)) == (None, [])

    check(redis, "crm", described(**changed))

    found = stopped(redis)
    assert found is not None
    assert (found["reason"], found["detail"]) == ("schema_drift", how)
    assert failures(redis) == [FAILURE]


HARMLESS: list[dict[str, Any]] = [
    {"nickName": {"type": "string"}},
    {"displayName": {"mutability": "readOnly"}},
    {"title": {"canonicalValues": ["Agent"], "caseExact": True}},
    {"title": {"mutability": "writeOnly"}},
    {"externalId": {"type": "string"}},
]


@pytest.mark.parametrize("changed", HARMLESS, ids=repr)
def test_difference_that_breaks_nothing_goes_on(redis: Redis, changed: dict[str, Any]) -> None:
    """What is new, what we do not manage, and what still can be written."""
    check(redis, "crm", described())

    check(redis, "crm", described(**changed))

    assert (stopped(redis), failures(redis)) == (None, [])


def test_baseline_moves_with_what_breaks_nothing() -> None:
    """What the target never had cannot be gone; once it has it, it can."""
    before, now = described(title=None), described()

    assert differences(before, now) == {}
    assert differences(now, before) == {"title": "is gone"}


def test_attribute_that_came_later_is_of_the_baseline(redis: Redis) -> None:
    """Each harmless look is the next one's measure, and one that breaks is not."""
    check(redis, "crm", described(title=None))
    check(redis, "crm", described())
    check(redis, "crm", described(title=None, externalId={}))
    check(redis, "crm", described(title=None))

    found = stopped(redis)
    assert found is not None
    assert found["detail"] == "externalId is gone; title is gone"


def test_target_is_stopped_once(redis: Redis) -> None:
    """A drift that is seen again is the same failure since the same moment; one that grows says more."""
    check(redis, "crm", described())
    check(redis, "crm", described(title=None))
    first, score = stopped(redis), redis.zscore(keys.FAILURES, FAILURE)

    check(redis, "crm", described(title=None))
    same = stopped(redis)
    check(redis, "crm", described(title=None, grade=None))
    more = stopped(redis)

    assert first == same
    assert first is not None
    assert more is not None
    assert more["since"] == first["since"]
    assert more["detail"] == f"title is gone; {ACME}:grade is gone"
    assert redis.zscore(keys.FAILURES, FAILURE) == score


def test_drift_that_heals_lets_the_target_go_on(redis: Redis) -> None:
    """A target that took its change back is as it was accepted."""
    check(redis, "crm", described())
    check(redis, "crm", described(title=None))

    check(redis, "crm", described())

    assert (stopped(redis), failures(redis)) == (None, [])


def test_accepted_drift_is_the_new_baseline(redis: Redis) -> None:
    """An operator takes the target as it is; another change of it is another drift, and the way back is harmless."""
    check(redis, "crm", described())
    check(redis, "crm", described(title=None))

    accept(redis, "crm")
    after = stopped(redis), failures(redis)
    check(redis, "crm", described(title=None))
    same = stopped(redis)
    check(redis, "crm", described())
    check(redis, "crm", described(title={"type": "integer"}))

    assert after == (None, [])
    assert same is None
    found = stopped(redis)
    assert found is not None
    assert found["detail"] == "title is now integer, was string"


def test_nothing_to_accept_changes_nothing(redis: Redis) -> None:
    """Where the target is not stopped, or stopped for something else."""
    check(redis, "crm", described())
    baseline = redis.get(keys.baseline("crm"))
    redis.set(keys.stopped("other"), json.dumps({"reason": "operator"}))

    accept(redis, "crm")
    accept(redis, "other")
    check(redis, "other", described())

    assert redis.get(keys.baseline("crm")) == baseline
    assert redis.exists(keys.stopped("other"))


def test_mapping_that_changes_is_no_drift(redis: Redis) -> None:
    """A path that is managed from now on has no past, and one that no longer is has no future."""
    check(redis, "crm", described(MANAGED[:1]))
    check(redis, "crm", described(MANAGED[1:], title=None))
    check(redis, "crm", described(MANAGED, title=None))

    assert stopped(redis) is None


def test_failure_of_an_open_circuit_stays(redis: Redis) -> None:
    """It bears the same name: the circuit takes it away when it closes."""
    check(redis, "crm", described())
    check(redis, "crm", described(title=None))
    redis.hset(keys.circuit("crm"), "until", "5")

    check(redis, "crm", described())

    assert stopped(redis) is None
    assert failures(redis) == [FAILURE]
