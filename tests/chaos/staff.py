"""The directory: a file of everybody of whom only thin events are told, written anew and renamed for each change."""

import json
import threading
from pathlib import Path
from typing import Any, NamedTuple


class Row(NamedTuple):
    """A person as the directory has it from some event of the story on."""

    version: int
    fields: dict[str, Any]


class Staff:
    """The file; of a person the newest row that was ever written counts."""

    def __init__(self, path: Path) -> None:
        """Begin with nobody."""
        self._path = path
        self._rows: dict[str, Row] = {}
        self._lock = threading.Lock()
        path.touch()

    def write(self, row: Row) -> None:
        """Let it be so, unless the directory has a newer row of the person."""
        with self._lock:
            key = row.fields["external_id"]
            if key in self._rows and self._rows[key].version >= row.version:
                return
            self._rows[key] = row
            beside = self._path.with_suffix(".new")
            beside.write_text("".join(f"{json.dumps(each.fields)}\n" for each in self._rows.values()))
            beside.rename(self._path)
