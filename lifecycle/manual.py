"""Pages of the manual: an adapter's docstring, its own keys of the configuration, and the vendor's words it knows."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from inspect import cleandoc, getsource
from itertools import pairwise
from textwrap import dedent
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

_CODE = re.compile(r"``([^`]+)``")


def page(title: str, text: str | None, options: type[BaseModel], kinds: Mapping[str, str] | None = None) -> str:
    """Return a page in Markdown; ``kinds`` is None for what has no words of a vendor."""
    parts = [f"# {title}", _markdown(text or "")]
    rows = list(_rows(options))
    if rows:
        parts.append(_section("Keys of its own", ("key", "default", "meaning"), rows))
    if kinds:
        words = sorted(kinds.items(), key=lambda pair: pair[0])
        parts.append(_section("What it tells", ("its word", "ours"), [(f"`{word}`", kind) for word, kind in words]))
    return "\n\n".join(parts) + "\n"


def _section(title: str, head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(head)
    lines = [_cells(names), _cells("---" for _ in names), *(_cells(row) for row in rows)]
    return f"## {title}\n\n" + "\n".join(lines)


def _cells(row: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |"


def _rows(options: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield a row for each key, and for those of the tables inside."""
    meanings = {key: text for each in reversed(options.__mro__) for key, text in _meanings(each)}
    for name, field in options.model_fields.items():
        yield _row(prefix + name, field, meanings.get(name, ""))
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from _rows(inner, f"{prefix}{name}.")


def _meanings(model: type) -> Iterator[tuple[str, str]]:
    """Yield the text that stands below each key in a model's source.

    pydantic can keep it with the field, but reads it when the class is made: an eighth of every program's start.
    """
    if not issubclass(model, BaseModel) or model is BaseModel:
        return
    for key, below in pairwise(ast.walk(ast.parse(dedent(getsource(model))))):
        match key, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, text


def _row(name: str, field: FieldInfo, meaning: str) -> tuple[str, str, str]:
    default = "required" if field.is_required() else _default(field.get_default(call_default_factory=True))
    return f"`{name}`", default, _markdown(meaning).replace("\n", " ")


def _default(found: object) -> str:
    return "none" if found in (None, "", (), [], {}) else f"`{found}`"


def _markdown(text: str) -> str:
    return _CODE.sub(r"`\1`", cleandoc(text))
