"""``python -m workers.manual``: the pages of the directories as JSON, by name, from their modules."""

import json

from lifecycle import manual
from workers.directories import DIRECTORIES

PREFIX = "directories/"


def pages() -> dict[str, str]:
    """Return each directory's page in Markdown."""
    return {
        f"{PREFIX}{name}": manual.page(f"{PREFIX}{name}", adapter.__doc__, adapter.Options)
        for name, adapter in DIRECTORIES.items()
    }


if __name__ == "__main__":
    print(json.dumps(pages()))  # noqa: T201 - a program answers on its output
