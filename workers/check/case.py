"""One target that is looked at: how it is asked, within its limit and a time, and what its answers said."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from redis import Redis

from lifecycle.check import Line
from lifecycle.errors import Postponed, Waiting
from lifecycle.policy import Policy
from workers.http import Answer, Http
from workers.outcome import Place
from workers.scim.client import Conversation

TARGET_SECONDS_MAX = 40.0
# What is looked at is whether the target still fails.
ASKED_ANYWAY = "circuit"


@dataclass
class Case:
    """One target, and everything that it takes to look at it."""

    place: Place
    policy: Policy
    redis: Redis
    http: Http
    headers: dict[str, str] = field(default_factory=dict)
    """Of all answers, the last of each name."""
    protected_found: set[int] | None = None
    """Which of the protected names are accounts here; None where that could not be asked."""

    def __post_init__(self) -> None:
        """Begin to count the time."""
        self._until = time.monotonic() + TARGET_SECONDS_MAX
        self._permit = self.place.gate.permit()
        self.talk = Conversation(self._may_send, heard=self._heard, can=self.place.capabilities())

    @property
    def name(self) -> str:
        """The target's name in the configuration."""
        return self.place.name

    def line(self, what: str, ok: bool | None, found: str, do: str = "") -> Line:
        """Return a line of this target."""
        return Line(f"targets.{self.name} {what}", ok, found, do)

    def credential(self) -> str:
        """Name the secret that the target is spoken to with, by its reference."""
        section = self.place.section
        return (section.token or section.client_secret or section.client_id).reference  # type: ignore[union-attr]

    def token_host(self) -> str:
        """Name who gives the bearers; empty where it is a static one."""
        return urlsplit(self.place.section.token_url or "").hostname or ""

    def close(self) -> None:
        """Give back what was not used of the limit; a look says nothing for or against the circuit."""
        self._permit.close(verdict="nothing")

    def _heard(self, answer: Answer) -> None:
        self.headers |= _told(answer.headers)
        self._permit.heard(answer)

    def _may_send(self) -> None:
        if time.monotonic() > self._until:
            raise Postponed(f"the target took more than {TARGET_SECONDS_MAX:.0f} s in all", reason="slow")
        try:
            self._permit.use()
        except Waiting as error:
            if error.reason != ASKED_ANYWAY:
                raise


def _told(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
