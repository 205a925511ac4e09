"""``python -m bench.acks``: how long each source waits for its answer while all of them send at once.

One receiver, one durable Redis, every source of the registry with the captured notices of the tests, signed anew as the
vendor signs. All connections send without a pause, so the receiver is saturated: what is printed is what a source sees
at the worst. Most notices are repeats, which cost the receiver what a new one costs: proof, reading and one step of
Redis. Exit 1 when one of them was not answered by a success, 2 when a measurement went wrong.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

from bench.load import Round, Sender
from bench.machine import Broken, Store, free_port, python, running
from service.sources import SOURCES
from service.sources.base import Notice
from tests.issuers import all_sources
from tests.notices import described, load, names

EXIT_REFUSED, EXIT_BROKEN = 1, 2
LIMIT_MS = 100.0
SUCCESS = range(200, 300)
WARM_UP_SECONDS = 1.0
NOTICES_PER_SECOND_MAX = 20_000
SENT_BY_THE_CLIENT = frozenset({"host", "content-length", "connection"})


class SourceRound(Round):
    """A span of sending that tells the sources apart."""

    def __init__(self, sent: list[str], notices: list[bytes], seconds: float) -> None:
        """Start the clock."""
        super().__init__(sent, notices, seconds)
        self.of: dict[str, list[float]] = defaultdict(list)
        self.refused: dict[str, int] = defaultdict(int)

    def answered(self, name: str, status: int, sent_at: float) -> None:
        """Count one answer."""
        super().answered(name, status, sent_at)
        self.of[name].append(self.latencies[-1])
        if status not in SUCCESS:
            self.refused[f"{name} {status}"] += 1


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.acks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="gatepost-bench-") as place:
            seen = _measure(Path(place), options.seconds, options.connections)
    except Broken as error:
        print(f"not measured: {error}", file=sys.stderr)
        sys.exit(EXIT_BROKEN)
    _report(seen, options.connections)
    sys.exit(EXIT_REFUSED if seen.refused else 0)


def _measure(place: Path, seconds: float, connections: int) -> SourceRound:
    with Store(place) as store, all_sources() as sources:
        port, path = free_port(), _configuration(place, store.url, sources.sections)
        command = python("service", "--config", str(path), "--port", str(port))
        with running(command, place / "service.log", port, sources.environment):
            return uvloop.run(_send(port, seconds, connections))


async def _send(port: int, seconds: float, connections: int) -> SourceRound:
    loop = asyncio.get_running_loop()
    made = _requests()
    senders = [(await loop.create_connection(Sender, "127.0.0.1", port))[1] for _ in range(connections)]
    round_ = SourceRound([], [], 0)
    for length in (WARM_UP_SECONDS, seconds):
        count = int(length * NOTICES_PER_SECOND_MAX) // len(made) + 1
        round_ = SourceRound([name for name, _ in made] * count, [each for _, each in made] * count, length)
        await asyncio.gather(*(sender.drive(round_) for sender in senders))
    return round_


def _requests() -> list[tuple[str, bytes]]:
    """Return every captured request, signed now: notices and handshakes, with the name of its source."""
    now, found = datetime.now(UTC), []
    for name in names():
        captured = load(name)
        is_notice = "greeting" not in captured.expected
        # A token that comes with a handshake has its time.
        is_signed = is_notice or "jwks" in described(captured.folder)
        notice = SOURCES[captured.adapter].sign(captured.notice, captured.setup, now) if is_signed else captured.notice
        found.append((captured.folder + ("" if is_notice else ", handshake"), _bytes(captured.folder, notice)))
    return found


def _bytes(source: str, notice: Notice) -> bytes:
    query = f"?{notice.query}" if notice.query else ""
    lines = [f"{notice.method} /hooks/{source}{query} HTTP/1.1", "host: gatepost.acme.example"]
    lines += [f"{name}: {value}" for name, value in notice.headers.items() if name not in SENT_BY_THE_CLIENT]
    lines += [f"content-length: {len(notice.body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + notice.body


def _configuration(place: Path, url: str, sources: dict[str, Any]) -> Path:
    path = place / "gatepost.toml"
    path.write_text(f"redis = {_toml({'url': url})}\nsources = {_toml(sources)}\n")
    return path


def _report(seen: SourceRound, connections: int) -> None:
    answers = f"{len(seen.latencies):,} answers, {seen.per_second():,.0f} a second"
    print(f"{answers} over {connections} connections, {os.cpu_count()} cores")
    for name, latencies in sorted(seen.of.items()):
        ordered = sorted(latencies)
        p50, p99 = (ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000 for share in (0.5, 0.99))
        print(f"{name:34} p50 {p50:6.1f} ms   p99 {p99:6.1f} ms   {p99 / LIMIT_MS:4.0%} of {LIMIT_MS:.0f} ms")
    for name, count in sorted(seen.refused.items()):
        print(f"{name}: {count} times", file=sys.stderr)


def _toml(value: Any) -> str:  # noqa: ANN401 - TOML
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {_toml(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


if __name__ == "__main__":
    main()
