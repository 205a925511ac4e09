"""States of verification events: known again when they come back."""

from datetime import UTC, datetime, timedelta

import pytest

from lifecycle.verification import AGE_MAX, AHEAD_MAX, check_state, make_state, seals

NOW = datetime(2026, 3, 2, 9, 0, 5, 120_455, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize("later", [timedelta(), SECOND, AGE_MAX - SECOND, -AHEAD_MAX])
def test_state_of_ours_is_known_again(later: timedelta) -> None:
    """Whichever live secret it was sealed with, for as long as a transmitter may try to deliver it."""
    state = make_state("new", NOW)

    assert state.startswith("gatepost.1772442005.")
    assert check_state(["new"], state, NOW + later)
    assert check_state(["newer", "new"], state, NOW + later)


def test_state_that_only_looks_like_ours_is_wrong() -> None:
    """Another seal, another time, another form, too old, too far ahead."""
    state = make_state("new", NOW)
    seal = state.rpartition(".")[2]

    for wrong in (
        f"gatepost.1772442006.{seal}",
        f"gatepost.1772442005.{seal[:-1]}",
        "gatepost.",
        f"{state}\n",
        "gatepost.x.y",
    ):
        assert not check_state(["new"], wrong, NOW)
    assert not check_state(["other"], state, NOW)
    assert not check_state([], state, NOW)
    assert not check_state(["new"], state, NOW + AGE_MAX + SECOND)
    assert not check_state(["new"], state, NOW - AHEAD_MAX - SECOND)


def test_state_of_somebody_else_is_not_ours_to_judge() -> None:
    """An operator who asked by hand chose a state of their own."""
    assert check_state(["new"], "VGhpcyBpcyBhbiBleGFtcGxl", NOW)
    assert check_state(["new"], "", NOW)


def test_source_without_a_secret_seals_with_its_issuer() -> None:
    """Both sides know it."""
    assert seals(("new", "old"), "https://idp.example.com/") == ("new", "old")
    assert seals((), "https://idp.example.com/") == ("https://idp.example.com/",)
