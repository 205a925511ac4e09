"""``gatepost.toml``: what is taken, and what each refusal says."""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from lifecycle.config import CONFIG_BYTES_MAX, check_adapters, config_path, load, own_options, parse
from lifecycle.errors import Misconfigured
from lifecycle.fields import FilePath, Name, Section
from lifecycle.secrets import Secret

LITERAL = "hunter2-a-literal-secret"
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OKTA = {"adapter": "okta", "secrets": ["env:SECRET"]}
CRM = {"adapter": "scim", "base_url": "https://crm.example/v2", "token": "env:SECRET"}
SIEM = {"url": "https://siem.example/hooks", "secrets": ["env:WHSEC"]}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what the configurations below refer to."""
    monkeypatch.setenv("SECRET", "the-secret")
    monkeypatch.setenv("WHSEC", WHSEC)
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("NOT_SET", raising=False)


def refusal(raw: dict[str, Any], base: Path = Path()) -> str:
    """Return the one line that refuses a configuration."""
    with pytest.raises(Misconfigured) as refused:
        parse(raw, base)
    assert len(refused.value.lines) == 1
    return refused.value.lines[0]


def test_empty_file_is_a_whole_configuration() -> None:
    """Nothing is required, so that a first start explains itself by what it lacks."""
    config = parse({}, Path())

    assert config.redis.url == "redis://127.0.0.1:6379/0"
    assert config.service.max_body_bytes == 1_000_000
    assert (config.sources, config.targets, config.subscribers) == ({}, {}, {})


def test_whole_file_is_read(tmp_path: Path) -> None:
    """Every section of the contract's example that exists becomes typed values; paths are relative to the file."""
    (tmp_path / "crm.token").write_text("scim-token\n")
    path = tmp_path / "gatepost.toml"
    path.write_text(
        """
        [redis]
        url = "rediss://cache.example:6380/0"
        [service]
        max_body_bytes = 2_000_000
        admin_tokens = ["env:SECRET"]
        [workers]
        leavers = 2
        [sources.okta]
        adapter = "okta"
        secrets = ["env:SECRET"]
        [targets.genesys]
        adapter = "scim"
        base_url = "https://api.example/v2"
        token_url = "https://login.example/token"
        client_id = "env:SECRET"
        client_secret = "env:SECRET"
        scopes = ["scim"]
        [targets.genesys.attributes]
        title = "person.title"
        'emails[type eq "work"].value' = "person.email"
        [targets.crm]
        adapter = "scim"
        base_url = "http://127.0.0.1:8801/v2"
        token = "file:crm.token"
        [directories.hr]
        adapter = "file"
        path = "people.csv"
        [policy]
        scope = "person.user_type != 'contractor'"
        protected = ["breakglass@acme.example"]
        [[policy.grants]]
        when = "person.department == 'Support'"
        groups = ["Support Agents"]
        [subscribers.siem]
        url = "https://siem.example/hooks"
        secrets = ["env:WHSEC"]
        events = ["person.*", "delivery.failed"]
        """
    )

    config = load(path)

    assert config.targets["crm"].token is not None
    assert config.targets["crm"].token.value == "scim-token"
    assert config.targets["crm"].mapping() is None
    mapping = config.targets["genesys"].mapping()
    assert mapping is not None
    assert [path.text for path in mapping] == ["title", 'emails[type eq "work"].value']
    assert config.policy.scope is not None
    assert config.policy.scope.fields == {"user_type"}
    assert config.workers.leavers == 2
    assert config.directories["hr"].own == {"path": "people.csv"}
    assert config.directories["hr"].base == tmp_path


REFUSALS: list[tuple[dict[str, Any], str, str, str]] = [
    ({"redis": {"url": "http://x"}}, "redis.url", "'http://x'", "redis:// or rediss:// or unix://"),
    ({"redis": {"url": 7}}, "redis.url", "7", "a valid string"),
    ({"service": {"max_body_bytes": 1}}, "service.max_body_bytes", "1", "greater than or equal to 1024"),
    ({"service": {"max_body_bytes": "1MB"}}, "service.max_body_bytes", "'1MB'", "a valid integer"),
    ({"service": {"max_body_bytes": 1e6}}, "service.max_body_bytes", "1000000.0", "a valid integer"),
    ({"workers": {"leavers": 0}}, "workers.leavers", "0", "greater than or equal to 1"),
    ({"sources": {"okta": {"secrets": ["env:SECRET"]}}}, "sources.okta.adapter", "nothing", "required"),
    ({"sources": {"okta": OKTA | {"secrets": "env:SECRET"}}}, "sources.okta.secrets", "'env:SECRET'", "a valid list"),
    ({"sources": {"Okta!": OKTA}}, "sources.Okta!", "'Okta!'", "a name that matches"),
    ({"sources": ["okta"]}, "sources", "a list", "a valid dictionary"),
    ({"targets": {"crm": CRM | {"token": None}}}, "targets.crm", "a table", "either token, or token_url"),
    ({"targets": {"crm": CRM | {"client_id": "env:SECRET"}}}, "targets.crm", "a table", "either token, or token_url"),
    (
        {"targets": {"crm": CRM | {"base_url": "ftp://crm"}}},
        "targets.crm.base_url",
        "'ftp://crm'",
        "https:// or http://",
    ),
    ({"targets": {"crm": CRM | {"leaver": "forget"}}}, "targets.crm.leaver", "'forget'", "'suspend'"),
    (
        {"targets": {"crm": CRM | {"attributes": {"id": "person.email"}}}},
        "targets.crm",
        "a table",
        "attributes.id: id is not for a mapping",
    ),
    (
        {"targets": {"crm": CRM | {"attributes": {"title": "person.titel"}}}},
        "targets.crm.attributes.title",
        "'person.titel'",
        "person has no field 'titel'",
    ),
    ({"policy": {"scope": "person.title =="}}, "policy.scope", "'person.title =='", ""),
    ({"policy": {"scope": "nobody.title == 'x'"}}, "policy.scope", "\"nobody.title == 'x'\"", "nobody"),
    ({"policy": {"scope": 7}}, "policy.scope", "7", "a CEL expression is a text"),
    ({"policy": {"grants": [{"when": "true"}]}}, "policy.grants.0", "a table", "groups or roles, or both"),
    ({"policy": {"nesting": {"a": ["b"], "b": ["a"]}}}, "policy", "a table", "groups that do not contain themselves"),
    (
        {"subscribers": {"siem": SIEM | {"events": ["person.suspendd"]}}},
        "subscribers.siem.events.0",
        "'person.suspendd'",
        "person.suspended",
    ),
    ({"subscribers": {"siem": SIEM | {"events": []}}}, "subscribers.siem.events", "a list", "at least 1 item"),
    (
        {"policy": {"scope": "person['titel'] == 'x'"}},
        "policy.scope",
        "\"person['titel'] == 'x'\"",
        "person has no field",
    ),
    (
        {"targets": {"crm": {"adapter": "scim", "base_url": "https://crm:99999/", "token": "env:SECRET"}}},
        "targets.crm.base_url",
        "'https://crm:99999/'",
        "0-65535",
    ),
    (
        {"subscribers": {"siem": SIEM | {"secrets": ["env:SECRET"]}}},
        "subscribers.siem",
        "a table",
        "env:SECRET: a secret starts with whsec_",
    ),
]


@pytest.mark.parametrize(("raw", "key", "found", "allowed"), REFUSALS)
def test_refusal_names_key_found_and_allowed(raw: dict[str, Any], key: str, found: str, allowed: str) -> None:
    """Each fault is one line of three parts, so that it can be mended without reading our code."""
    line = refusal(raw)

    assert line.startswith(f"{key}: found {found}; ")
    assert allowed in line.partition("; ")[2]


UNKNOWN_KEYS: list[tuple[dict[str, Any], str, str]] = [
    ({"source": {}}, "source", "redis, service, workers, sources"),
    ({"redis": {"uri": "x"}}, "redis.uri", "url"),
    ({"service": {"admin_token": "x"}}, "service.admin_token", "max_body_bytes, admin_tokens"),
    ({"targets": {"crm": CRM | {"tokens": "x"}}}, "targets.crm.tokens", "adapter, base_url"),
    ({"policy": {"grant": []}}, "policy.grant", "scope, protected, grants"),
    (
        {"policy": {"grants": [{"when": "true", "groups": ["a"], "group": "b"}]}},
        "policy.grants.0.group",
        "when, groups",
    ),
    (
        {"subscribers": {"siem": SIEM | {"event": []}}},
        "subscribers.siem.event",
        "subject, profile, provisioning, targets, format, url",
    ),
    ({"targets": {"safety": CRM | {"tokens": "x"}}}, "targets.safety.tokens", "adapter, base_url"),
    ({"targets": {"crm": CRM | {"profile": {"patches": True}}}}, "targets.crm.profile.patches", "discovery, patch"),
]


@pytest.mark.parametrize(("raw", "key", "allowed"), UNKNOWN_KEYS)
def test_unknown_key_is_refused_at_every_level(raw: dict[str, Any], key: str, allowed: str) -> None:
    """A misspelt key is found at the start, with the names that exist in its place."""
    line = refusal(raw)

    assert line.startswith(f"{key}: found ")
    assert f"unknown key; allowed: {allowed}" in line


LITERALS: list[dict[str, Any]] = [
    {"service": {"admin_tokens": [LITERAL]}},
    {"service": {"admin_tokens": LITERAL}},
    {"service": {"admin_token": LITERAL}},
    {"service": {"admin_tokens": {LITERAL: 1}}},
    {"sources": {"okta": OKTA | {"secrets": [LITERAL]}}},
    {"sources": {"okta": OKTA | {"secrets": LITERAL}}},
    {"targets": {"crm": CRM | {"token": LITERAL}}},
    {"targets": {"crm": CRM | {"token": [LITERAL]}}},
    {"targets": {"crm": CRM | {"client_secret": LITERAL}}},
    {"targets": {"crm": CRM | {"client_id": LITERAL}}},
    {"targets": {"crm": CRM | {"tokn": LITERAL}}},
    {"targets": {"crm": CRM | {"base_url": f"https://user:{LITERAL}@crm.example"}}},
    {"redis": {"url": f"reddis://:{LITERAL}@cache.example:6379/0"}},
    {"subscribers": {"siem": SIEM | {"secrets": [LITERAL]}}},
    {"subscribers": {"siem": SIEM | {"secrets": {"one": LITERAL}}}},
]


@pytest.mark.parametrize("raw", LITERALS)
def test_literal_secret_is_refused_and_not_repeated(raw: dict[str, Any]) -> None:
    """A secret written into the file, even under a misspelt key, is refused without being shown."""
    with pytest.raises(Misconfigured) as refused:
        parse(raw, Path())

    assert refused.value.lines
    assert LITERAL not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize("reference", ["env:", "file:", "env", ":", "vault:x", "", 7, True, None])
def test_what_is_no_reference_is_refused(reference: object) -> None:
    """A reference names a place: env:NAME or file:PATH."""
    line = refusal({"service": {"admin_tokens": [reference]}})

    assert "env:NAME or file:PATH" in line


def test_missing_secrets_are_named() -> None:
    """A variable that is not set or empty, and a file that is not there or empty, are found at the start."""
    lines = [refusal({"service": {"admin_tokens": [name]}}) for name in ("env:NOT_SET", "env:EMPTY", "file:/not/there")]

    assert lines[0].startswith("service.admin_tokens.0: found 'env:NOT_SET'; the environment has no NOT_SET; allowed: ")
    assert "env:EMPTY" in lines[1]
    assert lines[2].startswith(
        "service.admin_tokens.0: found 'file:/not/there'; the file cannot be read (FileNotFoundError)"
    )


def test_secret_in_a_file_is_read_without_its_line_end(tmp_path: Path) -> None:
    """What an editor or a Kubernetes mount puts around a secret is not part of it; an empty file holds none."""
    (tmp_path / "token").write_text("the-token\n")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")

    config = parse({"service": {"admin_tokens": ["file:token", f"file:{tmp_path / 'token'}"]}}, tmp_path)

    assert [token.value for token in config.service.admin_tokens] == ["the-token", "the-token"]
    assert "is empty" in refusal({"service": {"admin_tokens": ["file:empty"]}}, tmp_path)
    assert "cannot be read" in refusal({"service": {"admin_tokens": ["file:binary"]}}, tmp_path)
    assert "cannot be read" in refusal({"service": {"admin_tokens": ["file:."]}}, tmp_path)


def test_secret_prints_as_its_reference() -> None:
    """A configuration in a log or a traceback shows where a secret is, not what it is."""
    config = parse({"service": {"admin_tokens": ["env:SECRET"]}}, Path())

    assert "the-secret" not in repr(config)
    assert "env:SECRET" in repr(config)


def test_all_faults_are_told_at_once() -> None:
    """One start shows every line to mend."""
    with pytest.raises(Misconfigured) as refused:
        parse({"redis": {"url": "x"}, "service": {"max_body_bytes": 0}, "sources": {"a": {}}}, Path())

    assert [line.partition(":")[0] for line in refused.value.lines] == [
        "redis.url",
        "service.max_body_bytes",
        "sources.a.adapter",
    ]


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (Path.exists, "cannot be read"),
        (lambda path: path.mkdir(), "cannot be read"),
        (lambda path: path.write_text("[redis"), "not TOML"),
        (lambda path: path.write_bytes(b"\xff"), "not TOML"),
        (lambda path: path.write_text("# \n" + "#" * CONFIG_BYTES_MAX), "larger than"),
    ],
    ids=["missing", "folder", "no TOML", "no text", "endless"],
)
def test_file_that_is_none_is_told_so(tmp_path: Path, write: Callable[[Path], object], says: str) -> None:
    """A file that is missing, a folder, no TOML, no text or endless is refused by name."""
    path = tmp_path / "gatepost.toml"
    write(path)

    with pytest.raises(Misconfigured) as refused:
        load(path)

    assert refused.value.lines[0].startswith(f"{path}: {says}")


def test_file_is_the_one_given_else_of_the_environment_else_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearer word wins."""
    monkeypatch.setenv("GATEPOST_CONFIG", "/etc/gatepost.toml")
    found = [config_path("given.toml"), config_path()]
    monkeypatch.delenv("GATEPOST_CONFIG")

    assert [*found, config_path()] == [Path("given.toml"), Path("/etc/gatepost.toml"), Path("gatepost.toml")]


def test_unknown_adapter_is_told_with_the_known_ones() -> None:
    """The registries name what there is."""
    check_adapters("sources", {"a": "okta"}, ["okta"])

    with pytest.raises(Misconfigured) as refused:
        check_adapters("sources", {"a": "okta", "b": "workday"}, ["standard_webhooks", "okta"])

    assert refused.value.lines == ["sources.b.adapter: found 'workday'; allowed: okta, standard_webhooks"]


class Part(Section):
    """A table of an adapter's own."""

    token: Secret | None = None
    inner: "Part | None" = None


class Own(Section):
    """An adapter's own keys."""

    path: FilePath
    private_key: Secret | None = None
    header: Annotated[str, Field(pattern="^[a-z-]+$")] = "x"
    part: Part | None = None
    parts: list[Part] = Field(default_factory=list)
    named: Annotated[dict[Name, Part], Field(max_length=9)] = Field(default_factory=dict)


def test_adapters_own_keys_are_checked_as_the_file_is(tmp_path: Path) -> None:
    """A path is relative to the file, a secret is a reference, an unknown key is told with all known ones."""
    section = parse({"directories": {"hr": {"adapter": "x", "path": "a.csv"}}}, tmp_path).directories["hr"]

    assert own_options("directories.hr", section, Own).path == tmp_path / "a.csv"


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({}, "directories.hr.path: found nothing; required"),
        ({"path": 7}, "directories.hr.path: found 7; allowed: a path, as it is or relative to the file"),
        ({"path": "a", "pth": LITERAL}, "found a str; unknown key; allowed: adapter, path, private_key, header"),
        ({"path": "a", "private_key": LITERAL}, "directories.hr.private_key: found a literal; a literal is refused"),
        ({"path": "a", "header": f"Bearer {LITERAL}"}, "directories.hr.header: found a literal; allowed: a name that"),
        ({"path": "a", "part": {"tokn": LITERAL}}, "hr.part.tokn: found a str; unknown key; allowed: token, inner"),
        ({"path": "a", "part": {"inner": {"x": LITERAL}}}, "hr.part.inner.x: found a str; unknown key; allowed: token"),
        ({"path": "a", "parts": [{"x": [LITERAL]}]}, "hr.parts.0.x: found a list; unknown key; allowed: token, inner"),
        ({"path": "a", "named": {"part": {"x": LITERAL}}}, "hr.named.part.x: found a str; unknown key; allowed: token"),
        ({"path": "a", "part": {"token": LITERAL}}, "directories.hr.part.token: found a literal; a literal is refused"),
    ],
)
def test_adapters_own_key_that_is_wrong_is_told(keys: dict[str, Any], line: str) -> None:
    """The key, what was found, what is allowed; never a secret."""
    section = parse({"directories": {"hr": {"adapter": "x", **keys}}}, Path()).directories["hr"]

    with pytest.raises(Misconfigured) as refused:
        own_options("directories.hr", section, Own)

    assert line in refused.value.lines[0]
    assert LITERAL not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ({"url": "http://siem.example"}, "url: allowed: https://; http:// is for private addresses"),
        ({"url": "https://siem.example:8080"}, "url: found port 8080; allowed: 443"),
        ({"url": "https://10.0.0.1/"}, "url: allowed: a public address"),
        ({"targets": ["crm"]}, "targets: found 'crm'; allowed: nothing"),
        ({"headers": {"Authorization": "Bearer x"}}, "headers.Authorization: a literal is refused"),
        ({"format": "ssf_poll", "audience": "x"}, "format: found 'ssf_poll'; allowed: standard_webhooks, ssf_push"),
        ({"format": "ssf_push", "audience": "x"}, "format: ssf_push needs [ssf]"),
        ({"set_events": ["urn:nope"]}, "set_events: found 'urn:nope'; allowed: https://"),
    ],
)
def test_subscriber_that_does_not_fit_the_rest_is_refused(section: dict[str, Any], line: str) -> None:
    """By a line of its own, beside those of all others."""
    raw = {"subscribers": {"siem": SIEM | section, "other": SIEM | {"url": "https://127.0.0.1"}, "well": SIEM}}

    with pytest.raises(Misconfigured) as refused:
        parse(raw, Path())

    first, second = refused.value.lines
    assert first.startswith(f"subscribers.siem.{line}")
    assert second.startswith("subscribers.other.url: allowed: a public address")
