"""``python -m tests.chaos.doomed PROGRAM ...``: one of the programs, which dies where it is told to.

Each checkpoint is a function of the program: a step of one event's way. When it returns, the process looks whether its
death there was ordered, by a file of the checkpoint's name; the first process that takes the file away obeys: it kills
itself, or Redis, as a power cut does. What it works on is written to a trace, so that it is known who was waiting.
"""

import importlib
import inspect
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

FOLDER_VARIABLE = "GATEPOST_CHAOS_FOLDER"
TRACE, ORDERS = "trace", "orders"

# By checkpoint: the function after which it comes, as module and name. In the order of one event's way.
SERVICE = {
    "take": ("service.hooks", "read_body"),
    "believe": ("service.sources.standard_webhooks", "verify"),
    "understand": ("service.sources.standard_webhooks", "read"),
    "keep": ("service.intake", "Intake.put"),
}
WORKERS = {
    "pop": ("workers.worker", "LaneWorker.dequeue_job_and_maintain_ttl"),
    "lease": ("lifecycle.leases", "Leases.take"),
    "look": ("workers.look", "Search.look"),
    "looked": ("lifecycle.lookups", "Lookups.settle"),
    "fold": ("workers.converge", "fold"),
    "find": ("workers.scim.agreement", "find"),
    "decide": ("workers.agree", "decide"),
    "plan": ("workers.scim.change", "Change.plan"),
    "request": ("workers.http", "Http.send"),
    "confirm": ("workers.scim.lockout", "_read_back"),
    "agree": ("workers.converge", "agree"),
    "settle": ("workers.converge", "settle"),
    "settled": ("lifecycle.people", "People.settle"),
    "end": ("workers.converge", "converge"),
    "fan out": ("workers.outbox.fan_out", "FanOut.step"),
    "claim": ("workers.outbox.post", "Post._claim"),
    "sign": ("workers.subscribers.standard_webhooks", "letter"),
    "send": ("workers.subscribers.carrier", "Carrier.post"),
    "delivered": ("workers.outbox.recorder", "Recorder._write"),
    "let in": ("workers.keeper", "Keeper._let_in"),
    "sweep": ("workers.sweeper", "Sweeper.tick"),
}
CHECKPOINTS = {"service": SERVICE, "workers": WORKERS}

_trace: int = -1


def main() -> None:
    """Run a program with its checkpoints."""
    global _trace  # noqa: PLW0603 - one trace a process
    folder = Path(os.environ[FOLDER_VARIABLE])
    _trace = os.open(folder / TRACE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    program = sys.argv[1]
    for name, (module, path) in CHECKPOINTS[program].items():
        _watch(name, module, path, folder / ORDERS / name.replace(" ", "-"))
    sys.argv = sys.argv[1:]
    runpy.run_module(program, run_name="__main__", alter_sys=True)


def _watch(name: str, module: str, path: str, order: Path) -> None:
    """Put a checkpoint after a function."""
    holder: Any = importlib.import_module(module)
    *parts, last = path.split(".")
    for part in parts:
        holder = getattr(holder, part)
    function = getattr(holder, last)
    setattr(holder, last, _after_async(function, name, order) if _is_async(function) else _after(function, name, order))


def _is_async(function: object) -> bool:
    return inspect.iscoroutinefunction(function)


def _after(function: Callable[..., Any], name: str, order: Path) -> Callable[..., Any]:
    @wraps(function)
    def watched(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - any function's
        found = function(*args, **options)
        _note(name, found, args)
        _reach(name, order)
        return found

    return watched


def _after_async(function: Callable[..., Any], name: str, order: Path) -> Callable[..., Any]:
    @wraps(function)
    async def watched(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - any function's
        found = await function(*args, **options)
        _reach(name, order)
        return found

    return watched


def _note(name: str, found: Any, args: tuple[Any, ...]) -> None:  # noqa: ANN401 - any function's
    """Trace who is worked on: popped, begun, and settled or given up."""
    if name == "pop" and found is not None and found[0].func_name.endswith(".converge"):
        _write("popped", *found[0].args)
    elif name == "look":
        _write("begun", args[1][0].event.person)
    elif name == "lease" and found is not None:
        _write("begun", args[1])
    elif name in {"looked", "settled"}:
        _write("settled")
    elif name == "end":
        _write("end")


def _reach(name: str, order: Path) -> None:
    """Obey an order that waits here."""
    taken = order.with_suffix(f".{os.getpid()}")
    try:
        order.rename(taken)
    except FileNotFoundError:
        return
    victim = taken.read_text()
    _write("died", name, victim)
    with suppress(ProcessLookupError):  # Redis may be dead already
        os.kill(int(victim) if victim != "self" else os.getpid(), signal.SIGKILL)


def _write(*words: str) -> None:
    line = "\t".join((f"{time.monotonic():.4f}", str(os.getpid()), *words))
    os.write(_trace, f"{line}\n".encode())


if __name__ == "__main__":
    main()
