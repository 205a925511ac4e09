"""``python -m bench``: measures intake, durability, work and, on demand, rate on this machine and prints one table.

Everything runs on loopback with a private Redis (``appendonly yes``, ``appendfsync always``). Numbers are medians of
the rounds; the rounds of what is compared take turns. Exit 1 when an acknowledged event was lost, 2 when a measurement
went wrong.
"""

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from bench import durability, intake, rate, requests, work
from bench.durability import Survived
from bench.intake import BARE, CHECKED, GATEPOST, OBVIOUS, Measured
from bench.machine import Broken, Store, version
from bench.work import Settled

EXIT_LOST, EXIT_BROKEN = 1, 2
PERSONS, PERSONS_REFERENCE = 60, 20
TITLES = {
    BARE: "a  bare Starlette, answers 202",
    CHECKED: "b  + signature + pydantic",
    GATEPOST: "c  Gatepost, event and job durable",
    OBVIOUS: "d  b + Queue.enqueue in a thread",
}


def main() -> None:
    """Measure and print; say on standard error how far it is."""
    options = _options()
    try:
        with tempfile.TemporaryDirectory(prefix="gatepost-bench-") as place:
            lost = _run(Path(place), options)
    except Broken as error:
        print(f"not measured: {error}", file=sys.stderr)
        sys.exit(EXIT_BROKEN)
    sys.exit(EXIT_LOST if lost else 0)


def _run(place: Path, options: argparse.Namespace) -> bool:
    folders = [place / name for name in ("intake", "durability", "work", "reference", "requests")]
    for folder in folders:
        folder.mkdir()
    with Store(folders[0]) as store:
        with store.client() as redis:
            server = version(redis)
        taken = intake.measure(
            folders[0],
            store,
            rounds=options.rounds,
            seconds=options.seconds,
            connections=options.connections,
            say=_say,
        )
    survived = durability.measure(folders[1], options.connections)
    _say(f"Redis killed {survived.kills} times: {survived.lost} of {survived.acknowledged:,} lost")
    settled = work.measure(folders[2], rounds=options.rounds, persons=PERSONS, reference=False, say=_say)
    reference = work.measure(folders[3], rounds=1, persons=PERSONS_REFERENCE, reference=True, say=_say)
    for line in _report(options, server, taken, survived, settled, reference):
        print(line)
    print()
    for line in requests.lines(requests.count(folders[4])):
        print(line)
    if options.rate:
        for line in rate.lines(rate.use(place / "use"), rate.wait(place / "wait")):
            print(line)
    return bool(survived.lost or survived.without_job)


def _report(
    options: argparse.Namespace,
    server: str,
    taken: Mapping[str, Measured],
    survived: Survived,
    settled: Mapping[str, Settled],
    reference: Mapping[str, Settled],
) -> Iterable[str]:
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {server}, fsync before every answer"
    yield f"{machine}; medians of {options.rounds}"
    yield ""
    yield from _intake_lines(taken, options.connections)
    yield ""
    yield f"e  Redis killed (SIGKILL) {survived.kills} times under load, started again on its file"
    yield (
        f"   {survived.acknowledged:,} events acknowledged, {survived.told_to_try_again:,} requests answered 503, "
        f"{survived.lost} lost, {survived.without_job} without a job"
    )
    yield ""
    yield from _work_lines(settled, reference)


def _intake_lines(taken: Mapping[str, Measured], connections: int) -> Iterable[str]:
    yield f"{f'Intake, one process, {connections} kept connections':<44}{'req/s':>10}{'p50 ms':>10}{'p99 ms':>10}"
    for name, title in TITLES.items():
        found = taken[name]
        yield f"{title:<44}{found.per_second:>10,.0f}{found.p50_ms:>10.1f}{found.p99_ms:>10.1f}"
    ours, theirs = taken[GATEPOST], taken[OBVIOUS]
    shares = (ours.per_second / theirs.per_second, ours.p50_ms / theirs.p50_ms, ours.p99_ms / theirs.p99_ms)
    yield f"{'   c / d':<44}" + "".join(f"{share:>10.2f}" for share in shares)


def _work_lines(settled: Mapping[str, Settled], reference: Mapping[str, Settled]) -> Iterable[str]:
    yield f"{'f  Work, one worker process a lane':<44}{'events/s':>10}{'requests':>10}{'scim2-server':>14}"
    for kind, found in settled.items():
        requests = found.requests_each or 0.0
        yield f"   {kind:<41}{found.rate:>10,.1f}{requests:>10.1f}{reference[kind].rate:>14,.1f}"


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one round of intake, after its warm-up")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rate", action="store_true", help="how a target's limit is kept, too: five minutes more")
    return parser.parse_args()


if __name__ == "__main__":
    main()
