"""What one sandbox is set to; the defaults are what the vendor documents."""

from dataclasses import dataclass

REQUESTS_PER_MINUTE = 300  # client.credentials.token.rate.per.minute
TOKEN_SECONDS = 86_400  # an OAuth client sets 300 to 172,800
SCOPES = ("authorization", "groups", "oauth", "routing", "scim", "users")


@dataclass(frozen=True)
class Settings:
    """An organization with one OAuth client."""

    client_id: str
    client_secret: str
    requests_per_minute: int = REQUESTS_PER_MINUTE
    lag_seconds: float = 0.0
    """How long lists and filters do not show a write."""
    hide_inactive: bool = False
    """Whether filters, too, find active users only: the vendor documents it of lists without a filter alone."""
    without: frozenset[str] = frozenset()
    """Permissions that the client's roles lack."""
    scopes: tuple[str, ...] = SCOPES
    token_seconds: int = TOKEN_SECONDS
    roles: tuple[str, ...] = ("employee", "Communicate - User", "Communicate - Admin", "supervisor")
    divisions: tuple[str, ...] = ("Home", "Support", "Sales")
    skills: tuple[str, ...] = ("Billing", "Returns", "Sales")
    languages: tuple[str, ...] = ("English", "German")
