"""A receiver as the specifications have it: it finds the transmitter by its issuer alone, and trusts no answer.

Written from SSF 1.0 sections 7 and 8, RFC 6749, RFC 8414, RFC 8936 and CAEP's interoperability profile.
"""

import base64
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus, urlsplit

import httpx
import jsonschema

from tests.strict_receiver import StrictReceiver, Taken, check_key

PUSH, POLL = "urn:ietf:rfc:8935", "urn:ietf:rfc:8936"
LEGACY = {
    "https://schemas.openid.net/secevent/risc/delivery-method/push",
    "https://schemas.openid.net/secevent/risc/delivery-method/poll",
}
_URL = {"type": "string", "pattern": "^https://[^?#]+$"}
_WORDS = {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "uniqueItems": True}
ENDPOINTS = (
    "configuration_endpoint",
    "status_endpoint",
    "add_subject_endpoint",
    "remove_subject_endpoint",
    "verification_endpoint",
)
METADATA = {
    "type": "object",
    "properties": {
        "spec_version": {"const": "1_0"},
        "issuer": _URL,
        "jwks_uri": _URL,
        "delivery_methods_supported": {"type": "array", "items": {"enum": [PUSH, POLL, *sorted(LEGACY)]}},
        **dict.fromkeys(ENDPOINTS, _URL),
        "authorization_schemes": {"type": "array", "contains": {"const": {"spec_urn": "urn:ietf:rfc:6749"}}},
        "default_subjects": {"const": "ALL"},
    },
    "required": ["spec_version", "issuer", "jwks_uri", "delivery_methods_supported", *ENDPOINTS],
    "additionalProperties": False,
}
TOKEN = {
    "type": "object",
    "properties": {
        "access_token": {"type": "string", "pattern": r"^[A-Za-z0-9._~+/-]{32,}=*$"},
        "token_type": {"const": "Bearer"},
        "expires_in": {"type": "integer", "minimum": 60, "maximum": 3_600},
        "scope": {"type": "string", "minLength": 1},
    },
    "required": ["access_token", "token_type", "expires_in", "scope"],
    "additionalProperties": False,
}
CONFIGURATION = {
    "type": "object",
    "properties": {
        "stream_id": {"type": "string", "pattern": "^[A-Za-z0-9._~-]+$"},
        "iss": _URL,
        "aud": {"type": "string"},
        "events_supported": _WORDS,
        "events_requested": {"type": "array", "items": {"type": "string"}},
        "events_delivered": {"type": "array", "items": {"type": "string"}},
        "delivery": {
            "type": "object",
            "properties": {"method": {"type": "string"}, "endpoint_url": {"type": "string", "format": "uri"}},
            "required": ["method", "endpoint_url"],
            "additionalProperties": False,
        },
        "min_verification_interval": {"type": "integer", "minimum": 1},
        "description": {"type": "string"},
        "format": {"type": "string"},
    },
    "required": ["stream_id", "iss", "aud", "events_delivered", "delivery"],
    "additionalProperties": False,
}
POLLED = {
    "type": "object",
    "properties": {
        "sets": {"type": "object", "additionalProperties": {"type": "string"}},
        "moreAvailable": {"type": "boolean"},
    },
    "required": ["sets"],
    "additionalProperties": False,
}

Found = dict[str, Any]


class Receiver:
    """One receiver; what it gets it reads strictly, by ``strict``."""

    def __init__(
        self, client: httpx.AsyncClient, issuer: str, name: str, secret: str, audience: str, *, legacy: bool = False
    ) -> None:
        """Know the issuer, its own client and its audience, as both sides agreed."""
        self._client = client
        self._issuer = issuer
        self._name = name
        self._secret = secret
        self.strict = StrictReceiver(issuer, audience, [], legacy=legacy)
        self.metadata: Found = {}
        self.token_endpoint = ""
        self.token = ""

    def well_known(self, name: str) -> str:
        """Insert a document's place between host and path of the issuer (SSF 1.0 section 7.2, RFC 8414 section 3)."""
        parts = urlsplit(self._issuer)
        return f"{parts.scheme}://{parts.netloc}/.well-known/{name}{parts.path.removesuffix('/')}"

    async def discover(self) -> None:
        """Find endpoints, keys and a token."""
        self.metadata = await self._document(self.well_known("ssf-configuration"))
        jsonschema.validate(self.metadata, METADATA)
        assert self.metadata["issuer"] == self._issuer
        keys = (await self._document(self.metadata["jwks_uri"]))["keys"]
        for each in keys:
            check_key(each)
        self.strict.keys = keys
        server = await self._document(self.well_known("oauth-authorization-server"))
        assert server["issuer"] == self._issuer
        assert "client_credentials" in server["grant_types_supported"]
        self.token_endpoint = server["token_endpoint"]
        await self.renew()

    async def renew(self) -> None:
        """Get a token, as RFC 6749 section 2.3.1 has clients show their secrets."""
        both = f"{quote_plus(self._name)}:{quote_plus(self._secret)}"
        headers = {"authorization": f"Basic {base64.b64encode(both.encode()).decode()}"}
        form = {"grant_type": "client_credentials"}
        answer = await self._client.post(self.token_endpoint, data=form, headers=headers)
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store"), answer.text
        found = answer.json()
        jsonschema.validate(found, TOKEN)
        self.token = found["access_token"]

    async def ask(self, method: str, endpoint: str, **options: Any) -> httpx.Response:  # noqa: ANN401 - httpx
        """Ask an endpoint, by its name in the metadata or its URL."""
        headers = {"authorization": f"Bearer {self.token}"}
        answer = await self._client.request(
            method, self.metadata.get(endpoint, endpoint), headers=headers | options.pop("headers", {}), **options
        )
        assert answer.headers["cache-control"] == "no-store"
        return answer

    # ---- streams

    async def create(self, **body: Any) -> Found:  # noqa: ANN401 - JSON
        """Create a stream."""
        return self.configuration(await self.ask("POST", "configuration_endpoint", json=body), 201)

    async def read(self, stream_id: str) -> Found:
        """Read a stream."""
        params = {"stream_id": stream_id}
        return self.configuration(await self.ask("GET", "configuration_endpoint", params=params))

    async def all(self) -> list[Found]:
        """Read all of its streams."""
        answer = await self.ask("GET", "configuration_endpoint")
        assert answer.status_code == 200
        found: list[Found] = answer.json()
        return found

    async def update(self, **body: Any) -> Found:  # noqa: ANN401 - JSON
        """Change a stream."""
        return self.configuration(await self.ask("PATCH", "configuration_endpoint", json=body))

    async def replace(self, **body: Any) -> Found:  # noqa: ANN401 - JSON
        """Replace a stream."""
        return self.configuration(await self.ask("PUT", "configuration_endpoint", json=body))

    async def delete(self, stream_id: str) -> None:
        """Delete a stream."""
        answer = await self.ask("DELETE", "configuration_endpoint", params={"stream_id": stream_id})
        assert (answer.status_code, answer.content) == (204, b"")

    async def status(self, stream_id: str) -> Found:
        """Read the status of a stream."""
        answer = await self.ask("GET", "status_endpoint", params={"stream_id": stream_id})
        assert answer.status_code == 200, answer.text
        return self._said(answer, stream_id)

    async def set_status(self, stream_id: str, status: str, **more: Any) -> Found:  # noqa: ANN401 - JSON
        """Change the status of a stream."""
        body = {"stream_id": stream_id, "status": status, **more}
        answer = await self.ask("POST", "status_endpoint", json=body)
        assert answer.status_code == 200, answer.text
        return self._said(answer, stream_id)

    async def subject(self, change: str, stream_id: str, subject: Found) -> None:
        """Add or remove a subject."""
        body = {"stream_id": stream_id, "subject": subject}
        answer = await self.ask("POST", f"{change}_subject_endpoint", json=body)
        assert (answer.status_code, answer.content) == ({"add": 200, "remove": 204}[change], b""), answer.text

    async def verify(self, stream_id: str, state: str | None = None) -> None:
        """Ask for a verification event."""
        body = {"stream_id": stream_id, **({} if state is None else {"state": state})}
        answer = await self.ask("POST", "verification_endpoint", json=body)
        assert (answer.status_code, answer.content) == (204, b""), answer.text

    async def poll(self, stream: Found, **body: Any) -> list[Taken]:  # noqa: ANN401 - JSON
        """Poll a stream, at once where not said otherwise; return what came, in the order in which it did."""
        return (await self.poll_for(stream, **body))[0]

    async def poll_for(self, stream: Found, **body: Any) -> tuple[list[Taken], bool]:  # noqa: ANN401 - JSON
        """Poll a stream; return what came, and whether there is more."""
        url = stream["delivery"]["endpoint_url"]
        answer = await self.ask("POST", url, json={"returnImmediately": True} | body)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json"), answer.text
        found = answer.json()
        jsonschema.validate(found, POLLED)
        came = {jti: self.strict.take(token, datetime.now(UTC)) for jti, token in found["sets"].items()}
        assert all(jti == taken.claims["jti"] for jti, taken in came.items())
        return list(came.values()), found.get("moreAvailable", False)

    def configuration(self, answer: httpx.Response, status: int = 200) -> Found:
        """Return a stream's configuration from an answer."""
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json"), answer.text
        found: Found = answer.json()
        jsonschema.validate(found, CONFIGURATION)
        assert (found["iss"], found["aud"]) == (self._issuer, self.strict.audience)
        delivered, supported = set(found["events_delivered"]), set(found["events_supported"])
        assert delivered <= supported
        assert delivered <= set(found.get("events_requested", supported))
        return found

    def _said(self, answer: httpx.Response, stream_id: str) -> Found:
        found: Found = answer.json()
        assert found.keys() - {"reason"} == {"stream_id", "status"}
        assert found["stream_id"] == stream_id
        return found

    async def _document(self, url: str) -> Found:
        answer = await self._client.get(url)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json"), url
        found: Found = answer.json()
        return found


def ids(taken: list[Taken]) -> list[str]:
    """Return the ids of tokens, for an acknowledgement."""
    return [each.claims["jti"] for each in taken]


def names(taken: list[Taken]) -> list[str]:
    """Return the short names of the events."""
    return [each.uri.rpartition("/")[2].removeprefix("urn:ietf:params:scim:event:") for each in taken]
