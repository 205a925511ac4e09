"""A Shared Signals transmitter of the tests: it signs tokens and publishes its keys."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import RSAAlgorithm

ISSUER, AUDIENCE = "https://gatepost.acme.example", "https://siem.acme.example"


@cache
def made_key(name: str) -> RSAPrivateKey:
    """Return a key, the same for the same name: making one takes a while."""
    return generate_private_key(65_537, 2_048)


def token(key: RSAPrivateKey, *, headers: dict[str, Any] | None = None, algorithm: str = "RS256", **claims: Any) -> str:  # noqa: ANN401 - JSON
    """Return a good token, changed as a test wants; a claim that is None is left out."""
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "jti": "1",
        "iat": int(datetime.now(UTC).timestamp()),
        "txn": "cause",
        "sub_id": {"format": "email", "email": "bo.ray@acme.example"},
        "events": {"https://schemas.openid.net/secevent/risc/event-type/account-disabled": {}},
    }
    found = {name: value for name, value in (good | claims).items() if value is not None}
    named = {"typ": "secevent+jwt", "kid": "a"} | (headers or {})
    return jwt.encode(found, key, algorithm, {name: value for name, value in named.items() if value is not None})


def key_set(keys: Mapping[str, RSAPrivateKey]) -> dict[str, Any]:
    """Return the public halves of keys as a JSON Web Key Set."""
    return {"keys": [RSAAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": kid} for kid, key in keys.items()]}


@contextmanager
def published(keys: Mapping[str, RSAPrivateKey]) -> Iterator[str]:
    """Publish keys on this machine, those that there are at the moment of each request; give the URL."""

    class Issuer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(key_set(keys)).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Issuer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/jwks.json"
        server.shutdown()
        thread.join()
