"""Faults on request: the next requests of a kind are answered wrongly, late, never, or done and then not answered."""

from fnmatch import fnmatchcase
from threading import Lock
from typing import Any, Literal

from pydantic import BaseModel, Field, TypeAdapter

from gatepost.sandbox.web import Answer

WAIT_SECONDS_MAX = 60.0


class Fault(BaseModel, frozen=True, extra="forbid"):
    """What goes wrong, and how often: ``{"on": "POST /users", "do": "lose_answer"}``.

    A path is counted from the SCIM base or from ``/api/v2``, in any letter case; ``*`` stands for anything.
    """

    on: str
    do: Literal["answer", "lose_answer", "cut", "delay", "stale"]
    """answer: instead of doing it. lose_answer: does it, then cuts the connection. cut: does nothing. delay: later.
    stale: a GET by id shows what a list would show."""
    times: int = Field(1, ge=1)
    status: int = Field(500, ge=200, le=599)
    body: Any = None
    """JSON; a text is sent as it is, as HTML."""
    headers: dict[str, str] = {}
    seconds: float = Field(0.0, ge=0, le=WAIT_SECONDS_MAX)

    def meets(self, method: str, path: str) -> bool:
        """Tell whether a request is one of these."""
        wanted, _, pattern = self.on.partition(" ")
        return wanted in {method, "*"} and fnmatchcase(path.lower(), pattern.lower())

    def answer(self) -> Answer:
        """Return the wrong answer."""
        if isinstance(self.body, str):
            return Answer(self.status, self.body.encode(), {"content-type": "text/html", **self.headers})
        return Answer.of(self.status, self.body, self.headers)


FAULTS = TypeAdapter(list[Fault])


class Faults:
    """The faults that are still to come, in the order they were asked for."""

    def __init__(self) -> None:
        """Start with none."""
        self._left: list[tuple[Fault, int]] = []
        self._lock = Lock()

    def add(self, faults: list[Fault]) -> None:
        """Ask for more."""
        with self._lock:
            self._left += [(fault, fault.times) for fault in faults]

    def clear(self) -> None:
        """Ask for none."""
        with self._lock:
            self._left.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault of a request, once less to come."""
        with self._lock:
            for number, (fault, times) in enumerate(self._left):
                if fault.meets(method, path):
                    self._left[number : number + 1] = [(fault, times - 1)] if times > 1 else []
                    return fault
        return None
