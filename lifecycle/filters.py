"""CEL expressions over ``signal``, the body of a signal: which of them a subscriber wants.

https://github.com/google/cel-spec/blob/master/doc/langdef.md
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
    "counted",
    "allowed",
    "known",
    "window_seconds",
    "since",
    "by",
    "subscriber",
    "disabled_at",
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
_FIELDS: Final[dict[str, Any]] = {"type": None, "timestamp": None, "data": _EMPTY}
SEEN_MAX = 16
"""Signals that are asked of, one after the other, by the expressions of many subscribers."""
CHARS_MAX: Final = (EXPRESSION_CHARS_MAX, EXPRESSION_CHARS_MAX, 1_024)
"""How long an expression may be, by how deep ``all``, ``exists``, ``exists_one``, ``filter`` and ``map`` lie in one
another, or work on what another made: each is as many times the work as its list is long, and everybody waits for it.
"""
_UNDEFINED = "Undefined variable or function"

# Raw texts, then texts in which a backslash is one, and comments: nothing in them is code.
_QUOTED: Final = r"\"\"\".*?\"\"\"|'''.*?'''|\"[^\"]*\"|'[^']*'"
_ESCAPED: Final = r"\"\"\"(?:\\.|.)*?\"\"\"|'''(?:\\.|.)*?'''|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'"
_NO_CODE: Final = re.compile(rf"\b(?:[bB]?[rR]|[rR][bB])(?:{_QUOTED})|{_ESCAPED}|//[^\n]*", re.DOTALL)
_INDEXED: Final = re.compile(r"\[\s*(?:\"([A-Za-z_]\w*)\"|'([A-Za-z_]\w*)')\s*\]")
# What is called is no field.
_PATH: Final = re.compile(r"(?<![\w.])signal((?:\s*\.\s*[A-Za-z_]\w*+(?!\s*\())+)")
_MACRO: Final = re.compile(r"\.\s*(?:all|exists|exists_one|existsOne|filter|map)\s*$")
# Innermost brackets, with all that they are called by.
_CALL: Final = re.compile(r"(?<![\w.~\s)\]}])([\w.~\s]*+)[(\[{]([^()\[\]{}]*)[)\]}]")
_LEVEL: Final = "~"


@dataclass(frozen=True)
class SignalExpression:
    """A compiled expression that is true or false of a signal."""

    source: str
    program: cel.Program = field(compare=False)

    def holds(self, signal: Told) -> bool:
        """Tell whether it is true of a signal. Raises Refused where it cannot be evaluated, or is neither."""
        found = _evaluated(self.program, partial(_seen, signal.type, signal.body))
        if not isinstance(found, bool):
            raise Refused(f"the expression {self.source!r} is neither true nor false of this signal", reason="filter")
        return found


def compile_for_signals(source: str) -> SignalExpression:
    """Compile and check: every name exists, and its work has a bound. Raises ValueError with a sentence."""
    if len(source) > EXPRESSION_CHARS_MAX:
        msg = f"longer than {EXPRESSION_CHARS_MAX} characters"
        raise ValueError(msg)
    program = cel.compile(source)
    _check_fields(_code(_INDEXED.sub(r".\1\2", source)))
    _check_levels(_code(source), len(source))
    _check_names(program)
    _check_kind(program)
    return SignalExpression(source, program)


def _code(source: str) -> str:
    """Return an expression with nothing in its texts, and without comments."""
    return _NO_CODE.sub(lambda found: " " if found[0].startswith("//") else "''", source)


def _check_fields(code: str) -> None:
    """Refuse what no signal has: it would be of no effect, or let everything through."""
    for path in _PATH.findall(code):
        inside: Any = _FIELDS
        at = "signal"
        for name in re.findall(r"\w+", path):
            if not isinstance(inside, Mapping):
                break
            if name not in inside:
                msg = f"{at} has no field {name!r}; it has: {', '.join(inside)}"
                raise ValueError(msg)
            inside, at = inside[name], f"{at}.{name}"


def _check_levels(code: str, chars: int) -> None:
    shorter = _CALL.sub(_level, code)
    while shorter != code:
        code, shorter = shorter, _CALL.sub(_level, shorter)
    levels = _deepest(code)
    most = CHARS_MAX[levels] if levels < len(CHARS_MAX) else 0
    if chars > most:
        msg = (
            f"all, exists, exists_one, filter and map are {levels} deep in one another, in {chars} characters; "
            f"allowed: {len(CHARS_MAX) - 1} deep, in at most {CHARS_MAX[-1]} characters"
        )
        raise ValueError(msg)


def _level(call: re.Match[str]) -> str:
    """Return what stands for a call or list while its surroundings are looked at: a mark for each level in it."""
    return "x" + _LEVEL * (_deepest(call[0]) + bool(_MACRO.search(call[1])))


def _deepest(code: str) -> int:
    return max(map(len, re.findall(f"{_LEVEL}+", code)), default=0)


def _check_names(program: cel.Program) -> None:
    """Try it on a signal of which nothing is known, and where a null may be what a function does not take, on texts."""
    nothing: dict[str, Any] = {}
    unknown = [_unknown(program, data) for data in (nothing, _texts(_EMPTY))]
    if all(unknown):
        raise ValueError(unknown[0])


def _check_kind(program: cel.Program) -> None:
    """Refuse what is no condition; of null nobody knows, for it may be what a signal does not have."""
    try:
        found = _evaluated(program, partial(_seen, "person.suspended", b'{"data": {}}'))
    except Refused:
        return
    if found is not None and not isinstance(found, bool):
        msg = "allowed: what is true or false of a signal"
        raise ValueError(msg)


def _unknown(program: cel.Program, data: dict[str, Any]) -> str:
    """Return the sentence that names what does not exist; empty where all does."""
    body = json.dumps({"timestamp": "2026-03-06T22:00:01.412Z", "data": data}).encode()
    try:
        _evaluated(program, partial(_seen, "person.suspended", body))
    except Refused as error:
        cause = str(error.__cause__)
        return cause.split(". ", maxsplit=1)[0] if _UNDEFINED in cause else ""
    return ""


def _texts(value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, Mapping):
        return {name: _texts(each) for name, each in value.items()}
    return ["x"] if isinstance(value, list) else "x"


@lru_cache(SEEN_MAX)
def _seen(signal_type: str, body: bytes) -> cel.Context:
    """Return a signal as every expression sees it: making that takes many times as long as evaluating one."""
    found = json.loads(body)
    data = {name: value for name, value in found["data"].items() if value is not None}
    return cel.Context({"signal": {"type": signal_type, "timestamp": found.get("timestamp"), "data": _EMPTY | data}})


def _evaluated(program: cel.Program, seen: Callable[[], cel.Context]) -> Any:  # noqa: ANN401 - CEL is dynamically typed
    try:
        return program.execute(seen())
    except Exception as error:  # an empty list's first, an overflow: the library has many, and more in each version
        raise Refused(
            f"the filter cannot be evaluated for this signal ({type(error).__name__})", reason="filter"
        ) from error
