"""The directories: one line each, listed by hand so that the type checker holds each module to the protocol."""

from collections.abc import Mapping

from lifecycle.config import check_adapters
from lifecycle.directory import Directory as Section
from lifecycle.errors import Misconfigured
from workers.directories import file
from workers.directories.base import Adapter, Directory

DIRECTORIES: Mapping[str, Adapter] = {
    "file": file,
}


def opened(sections: Mapping[str, Section]) -> Mapping[str, Directory]:
    """Return each configured directory, unread. Raises Misconfigured."""
    check_adapters("directories", {name: section.adapter for name, section in sections.items()}, DIRECTORIES)
    found, lines = {}, []
    for name, section in sections.items():
        try:
            found[name] = DIRECTORIES[section.adapter].open_directory(section)
        except ValueError as error:
            lines.append(f"directories.{name}.path: found {section.path.name!r}; allowed: {error}")
    if lines:
        raise Misconfigured(lines)
    return found
