"""All sources of the fixtures as a configuration, with a server of their issuers' published keys."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from service.sources import SOURCES
from tests.notices import FIXTURES, adapter_of, described, folders, old_and_new, setup_of

JWKS, METADATA = "jwks.json", "metadata.json"


class AllSources(NamedTuple):
    """The sections of every folder of fixtures, and the secrets that they refer to by name."""

    sections: dict[str, dict[str, Any]]
    environment: dict[str, str]


@contextmanager
def all_sources() -> Iterator[AllSources]:
    """Configure a source of each folder, under the folder's name; the keys are served until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Issuer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield _configured(f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()


def _configured(issuers: str) -> AllSources:
    sections, environment = {}, {}
    for folder in folders():
        found, secrets = described(folder), []
        for number, secret in enumerate(old_and_new(folder)):
            variable = f"SECRET_{folder.replace('-', '_').upper()}_{number}"
            environment[variable] = secret
            secrets.append(f"env:{variable}")
        options = {name: _absolute(folder, value) for name, value in found.get("options", {}).items()}
        if "jwks" in found:
            options |= _keys(folder, f"{issuers}/{folder}")
        more = {name: found[name] for name in ("timezone",) if name in found}
        sections[folder] = {"adapter": adapter_of(folder), "secrets": secrets, **more, **options}
    return AllSources(sections, environment)


def _absolute(folder: str, value: object) -> object:
    """Return an option that refers to a file of its folder as one that anybody can read."""
    if isinstance(value, list):
        return [_absolute(folder, each) for each in value]
    is_file = isinstance(value, str) and value.startswith("file:")
    return f"file:{FIXTURES / folder / str(value).removeprefix('file:')}" if is_file else value


def _keys(folder: str, base: str) -> dict[str, str]:
    options = SOURCES[adapter_of(folder)].Options.model_fields
    return {"jwks_uri": f"{base}/{JWKS}"} if "jwks_uri" in options else {"metadata_url": f"{base}/{METADATA}"}


class _Issuer(BaseHTTPRequestHandler):
    """Answers with the keys of the folder that the path names, or with where they are."""

    def do_GET(self) -> None:
        _, folder, what = self.path.split("/")
        metadata = {"jwks_uri": f"http://{self.headers['host']}/{folder}/{JWKS}"}
        known = SOURCES[adapter_of(folder)].keys_at(setup_of(folder))
        if known is not None and known.issuer is not None:
            metadata["issuer"] = known.issuer
        body = json.dumps(described(folder)["jwks"] if what == JWKS else metadata).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""
