"""Deliveries as Standard Webhooks: believed by any of the secrets, within five minutes of now."""

import json
from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus

from gatepost.listen.base import Heard, Letter, Reply, json_object, text_in
from lifecycle import signature
from lifecycle.errors import Misconfigured, Rejected, Unauthentic
from lifecycle.secrets import Secret


class Webhooks:
    """Believes what one of the secrets signed."""

    NAME, KNOWN_BY = "standard_webhooks", "webhook-id"
    TAKEN: int = HTTPStatus.NO_CONTENT

    def __init__(self, secrets: Sequence[Secret]) -> None:
        """Read the secrets. Raises Misconfigured for what is none."""
        self._references = [secret.reference for secret in secrets]
        self._verifiers = [_verifier(secret) for secret in secrets]

    async def hear(self, letter: Letter, now: datetime) -> Heard:
        """Return what a delivery says. Raises Unauthentic or Malformed."""
        if not self._verifiers:
            raise Unauthentic("no secret was named to verify webhooks with", reason="secret_missing")
        place = signature.verify(self._verifiers, letter.headers, letter.body, now)
        said = json_object(letter.body)
        return Heard(
            id=letter.headers[signature.STANDARD.id],
            type=text_in(said, "type"),
            person=text_in(said, "data", "person", "external_id"),
            target=text_in(said, "data", "target"),
            proof=self._references[place],
            said=said,
        )

    def refuse(self, error: Rejected) -> Reply:
        """Refuse with a problem document (RFC 9457)."""
        status = HTTPStatus.UNAUTHORIZED if isinstance(error, Unauthentic) else HTTPStatus.BAD_REQUEST
        problem = {
            "type": f"urn:gatepost:problem:{error.reason}",
            "title": status.phrase,
            "status": status,
            "detail": error.message,
        }
        return Reply(status, json.dumps(problem).encode(), "application/problem+json")


def _verifier(secret: Secret) -> signature.Verifier:
    try:
        return signature.verifier(secret.value)
    except ValueError as error:
        line = f"{secret.reference}: found no secret of Standard Webhooks; allowed: {error}"
        raise Misconfigured([line]) from error
