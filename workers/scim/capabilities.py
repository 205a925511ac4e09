"""What one target can: the adapter's default, what the target says of itself, what the configuration insists on. Pure.

RFC 7643 section 5 (ServiceProviderConfig), RFC 9865 section 3 (its ``pagination``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lifecycle.target import FOUND, Profile
from workers.scim.schema import Schema, truth

PAGE_SIZE, MEMBER_BATCH = 100, 100
# Where the configuration insists on bulk and the target does not tell how much of it.
BULK_OPERATIONS, BULK_BYTES = 100, 1_000_000
NUMBER_MAX = 1_000_000_000
# What is never discovered: the adapter and the configuration say it.
SETTINGS = (
    "one_operation",
    "operations_max",
    "active_alone",
    "search",
    "look_twice",
    "hides_inactive",
    "restores",
    "page_size",
    "member_remove",
    "member_batch",
    "create_groups",
    "lag_seconds",
    "revoke_sessions",
    "leave_queues",
)


@dataclass(frozen=True)
class Capabilities:
    """What requests this target understands."""

    patch: bool = True
    one_operation: bool = False
    operations_max: int = 0
    """0 where there is no limit."""
    active_alone: bool = False
    etag: bool = False
    bulk_operations_max: int = 0
    """0 where there is no bulk."""
    bulk_bytes_max: int = 0
    filter: bool = True
    search: bool = False
    find_by: tuple[str, ...] = ("externalId", "userName")
    look_twice: bool = False
    hides_inactive: bool = False
    restores: bool = False
    cursor: bool = False
    page_size: int = PAGE_SIZE
    member_remove: Literal["filter", "value", "put"] = "filter"
    member_batch: int = MEMBER_BATCH
    create_groups: bool = False
    lag_seconds: int = 0
    revoke_sessions: bool = False
    leave_queues: bool = False
    schema: Schema = field(default_factory=Schema)
    """The attributes of accounts; empty where the target does not tell."""


@dataclass(frozen=True)
class Told:
    """What a target says of itself; None where it says nothing."""

    patch: bool | None = None
    etag: bool | None = None
    bulk: bool | None = None
    bulk_operations_max: int | None = None
    bulk_bytes_max: int | None = None
    filter: bool | None = None
    cursor: bool | None = None
    page_size_max: int | None = None
    schema: Schema = field(default_factory=Schema)


def read_config(document: Mapping[str, Any]) -> Told:
    """Read a ServiceProviderConfig; what is odd in it is not told."""
    bulk, pages = _part(document, "bulk"), _part(document, "pagination")
    sizes = (_number(_part(document, "filter"), "maxResults"), _number(pages, "maxPageSize"))
    return Told(
        patch=_flag(_part(document, "patch"), "supported"),
        etag=_flag(_part(document, "etag"), "supported"),
        bulk=_flag(bulk, "supported"),
        bulk_operations_max=_number(bulk, "maxOperations"),
        bulk_bytes_max=_number(bulk, "maxPayloadSize"),
        filter=_flag(_part(document, "filter"), "supported"),
        cursor=_flag(pages, "cursor"),
        page_size_max=min((size for size in sizes if size), default=None),
    )


def merged(adapter: Profile, told: Told, section: Profile) -> Capabilities:
    """Return what a target can: the adapter's word, the target's where that is to be believed, the operator's last."""
    default = Capabilities()
    insisted = _said(adapter) | _said(section)

    def flag(name: str) -> bool:
        value = insisted.get(name, getattr(default, name, False))
        found = getattr(told, name) if value == FOUND else value
        return bool(getattr(default, name, False) if found is None else found)

    has_bulk = flag("bulk")
    asked = {name: insisted[name] for name in SETTINGS if name in insisted}
    found = {name: flag(name) for name in ("patch", "etag", "filter", "cursor")}
    page_size = min(PAGE_SIZE, told.page_size_max or PAGE_SIZE)
    return Capabilities(
        **{"page_size": page_size, **asked, **found},
        find_by=tuple(insisted.get("find_by", default.find_by)),
        bulk_operations_max=(told.bulk_operations_max or BULK_OPERATIONS) if has_bulk else 0,
        bulk_bytes_max=(told.bulk_bytes_max or BULK_BYTES) if has_bulk else 0,
        schema=told.schema,
    )


def _said(profile: Profile) -> dict[str, Any]:
    return {name: value for name, value in profile if value is not None}


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = _named(document, name)
    return found if isinstance(found, Mapping) else {}


def _flag(part: Mapping[str, Any], name: str) -> bool | None:
    return truth(_named(part, name))


def _number(part: Mapping[str, Any], name: str) -> int | None:
    found = _named(part, name)
    return found if isinstance(found, int) and not isinstance(found, bool) and 0 < found <= NUMBER_MAX else None


def _named(part: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401 - JSON
    return next((value for found, value in part.items() if str(found).lower() == name.lower()), None)
