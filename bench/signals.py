"""``python -m bench.signals``: whether one subscriber bears upon another, and what all of them cost who settles.

Everything runs on loopback: the lane of signals as it is, a private Redis (``appendonly yes``, ``appendfsync always``),
and subscribers. What is compared takes turns. The first table shows how long signals take to well subscribers beside
one that misbehaves; the second how long it takes to settle an event while ten are told; the third what it costs that
step to keep a signal. "Again" is the same once more, and tells how restless the machine is.

Exit 1 when something was lost, out of order or past its limit, 2 when a measurement went wrong, or the machine is so
restless that what is the same differs by more than the limit.
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from bench import fan_out, isolation, keeping
from bench.fan_out import ALL, BY_CEL, BY_TYPE, NOBODY, NOBODY_OF_MANY, Drained
from bench.isolation import ALONE, ANSWER_SECONDS, DOWN, Plan
from bench.keeping import SUBSCRIBERS, Kept
from bench.machine import Broken

EXIT_LIMIT, EXIT_BROKEN = 1, 2
LIMIT = 1.10
PARTS = ("isolation", "fan-out", "keeping")
KEEPING_STEPS = 150
BESIDE = {
    ALONE: "alone",
    isolation.AGAIN: "alone again",
    DOWN: "down, back after half the time",
    "slow": "answers after 12 s",
    "drips": "drips",
    "500": "500",
    "429": "429 with Retry-After",
    "307": "redirects",
    "50 MB": "answers 50 MB",
    "resets": "resets in its answer",
    "silent": "accepts and is silent",
}
TOLD = {
    NOBODY: "nobody subscribes",
    fan_out.AGAIN: "nobody, again",
    ALL: "100 signals/s to each of 10",
    NOBODY_OF_MANY: "1,000 signals/s, nobody subscribes",
    BY_TYPE: "1,000 signals/s, by type to one of 10",
    BY_CEL: "1,000 signals/s, by CEL to one of 10",
}


class Verdict(NamedTuple):
    """What a measurement came to."""

    faults: int
    """What was lost, out of order or not recorded."""
    past: bool = False
    """Whether something is past its limit."""
    restless: bool = False


def main() -> None:
    """Measure and print; say on standard error how far it is."""
    options = _options()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start, Python {platform.python_version()}")
    try:
        with tempfile.TemporaryDirectory(prefix="gatepost-bench-") as place:
            verdicts = [PART[name](Path(place) / name, options) for name in options.parts]
    except Broken as error:
        print(f"not measured: {error}", file=sys.stderr)
        sys.exit(EXIT_BROKEN)
    sys.exit(_exit(verdicts))


def _exit(verdicts: list[Verdict]) -> int:
    if any(each.faults for each in verdicts) or any(each.past and not each.restless for each in verdicts):
        return EXIT_LIMIT
    return EXIT_BROKEN if any(each.restless for each in verdicts) else 0


def _is_restless(again: float) -> bool:
    return not 1 / LIMIT <= again <= LIMIT


# ---- one beside the others


def _isolation(place: Path, options: argparse.Namespace) -> Verdict:
    plan = Plan(options.well, options.per_second, options.seconds)
    found = isolation.measure(place, options.rounds, plan, _say)
    for line in _isolation_lines(found, plan):
        print(line)
    ratios = {name: isolation.ratio(found, name) for name in found}
    past = any(ratio > LIMIT for ratio in ratios.values())
    return Verdict(sum(each.faults for each in found.values()), past, _is_restless(ratios[isolation.AGAIN]))


def _isolation_lines(found: Mapping[str, isolation.Measured], plan: Plan) -> Iterator[str]:
    yield ""
    load = f"{plan.per_second:g} signals/s to each of {plan.well}"
    yield f"From kept to received, {load}, which answer in {ANSWER_SECONDS * 1000:g} ms"
    names = ("p50 ms", "p99 ms", "p99 ratio", "deliveries", "lost", "disorder")
    beside = ("delivered", "waiting", "unrecorded", "followed")
    yield f"{'beside one that ...':<32}" + "".join(f"{name:>12}" for name in names + beside)
    for name, one in found.items():
        times = f"{statistics.median(one.p50_ms):>12.1f}{statistics.median(one.p99_ms):>12.1f}"
        counts = f"{one.deliveries:>12,}{one.missing:>12}{one.disorder:>12}"
        rogue = f"{one.delivered:>12,}{one.waiting:>12,}{one.unrecorded:>12}{one.followed:>12}"
        yield f"{BESIDE[name]:<32}{times}{isolation.ratio(found, name):>12.2f}{counts}{rogue}"


# ---- all of them


def _fan_out(place: Path, options: argparse.Namespace) -> Verdict:
    found = fan_out.measure(place / "sustained", options.rounds, options.seconds, _say)
    drained = fan_out.drain(place / "drained")
    for line in _fan_out_lines(found, drained):
        print(line)
    ratios = {name: fan_out.ratio(found, name) for name in found}
    lost = sum(each.lost for each in found.values()) + drained.lost
    return Verdict(lost, any(each > LIMIT for each in ratios.values()), _is_restless(ratios[fan_out.AGAIN]))


def _fan_out_lines(found: Mapping[str, fan_out.Measured], drained: Drained) -> Iterator[str]:
    yield ""
    yield f"Settling {fan_out.SETTLED_PER_SECOND:g} persons a second, each with a signal"
    names = ("p50 ms", "ratio", "p99 ms", "delivered/s", "behind s", "CPU ms each", "lost")
    yield f"{'while it is told to ...':<40}" + "".join(f"{name:>13}" for name in names)
    for name, one in found.items():
        settled = f"{statistics.median(one.settle_p50_ms):>13.2f}{fan_out.ratio(found, name):>13.2f}"
        settled += f"{statistics.median(one.settle_p99_ms):>13.1f}"
        rest = (one.per_second, one.behind_seconds, one.cpu_ms)
        told = "".join(f"{statistics.median(each) if each else 0:>13,.2f}" for each in rest)
        yield f"{TOLD[name]:<40}{settled}{told}{one.lost:>13}"
    backlog = f"a backlog of {fan_out.BACKLOG:,} signals for {fan_out.SUBSCRIBERS}"
    yield f"{backlog:<40}{'':>39}{drained.per_second:>13,.2f}{'':>13}{drained.cpu_ms:>13.2f}{drained.lost:>13}"


# ---- the step itself


def _keeping(place: Path, _options: argparse.Namespace) -> Verdict:
    place.mkdir()
    found = keeping.measure(place, KEEPING_STEPS)
    for line in _keeping_lines(found):
        print(line)
    return Verdict(0, found.growth > LIMIT)


def _keeping_lines(found: Kept) -> Iterator[str]:
    yield ""
    without = statistics.median(found.without)
    yield f"Settling one event, ms ({without:.2f} without a signal)"
    yield f"{'subscribers':<40}" + "".join(f"{number:>13}" for number in SUBSCRIBERS)
    for title, took in (("kept in the outbox", found.outbox), ("one RQ job for each", found.jobs)):
        yield f"{title:<40}" + "".join(f"{statistics.median(took[number]):>13.2f}" for number in SUBSCRIBERS)


PART = {"isolation": _isolation, "fan-out": _fan_out, "keeping": _keeping}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.signals", description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(PARTS), metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each span that is measured")
    parser.add_argument("--well", type=int, default=5, help="subscribers beside the one that misbehaves")
    parser.add_argument("--per-second", type=float, default=25.0, help="signals to each of them")
    return parser.parse_args()


if __name__ == "__main__":
    main()
