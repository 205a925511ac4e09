"""Circles of groups that contain each other, in what a configuration says."""

from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as some

from lifecycle.nesting import circle

DEEP = 5_000
Nesting = dict[str, list[str]]


@pytest.mark.parametrize(
    "inner",
    [
        {},
        {"a": []},
        {"a": ["b"], "b": ["c"]},
        {"a": ["b", "c"], "b": ["d"], "c": ["d"]},
        {"a": ["b", "b"]},
        {"b": ["c"], "a": ["b", "c"]},
    ],
    ids=["nothing", "empty", "a line", "a diamond", "named twice", "met again from above"],
)
def test_group_that_is_reached_by_two_ways_is_no_circle(inner: Nesting) -> None:
    """Only a group that contains itself is a mistake."""
    assert circle(inner) == []


@pytest.mark.parametrize(
    ("inner", "found"),
    [
        ({"a": ["a"]}, ["a", "a"]),
        ({"a": ["b"], "b": ["a"]}, ["a", "b", "a"]),
        ({"top": ["a"], "a": ["b"], "b": ["c"], "c": ["a"]}, ["a", "b", "c", "a"]),
        ({"a": ["x", "b"], "x": [], "b": ["a"]}, ["a", "b", "a"]),
    ],
    ids=["itself", "two", "below another", "after a dead end"],
)
def test_circle_is_told_whole(inner: Nesting, found: list[str]) -> None:
    """Each group of it once, and the first again, so that a person sees which line to change."""
    assert circle(inner) == found


def test_depth_is_no_limit() -> None:
    """A line of thousands is looked through, and so is a circle of thousands."""
    line = {str(number): [str(number + 1)] for number in range(DEEP)}

    assert circle(line) == []
    assert len(circle({**line, str(DEEP): ["0"]})) == DEEP + 2


NAMES = some.sampled_from("abcdef")


@given(some.dictionaries(NAMES, some.lists(NAMES, max_size=4)))
def test_circle_is_found_just_where_there_is_one(inner: Nesting) -> None:
    """As the standard library's own sorter sees it; and what is told is a way along the nesting."""
    try:
        TopologicalSorter(inner).prepare()
        there_is_one = False
    except CycleError:
        there_is_one = True

    found = circle(inner)

    assert bool(found) is there_is_one
    assert all(below in inner[above] for above, below in pairwise(found))
    assert found[:1] == found[-1:]
