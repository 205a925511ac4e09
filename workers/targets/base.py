"""What a target module is made of.

**Add a target:** write ``workers/targets/NAME.py`` with ``ATTRIBUTES`` (the mapping where none is configured),
``PROFILE`` (what such a target can), ``REQUESTS_PER_MINUTE`` and ``agree``; add one line to ``TARGETS`` and
conversations as ``tests/workers/targets/fixtures/NAME/CASE.json``. The contract test then runs for it: applied twice it
writes once, and every fault becomes the right error.
"""

from collections.abc import Mapping
from typing import Protocol

from lifecycle.target import Profile
from workers.task import Agreement, Task


class Target(Protocol):
    """The names that a target module has."""

    @property
    def ATTRIBUTES(self) -> Mapping[str, str]:  # noqa: N802 - a constant of the module
        """The mapping where the configuration has none: SCIM path to CEL."""

    @property
    def PROFILE(self) -> Profile:  # noqa: N802 - a constant of the module
        """What a target of this kind can, before it is asked."""

    @property
    def REQUESTS_PER_MINUTE(self) -> int | None:  # noqa: N802 - a constant of the module
        """The documented limit of one credential; None where there is none."""

    def agree(self, task: Task) -> Agreement:
        """Make the target show what is wanted, with the fewest requests.

        Raises Postponed, Held or Refused where the account itself could not be brought to agree.
        """
