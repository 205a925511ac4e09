"""What is found without a token, and where."""

from urllib.parse import urlsplit

import httpx
import pytest

from service.app import create_app
from tests.conftest import MakeConfig, open_client
from tests.service.ssf.conftest import Section
from tests.service.ssf.receiver import LEGACY, POLL, PUSH
from tests.strict_receiver import check_key
from tests.transmitter import ISSUER

DOCUMENTS = ("ssf-configuration", "sse-configuration", "risc-configuration", "jwks.json", "oauth-authorization-server")


async def test_without_the_section_there_is_no_transmitter(config: MakeConfig) -> None:
    """A receiver of notices alone is none of signals."""
    paths = [f"/.well-known/{name}" for name in DOCUMENTS] + ["/ssf/token", "/ssf/streams", "/ssf/poll/x"]
    async with open_client(create_app(config())) as client:
        found = [(await client.get(path)).status_code for path in paths]

    assert found == [404] * len(paths)


@pytest.mark.parametrize("path", ["", "/acme", "/acme/eu/"])
async def test_documents_are_found_before_the_issuers_path_and_behind_it(
    config: MakeConfig, section: Section, path: str
) -> None:
    """A proxy may take the path away or not, and some receivers look behind it: it is the same document."""
    async with open_client(create_app(config(ssf=section(ISSUER + path)))) as client:
        for name in DOCUMENTS:
            places = {f"/.well-known/{name}{path.rstrip('/')}", f"{path.rstrip('/')}/.well-known/{name}"}
            found = {(await client.get(place)).content for place in places | {f"/.well-known/{name}"}}
            assert len(found) == 1
        metadata = (await client.get("/.well-known/ssf-configuration")).json()
        endpoints = [url for name, url in metadata.items() if name.endswith("_endpoint")]
        answers = [await client.post(urlsplit(url).path) for url in endpoints]

    assert metadata["issuer"] == ISSUER + path
    assert [answer.status_code for answer in answers] == [401] * 5


async def test_every_key_is_published(client: httpx.AsyncClient) -> None:
    """The one that is to sign next as well, and nothing private of any."""
    answer = await client.get("/.well-known/jwks.json")

    keys = answer.json()["keys"]
    assert len({check_key(each).thumbprint() for each in keys}) == 2
    assert answer.headers["cache-control"] == "public, max-age=3600"


async def test_what_is_for_legacy_receivers_is_there_for_them_alone(config: MakeConfig, section: Section) -> None:
    """Without one nobody is told of delivery methods that were given up."""
    async with open_client(create_app(config(ssf=section(apple=None)))) as client:
        metadata = (await client.get("/.well-known/ssf-configuration")).json()
        old = [(await client.get(f"/.well-known/{name}")).status_code for name in DOCUMENTS[1:3]]
    async with open_client(create_app(config(ssf=section()))) as client:
        with_legacy = (await client.get("/.well-known/sse-configuration")).json()

    assert (metadata["delivery_methods_supported"], old) == ([PUSH, POLL], [404, 404])
    assert set(with_legacy["delivery_methods_supported"]) == {PUSH, POLL, *LEGACY}
