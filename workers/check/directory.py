"""Whether everybody in a directory can be read, and who works here; nobody is named."""

from collections import Counter
from collections.abc import Iterator

from lifecycle.check import Line
from lifecycle.errors import GatepostError, Postponed
from workers.directories.base import Directory

UNREAD = "thin events wait until it can be read"
ONE = "correct that record: an event of that person fails meanwhile"


def look_at(name: str, directory: Directory) -> Iterator[Line]:
    """Yield what is found in one directory."""
    what = f"directories.{name}"
    try:
        found = Counter(record.works_here for record in directory.list())
        notes = directory.notes()
    except GatepostError as error:
        yield Line(what, False, error.message, UNREAD if isinstance(error, Postponed) else ONE)
        return
    yield Line(what, True, f"{found.total()} people: {found[True]} work here, {found[False]} do not")
    yield from (Line(what, None, note, "see that nothing is misspelt") for note in notes)
