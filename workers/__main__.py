"""``python -m workers --lane LANE``: one worker process of one lane, with RQ's scheduler for what is due later."""

import argparse
import os
import signal
import sys

import structlog
from redis.exceptions import RedisError

from lifecycle.config import CONFIG_VARIABLE, Config
from lifecycle.errors import Misconfigured
from lifecycle.lifeline import hold_lifeline
from lifecycle.log import set_up_logs
from lifecycle.queue import LANES, LEAVERS, LOOKUPS, PEOPLE, SIGNALS, connect
from workers.jobs import WORKER, config, keeper, pulse, rounds, sweeper, warm, watcher
from workers.outbox import lane as outbox
from workers.worker import make_worker

EXIT_MISCONFIGURED, EXIT_NO_REDIS = 2, 3

log = structlog.get_logger()


def main() -> None:
    """Work on a lane until a signal ends it; exit 2 when the configuration is wrong, 3 when Redis is away."""
    parser = argparse.ArgumentParser(prog="python -m workers", description=__doc__)
    parser.add_argument("--config")
    parser.add_argument("--lane", choices=LANES, required=True)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _end)
    set_up_logs("workers")
    hold_lifeline()
    structlog.contextvars.bind_contextvars(lane=options.lane)
    if options.config:
        # RQ calls the job functions by name; they find the configuration where every process finds it.
        os.environ[CONFIG_VARIABLE] = options.config
    try:
        found = config()
    except Misconfigured as error:
        print(error.message, file=sys.stderr)
        sys.exit(EXIT_MISCONFIGURED)
    try:
        _work(options.lane, found)
    except RedisError as error:
        log.error("worker.no_redis", error=type(error).__name__)  # noqa: TRY400 - the place in our code says nothing
        sys.exit(EXIT_NO_REDIS)


def _end(*_: object) -> None:
    """End well when told to before the work begins, which takes signals itself: nothing is under way yet."""
    sys.exit(0)


def _work(lane: str, found: Config) -> None:
    """Start what runs beside the jobs, and work. Raises RedisError where there is none at the start."""
    pulse(lane).start()
    sweeper().start()
    if lane == SIGNALS:
        log.info("worker.started")
        outbox.work(found)
        return
    worker = make_worker(connect(found.redis.url, patient=True), lane, WORKER)
    warm(lane)
    if lane in {LEAVERS, PEOPLE}:
        keeper().start()
        rounds().start()
    if lane == LOOKUPS:
        watcher().start()
    log.info("worker.started")
    worker.work(with_scheduler=True, logging_level="WARNING")


if __name__ == "__main__":
    main()
