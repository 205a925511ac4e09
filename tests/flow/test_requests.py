"""What each kind of event costs a target in requests, on real programs: no more than on the main path."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from bench.requests import STORY, Counted, Step, count


@pytest.fixture(scope="module")
def counted() -> Mapping[str, Counted]:
    """Let the story happen once."""
    # Not pytest's tmp_path, which is of one test.
    with tempfile.TemporaryDirectory(prefix="gatepost-requests-") as folder:
        return {each.step.name: each for each in count(Path(folder))}


@pytest.mark.parametrize("step", STORY, ids=lambda step: step.name)
def test_event_costs_its_budget_and_no_more(counted: Mapping[str, Counted], step: Step) -> None:
    """A joiner 2, a mover 2, a leaver 3 and of Genesys Cloud its tokens; one more for each group; a repeat nothing."""
    found = counted[step.name]

    assert dict(found.requests) == {"crm": found.step.crm, "genesys": found.step.genesys}
