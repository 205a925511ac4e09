"""Fixtures of the directories that are asked over HTTP: each with a stand-in of its service on loopback."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from redis import Redis

from lifecycle.directory import Directory as Section
from tests.directories import bamboohr_api, google_api, graph_api, okta_api, scim_api
from tests.directories.stand_in import Someone, StandIn
from workers.directories import opened
from workers.directories.base import Directory


@dataclass(frozen=True)
class Keys:
    """A pair of RSA keys in PEM."""

    private: str
    public: str


@pytest.fixture(scope="session")
def rsa_keys() -> Keys:
    """Make a pair once, for it takes a while."""
    private = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    form = serialization.PrivateFormat.PKCS8
    pem = private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    info = serialization.PublicFormat.SubjectPublicKeyInfo
    return Keys(pem.decode(), private.public_key().public_bytes(serialization.Encoding.PEM, info).decode())


@dataclass
class Vendor:
    """A directory with its service."""

    name: str
    service: StandIn
    secret: str
    """The whole of what stands in the configuration."""
    ids: Callable[[int], str]
    """The id of the n-th person, in the vendor's form."""
    has_user_names: bool = True
    names_one: bool = False
    """Whether the user name and the address are one."""
    fetches: bool = False
    """Whether its bearer is fetched."""
    knows_deleted: bool = False

    def someone(self, number: int, **more: Any) -> Someone:  # noqa: ANN401 - of a Someone
        """Make somebody, whom the service does not know yet."""
        email = f"person-{number}@acme.example"
        login = email if self.names_one else f"login-{number}@acme.example"
        return Someone(**({"id": self.ids(number), "user_name": login, "email": email, "title": "Agent"} | more))


Open = Callable[..., Directory]


def _number(number: int) -> str:
    return str(1_000 + number)


def _google(number: int) -> str:
    return f"{100_000_000_000_000_000_000 + number}"


def _okta(number: int) -> str:
    return f"00u{number:017d}"


def _entra(number: int) -> str:
    return f"9a6f1c5e-0001-4c1e-8d33-{number:012x}"


VENDORS = ("okta", "entra", "google", "bamboohr", "scim")


@pytest.fixture
def make_vendor(rsa_keys: Keys, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Vendor]]:
    """Run a service and put its secrets into the environment: ``make_vendor("okta")``."""
    account = {"type": "service_account", "client_email": google_api.ACCOUNT, "private_key_id": "key-1"}
    google_key = json.dumps(account | {"private_key": rsa_keys.private})
    with ExitStack() as stack:

        def run(service: StandIn) -> StandIn:
            return stack.enter_context(service)

        def make(name: str) -> Vendor:
            made: dict[str, Callable[[], Vendor]] = {
                "okta": lambda: Vendor(name, run(okta_api.OktaApi()), okta_api.TOKEN, _okta),
                "entra": lambda: Vendor(
                    name, run(graph_api.GraphApi()), graph_api.SECRET, _entra, fetches=True, knows_deleted=True
                ),
                "google": lambda: Vendor(
                    name,
                    run(google_api.GoogleApi(public_key=rsa_keys.public)),
                    google_key,
                    _google,
                    names_one=True,
                    fetches=True,
                    knows_deleted=True,
                ),
                "bamboohr": lambda: Vendor(
                    name, run(bamboohr_api.BambooApi()), bamboohr_api.KEY, _number, has_user_names=False
                ),
                "scim": lambda: Vendor(name, run(scim_api.ScimApi()), scim_api.TOKEN, _number),
            }
            vendor = made[name]()
            monkeypatch.setenv("DIRECTORY_SECRET", vendor.secret)
            monkeypatch.setenv("DIRECTORY_CLIENT", graph_api.CLIENT)
            return vendor

        yield make


@pytest.fixture
def open_one(redis: Redis) -> Open:
    """Open a vendor's directory as a process of its own does: ``open_one(vendor, groups=False)``."""

    def make(vendor: Vendor, **more: Any) -> Directory:  # noqa: ANN401 - TOML
        section = Section.model_validate(vendor.service.section | more)
        return opened({vendor.name: section}, redis)[vendor.name]

    return make
