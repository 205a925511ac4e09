"""Rippling's form posts: what is no form is set aside, and a source without a secret has to say so."""

import pytest

from lifecycle.errors import Unauthentic, Unreadable
from service.sources import rippling
from service.sources.base import Notice, Setup
from tests.notices import AT

OPEN = Setup("rippling", (), rippling.Options(unsigned=True))
KNOWN = Setup("rippling", ("token",), rippling.Options())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"event_name",
        b"event_name=employee.hired",
        b"event_name=employee.hired&id=",
        b"event_name=employee.hired&id=%ff",
        b"event_name=employee.hired&id=\xff",
        b"event_name=employee.hired&id=" + b"x" * 257,
        b"&".join([b"event_name=employee.hired", b"id=7", *[b"a=b"] * 60]),
        b"[]",
        b'{"event_name": "employee.hired"',
        b'{"event_name": "employee.hired", "id": {}}',
        b'{"event_name": "employee.hired", "id": "\\ud800"}',
    ],
)
def test_what_is_neither_a_form_nor_json_of_somebody_is_unreadable(body: bytes) -> None:
    """It is set aside, for Rippling is not to blame and would not send it again."""
    with pytest.raises(Unreadable):
        rippling.read(Notice("POST", "", {}, body), OPEN, AT)


@pytest.mark.parametrize(
    "given", ["", "token", "Bearer", "Bearer ", "Basic token", "Bearer  token", "Bearertoken", "Bearer token "]
)
def test_token_comes_behind_its_scheme(given: str) -> None:
    """Nothing else is a bearer token."""
    with pytest.raises(Unauthentic):
        rippling.verify(Notice("POST", "", {"authorization": given}, b""), KNOWN, AT)

    assert rippling.verify(Notice("POST", "", {"authorization": "BEARER token"}, b""), KNOWN, AT) == "token"


def test_source_without_a_secret_has_to_say_so() -> None:
    """A list of secrets that was left empty by mistake opens nothing."""
    with pytest.raises(ValueError, match="one secret"):
        rippling.check(Setup("rippling", (), rippling.Options()))
    with pytest.raises(ValueError, match="unsigned"):
        rippling.check(Setup("rippling", ("token",), rippling.Options(unsigned=True)))
    rippling.check(OPEN)
    rippling.check(KNOWN)
