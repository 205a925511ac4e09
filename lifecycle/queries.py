"""JMESPath queries over a vendor's JSON, the language in which a source is mapped by configuration alone.

https://jmespath.org/specification.html
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import jmespath
from jmespath.functions import Functions
from pydantic import BeforeValidator

from lifecycle.errors import Unreadable

QUERY_CHARS_MAX = 1_024

# What the evaluation of a well-formed query raises on a document that it was not made for, or that is very deep.
FAULTS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


@dataclass(frozen=True)
class Query:
    """A compiled query."""

    source: str
    parsed: Any
    """As the library has it."""

    def find(self, document: object) -> Any:  # noqa: ANN401 - JSON
        """Return what is there, None where nothing is. Raises Unreadable where that cannot be told."""
        try:
            return self.parsed.search(document)
        except FAULTS as error:
            words = f"the query {self.source!r} does not fit this document ({type(error).__name__})"
            raise Unreadable(words, reason="query") from error


def compile_query(source: str) -> Query:
    """Compile and check: it is well formed, and every function exists and has as many arguments as it wants.

    Raises ValueError with a sentence that names the fault.
    """
    if len(source) > QUERY_CHARS_MAX:
        msg = f"a JMESPath query of at most {QUERY_CHARS_MAX} characters"
        raise ValueError(msg)
    try:
        found = jmespath.compile(source)
    except (ValueError, RecursionError) as error:
        msg = f"a JMESPath query ({(str(error).splitlines() or [type(error).__name__])[0].rstrip(':')})"
        raise ValueError(msg) from error
    for name, arguments in _calls(found.parsed):
        _check_call(name, arguments)
    return Query(source, found)


def _calls(node: Any) -> Iterator[tuple[str, int]]:  # noqa: ANN401 - the library's tree
    """Walk the calls of functions: the library itself looks for them only when they are made."""
    if node["type"] == "function_expression":
        yield node["value"], len(node["children"])
    for child in node["children"]:
        if isinstance(child, dict):
            yield from _calls(child)


def _check_call(name: str, arguments: int) -> None:
    known = Functions.FUNCTION_TABLE
    if name not in known:
        msg = f"a JMESPath query (no function {name}; there are: {', '.join(sorted(known))})"
        raise ValueError(msg)
    signature = known[name]["signature"]
    is_variadic = bool(signature) and bool(signature[-1].get("variadic"))
    if arguments < len(signature) or (arguments > len(signature) and not is_variadic):
        msg = f"a JMESPath query ({name} takes {len(signature)} arguments, not {arguments})"
        raise ValueError(msg)


def _compiled(found: object) -> Query:
    if isinstance(found, Query):
        return found
    if not isinstance(found, str):
        msg = "a JMESPath query is a text"
        raise ValueError(msg)  # noqa: TRY004 - pydantic turns ValueError, not TypeError, into a fault
    return compile_query(found)


JmesPath = Annotated[Query, BeforeValidator(_compiled)]
"""A query in ``gatepost.toml``."""
