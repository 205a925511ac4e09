"""CEL expressions over ``person``, the language of the policy and of attribute mappings.

https://github.com/google/cel-spec/blob/master/doc/langdef.md
"""

import re
from dataclasses import dataclass
from typing import Any

import cel

from lifecycle.errors import Refused
from lifecycle.event import PERSON_FIELDS

EXPRESSION_CHARS_MAX = 4096

_FIELD = re.compile(r"\bperson\s*\.\s*([A-Za-z_]\w*)")
_INDEXED = re.compile(r"\bperson\s*\[\s*(?:\"(\w+)\"|'(\w+)')\s*\]")
_LITERAL = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'")
_UNDEFINED = "Undefined variable or function"


@dataclass(frozen=True)
class Expression:
    """A compiled expression and the person fields it reads."""

    source: str
    program: cel.Program
    fields: frozenset[str]

    def value(self, person: dict[str, Any]) -> Any:  # noqa: ANN401 - CEL is dynamically typed
        """Evaluate over a person that has every field.

        Raises Refused when the expression cannot be evaluated for this person: a mapping to be mended.
        """
        try:
            return self.program.execute({"person": person})
        except (KeyError, RuntimeError, TypeError, ValueError, ArithmeticError) as error:
            raise Refused(
                f"the expression {self.source!r} cannot be evaluated for this person ({type(error).__name__})",
                reason="expression",
            ) from error


def compile_expression(source: str) -> Expression:
    """Compile and check: only ``person`` and its fields are read, every function exists.

    Raises ValueError with a sentence that names the fault.
    """
    if len(source) > EXPRESSION_CHARS_MAX:
        msg = f"longer than {EXPRESSION_CHARS_MAX} characters"
        raise ValueError(msg)
    program = cel.compile(source)
    named = _FIELD.findall(_LITERAL.sub("''", source))
    fields = frozenset(named) | {first or second for first, second in _INDEXED.findall(source)}
    unknown = sorted(fields - set(PERSON_FIELDS))
    if unknown:
        msg = f"person has no field {unknown[0]!r}; it has: {', '.join(PERSON_FIELDS)}"
        raise ValueError(msg)
    _check_names(program)
    return Expression(source, program, fields)


def _check_names(program: cel.Program) -> None:
    # A trial on a person of whom nothing is known: nulls may not fit an operator, but every name must exist.
    nobody: dict[str, Any] = dict.fromkeys(PERSON_FIELDS)
    try:
        program.execute({"person": nobody | {"groups": [], "custom": {}}})
    except RuntimeError as error:
        # A method called on a null is reported in the same words as a method that does not exist, so ask once more with
        # texts.
        _check_with_texts(program, error)
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return


def _check_with_texts(program: cel.Program, first: RuntimeError) -> None:
    somebody: dict[str, Any] = dict.fromkeys(PERSON_FIELDS, "x")
    try:
        program.execute({"person": somebody | {"groups": ["x"], "custom": {}}})
    except RuntimeError as error:
        if _UNDEFINED in str(error):
            raise ValueError(str(error).split(". ")[0]) from first
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return
