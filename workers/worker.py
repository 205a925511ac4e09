"""A lane's worker: RQ's SimpleWorker on one queue, in whose process the clients stay warm.

One queue a process: RQ pops a single queue atomically into an intermediate list, while a worker that listens to
several can lose a job when it is killed (rq#1716). Jobs are JSON, and only ours are run: a job names its function,
and Redis may be shared.
"""

from typing import Any

from redis import Redis
from rq import Queue, SimpleWorker
from rq.exceptions import StopRequested
from rq.job import Job
from rq.serializers import JSONSerializer

from lifecycle.errors import Refused
from workers.jobs import JOBS

# Maintenance runs between pops and brings back what a killed worker held.
WORKER_SECONDS = 20
MAINTENANCE_SECONDS = 5
POP_SECONDS = 2


class OurJob(Job):
    """A job that can only name a function of ours; callbacks by name are none of ours."""

    @property
    def func(self) -> Any:  # noqa: ANN401 - RQ's signature
        """Return the function. Raises Refused for a name that is not ours."""
        if self.func_name not in JOBS:
            raise Refused("this job names a function that is not ours", reason="job_unknown")
        return super().func

    @property
    def success_callback(self) -> None:
        """Run none."""

    @property
    def failure_callback(self) -> None:
        """Run none."""

    @property
    def stopped_callback(self) -> None:
        """Run none."""


class LaneWorker(SimpleWorker):
    """A SimpleWorker that a signal never interrupts.

    RQ's own raises out of whatever an idle worker does: out of a pop, whose job then waits for a minute of maintenance,
    or out of maintenance, which may swallow it. Here a signal is noted, and the end comes between two pops.
    """

    def _shutdown(self) -> None:
        """Note that the end is wanted."""
        self._stop_requested = True

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, Queue] | None:
        """Return the next job; in a burst None when there is none. Raises StopRequested, soon after a signal."""
        if timeout is None:
            return super().dequeue_job_and_maintain_ttl(timeout, max_idle_time)
        while not self._stop_requested:
            found = super().dequeue_job_and_maintain_ttl(timeout, POP_SECONDS)
            if found is not None:
                return found
        raise StopRequested


def make_worker(redis: Redis, lane: str, name: str | None = None) -> LaneWorker:
    """Return the worker of a lane, not yet started; its name tells later whether it lives."""
    return LaneWorker(
        [lane],
        name=name,
        connection=redis,
        serializer=JSONSerializer,
        job_class=OurJob,
        worker_ttl=WORKER_SECONDS,
        maintenance_interval=MAINTENANCE_SECONDS,
        job_monitoring_interval=MAINTENANCE_SECONDS,
        log_job_description=False,
    )
