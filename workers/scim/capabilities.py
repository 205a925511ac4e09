"""What one target can: the adapter's default, what the target says of itself, what the configuration insists on. Pure.

RFC 7643 section 5 (ServiceProviderConfig), RFC 9865 section 3 (its ``pagination``).
"""

from dataclasses import dataclass, field
from typing import Literal

from workers.scim.schema import Schema

PAGE_SIZE, MEMBER_BATCH = 100, 100


@dataclass(frozen=True)
class Capabilities:
    """What requests this target understands."""

    patch: bool = True
    one_operation: bool = False
    etag: bool = False
    bulk_operations_max: int = 0
    """0 where there is no bulk."""
    bulk_bytes_max: int = 0
    filter: bool = True
    find_by: tuple[str, ...] = ("externalId", "userName")
    look_twice: bool = False
    cursor: bool = False
    page_size: int = PAGE_SIZE
    member_remove: Literal["filter", "value", "put"] = "filter"
    member_batch: int = MEMBER_BATCH
    create_groups: bool = False
    lag_seconds: int = 0
    revoke_sessions: bool = True
    leave_queues: bool = False
    schema: Schema = field(default_factory=Schema)
    """The attributes of accounts; empty where the target does not tell."""
