"""A worker process of the tests: the real gate, keeper and way of a person, with a minute as long as it is told.

``python -m tests.workers.fleet_worker REDIS BASE_URL LANE LIMIT WINDOW_SECONDS``
"""

import os
import sys
from dataclasses import replace
from typing import Any

from redis import Redis
from rq.job import Job
from rq.serializers import JSONSerializer

from lifecycle.config import Config
from lifecycle.people import People
from lifecycle.queue import lanes
from lifecycle.secrets import Secret
from lifecycle.target import Target
from workers.converge import converge
from workers.gate import Gate, Rate
from workers.http import Http
from workers.jobs import place_of
from workers.keeper import Keeper
from workers.outcome import World

NAME = "crm"
POP_SECONDS = 1


def main() -> None:
    """Work on a lane until killed."""
    url, base_url, lane, limit, window_seconds = sys.argv[1:]
    os.environ["CRM_SCIM_TOKEN"] = "token-of-the-tests"
    section = Target.model_validate({"adapter": "scim", "base_url": base_url, "token": Secret("env:T", "t")})
    rate = Rate(int(limit), 0.1, float(window_seconds))
    redis, kept = Redis.from_url(url), Redis.from_url(url)
    place = replace(place_of(redis, NAME, section, Http()), gate=Gate(redis, NAME, section, rate))
    world = World(Config(), People(redis, lanes(redis)), {NAME: place})
    Keeper(kept, [Gate(kept, NAME, section, rate)], lanes(kept)).start()
    while True:
        popped: Any = redis.blpop([f"rq:queue:{lane}"], POP_SECONDS)
        if popped:
            job = Job.fetch(popped[1].decode(), redis, JSONSerializer)
            converge(world, *job.args)


if __name__ == "__main__":
    main()
