"""A file of people, CSV or JSON lines: the export of an HR system, or a directory for a trial.

``path`` ends in ``.csv``, ``.jsonl`` or ``.ndjson``; UTF-8, comma, one row a person. The header of a CSV, and the keys
of a JSON object, are the fields of a person: ``external_id`` (the id that the *source* has for the person),
``user_name``, ``email``, ``display_name`` and so on; ``custom.NAME`` for what has no field; ``groups`` in a CSV with
``;`` between them. One more column tells whether the person works here: ``status`` (``active`` or ``enabled``;
``left``, ``inactive``, ``terminated``, ``disabled`` or ``suspended``) or ``active`` (``true`` or ``false``). No date
does: an ``end_at`` is a field as any other. An empty cell, or null, clears; a column that is not there says nothing.

Write it beside and rename it: a file that is cut, half written or malformed is not believed in any part, and people
wait until it is whole. What it says holds as of the look into it; but that somebody works here, as of the moment it was
written, so that an old file brings nobody back who left after it.
"""

import os
import stat
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, ValidationError

from lifecycle.errors import Postponed, Refused
from lifecycle.event import Profile
from lifecycle.fields import FilePath, Section
from workers.directories.base import NAMES, Glance, Opening, Record, Subject, normal
from workers.directories.rows import FORMS, UNREADABLE, Row, read_rows, unread_columns

# Within the clock's step a file may be written twice and bear the same time.
AT_REST_SECONDS = 0.1


def _of_a_form(path: Path) -> Path:
    if path.suffix.lower() not in FORMS:
        msg = f"a file whose name ends in {', '.join(FORMS)}"
        raise ValueError(msg)
    return path


class Stamp(NamedTuple):
    """What changes when a file does."""

    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> "Stamp":
        """Return the stamp of a file."""
        return cls(found.st_ino, found.st_size, found.st_mtime_ns)


@dataclass(frozen=True)
class Table:
    """A whole file, with the way from each name to its rows."""

    as_of: datetime
    rows: Sequence[Row]
    places: Mapping[str, Mapping[str, Sequence[int]]]
    notes: Sequence[str]


class FileDirectory:
    """A file that is read whole when it has changed, and then asked in memory."""

    lags = False
    needs = "let the workers read the file"

    def __init__(self, path: Path) -> None:
        """Keep the path."""
        self._path = path
        self._stamp: Stamp | None = None
        self._found: Table | Postponed | None = None

    def find(self, subject: Subject) -> Sequence[Record]:
        """Return the records that bear the strongest name that any bears. Raises Postponed or Refused."""
        table = self._table()
        for name in NAMES:
            value = getattr(subject, name)
            places = table.places[name].get(normal(name, value), ()) if value else ()
            if places:
                return [_record(table, table.rows[place]) for place in places]
        return []

    def list(self) -> Iterator[Record]:
        """Yield everybody. Raises Postponed or Refused."""
        table = self._table()
        return (_record(table, row) for row in table.rows)

    def glance(self) -> Glance:
        """Read all of it, for a file is believed whole or not at all. Raises Postponed or Refused."""
        return Glance.of(self.list(), is_all=True)

    def notes(self) -> Sequence[str]:
        """Return which columns say nothing to us. Raises Postponed."""
        return self._table().notes

    def _table(self) -> Table:
        """Return the file as it is now, read once for each time that it was written."""
        try:
            now = self._path.stat()
            if not stat.S_ISREG(now.st_mode):
                # A pipe would be waited for until somebody writes.
                raise Postponed("this is no file", reason=UNREADABLE)
            stamp = Stamp.of(now)
            if self._found is None or stamp != self._stamp:
                # Two large ones at a time may be more than a process has.
                self._found = None
                self._found = self._read()
                rested = abs(time.time() - stamp.modified_ns / 1e9) > AT_REST_SECONDS
                self._stamp = stamp if rested else None
        except OSError as error:
            raise Postponed(f"the file cannot be read ({error.strerror})", reason=UNREADABLE) from error
        if isinstance(self._found, Postponed):
            raise Postponed(self._found.message, reason=self._found.reason)
        return self._found

    def _read(self) -> Table | Postponed:
        """Return what is in the file, or why it cannot be believed, which is not looked for twice either."""
        form = self._path.suffix.lower()
        with self._path.open("rb") as file:
            before = os.fstat(file.fileno())
            try:
                rows = list(read_rows(file, form))
                file.seek(0)
                columns = unread_columns(file, form)
            except Postponed as error:
                return error
            changed = Stamp.of(os.fstat(file.fileno())) != Stamp.of(before)
        if changed:
            return Postponed("the file is being written; write it beside and rename it", reason=UNREADABLE)
        if not rows:
            return Postponed("the file has nobody in it", reason=UNREADABLE)
        notes = [f"columns that are not read: {', '.join(columns)}"] if columns else []
        as_of = datetime.fromtimestamp(min(before.st_mtime, time.time()), UTC)
        return Table(as_of, rows, _places(rows), [*notes, *_nameless(rows)])


class Options(Section):
    """The keys of ``[directories.NAME]`` that are this adapter's own."""

    path: Annotated[FilePath, AfterValidator(_of_a_form)]
    """Relative to the configuration, unless it is absolute."""


def open_directory(opening: Opening) -> FileDirectory:
    """Return the directory of a file, unread. Raises Misconfigured."""
    return FileDirectory(opening.options(Options).path)


def _places(rows: Sequence[Row]) -> Mapping[str, Mapping[str, Sequence[int]]]:
    found: dict[str, dict[str, list[int]]] = {name: defaultdict(list) for name in NAMES}
    for place, row in enumerate(rows):
        for name, value in zip(NAMES, row.names, strict=True):
            if value:
                found[name][normal(name, value)].append(place)
    return found


def _nameless(rows: Sequence[Row]) -> list[str]:
    lines = [row.line for row in rows if not any(row.names)]
    return [f"{len(lines)} rows name nobody, the first in line {lines[0]}"] if lines else []


def _record(table: Table, row: Row) -> Record:
    if row.works_here is None:
        raise Refused(
            f"line {row.line}: tells in none of our words whether the person works here", reason="status_unknown"
        )
    try:
        return Record(Profile.model_validate_json(row.profile), row.works_here, table.as_of)
    except ValidationError as error:
        named = {str(fault["loc"][0]) if fault["loc"] else "the row" for fault in error.errors(include_input=False)}
        raise Refused(
            f"line {row.line}: {', '.join(sorted(named))} cannot be a person's", reason="record_unusable"
        ) from error
