"""Counters of the whole fleet, kept in Redis in the same step as what they count, and shown by every receiver.

Each receiver shows the same fleet counters: aggregate over receivers with ``max``, not ``sum``.
"""

import json
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from redis import Redis
from redis.client import Pipeline

from lifecycle import keys
from lifecycle.outbox_standing import Outbox, all_standing
from lifecycle.queue import QUEUES, SIGNALS
from lifecycle.watching import all_watched

COUNTERS = {
    "gatepost_events": ("Events settled", ("source", "kind", "state")),
    "gatepost_polled": ("Events found by asking a directory, told by a notice before or not", ("source", "result")),
    "gatepost_scim_requests": ("Requests to targets", ("target", "method", "status")),
    "gatepost_signals": ("Deliveries of signals", ("subscriber", "result")),
}
HISTOGRAMS = {
    "gatepost_event_latency_seconds": ("From received to settled", ("kind",)),
    "gatepost_rate_wait_seconds": ("From parked before a target's gate to let in", ("target",)),
    "gatepost_time_to_revoke_seconds": ("From received to confirmed inactive", ("target",)),
}
SIGNAL_RESULTS = ("delivered", "retried", "failed", "dropped")
BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3_600.0, 86_400.0)
INFINITY = "+Inf"


def count(pipe: Pipeline, name: str, *labels: str, by: int = 1) -> None:
    """Add to a counter in the caller's atomic step."""
    pipe.hincrby(keys.METRICS, json.dumps([name, *labels]), by)


def observe(pipe: Pipeline, name: str, *labels: str, seconds: float) -> None:
    """Add one observation to a histogram in the caller's atomic step."""
    bound = next((str(bucket) for bucket in BUCKETS if seconds <= bucket), INFINITY)
    pipe.hincrby(keys.METRICS, json.dumps([name, *labels, bound]), 1)
    pipe.hincrbyfloat(keys.METRICS, json.dumps([name, *labels, "sum"]), max(seconds, 0.0))


def forget_subscriber(pipe: Pipeline, name: str) -> None:
    """Count no more what came of the deliveries to a subscriber that is gone."""
    pipe.hdel(keys.METRICS, *(json.dumps(["gatepost_signals", name, result]) for result in SIGNAL_RESULTS))


class FleetCollector:
    """Reads the fleet's counters and gauges from Redis at each scrape."""

    def __init__(self, redis: Redis, unusable: Callable[[], Collection[str]] = frozenset) -> None:
        """Keep the connection, and how to learn to which subscribers nothing can be sent."""
        self._redis = redis
        self._unusable = unusable

    def describe(self) -> list[Metric]:
        """Return nothing, so that registering does not need Redis."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every metric of the fleet."""
        stored = {tuple(json.loads(name)): float(value) for name, value in self._redis.hgetall(keys.METRICS).items()}
        for name, (text, labels) in COUNTERS.items():
            counter = CounterMetricFamily(name, text, labels=labels)
            for found, value in stored.items():
                if found[0] == name:
                    counter.add_metric(list(found[1:]), value)
            yield counter
        for name, (text, labels) in HISTOGRAMS.items():
            yield _histogram(name, text, labels, stored)
        yield from self._gauges()
        yield from self._gates()
        yield from self._sources()
        yield from self._subscribers()

    def _gauges(self) -> Iterator[Metric]:
        depth = GaugeMetricFamily("gatepost_lane_depth", "Jobs that wait in a lane", labels=("lane",))
        text = "Age of the oldest event, or signal, that a lane has still to work on"
        oldest = GaugeMetricFamily("gatepost_oldest_event_seconds", text, labels=("lane",))
        for lane in QUEUES:
            depth.add_metric([lane], self._redis.llen(f"rq:queue:{lane}"))
            oldest.add_metric([lane], self._oldest_seconds(lane))
        outbox = Outbox.of(self._redis, self._unusable)
        depth.add_metric([SIGNALS], outbox.depth)
        oldest.add_metric([SIGNALS], outbox.oldest_seconds)
        yield from (depth, oldest)
        yield GaugeMetricFamily("gatepost_holds", "Changes held", value=self._redis.zcard(keys.HOLDS))
        yield GaugeMetricFamily("gatepost_failures", "What waits for a person", value=self._redis.zcard(keys.FAILURES))

    def _gates(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily("gatepost_waiting", "Persons who wait before a target's gate", labels=("target",))
        text = "1 while a target's circuit is open, or tried"
        circuit = GaugeMetricFamily("gatepost_circuit_open", text, labels=("target",))
        text = "1 while a target gets nothing but suspensions"
        stopped = GaugeMetricFamily("gatepost_target_stopped", text, labels=("target",))
        names: Any = self._redis.smembers(keys.TARGETS)
        for name in sorted(each.decode() for each in names):
            lines: Any = (self._redis.zcard(keys.waiting(name)), self._redis.hlen(keys.granted(name)))
            waiting.add_metric([name], sum(lines))
            circuit.add_metric([name], int(self._redis.hexists(keys.circuit(name), "until")))
            stopped.add_metric([name], self._redis.exists(keys.stopped(name)))
        yield from (waiting, circuit, stopped)

    def _sources(self) -> Iterator[Metric]:
        text = "Since its last authentic notice, or since it was configured"
        silent = GaugeMetricFamily("gatepost_source_silent_seconds", text, labels=("source",))
        text = "Since when something may have happened that no notice and no poll told; 0 while all is known"
        blind = GaugeMetricFamily("gatepost_source_blind_seconds", text, labels=("source",))
        now = time.time()
        for name, found in all_watched(self._redis):
            silent.add_metric([name], found.silent_seconds(now))
            blind.add_metric([name], found.blind_seconds(now))
        yield from (silent, blind)

    def _subscribers(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily("gatepost_signals_waiting", "Deliveries not ended yet", labels=("subscriber",))
        text = "Since the first failure after its last success; 0 while all goes well"
        failing = GaugeMetricFamily("gatepost_subscriber_failing_seconds", text, labels=("subscriber",))
        stopped = GaugeMetricFamily("gatepost_subscriber_stopped", "1 while paused or disabled", labels=("subscriber",))
        now = time.time()
        for name, found in all_standing(self._redis):
            waiting.add_metric([name], found.waiting)
            failing.add_metric([name], found.failing_seconds(now))
            stopped.add_metric([name], int(found.is_stopped))
        yield from (waiting, failing, stopped)

    def _oldest_seconds(self, lane: str) -> float:
        first: Any = self._redis.zrange(keys.open_events(lane), 0, 0, withscores=True)
        return max(time.time() - first[0][1] / 1000, 0.0) if first else 0.0


def _histogram(name: str, text: str, labels: tuple[str, ...], stored: dict[tuple[str, ...], float]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=labels)
    for group in sorted({found[1:-1] for found in stored if found[0] == name}):
        total, buckets = 0.0, []
        for bound in (*map(str, BUCKETS), INFINITY):
            total += stored.get((name, *group, bound), 0.0)
            buckets.append((bound, total))
        family.add_metric(list(group), buckets, sum_value=stored.get((name, *group, "sum"), 0.0))
    return family
