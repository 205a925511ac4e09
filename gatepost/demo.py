"""The demo: a whole world on this machine, every part of it real, and a story that has to end as told.

A private Redis that writes through to disk, two targets (a sandbox Genesys Cloud, and scim2-server by the book), a
security tool that verifies each signal with the published library, and Gatepost itself by ``gatepost up``. Everything
lives in one folder and ends with the demo.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from gatepost import calls, show, story
from gatepost.private_redis import NotStarted, start_redis
from gatepost.processes import end_all, python, start
from gatepost.stage import BO, CONFIG, Stage, write_secrets
from lifecycle.config import CONFIG_VARIABLE, load
from lifecycle.queue import connect
from lifecycle.records import Records

PORT_DEFAULT = 8080
START_SECONDS_MAX = 30.0
POLL_SECONDS = 0.05
PACKAGES = ("scim2_server", "standardwebhooks")


def run_demo(*, once: bool, port: int | None, data: Path | None) -> int:
    """Build the stage, play the story, show what happened; without ``once`` keep it running until Ctrl-C.

    Raises NotStarted when a part is missing or does not start.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        msg = f"the demo needs {', '.join(missing)}: pip install 'gatepost[demo]'"
        raise NotStarted(msg)
    with _folder(data) as folder, _stage(folder, port or (_free_port() if once else PORT_DEFAULT)) as stage:
        show.console.print(
            f"Everything runs: receiver {stage.receiver}, targets {stage.genesys} and {stage.crm}, "
            f"security tool {stage.tool}\n"
        )
        good = story.play(stage)
        _hint(stage, once=once)
        if not once:
            _wait_for_ctrl_c()
    return 0 if good else 1


@contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    if data is not None:
        data.mkdir(parents=True, exist_ok=True)
        if any(data.iterdir()):
            msg = f"{data} is not empty: its Redis would remember a story that the target has forgotten; name another"
            raise NotStarted(msg)
        yield data.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="gatepost-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextmanager
def _stage(folder: Path, port: int) -> Iterator[Stage]:
    """Start every part, and end every part whatever happens."""
    lifeline, writer = os.pipe()
    running: list[subprocess.Popen[bytes]] = []
    show.console.print("Starting a private Redis, two SCIM targets, a security tool and Gatepost ...")
    try:
        redis_process, redis_url = start_redis(folder)
        running.append(redis_process)
        ports = {name: _free_port() for name in ("genesys", "crm", "tool")}
        write_secrets(folder)
        stage = _set(folder, redis_url, port, ports)
        running += _around(folder, ports)
        _until(lambda: bool(stage.ask_genesys("GET", "/state")), "the sandbox Genesys")
        _until(lambda: bool(stage.ask_crm("GET", "/ServiceProviderConfig")), "the plain SCIM target")
        _until(lambda: stage.signals() == [], "the security tool")
        stage.make_groups()
        running.append(_gatepost(folder, port, lifeline))
        _until(lambda: calls.call("GET", f"{stage.receiver}/health/ready").status == 200, "Gatepost", running[-1])  # noqa: PLR2004
        yield stage
    finally:
        for process in reversed(running):
            process.terminate()
            end_all([process])
        os.close(writer)
        os.close(lifeline)


def _set(folder: Path, redis_url: str, port: int, ports: Mapping[str, int]) -> Stage:
    """Write the configuration, and say where everything will be."""
    config = folder / "gatepost.toml"
    config.write_text(CONFIG.format(redis=redis_url, **ports))
    records = Records(connect(load(config).redis.url, patient=False))
    genesys, crm, tool = (f"http://127.0.0.1:{ports[name]}" for name in ("genesys", "crm", "tool"))
    return Stage(folder, f"http://127.0.0.1:{port}", genesys, f"{crm}/v2", tool, records)


def _around(folder: Path, ports: Mapping[str, int]) -> list[subprocess.Popen[bytes]]:
    """Start what is around Gatepost, each with a log of its own."""
    client = (folder / "genesys.client").read_text()
    options = ("--client-id", client, "--client-secret-file", str(folder / "genesys.secret"))
    commands = {
        "genesys": python("gatepost.sandbox", "--port", str(ports["genesys"]), *options),
        "crm": python(
            "scim2_server.testserver.cli",
            "--port",
            str(ports["crm"]),
            "--bearer-token",
            (folder / "crm.token").read_text(),
        ),
        "tool": python(
            "gatepost.security_tool", "--port", str(ports["tool"]), "--secret-file", str(folder / "siem.secret")
        ),
    }
    return [_logged(folder / f"{name}.log", command) for name, command in commands.items()]


def _logged(path: Path, command: list[str]) -> subprocess.Popen[bytes]:
    with path.open("ab") as log:
        return start(command, output=log.fileno())


def _gatepost(folder: Path, port: int, lifeline: int) -> subprocess.Popen[bytes]:
    command = python("gatepost", "up", "--port", str(port))
    environment = {CONFIG_VARIABLE: str(folder / "gatepost.toml")}
    with (folder / "gatepost.log").open("ab") as log:
        return start(command, environment=environment, lifeline=lifeline, output=log.fileno())


def _until(ready: Callable[[], bool], name: str, process: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline and (process is None or process.poll() is None):
        try:
            if ready():
                return
        except calls.CallFailed:
            pass  # not listening yet
        time.sleep(POLL_SECONDS)
    msg = f"{name} did not start in {START_SECONDS_MAX:.0f} seconds"
    raise NotStarted(msg)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _hint(stage: Stage, *, once: bool) -> None:
    command = sys.argv[0] if Path(sys.argv[0]).name == "gatepost" else "gatepost"
    if once:
        show.console.print(f"\n`{command} demo` keeps it running, to look around in. Then, in another terminal:")
    else:
        show.console.print("\nIt keeps running; Ctrl-C ends it. In another terminal:")
        show.console.print(f"  export {CONFIG_VARIABLE}={stage.config}", markup=False)
    for arguments, what in (
        ("events", "every event and where it stands"),
        (f"why {story.LEAVER}", "one event step by step, each request and answer"),
        (f"person {BO}", "one person: what is known, from whom, since when"),
        ("failed", "what waits for a person"),
        ("check", "what is ready, and what is not"),
    ):
        show.console.print(f"  {f'{command} {arguments}':34} {what}", markup=False)
    if not once:
        for path in ("/v1/events", "/v1/signals", "/metrics"):
            token = f'-H "Authorization: Bearer $(cat {stage.folder}/admin.token)"' if path.startswith("/v1") else ""
            show.console.print(f"  curl {token} {stage.receiver}{path}".replace("curl  ", "curl "), markup=False)
        show.console.print(f"  curl {stage.genesys}/sandbox/state", markup=False)


def _wait_for_ctrl_c() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    signal.pause()
