"""SCIM attribute paths."""

import pytest

from lifecycle.paths import CORE_SCHEMA, Path, parse_path

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("title", Path("title", None, "title", None, None, None)),
        ("name.givenName", Path("name.givenName", None, "name", None, None, "givenName")),
        (
            'emails[type eq "work"].value',
            Path('emails[type eq "work"].value', None, "emails", "type", "work", "value"),
        ),
        (f"{ENTERPRISE}:division", Path(f"{ENTERPRISE}:division", ENTERPRISE, "division", None, None, None)),
        (
            f"{ENTERPRISE}:manager.value",
            Path(f"{ENTERPRISE}:manager.value", ENTERPRISE, "manager", None, None, "value"),
        ),
        (f"{CORE_SCHEMA}:title", Path("title", None, "title", None, None, None)),
    ],
)
def test_path_is_taken_apart(text: str, path: Path) -> None:
    """The four forms of a single value; a core attribute loses its prefix."""
    assert parse_path(text) == path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1st",
        "a b",
        "name..x",
        "emails[type eq work].value",
        'emails[type eq "work"]',
        "a.b.c",
        'e[type ne "x"].v',
        "urn:x:",
    ],
)
def test_what_is_no_path_is_refused(text: str) -> None:
    """A path that no request could carry is found at the start."""
    with pytest.raises(ValueError, match="path"):
        parse_path(text)


@pytest.mark.parametrize(
    "text", ["externalId", "EXTERNALID", "active", "id", "meta.created", "groups", "password", f"{CORE_SCHEMA}:active"]
)
def test_what_is_ours_or_the_servers_is_not_mapped(text: str) -> None:
    """An externalId and whether an account is active are always ours, in any letter case and with any prefix."""
    with pytest.raises(ValueError, match="is not for a mapping"):
        parse_path(text)
