"""Any SCIM 2.0 service provider, by the book (RFC 7643, RFC 7644)."""

from lifecycle.target import Profile
from workers.scim.agreement import agree

__all__ = ["ATTRIBUTES", "PROFILE", "REQUESTS_PER_MINUTE", "agree"]

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"

ATTRIBUTES = {
    "userName": "person.user_name != null ? person.user_name : person.email",
    "displayName": "person.display_name",
    "name.givenName": "person.given_name",
    "name.familyName": "person.family_name",
    "title": "person.title",
    'emails[type eq "work"].value': "person.email",
    'phoneNumbers[type eq "work"].value': "person.phone",
    f"{ENTERPRISE}:department": "person.department",
    f"{ENTERPRISE}:division": "person.division",
    f"{ENTERPRISE}:costCenter": "person.cost_center",
    f"{ENTERPRISE}:organization": "person.organization",
    f"{ENTERPRISE}:employeeNumber": "person.employee_number",
}

PROFILE = Profile(
    discovery=True, patch="discover", etag="discover", bulk="discover", filter="discover", cursor="discover"
)
REQUESTS_PER_MINUTE = None
