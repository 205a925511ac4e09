"""Whose word counts: the later one's by the source's time, then the better source's. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from lifecycle.config import Config
from lifecycle.event import OPERATOR
from lifecycle.person import CUSTOM, CUSTOM_PREFIX, Fact, Status

EXTERNAL_ID = "external_id"


@dataclass(frozen=True)
class Order:
    """The order of facts of one name: the greater rank has it, however they arrive."""

    places: Mapping[str, int]
    """By source; the greater, the better."""
    authority: Mapping[str, str]
    """By field the one source whose word counts as soon as it spoke."""

    @classmethod
    def of(cls, config: Config) -> "Order":
        """Return what the configuration says: the precedence, else the order of the sources in the file."""
        best_first = [OPERATOR, *(config.policy.precedence or config.sources)]
        return cls({source: -place for place, source in enumerate(best_first, 1)}, config.policy.authority)

    def rank(self, name: str, fact: Fact) -> tuple[bool, int, datetime, datetime, int, str]:
        """Return the rank of a fact of this name: of two that hold from the same moment on the one that was told later.

        An id does not change because another source has one of its own: there the better source comes before the later.
        """
        place = self._place(fact)
        first = place if name == EXTERNAL_ID else 0
        # The event's name decides between equals, so that the order of arrival never does.
        return self._has_authority(name, fact), first, fact.at, fact.told, place, fact.event

    def status_rank(self, fact: Fact) -> tuple[datetime, bool, datetime, int, str]:
        """Return the rank of a status: at equal times a leaver wins."""
        return fact.at, fact.value == Status.LEFT.value, fact.told, self._place(fact), fact.event

    def _place(self, fact: Fact) -> int:
        return self.places.get(fact.source, -len(self.places) - 1)

    def _has_authority(self, name: str, fact: Fact) -> bool:
        whole = CUSTOM if name.startswith(CUSTOM_PREFIX) else name
        return self.authority.get(name, self.authority.get(whole)) == fact.source
