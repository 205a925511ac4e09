"""A short storm: things die at checkpoints and at random, and nothing is lost, doubled or out of order.

``make chaos`` runs a long one, and another each time.
"""

from tests.chaos.storm import storm

SEED, DEATHS, EVENTS_A_SECOND = 4, 30, 10.0


def test_nothing_is_lost_doubled_or_out_of_order_when_anything_dies() -> None:
    """Receiver, workers and Redis die by SIGKILL while stories are told; then the oracle judges every effect."""
    report = storm(SEED, DEATHS, events_a_second=EVENTS_A_SECOND)

    assert report.violations == [], "\n".join(report.lines())
    assert sum(report.deaths.values()) >= DEATHS
    assert len(report.deaths) > DEATHS / 3
    assert report.resumed
