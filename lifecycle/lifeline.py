"""A lifeline: a process that was started by another ends when that one is gone, even by kill -9.

The parent holds the writing end of a pipe and the child the reading one; the kernel closes it with the parent.
"""

import os
import signal
import threading

VARIABLE = "GATEPOST_LIFELINE"


def hold_lifeline() -> None:
    """End this process by SIGTERM, which ends it cleanly, as soon as the parent named in the environment is gone."""
    number = os.environ.pop(VARIABLE, "")
    if number.isdigit():
        _hold(int(number))
        # A signal that ends this process before its handlers are in place leaves behind what it has forked.
        os.register_at_fork(after_in_child=lambda: _hold(int(number)))


def _hold(reader: int) -> None:
    threading.Thread(target=_watch, args=(reader,), daemon=True, name="lifeline").start()


def _watch(reader: int) -> None:
    os.read(reader, 1)
    os.kill(os.getpid(), signal.SIGTERM)
