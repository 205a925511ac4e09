"""Access tokens of Microsoft Entra ID in the Authorization header: who calls us, not what is said.

Such a token is signed, yet says nothing of the body that comes with it, nor is it for one request alone: whoever sees
it can send what they like until it expires. So it proves as much as a secret that is changed every few hours.

https://learn.microsoft.com/en-us/entra/identity-platform/access-tokens
"""

import json
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from lifecycle.errors import Unauthentic
from lifecycle.fields import HttpUrl, Words
from service.sources.base import KeysAt, Notice, OwnOptions, Setup
from service.sources.tokens import Rules, SigningKey, bearer, signed, verified

LOGIN = "https://login.microsoftonline.com"
ISSUERS = ("https://sts.windows.net/{}/", f"{LOGIN}/{{}}/v2.0")
"""Of tokens of version 1, which Event Grid and managed identities send unless the application asks otherwise; and 2."""
CALLER_CLAIMS = ("appid", "azp")
"""Which application it is that calls, in tokens of version 1 and 2."""
SENT_FOR = timedelta(hours=1)

Guid = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"),
    AfterValidator(str.lower),
]


class Bearer(OwnOptions):
    """The keys of a source whose sender may prove itself by a token of Entra."""

    tenant: Guid | None = None
    """The id of the Entra tenant whose tokens are believed; with it the sender needs no secret."""
    audience: Words | None = None
    """For whom a token must be: the application's id or its ID URI, as the sender asks for it."""
    app_id: Guid | None = None
    """The application id of the sender; any other application of the tenant could get a token for us as well."""
    metadata_url: HttpUrl | None = None
    """Where Entra publishes its keys; none: the tenant's address in the public cloud."""
    issuers: list[Words] = Field(default_factory=list)
    """Who may have made a token; none: the tenant in the public cloud, for tokens of either version."""
    signing_key: SigningKey | None = None
    """Only for samples by ``gatepost send``: a private key in PEM, of a stand-in for Entra."""
    signing_key_id: Words = "gatepost"
    """Its ``kid``."""

    @model_validator(mode="after")
    def _is_whole(self) -> "Bearer":
        if (self.tenant is None) != (self.audience is None):
            msg = "allowed: tenant and audience together"
            raise ValueError(msg)
        if self.tenant is None and (self.app_id or self.metadata_url or self.issuers):
            msg = "allowed: app_id, metadata_url and issuers with a tenant"
            raise ValueError(msg)
        return self


def keys_at(setup: Setup) -> KeysAt | None:
    """Return where the tenant's keys are; None where the sender proves itself by a secret."""
    options: Bearer = setup.options
    if options.tenant is None:
        return None
    if options.metadata_url is not None:
        return KeysAt(options.metadata_url, is_metadata=True)
    issuer = f"{LOGIN}/{options.tenant}/v2.0"
    return KeysAt(f"{issuer}/.well-known/openid-configuration", is_metadata=True, issuer=issuer)


def check(setup: Setup) -> None:
    """Raise ValueError for a secret beside a tenant: it would be believed by nobody."""
    if setup.secrets:
        msg = "none beside a tenant, whose tokens prove the sender"
        raise ValueError(msg)


def caller(notice: Notice, setup: Setup, now: datetime, app_id: str) -> str:
    """Return by which key the caller proved to be this application. Raises Unauthentic or Unavailable."""
    options: Bearer = setup.options
    rules = Rules(issuers=frozenset(_issuers(options)), audiences=frozenset({options.audience or ""}))
    claims, proof = verified(bearer(notice), setup.keys, now, rules)
    named = [claims[name] for name in CALLER_CLAIMS if name in claims]
    if not named or any(each != app_id for each in named):
        raise Unauthentic("the token was given to another application", reason="caller_wrong")
    return proof


def sign(notice: Notice, setup: Setup, now: datetime, app_id: str) -> Notice:
    """Send a token as Entra gives one to this application. Raises ValueError without a key to make one."""
    options: Bearer = setup.options
    if options.signing_key is None:
        msg = "signing_key, a private key of a stand-in for Entra"
        raise ValueError(msg)
    at = int(now.timestamp())
    claims = {
        "aud": options.audience,
        "iss": _issuers(options)[0],
        "iat": at,
        "nbf": at,
        "exp": at + int(SENT_FOR.total_seconds()),
        "appid": app_id,
        "tid": options.tenant,
        "ver": "1.0",
    }
    token = _token(json.dumps(claims), options.signing_key.value, options.signing_key_id)
    return notice._replace(headers={**notice.headers, "authorization": f"Bearer {token}"})


@lru_cache(maxsize=16)
def _token(claims: str, pem: str, kid: str) -> str:
    # To take a private key apart costs more than all else; a sender uses a token more than once anyway.
    return signed(claims.encode(), pem, kid=kid, typ="JWT")


def _issuers(options: Bearer) -> tuple[str, ...]:
    return tuple(options.issuers) or tuple(each.format(options.tenant) for each in ISSUERS)
