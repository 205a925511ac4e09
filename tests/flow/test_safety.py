"""Thirty people leave in a moment past a limit of twenty: real processes, a real target, and a human who rules."""

from collections.abc import Iterator

import pytest

from tests.flow.patience import eventually
from tests.flow.stage import Somebody, Stage

LEAVERS, MAX = 30, 20
LIMITS = f"""
[safety]
leavers = {{ max = {MAX} }}
"""


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Give a stage of its own, for its leavers would hold up those of all other stories."""
    found = Stage()
    found.config.write_text(found.config.read_text() + LIMITS)
    try:
        yield found.start()
    finally:
        found.close()


def _active(stage: Stage, crowd: list[Somebody]) -> int:
    keys = {person.key for person in crowd}
    return sum(each["active"] for each in stage.resources("Users").values() if each.get("externalId") in keys)


def test_mass_of_leavers_is_held_and_released(stage: Stage) -> None:
    """Exactly twenty are locked out, ten held, with one alarm; joiners come in meanwhile; a release does the rest."""
    crowd, newcomers = [Somebody() for _ in range(LEAVERS)], [Somebody() for _ in range(5)]
    joined = [person.joins() for person in crowd]
    stage.tell_at_once(joined)
    for told in joined:
        stage.settled(told)

    left = [person.leaves() for person in crowd]
    stage.tell_at_once([*left, *(person.joins() for person in newcomers)])
    states = [stage.settled(told)["state"] for told in left]

    assert (states.count("applied"), states.count("held")) == (MAX, LEAVERS - MAX)
    assert [stage.settled(person.joins())["state"] for person in newcomers] == ["applied"] * len(newcomers)
    assert _active(stage, crowd) == LEAVERS - MAX
    holds = [item["id"] for item in stage.ask("/v1/holds")["items"]]
    assert sorted(holds) == sorted(told.ref for told, state in zip(left, states, strict=True) if state == "held")

    done = stage.gatepost("release", *holds, "--as", "ada")

    assert done.returncode == 0, done.stderr
    assert [stage.settled(told)["state"] for told in left] == ["applied"] * LEAVERS
    assert _active(stage, crowd) == 0
    assert stage.ask("/v1/holds")["items"] == []
    alarms = eventually(lambda: found if len(found := _alarms(stage, crowd)) == 1 + len(holds) else [])
    assert sorted(alarms) == ["safety.held", *["safety.released"] * len(holds)]


def _alarms(stage: Stage, crowd: list[Somebody]) -> list[str]:
    told = {delivery.id: delivery.type for person in crowd for delivery in stage.tool.about(person.key)}
    return [each for each in told.values() if each.startswith("safety.")]
