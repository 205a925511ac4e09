"""Where users and groups live: scim2-server's memory, and over it what the directory of Genesys Cloud does.

Deletion is soft and a user who is created again comes back under the old id; versions are numbers in quotes; lists
are served from an index that may lag (the vendor's Terraform provider polls it for minutes after a write).
"""

import uuid
from collections import deque
from collections.abc import Callable
from typing import Any

from scim2_models import InvalidValueException, Resource, ResourceType, ScimFilter, SearchRequest
from scim2_server.memory import InMemoryStorage
from scim2_server.storage import SearchPage

from gatepost.sandbox import rules
from gatepost.sandbox.errors import missing
from gatepost.sandbox.settings import Settings

Record = Resource[Any]
USER = "User"


class Index(InMemoryStorage):
    """What lists and filters see."""

    def __init__(self, *, hide_inactive: bool) -> None:
        """Start empty."""
        super().__init__()
        self._hide_inactive = hide_inactive

    def show(self, record: Record) -> None:
        """Show a record as it now is."""
        self._store(record, {})

    def hide(self, record: Record) -> None:
        """Show a record no more."""
        self._remove((_kind(record), record.id or ""))

    def _candidates(self, names: list[str | None], scim_filter: ScimFilter[Any] | None) -> list[Record]:
        """Leave inactive users out of a list without a filter: SCIMApi, GET /api/v2/scim/v2/users."""
        found = super()._candidates(names, scim_filter)
        if scim_filter is None or (self._hide_inactive and "active" not in str(scim_filter)):
            return [record for record in found if getattr(record, "active", True)]
        return found


class Store(InMemoryStorage):
    """The records themselves, deleted users among them."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        """Start empty; ``clock`` is monotonic."""
        super().__init__()
        self._settings = settings
        self._clock = clock
        self._index = Index(hide_inactive=settings.hide_inactive)
        self._unseen: deque[tuple[float, Callable[[Record], None], Record]] = deque()
        self._groups_of: dict[str, dict[str, str]] = {}
        self.deleted: dict[str, dict[str, Any]] = {}
        """By userName in lower case."""
        self.stale_reads = False

    def generate_id(self, resource_type: ResourceType, resource: Record) -> str:  # noqa: ARG002 - as the base has it
        """Return the id of a record that comes back, else a new UUID."""
        return resource.id or str(uuid.uuid4())

    def next_version(self) -> str:
        """Return a strong tag: a number in quotes (the vendor's SDK, ``meta.version``)."""
        return f'"{next(self.versions)}"'

    def record(self, kind: str, record_id: str) -> Record | None:
        """Return the record of an id, and nothing for a deleted one."""
        return self._resources.get(kind, {}).get(record_id)

    def group_names(self, user: str) -> dict[str, str]:
        """Return the groups of a user, names by id."""
        return dict(self._groups_of.get(user, {}))

    def get(self, resource_type: ResourceType, resource_id: str, **options: Any) -> Record:  # noqa: ANN401 - passed on
        """Return a record; reads by id do not lag unless a fault asks for it."""
        self._catch_up()
        if self.stale_reads:
            return self._index.get(resource_type, resource_id, **options)
        return super().get(resource_type, resource_id, **options)

    def search(
        self,
        resource_types: list[ResourceType],
        search_request: SearchRequest[Any],
        *,
        position: Any = None,  # noqa: ANN401 - as the base has it
    ) -> SearchPage:
        """Search the index."""
        self._catch_up()
        return self._index.search(resource_types, search_request, position=position)

    def create(self, resource_type: ResourceType, resource: Record) -> Record:
        """Create, or bring a deleted user back."""
        if resource_type.name == USER:
            resource = self._created_user(resource)
        created = super().create(resource_type, self._with_members(resource))
        self.deleted.pop(str(getattr(created, "user_name", "")).lower(), None)
        return self._written(created)

    def _created_user(self, posted: Record) -> Record:
        after = posted.model_dump()
        needed = rules.permissions({}, after) - {"directory:user:setPassword"}
        self._permit(needed)
        deleted = self.deleted.get(after["userName"].lower())
        if deleted:
            return self._user(posted, rules.restored(deleted, after), deleted)
        roles = [{"value": role} for role in dict.fromkeys([rules.ROLE_OF_ALL, *sorted(_values(after, "roles"))])]
        return self._user(posted, {**after, "roles": roles}, None)

    def update(self, resource_type: ResourceType, resource: Record, *, expected_version: str | None = None) -> Record:
        """Keep a change that the organization allows."""
        stored = self._stored(resource_type, resource.id)
        if resource_type.name == USER:
            before, after = stored.model_dump(), resource.model_dump()
            self._permit(rules.permissions(before, after))
            resource = self._user(resource, after, before)
        updated = super().update(resource_type, self._with_members(resource), expected_version=expected_version)
        return self._written(updated)

    def delete(self, resource_type: ResourceType, resource_id: str, *, expected_version: str | None = None) -> None:
        """Delete softly: the record is kept, hidden, and out of every group."""
        record = super().get(resource_type, resource_id)
        super().delete(resource_type, resource_id, expected_version=expected_version)
        self._later(self._index.hide, record)
        self.deleted[getattr(record, "user_name", "").lower()] = record.model_dump()
        for group in self.group_names(resource_id):
            self._leave(group, resource_id)

    def _leave(self, group_id: str, user_id: str) -> None:
        group = self._resources["Group"][group_id].model_copy(deep=True)
        members = [member for member in getattr(group, "members", None) or [] if member.value != user_id]
        group.members = members or None  # type: ignore[attr-defined] # a Group
        if group.meta:
            group.meta.version = self.next_version()
        self._store(group, {})
        self._written(group)

    def _permit(self, needed: set[str]) -> None:
        if lacking := needed & self._settings.without:
            raise missing(lacking)

    def _user(self, record: Record, after: dict[str, Any], before: dict[str, Any] | None) -> Record:
        rules.check(after, self._settings, lambda user: self.record(USER, user) is not None)
        return type(record).model_validate(rules.complete(after, before, self._settings.client_id))

    def _with_members(self, record: Record) -> Record:
        """Take each member of a group once, and only one that exists."""
        members = {member.value: member for member in getattr(record, "members", None) or []}
        for value in members:
            if not self.record(USER, value) and not self.record("Group", value):
                raise InvalidValueException(detail=f"member {value!r} does not exist")
        if members:
            record.members = list(members.values())  # type: ignore[attr-defined] # a Group
        return record

    def _written(self, record: Record) -> Record:
        if _kind(record) == "Group":
            self._note_members(record)
        self._later(self._index.show, record.model_copy(deep=True))
        return record

    def _note_members(self, group: Record) -> None:
        for names in self._groups_of.values():
            names.pop(group.id or "", None)
        for member in getattr(group, "members", None) or []:
            self._groups_of.setdefault(member.value, {})[group.id or ""] = str(getattr(group, "display_name", ""))

    def _later(self, show: Callable[[Record], None], record: Record) -> None:
        self._unseen.append((self._clock() + self._settings.lag_seconds, show, record))
        self._catch_up()

    def _catch_up(self) -> None:
        while self._unseen and self._unseen[0][0] <= self._clock():
            _, show, record = self._unseen.popleft()
            show(record)


def _kind(record: Record) -> str | None:
    return record.meta.resource_type if record.meta else None


def _values(user: dict[str, Any], name: str) -> set[str]:
    return {entry.get("value", "") for entry in user.get(name, [])}
