"""The bearer of a target: static, or fetched by client credentials (RFC 6749 section 4.4) and kept until it ages."""

import time
from datetime import UTC, datetime
from urllib.parse import urlencode

from lifecycle.errors import Refused
from lifecycle.target import Target
from workers.http import Http
from workers.scim.answers import failure, parse

EARLY_SECONDS = 60
LIFE_SECONDS_DEFAULT = 300
OK = 200


class Bearer:
    """Gives the token to send, and a new one when the target no longer takes the old."""

    def __init__(self, target: Target, http: Http) -> None:
        """Keep how to get a token."""
        self._target = target
        self._http = http
        self._token: str | None = target.token.value if target.token else None
        self._renew_at = float("inf")

    def token(self) -> str:
        """Return a token with some life left. Raises Refused or Postponed when none can be had."""
        if self._token is None or time.monotonic() >= self._renew_at:
            self._fetch()
        return str(self._token)

    def renew(self) -> bool:
        """Forget the token after a 401; return whether another one can be fetched."""
        if self._target.token is not None:
            return False
        self._token = None
        return True

    def _fetch(self) -> None:
        target = self._target
        if target.token_url is None or target.client_id is None or target.client_secret is None:
            raise Refused("no way to get a token is configured", reason="credentials")
        form = {"grant_type": "client_credentials"} | ({"scope": " ".join(target.scopes)} if target.scopes else {})
        answer = self._http.send(
            "POST",
            target.token_url,
            headers={"content-type": "application/x-www-form-urlencoded", "accept": "application/json"},
            body=urlencode(form).encode(),
            auth=(target.client_id.value, target.client_secret.value),
        )
        fields = parse(answer)
        token, life = fields.get("access_token"), fields.get("expires_in")
        if answer.status != OK:
            raise failure(answer, datetime.now(UTC))
        if not isinstance(token, str):
            raise Refused("the token endpoint gave no access_token", reason="credentials")
        seconds = life if isinstance(life, int | float) else LIFE_SECONDS_DEFAULT
        # A minute early, or at half of a life that is shorter than two.
        self._renew_at = time.monotonic() + max(seconds - EARLY_SECONDS, seconds / 2)
        self._token = token
