"""The rows of a file of people, CSV or JSON lines: what each says, and what makes the whole file unreadable.

A fault of the form (a cell too few, half a line, bytes that are no text) ends the reading, for the file may have been
cut or be half written. A fault of what a row says is its person's alone. No fault shows a value, only its line.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

from lifecycle.errors import Postponed
from lifecycle.event import PERSON_FIELDS
from lifecycle.person import CUSTOM, CUSTOM_PREFIX
from workers.directories.base import NAMES

FILE_BYTES_MAX = 64 * 1024 * 1024
LINE_BYTES_MAX = 65_536
ROWS_MAX = 200_000
GROUPS_SEPARATOR = ";"

STATUSES = {
    "status": {
        "active": True,
        "enabled": True,
        "left": False,
        "inactive": False,
        "terminated": False,
        "disabled": False,
        "suspended": False,
    },
    "active": {"true": True, "false": False},
}
"""The columns that tell whether a person works here, with their words in any letter case; a file has one of them."""

UNREADABLE, TOO_LARGE = "directory_unreadable", "directory_too_large"


class Row(NamedTuple):
    """One person of the file."""

    line: int
    names: tuple[str, ...]
    """What it has of NAMES, in that order; an empty text for none."""
    works_here: bool | None
    """None where the row does not tell in a word that we know."""
    profile: bytes
    """JSON, read when the person is asked for: that takes longer than all else."""


def unreadable(line: int, what: str) -> Postponed:
    """Return the fault of a file as a whole."""
    return Postponed(f"line {line}: {what}", reason=UNREADABLE)


def too_large(what: str) -> Postponed:
    """Return the fault of a file that is more than we hold."""
    return Postponed(f"the file has more than {what}", reason=TOO_LARGE)


def read_rows(file: BinaryIO, form: str) -> Iterator[Row]:
    """Yield the rows of a file of this form. Raises Postponed."""
    for count, row in enumerate(FORMS[form](_lines(file))):
        if count >= ROWS_MAX:
            raise too_large(f"{ROWS_MAX} rows")
        yield row


def unread_columns(file: BinaryIO, form: str) -> list[str]:
    """Return the columns of a file with a header that say nothing to us. Raises Postponed."""
    if form != ".csv":
        return []
    return [name for name in _header(next(csv.reader(_lines(file)), [])) if not _is_read(name)]


def _lines(file: BinaryIO) -> Iterator[str]:
    number = size = 0
    while found := file.readline(LINE_BYTES_MAX + 1):
        number, size = number + 1, size + len(found)
        if len(found) > LINE_BYTES_MAX:
            raise unreadable(number, f"longer than {LINE_BYTES_MAX} bytes")
        if size > FILE_BYTES_MAX:
            raise too_large(f"{FILE_BYTES_MAX} bytes")
        try:
            # A spreadsheet may begin a file with a byte order mark.
            yield found.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise unreadable(number, "not UTF-8") from error


def _csv(lines: Iterator[str]) -> Iterator[Row]:
    reader = csv.reader(lines, strict=True)
    try:
        header = _header(next(reader, []))
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise unreadable(reader.line_num, f"{len(cells)} cells; the header has {len(header)}")
            yield _row(reader.line_num, dict(zip(header, map(_cell, header, cells), strict=True)))
    except csv.Error as error:
        raise unreadable(reader.line_num, "no CSV: a quote that does not end, or the like") from error


def _header(cells: list[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    told = [name for name in STATUSES if name in header]
    if len(told) != 1:
        found = "both" if told else "neither"
        raise unreadable(1, f"the header has {found} of {' and '.join(STATUSES)}; allowed: one of them")
    if not set(NAMES) & set(header):
        raise unreadable(1, f"the header has none of {', '.join(NAMES)}")
    if len({*header}) != len(header):
        raise unreadable(1, "the header has a column twice")
    return header


def _is_read(name: str) -> bool:
    return name in STATUSES or (name in PERSON_FIELDS and name != CUSTOM) or name.startswith(CUSTOM_PREFIX)


def _cell(name: str, text: str) -> Any:  # noqa: ANN401 - a text or texts
    text = text.strip()
    if name == "groups":
        return [part.strip() for part in text.split(GROUPS_SEPARATOR) if part.strip()]
    return text or None


def _json_lines(lines: Iterator[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise unreadable(number, "not JSON") from error
        if not isinstance(fields, dict):
            raise unreadable(number, "no JSON object")
        yield _row(number, fields)


def _row(line: int, fields: Mapping[str, Any]) -> Row:
    names = tuple(_name(fields.get(name)) for name in NAMES)
    told = {name: fields[name] for name in PERSON_FIELDS if name in fields}
    if not names[0]:
        # An id that is left out says nothing of the id.
        told.pop("external_id", None)
    custom = {name.removeprefix(CUSTOM_PREFIX): fields[name] for name in fields if name.startswith(CUSTOM_PREFIX)}
    if custom:
        more = told.get(CUSTOM)
        told[CUSTOM] = {**custom, **more} if isinstance(more, dict) else custom
    try:
        return Row(line, names, _works_here(fields), json.dumps(told).encode())
    except RecursionError as error:
        raise unreadable(line, "nested too deeply") from error


def _name(value: object) -> str:
    return str(value).strip() if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _works_here(fields: Mapping[str, Any]) -> bool | None:
    told = [(words, fields[name]) for name, words in STATUSES.items() if name in fields]
    if len(told) != 1:
        return None
    words, value = told[0]
    return words.get(str(value).strip().lower())


FORMS: Mapping[str, Callable[[Iterator[str]], Iterable[Row]]] = {
    ".csv": _csv,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
}
"""By the end of the file's name."""
