"""Whether a directory can be read, and who works here; nobody is named."""

from collections.abc import Iterator

from lifecycle.check import Line
from lifecycle.errors import GatepostError, Postponed
from workers.directories.base import SET_UP, Directory

UNREAD = "thin events wait until it can be read"
ONE = "correct that record: an event of that person fails meanwhile"
RECORDS = frozenset({"record_unusable", "status_unknown"})


def look_at(name: str, directory: Directory) -> Iterator[Line]:
    """Yield what is found in one directory: a file is read whole, and of a service a page."""
    what = f"directories.{name}"
    try:
        found = directory.glance()
        notes = directory.notes()
    except GatepostError as error:
        yield Line(what, False, error.message, _what_to_do(error, directory))
        return
    people = f"{found.working} work here, {found.others} do not"
    total = found.working + found.others
    yield Line(what, True, f"{total} people: {people}" if found.is_all else f"of the first {total} people {people}")
    yield from (Line(what, None, note, "see that nothing is misspelt") for note in notes)


def _what_to_do(error: GatepostError, directory: Directory) -> str:
    if error.reason in SET_UP:
        return directory.needs
    if isinstance(error, Postponed):
        return UNREAD
    return ONE if error.reason in RECORDS else directory.needs
