"""``[policy]``: the rules that make one person of what sources tell, and of a person what each target should show."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import StringConstraints, model_validator

from lifecycle.event import PERSON_FIELDS
from lifecycle.fields import Cel, Duration, Section, Words
from lifecycle.nesting import circle
from lifecycle.person import CUSTOM_PREFIX

LinkField = Literal["email", "user_name", "employee_number"]

START_OF_DAY, END_OF_DAY = "start_of_day", "end_of_day"
SuspendAt = Annotated[str, StringConstraints(pattern=rf"^({START_OF_DAY}|{END_OF_DAY}|([01]\d|2[0-3]):[0-5]\d)$")]


class Grant(Section):
    """Groups and roles for everybody of whom ``when`` is true; a group by its display name, or as ``id:...``."""

    when: Cel
    groups: list[Words] = []
    roles: list[Words] = []

    @model_validator(mode="after")
    def _check(self) -> "Grant":
        if not self.groups and not self.roles:
            msg = "groups or roles, or both"
            raise ValueError(msg)
        return self


class Policy(Section):
    """The rules that turn a person into what each target should show."""

    scope: Cel | None = None
    protected: list[str] = []
    grants: list[Grant] = []
    create_groups: bool = False
    """Whether a granted group that a target does not have is created, where its profile allows it."""
    nesting: dict[Words, list[Words]] = {}
    """Groups that other groups are members of: the outer one to the inner ones."""
    home_source: Words | None = None
    """Persons whose ``source_of_truth`` is another are ignored."""
    precedence: list[Words] = []
    """Sources, the best first: whose word counts at equal times. Absent: the order of ``[sources]`` in the file."""
    authority: dict[Words, Words] = {}
    """By field the one source whose word counts for it whatever the others say later."""
    link_by: list[LinkField] = []
    """What makes one human of two that two sources speak of, besides the ids."""
    look_ahead: Duration = timedelta()
    """How long before its date a joiner is provisioned."""
    suspend_at: SuspendAt = END_OF_DAY
    """When on a date without a time of day a leaver is locked out, in the person's time zone."""
    suspend_grace: Duration = timedelta()
    """How long after its moment a leaver with a date is locked out."""
    restore_within: Duration = timedelta(days=30)
    """How long after the suspension ``gatepost restore`` puts the entitlements back."""

    @model_validator(mode="after")
    def _check(self) -> "Policy":
        if found := circle(self.nesting):
            msg = f"nesting: {' > '.join(found)}; allowed: groups that do not contain themselves"
            raise ValueError(msg)
        for field in self.authority:
            if field not in PERSON_FIELDS and not field.startswith(CUSTOM_PREFIX):
                msg = f"authority.{field}: no field of a person; allowed: {', '.join(PERSON_FIELDS)}, custom.NAME"
                raise ValueError(msg)
        return self

    @property
    def groups(self) -> frozenset[str]:
        """Every group that the policy grants: others are never touched."""
        return frozenset(group for grant in self.grants for group in grant.groups)

    @property
    def roles(self) -> frozenset[str]:
        """Every role that the policy grants: others are never touched."""
        return frozenset(role for grant in self.grants for role in grant.roles)
