"""CEL expressions over ``signal``, the body of a signal: which of them a subscriber wants.

https://github.com/google/cel-spec/blob/master/doc/langdef.md
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Final

import cel

from lifecycle.errors import Refused
from lifecycle.expressions import EXPRESSION_CHARS_MAX
from lifecycle.signal import Told

# What ``data`` may have by the types of signals: an expression finds each, null where a signal does not have it.
DATA_FIELDS: Final = (
    "event",
    "source",
    "target",
    "reason",
    "kind",
    "detail",
    "person",
    "account",
    "sessions_revoked",
    "groups_added",
    "groups_removed",
    "roles_added",
    "roles_removed",
    "entitlements_before",
    "received_at",
    "applied_at",
    "confirmed_at",
    "failed_at",
    "held_at",
    "released_at",
    "latency_ms",
    "limit",
    "by",
    "subscriber",
)
_EMPTY: Final[dict[str, Any]] = {
    **dict.fromkeys(DATA_FIELDS),
    "person": {"external_id": None, "user_name": None},
    "account": {"id": None, "active": None},
    "groups_added": [],
    "groups_removed": [],
    "roles_added": [],
    "roles_removed": [],
    "entitlements_before": {"groups": [], "roles": []},
}
SEEN_MAX = 16
"""Signals that are asked of, one after the other, by the expressions of many subscribers."""
_UNDEFINED = "Undefined variable or function"


@dataclass(frozen=True)
class SignalExpression:
    """A compiled expression that is true or false of a signal."""

    source: str
    program: cel.Program

    def holds(self, signal: Told) -> bool:
        """Tell whether it is true of a signal. Raises Refused where it cannot be evaluated, or is neither."""
        found = _evaluated(self.program, partial(_seen, signal.type, signal.body))
        if not isinstance(found, bool):
            raise Refused(f"the expression {self.source!r} is neither true nor false of this signal", reason="filter")
        return found


def compile_for_signals(source: str) -> SignalExpression:
    """Compile and check: every name exists. Raises ValueError with a sentence that names the fault."""
    if len(source) > EXPRESSION_CHARS_MAX:
        msg = f"longer than {EXPRESSION_CHARS_MAX} characters"
        raise ValueError(msg)
    program = cel.compile(source)
    try:
        _evaluated(program, partial(_seen, "person.suspended", b'{"data": {}}'))
    except Refused as error:
        cause = str(error.__cause__)
        if _UNDEFINED in cause:
            raise ValueError(cause.split(". ", maxsplit=1)[0]) from error
    return SignalExpression(source, program)


@lru_cache(SEEN_MAX)
def _seen(signal_type: str, body: bytes) -> cel.Context:
    """Return a signal as every expression sees it: making that takes many times as long as evaluating one."""
    data = {name: value for name, value in json.loads(body)["data"].items() if value is not None}
    return cel.Context({"signal": {"type": signal_type, "data": _EMPTY | data}})


def _evaluated(program: cel.Program, seen: Callable[[], cel.Context]) -> Any:  # noqa: ANN401 - CEL is dynamically typed
    try:
        return program.execute(seen())
    except (KeyError, RuntimeError, TypeError, ValueError, ArithmeticError) as error:
        raise Refused(
            f"the filter cannot be evaluated for this signal ({type(error).__name__})", reason="filter"
        ) from error
