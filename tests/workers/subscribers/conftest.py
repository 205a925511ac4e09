"""Fixtures of what carries letters: a server on loopback, carriers that are closed, and an authority of our own."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.workers.subscribers.peer import Dials, Peer, subscriber
from workers.subscribers.carrier import Carrier, Limits, Network
from workers.subscribers.guard import resolve

BRISK = Limits(connect_seconds=0.5, answer_seconds=1.0)

MakeCarrier = Callable[..., Carrier]


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    """Give a server on loopback."""
    async with Peer() as opened:
        yield opened


@pytest.fixture
def dials() -> Dials:
    """Give the record of what was dialled."""
    return Dials()


@pytest.fixture
async def carrier(dials: Dials) -> AsyncIterator[MakeCarrier]:
    """Make a carrier that may go anywhere: ``carrier(peer.url, allow_private=False)``."""
    async with AsyncExitStack() as stack:

        def make(url: str, *, ports: tuple[int, ...] = (443,), connections_max: int = 4, **more: Any) -> Carrier:  # noqa: ANN401
            limits, tls = more.pop("limits", BRISK), more.pop("tls", None)
            resolver = more.pop("resolve", resolve)
            who = subscriber(url, **more)
            made = Carrier(who, frozenset(ports), connections_max, resolver, limits=limits, network=Network(dials, tls))
            stack.push_async_callback(made.close)
            return made

        yield make


class Authority(NamedTuple):
    """Who issues certificates, and the file that others trust it by."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    file: Path

    def serves(self, name: str, folder: Path, *, days: int = 1, asked: list[str] | None = None) -> ssl.SSLContext:
        """Make what a server needs that has a certificate for this name; ``asked`` keeps the names it is asked for."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(name, key, self.certificate.subject, self.key, days=days)
        path = folder / f"{name}.pem"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + _pem(key))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(path)
        if asked is not None:
            context.sni_callback = lambda _socket, found, _context: asked.append(found)
        return context

    def trusted(self) -> ssl.SSLContext:
        """Make what a client needs that trusts it."""
        return ssl.create_default_context(cafile=str(self.file))


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Give an authority of our own."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate("Authority of the tests", key, None, key, days=1)
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Authority(key, certificate, file)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption())


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Name | None, by: ec.EllipticCurvePrivateKey, *, days: int
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(issuer or subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=3))
    builder = builder.not_valid_after(now + timedelta(days=days))
    # Python 3.13 and later want the keys named, and what they are for.
    usage = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    signs = x509.KeyUsage(digital_signature=True, key_cert_sign=issuer is None, **usage)
    builder = builder.add_extension(signs, critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    issued = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key())
    builder = builder.add_extension(issued, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    if issuer is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return builder.sign(by, hashes.SHA256())
