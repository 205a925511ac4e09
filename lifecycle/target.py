"""``[targets.NAME]``: a SCIM 2.0 service provider, what it can, how often it may be asked, and what we manage there."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, model_validator

from lifecycle.expressions import Expression
from lifecycle.fields import Cel, Duration, HttpUrl, Section, Words
from lifecycle.paths import Path, parse_path
from lifecycle.safety import Safety
from lifecycle.secrets import Secret

Found = Literal["discover"]
Rule = Literal["source_wins", "target_wins", "merge"]

FOUND: Found = "discover"


class Profile(Section):
    """What a target can, where discovery does not say or says wrong; absent is the adapter's own default.

    ``"discover"`` believes the target's ServiceProviderConfig (RFC 7643 section 5).
    """

    discovery: bool | None = None
    """Whether ServiceProviderConfig and Schemas are read at all."""
    patch: bool | Found | None = None
    """Without PATCH an account is read whole, merged and PUT."""
    one_operation: bool | None = None
    """Whether a PATCH may carry no more than one operation."""
    operations_max: Annotated[int, Field(ge=1, le=1_000)] | None = None
    """Operations that one PATCH may carry; absent is no limit."""
    active_alone: bool | None = None
    """Whether ``active`` goes in a PATCH of its own, before the rest."""
    etag: bool | Found | None = None
    """Whether ``If-Match`` is honoured; an ETag header alone is no promise."""
    bulk: bool | Found | None = None
    filter: bool | Found | None = None
    """Without filters everybody is read."""
    search: bool | None = None
    """Whether ``POST /.search`` is offered, so that no person's name stands in a URL; no target says so by itself."""
    find_by: Annotated[list[Literal["externalId", "userName"]], Field(min_length=1)] | None = None
    """The attributes that the target can filter accounts by."""
    look_twice: bool | None = None
    """Whether a joiner is looked for by userName too before the create: for targets that take two of one name."""
    hides_inactive: bool | None = None
    """Whether a list without a filter leaves inactive accounts out."""
    restores: bool | None = None
    """Whether a create may bring a deleted account back, as it was or less."""
    cursor: bool | Found | None = None
    """Whether pages are asked for by cursor (RFC 9865)."""
    page_size: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Resources to ask for in one page."""
    member_remove: Literal["filter", "value", "put"] | None = None
    """How a member leaves: ``members[value eq "id"]``, ``members`` with a value, or a PUT of the group."""
    member_batch: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Members that one PATCH of a group may change."""
    create_groups: bool | None = None
    """Whether groups can be created by SCIM; the policy has to want it too."""
    lag_seconds: Annotated[int, Field(ge=0, le=3_600)] | None = None
    """How long a read may show what was before a write."""
    revoke_sessions: bool | None = None
    """Whether a leaver's tokens are deleted, where the adapter can."""
    leave_queues: bool | None = None
    """Whether a leaver is taken out of queues, where the adapter can."""


class Target(Section):
    """A SCIM 2.0 service provider that we keep in agreement."""

    adapter: str
    base_url: HttpUrl
    token: Secret | None = None
    token_url: HttpUrl | None = None
    client_id: Secret | None = None
    client_secret: Secret | None = None
    scopes: list[Words] = []
    requests_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Of the whole fleet with this credential; absent is the adapter's own default."""
    leaver_share: Annotated[float, Field(ge=0, le=0.9)] = 0.1
    """The share of them that is kept for leavers while leavers come."""
    leaver: Literal["suspend", "delete", "suspend_then_delete"] = "suspend"
    delete_after: Duration | None = None
    """How long after its suspension an account is deleted, unless its person came back; of each as it was set then."""
    confirm_within: Duration = timedelta(minutes=15)
    """How long a target that took a suspension may still show the account as active, before that is a failure."""
    safety: Safety | None = None
    """Limits of this target alone, besides those of all."""
    profile: Profile = Profile()
    attributes: dict[str, Cel] | None = None
    conflicts: dict[str, Rule] = {}
    """What holds where source and target differ, by managed path; source_wins where nothing is said."""

    @model_validator(mode="after")
    def _check(self) -> "Target":
        credentials = (self.token_url, self.client_id, self.client_secret)
        if (self.token is None) == (None in credentials) or (self.token and any(credentials)):
            msg = "either token, or token_url with client_id and client_secret"
            raise ValueError(msg)
        if (self.leaver == "suspend_then_delete") != (self.delete_after is not None):
            msg = 'leaver = "suspend_then_delete" and delete_after belong together'
            raise ValueError(msg)
        for section, texts in (("attributes", self.attributes or {}), ("conflicts", self.conflicts)):
            for text in texts:
                try:
                    parse_path(text)
                except ValueError as error:
                    msg = f"{section}.{text}: {error}"
                    raise ValueError(msg) from error
        managed = {parse_path(text).text for text in self.attributes or {}}
        if self.attributes is not None and (unmanaged := self.rules.keys() - managed):
            msg = f"conflicts.{min(unmanaged)}: this path is not managed; allowed: {', '.join(self.attributes)}"
            raise ValueError(msg)
        return self

    @property
    def rules(self) -> dict[str, Rule]:
        """What holds where source and target differ, by path as it is written in requests."""
        return {parse_path(text).text: rule for text, rule in self.conflicts.items()}

    def mapping(self) -> dict[Path, Expression] | None:
        """Return the managed paths with their expressions; None leaves them to the adapter."""
        if self.attributes is None:
            return None
        return {parse_path(text): expression for text, expression in self.attributes.items()}
