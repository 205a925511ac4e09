"""The directories: one line each, listed by hand so that the type checker holds each module to the protocol."""

from collections.abc import Mapping

from redis import Redis

from lifecycle.config import check_adapters
from lifecycle.directory import Directory as Section
from lifecycle.errors import Misconfigured
from workers.directories import bamboohr, entra, file, google, okta, scim
from workers.directories.base import Adapter, Directory, Opening

DIRECTORIES: Mapping[str, Adapter] = {
    "bamboohr": bamboohr,
    "entra": entra,
    "file": file,
    "google": google,
    "okta": okta,
    "scim": scim,
}


def opened(sections: Mapping[str, Section], redis: Redis | None = None) -> Mapping[str, Directory]:
    """Return each configured directory, unread; without Redis only to check the sections. Raises Misconfigured."""
    check_adapters("directories", {name: section.adapter for name, section in sections.items()}, DIRECTORIES)
    found, lines = {}, []
    for name, section in sections.items():
        try:
            found[name] = DIRECTORIES[section.adapter].open_directory(Opening(name, section, redis))
        except Misconfigured as error:
            lines += error.lines
    if lines:
        raise Misconfigured(lines)
    return found
