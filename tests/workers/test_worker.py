"""A lane's worker: RQ's own, on one queue, that runs our functions and nothing else."""

import json
import pickle
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from lifecycle.config import CONFIG_VARIABLE
from lifecycle.errors import Refused
from lifecycle.event import Kind
from lifecycle.queue import CONVERGE, DEATHS_MAX, JOB_SECONDS_MAX, QUEUES, lanes
from tests.conftest import ROOT
from tests.workers.conftest import MakeStage
from tests.workers.stories import BO, event
from workers import jobs
from workers.worker import OurJob, make_worker


@pytest.fixture
def configured(config_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let the process find a configuration without targets, and forget it afterwards."""
    path = config_file()
    monkeypatch.setenv(CONFIG_VARIABLE, str(path))
    made: list[Any] = [jobs.config, jobs.world]
    for each in made:
        each.cache_clear()
    yield path
    for each in made:
        each.cache_clear()


def burst(redis: Redis, lane: str = "people") -> None:
    """Let a worker do what is queued, and end."""
    make_worker(redis, lane).work(burst=True, logging_level="CRITICAL")


def status(redis: Redis, job_id: str) -> str | None:
    """Return a job's status as it stands in Redis."""
    found: Any = redis.hget(f"rq:job:{job_id}", "status")
    return found.decode() if found else None


def hostile(redis: Redis, function: str, *arguments: str) -> str:
    """Queue a job that names a function, as somebody who can write to Redis could."""
    queue = Queue("people", connection=redis, serializer=JSONSerializer)
    return str(queue.enqueue(function, *arguments, result_ttl=60, failure_ttl=60).id)


@pytest.mark.parametrize(
    "function",
    [
        "os.system",
        "subprocess.call",
        "builtins.exec",
        "workers.jobs.config",
        "workers.jobs.world",
        "workers.converge.converge",
        "workers.jobs.converge.__class__",
        "pathlib.Path.touch",
        " workers.jobs.converge",
    ],
)
def test_job_that_names_a_function_that_is_not_ours_is_not_run(
    function: str, redis: Redis, configured: Path, tmp_path: Path
) -> None:
    """JSON alone does not stop a hostile name: only the function of the allow-list is run."""
    witness = tmp_path / "witness"

    job_id = hostile(redis, function, f"touch {witness}")
    burst(redis)

    assert not witness.exists()
    assert status(redis, job_id) == "failed"


def test_callbacks_of_a_job_are_not_run(redis: Redis, configured: Path, tmp_path: Path) -> None:
    """A job of ours that brings callbacks by name runs, and they do not."""
    witness = tmp_path / "witness"
    queue = Queue("people", connection=redis, serializer=JSONSerializer)
    job = queue.enqueue(CONVERGE, str(witness), "people", result_ttl=60)
    callback: dict[Any, Any] = {
        "success_callback_name": "pathlib.Path.touch",
        "failure_callback_name": "pathlib.Path.touch",
    }
    redis.hset(f"rq:job:{job.id}", mapping=callback)

    burst(redis)

    assert status(redis, job.id) == "finished"
    assert not witness.exists()


def test_pickle_is_not_read(redis: Redis, configured: Path, tmp_path: Path) -> None:
    """A pickled job is a program: it is never loaded."""
    witness = tmp_path / "witness"

    class Bomb:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return (Path.touch, (witness,))  # type: ignore[return-value]

    job_id = hostile(redis, CONVERGE, "E1042", "people")
    redis.hset(f"rq:job:{job_id}", "data", zlib.compress(pickle.dumps(Bomb())))

    burst(redis)

    assert not witness.exists()
    assert status(redis, job_id) != "finished"


def test_allow_list_names_what_is_there() -> None:
    """The names that the queue writes are functions of ours, and there are no others."""
    assert {CONVERGE} == jobs.JOBS
    assert all(callable(getattr(jobs, name.rpartition(".")[2])) for name in jobs.JOBS)


def test_job_of_ours_can_be_asked_for_its_function(redis: Redis) -> None:
    """Of ours the function is given, of others it is refused."""
    queue = lanes(redis)["people"]
    ours = OurJob.fetch(queue.enqueue(CONVERGE, "E1", "people").id, redis, JSONSerializer)
    other = OurJob.fetch(queue.enqueue("os.system", "true").id, redis, JSONSerializer)

    assert ours.func is jobs.converge
    with pytest.raises(Refused):
        _ = other.func


@pytest.mark.parametrize("lane", QUEUES)
def test_worker_listens_to_one_queue_in_json(redis: Redis, lane: str) -> None:
    """A worker of several queues can lose a job when it is killed (rq#1716)."""
    worker = make_worker(redis, lane)

    assert [lane] == worker.queue_names()
    assert worker.serializer is JSONSerializer
    assert worker.job_class is OurJob


def test_event_that_was_kept_is_worked_on_by_a_worker(make_stage: MakeStage, redis: Redis, configured: Path) -> None:
    """What the receiver writes, RQ's worker takes: JSON that names a person and a lane, and may die ten times."""
    stage = make_stage()
    stage.hear(event(Kind.JOINER, "joined", **BO))
    found: Any = redis.lrange("rq:queue:people", 0, -1)
    job = Job.fetch(found[0].decode(), redis, JSONSerializer)

    burst(redis)

    assert json.loads(job.data) == [CONVERGE, None, ["E1042", "people"], {}]
    assert (job.timeout, job.retries_left, job.description) == (JOB_SECONDS_MAX, DEATHS_MAX, CONVERGE)
    assert stage.state("joined") == "ignored"


def test_leavers_job_is_in_the_leavers_lane(make_stage: MakeStage, redis: Redis) -> None:
    """Leavers have a lane and workers of their own."""
    stage = make_stage()

    stage.hear(event(Kind.JOINER, "joined", **BO), event(Kind.LEAVER, "left", minute=1))

    assert (redis.llen("rq:queue:people"), redis.llen("rq:queue:leavers")) == (1, 1)


def test_job_in_the_schedule_holds_no_personal_data(make_stage: MakeStage, redis: Redis) -> None:
    """A description is shown by every tool that looks at RQ; it names our function and no person."""
    stage = make_stage()
    stage.people.take("bo.ray@acme.example")
    stage.work("bo.ray@acme.example")

    found: Any = redis.zrange("rq:scheduled:people", 0, -1)
    description: Any = redis.hget(f"rq:job:{found[0].decode()}", "description")

    assert description.decode() == CONVERGE


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (
            'targets = {crm = {adapter = "nonsense", base_url = "https://x.test", token = "file:token"}}',
            2,
            "targets.crm.adapter: found 'nonsense'",
        ),
        ("nonsense = 1", 2, "nonsense"),
    ],
    ids=["adapter", "key"],
)
def test_worker_that_cannot_start_says_why(text: str, code: int, words: str, tmp_path: Path) -> None:
    """Exit 2 names the fault of the configuration, and shows no trace of ours."""
    (tmp_path / "token").write_text("x")
    (tmp_path / "gatepost.toml").write_text(text)
    command = [sys.executable, "-m", "workers", "--config", str(tmp_path / "gatepost.toml"), "--lane", "people"]

    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603 - our own

    assert code == found.returncode
    assert words in found.stderr
    assert "Traceback" not in found.stderr


def test_worker_that_is_told_to_end_leaves_no_job_behind(redis: Redis, configured: Path) -> None:
    """SIGTERM at any moment ends the worker within seconds, and each job is done or still in the queue."""
    queue = Queue("people", connection=redis, serializer=JSONSerializer)
    command = [sys.executable, "-m", "workers", "--lane", "people"]
    codes = []
    for pause in (0.0, 0.03, 0.1):
        worker = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)  # noqa: S603 - our own
        assert worker.stderr is not None
        assert b"worker.started" in worker.stderr.readline()
        for number in range(40):
            queue.enqueue(CONVERGE, f"nobody-{number}", "people", result_ttl=0)
        time.sleep(pause)  # the moment of the signal is what is tried
        worker.terminate()
        codes.append(worker.wait(15))
        worker.stderr.close()

        assert redis.llen("rq:queue:people:intermediate") == 0
        assert redis.zcard("rq:wip:people") == 0
        left: Any = redis.keys("rq:job:*")
        assert {key.decode() for key in left} == {f"rq:job:{name}" for name in queue.job_ids}

    assert codes == [0, 0, 0]
