"""The demo: a whole world on this machine, every part of it real, and a story that has to end as told.

A private Redis that writes through to disk, scim2-server as the target, a security tool that verifies each signal
with the published library, and Gatepost itself by ``gatepost up``. Everything lives in one folder and ends with the
demo.
"""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gatepost import calls, show, story
from gatepost.private_redis import NotStarted, start_redis
from gatepost.processes import end_all, python, start
from lifecycle.config import CONFIG_VARIABLE, load
from lifecycle.queue import connect
from lifecycle.records import Records

PORT_DEFAULT = 8080
START_SECONDS_MAX = 30.0
POLL_SECONDS = 0.05
PACKAGES = ("scim2_server", "standardwebhooks")
GROUPS = ("Support Agents", "Sales Team")

CONFIG = """\
# Made by `gatepost demo`; every part it names runs on this machine.
[redis]
url = "{redis}"

[service]
admin_tokens = ["file:admin.token"]

[sources.hris]
adapter = "standard_webhooks"
secrets = ["file:hris.secret"]

[sources.okta]
adapter = "okta"
secrets = ["file:okta.secret"]

[targets.crm]
adapter = "scim"
base_url = "http://127.0.0.1:{scim}/v2"
token = "file:scim.token"

[policy]
protected = ["breakglass@acme.example"]

[[policy.grants]]
when = "person.department == 'Support'"
groups = ["Support Agents"]

[[policy.grants]]
when = "person.department == 'Sales'"
groups = ["Sales Team"]

[subscribers.siem]
url = "http://127.0.0.1:{tool}/hooks/gatepost"
secrets = ["file:siem.secret"]
allow_private = true
"""


@dataclass(frozen=True)
class Stage:
    """Where the demo's parts are."""

    folder: Path
    receiver: str
    scim: str
    tool: str
    records: Records

    @property
    def config(self) -> Path:
        """The configuration that the demo runs on."""
        return self.folder / "gatepost.toml"

    def ask_target(self, method: str, path: str, body: bytes | None = None) -> Any:  # noqa: ANN401 - SCIM
        """Ask the target directly, past Gatepost."""
        token = (self.folder / "scim.token").read_text()
        headers = {"authorization": f"Bearer {token}", "content-type": "application/scim+json"}
        return calls.call(method, f"{self.scim}{path}", headers=headers, body=body).json()

    def signals(self) -> list[dict[str, Any]]:
        """Return what the security tool has received."""
        found: list[dict[str, Any]] = calls.call("GET", f"{self.tool}/received").json()["items"]
        return found


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
            f"Everything runs: receiver {stage.receiver}, target {stage.scim}, security tool {stage.tool}\n"
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
    show.console.print("Starting a private Redis, a SCIM target, a security tool and Gatepost ...")
    try:
        redis_process, redis_url = start_redis(folder)
        running.append(redis_process)
        scim_port, tool_port = _free_port(), _free_port()
        _write_secrets(folder)
        config = folder / "gatepost.toml"
        config.write_text(CONFIG.format(redis=redis_url, scim=scim_port, tool=tool_port))
        records = Records(connect(load(config).redis.url, patient=False))
        stage = Stage(
            folder,
            f"http://127.0.0.1:{port}",
            f"http://127.0.0.1:{scim_port}/v2",
            f"http://127.0.0.1:{tool_port}",
            records,
        )
        running += _sandbox(folder, scim_port, tool_port)
        _until(lambda: bool(stage.ask_target("GET", "/ServiceProviderConfig")), "the SCIM target")
        _until(lambda: stage.signals() == [], "the security tool")
        for name in GROUPS:
            stage.ask_target("POST", "/Groups", story.group(name))
        running.append(_gatepost(folder, port, lifeline))
        _until(lambda: calls.call("GET", f"{stage.receiver}/health/ready").status == 200, "Gatepost", running[-1])  # noqa: PLR2004
        yield stage
    finally:
        for process in reversed(running):
            process.terminate()
            end_all([process])
        os.close(writer)
        os.close(lifeline)


def _write_secrets(folder: Path) -> None:
    found = {
        "admin.token": secrets.token_urlsafe(32),
        "hris.secret": f"whsec_{b64encode(secrets.token_bytes(32)).decode()}",
        "okta.secret": secrets.token_urlsafe(32),
        "scim.token": secrets.token_urlsafe(32),
        "siem.secret": f"whsec_{b64encode(secrets.token_bytes(32)).decode()}",
    }
    for name, secret in found.items():
        path = folder / name
        path.touch(mode=0o600)
        path.write_text(secret)


def _sandbox(folder: Path, scim_port: int, tool_port: int) -> list[subprocess.Popen[bytes]]:
    token = (folder / "scim.token").read_text()
    scim = python("scim2_server.testserver.cli", "--port", str(scim_port), "--bearer-token", token)
    tool = python("gatepost.security_tool", "--port", str(tool_port), "--secret-file", str(folder / "siem.secret"))
    with (folder / "scim.log").open("ab") as scim_log, (folder / "tool.log").open("ab") as tool_log:
        return [start(scim, output=scim_log.fileno()), start(tool, output=tool_log.fileno())]


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
        (f"person {story.BO}", "one person: what is known, from whom, since when"),
        ("failed", "what waits for a person"),
    ):
        show.console.print(f"  {f'{command} {arguments}':34} {what}", markup=False)
    if not once:
        for path in ("/v1/events", "/v1/signals", "/metrics"):
            token = f'-H "Authorization: Bearer $(cat {stage.folder}/admin.token)"' if path.startswith("/v1") else ""
            show.console.print(f"  curl {token} {stage.receiver}{path}".replace("curl  ", "curl "), markup=False)


def _wait_for_ctrl_c() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    signal.pause()
