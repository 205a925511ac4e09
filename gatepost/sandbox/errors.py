"""The platform's own error, which is not SCIM's: ``message``, ``code``, ``status``, ``contextId``.

It is how the gateway refuses a token, a permission, a path or a rate; its ``contextId`` is the correlation id.
"""

from collections.abc import Mapping

from gatepost.sandbox.web import Answer


class Refused(Exception):
    """The gateway's refusal."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        """Keep what the answer will say."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers or {}

    def answer(self, correlation: str) -> Answer:
        """Return the answer."""
        shape = {"message": str(self), "code": self.code, "status": self.status, "contextId": correlation}
        return Answer.of(self.status, {**shape, "details": [], "errors": []}, self.headers)


def not_found(what: str) -> Refused:
    """Return the refusal of something that is not there."""
    return Refused(404, "not.found", f"{what} was not found.")


def missing(permissions: set[str]) -> Refused:
    """Return the refusal of a client whose roles lack permissions; it names them."""
    listed = ", ".join(sorted(permissions))
    message = f"Unable to perform the requested action. You are missing the following permission(s): [{listed}]"
    return Refused(403, "missing.permissions", message)
