"""What of a change is told to whoever keeps such accounts too: the names of what was written, and what it is now."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

from lifecycle.paths import Path
from workers.plan import Plan
from workers.policy import Wanted
from workers.resource import Edit, Resource, apply, whole_path
from workers.scim.create import Created
from workers.task import Agreement


def note(agreement: Agreement, made: Created, planned: Plan) -> None:
    """Keep what was written of an account; values only where all of it was taken."""
    resource = _resource(made, planned.edits) if made.fresh else {}
    names = _names(resource) if made.fresh else (_name(edit.path) for edit in planned.edits)
    agreement.attributes = list(dict.fromkeys(names))
    if agreement.trouble is None:
        agreement.values = resource or [edit.operation() for edit in planned.edits]


def managed(wanted: Wanted) -> list[str]:
    """Return the names of all that is managed: of a write whose answer was lost nobody knows which were changed."""
    return list(dict.fromkeys(_name(path) for path in wanted.attributes))


def _name(path: Path) -> str:
    """Return the name of what a path leads to, without the filter: that may hold a value."""
    return whole_path(path).text + (f".{path.sub}" if path.sub and not path.key else "")


def _resource(made: Created, edits: Sequence[Edit]) -> dict[str, Any]:
    """Return a new account as it was asked for; what the target adds by itself is its own."""
    body = copy.deepcopy(dict(made.body))
    apply(body, list(edits))
    return {"id": str(made.account["id"]), **body}


def _names(resource: Resource) -> Iterator[str]:
    for name, value in resource.items():
        if name.startswith("urn:") and isinstance(value, dict):
            yield from (f"{name}:{inner}" for inner in value)
        elif name != "schemas":
            yield name
