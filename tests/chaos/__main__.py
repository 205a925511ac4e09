"""``python -m tests.chaos``: a whole storm; exit 1 when anything was lost, doubled or out of order, or resumed late."""

import argparse
import random
import sys
from pathlib import Path

from tests.chaos.storm import p99, storm

DEATHS, EVENTS_A_SECOND = 1_000, 8.0
RESUMED_SECONDS_MAX = 10.0


def main() -> int:
    """Run it and print the report; its seed makes the same load, deaths and faults again."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--deaths", type=int, default=DEATHS)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))  # noqa: S311 - no secret
    parser.add_argument("--events-a-second", type=float, default=EVENTS_A_SECOND)
    parser.add_argument("--keep", type=Path, help="a new folder for logs, the trace and what Redis holds")
    options = parser.parse_args()
    report = storm(options.seed, options.deaths, events_a_second=options.events_a_second, say=say, keep=options.keep)
    if p99(report.leavers) > RESUMED_SECONDS_MAX:
        report.violations.append(f"late: a leaver waited for {p99(report.leavers):.1f} s at p99")
    print(*report.lines(), sep="\n")
    return int(bool(report.violations))


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
