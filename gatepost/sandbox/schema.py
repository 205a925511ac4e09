"""The attributes that Genesys Cloud has for a user and a group, as models that scim2-server serves.

https://help.mypurecloud.com/articles/scim-and-genesys-cloud-field-mappings/ and the models of the vendor's SDK:
displayName is required, there is no name, no address, no photo; an attribute that is not here is refused.
"""

from typing import Annotated

from scim2_models import (
    AnyExtension,
    AuthenticationScheme,
    Bulk,
    CaseExact,
    ChangePassword,
    ComplexAttribute,
    ETag,
    ExtensibleStringEnum,
    Extension,
    External,
    Filter,
    Group,
    GroupMembership,
    Mutability,
    Patch,
    Reference,
    Required,
    Resource,
    ResourceType,
    Returned,
    ScimProvider,
    ServiceProviderConfig,
    Sort,
    Uniqueness,
)
from scim2_models.urn import URN

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
PURECLOUD = "urn:ietf:params:scim:schemas:extension:genesys:purecloud:2.0:User"
RESULTS_MAX = 100


class Email(ComplexAttribute):
    """An e-mail address; the one of type other mirrors userName."""

    class Type(ExtensibleStringEnum):
        """The types there are."""

        work = "work"
        other = "other"

    value: str | None = None
    type: Type | None = None
    primary: bool | None = None


class PhoneNumber(ComplexAttribute):
    """A phone number: E.164, or a ``tel:`` URI that may have an extension."""

    class Type(ExtensibleStringEnum):
        """The types there are."""

        work = "work"
        work2 = "work2"
        work3 = "work3"
        work4 = "work4"
        home = "home"
        mobile = "mobile"
        other = "other"
        microsoftteams = "microsoftteams"
        zoomphone = "zoomphone"
        eightbyeight = "eightbyeight"
        ringcentral = "ringcentral"

    value: str | None = None
    type: Type | None = None
    primary: bool | None = None


class Role(ComplexAttribute):
    """A role, by its name."""

    value: Annotated[str | None, CaseExact.true] = None


class Manager(ComplexAttribute):
    """Another user."""

    value: Annotated[str | None, CaseExact.true] = None


class Enterprise(Extension):
    """The part of the enterprise extension that there is, and dateHire, which RFC 7643 does not have."""

    __schema__ = URN(ENTERPRISE)

    department: str | None = None
    division: str | None = None
    employee_number: str | None = None
    manager: Manager | None = None
    date_hire: str | None = None


class Routing(ComplexAttribute):
    """A skill or a language, by its configured name, and how well."""

    name: Annotated[str | None, CaseExact.true, Required.true] = None
    proficiency: float | None = None


class ExternalId(ComplexAttribute):
    """What another system calls the user."""

    authority: Annotated[str | None, CaseExact.true, Required.true] = None
    value: Annotated[str | None, CaseExact.true, Required.true] = None


class PureCloud(Extension):
    """The vendor's own extension."""

    __schema__ = URN(PURECLOUD)

    routing_skills: list[Routing] | None = None
    routing_languages: list[Routing] | None = None
    external_ids: list[ExternalId] | None = None


class User(Resource[AnyExtension]):
    """A user; id, userName, active and meta come with every answer."""

    __schema__ = URN("urn:ietf:params:scim:schemas:core:2.0:User")

    user_name: Annotated[str | None, Uniqueness.server, Required.true, Returned.always] = None
    display_name: Annotated[str | None, Required.true] = None
    title: str | None = None
    active: Annotated[bool | None, Returned.always] = None
    password: Annotated[str | None, Mutability.write_only, Returned.never, CaseExact.true] = None
    emails: list[Email] | None = None
    phone_numbers: list[PhoneNumber] | None = None
    roles: list[Role] | None = None
    groups: Annotated[list[GroupMembership] | None, Mutability.read_only] = None


def provider() -> ScimProvider:
    """Describe the service: PATCH, filters and ETags; no bulk, no sorting (the vendor's SDK, SCIMApi)."""
    config = ServiceProviderConfig(
        patch=Patch(supported=True),
        bulk=Bulk(supported=False, max_operations=0, max_payload_size=0),
        filter=Filter(supported=True, max_results=RESULTS_MAX),
        change_password=ChangePassword(supported=True),
        sort=Sort(supported=False),
        etag=ETag(supported=True),
        authentication_schemes=[
            AuthenticationScheme(
                type=AuthenticationScheme.Type.oauth2,
                name="OAuth 2",
                description="A bearer token by client credentials",
                spec_uri=Reference[External]("https://datatracker.ietf.org/doc/html/rfc6749"),
            )
        ],
    )
    types = [ResourceType.from_resource(User[Enterprise | PureCloud]), ResourceType.from_resource(Group)]
    return ScimProvider(models=[User, Enterprise, PureCloud, Group], resource_types=types, config=config)
