"""HMAC signatures as a configuration describes them: what is signed, how it is written and in which header it stands.

Vendors agree on HMAC and on little else. A digest is compared as text, in the form in which it was sent: what decodes
to the same bytes in another spelling is let in only for the letter case of hexadecimal digits and the padding of
base64, which some senders leave out.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Annotated, Literal, NamedTuple, Protocol

from pydantic import BeforeValidator

from lifecycle.errors import Unauthentic

PARTS_MAX = 20
"""Of one header: more than a few signatures stand in none."""
FIELDS = ("body", "timestamp", "id", "method")

_FIELD = re.compile(r"\{(\w+)\}")

Algorithm = Literal["sha256", "sha512", "sha1"]
Encoding = Literal["hex", "base64", "base64url"]
SecretEncoding = Literal["text", "base64", "hex"]
TimeUnit = Literal["seconds", "milliseconds", "iso"]


class Template(NamedTuple):
    """What is signed: texts and, between each two of them, the name of what stands there."""

    texts: tuple[str, ...]
    names: tuple[str, ...]

    def __str__(self) -> str:
        """Write it as the configuration does."""
        return self.texts[0] + "".join(
            f"{{{name}}}{text}" for name, text in zip(self.names, self.texts[1:], strict=True)
        )


class Seal(Protocol):
    """What a configuration says of a signature."""

    header: str
    algorithm: Algorithm
    encoding: Encoding
    prefix: str
    separator: str
    part: str | None
    timestamp_part: str | None
    timestamp_header: str | None
    timestamp_unit: TimeUnit
    tolerance: timedelta
    id_header: str | None
    signed: Template
    secret_encoding: SecretEncoding
    secret_prefix: str


class Given(NamedTuple):
    """What a sender sent for a proof."""

    digests: Sequence[bytes]
    stamp: str


def template(found: str) -> Template:
    """Read what is signed, as in ``{timestamp}.{body}``. Raises ValueError, with what is allowed."""
    pieces = _FIELD.split(found)
    texts, names = tuple(pieces[::2]), tuple(pieces[1::2])
    if unknown := set(names) - set(FIELDS):
        msg = (
            f"no {{{min(unknown)}}} in it; allowed: {', '.join(f'{{{name}}}' for name in FIELDS)}, and text around them"
        )
        raise ValueError(msg)
    if names.count("body") != 1:
        msg = "{body} in it, once: what is not signed proves nothing"
        raise ValueError(msg)
    # A body is a JSON object or list, so that nothing can be moved from it or to it, and it is still one.
    if any(not text and "body" not in pair for text, *pair in zip(texts[1:-1], names, names[1:], strict=False)):
        msg = "text between each two of them but for {body}, as in {id}.{timestamp}: else nobody knows where one ends"
        raise ValueError(msg)
    return Template(texts, names)


def _templated(found: object) -> Template:
    if isinstance(found, Template):
        return found
    if not isinstance(found, str):
        msg = 'a text, as in "{timestamp}.{body}"'
        raise ValueError(msg)  # noqa: TRY004 - pydantic turns ValueError, not TypeError, into a fault
    return template(found)


SignedTemplate = Annotated[Template, BeforeValidator(_templated)]


@lru_cache(maxsize=256)
def key(secret: str, encoding: SecretEncoding, prefix: str) -> bytes:
    """Return the key of a configured secret. Raises ValueError when it is none."""
    if not secret.startswith(prefix):
        msg = f"a secret starts with {prefix}"
        raise ValueError(msg)
    written = secret.removeprefix(prefix)
    try:
        found = _key(written, encoding)
    except (binascii.Error, ValueError) as error:
        msg = f"a secret is {encoding}"
        raise ValueError(msg) from error
    if not found or not written.isprintable():
        msg = "a secret is one line, and not empty"
        raise ValueError(msg)
    return found


def _key(written: str, encoding: SecretEncoding) -> bytes:
    if encoding == "text":
        return written.encode()
    return base64.b64decode(written, validate=True) if encoding == "base64" else bytes.fromhex(written)


def given(seal: Seal, headers: Mapping[str, str]) -> Given:
    """Return the digests, as text to compare, and the time that came with them. Raises Unauthentic."""
    value = headers.get(seal.header, "")
    stamp = headers.get(seal.timestamp_header, "") if seal.timestamp_header else ""
    if seal.part is None:
        return Given(_digests(seal, [value]), stamp)
    parts = _parts(seal, value)
    stamps = [told for name, told in parts if name == seal.timestamp_part]
    digests = [told for name, told in parts if name == seal.part]
    # Of two times nobody can say which one was signed.
    return Given(_digests(seal, digests), stamps[0] if len(stamps) == 1 else stamp)


def _parts(seal: Seal, value: str) -> list[tuple[str, str]]:
    """Return the parts of a header of the form ``t=1,v1=a``. Raises Unauthentic for one of another form."""
    pieces = [piece.strip().partition("=") for piece in value.split(seal.separator, PARTS_MAX)]
    if not all(name and sign for name, sign, _ in pieces):
        raise Unauthentic(f"the {seal.header} header has parts of another form", reason="signature_malformed")
    return [(name, told) for name, _, told in pieces]


def _digests(seal: Seal, sent: Sequence[str]) -> list[bytes]:
    found = [each.removeprefix(seal.prefix) for each in sent if each.startswith(seal.prefix)]
    return [
        (each.lower() if seal.encoding == "hex" else each.rstrip("=")).encode("latin-1", "replace") for each in found
    ]


def signed(seal: Seal, body: bytes, **told_by_headers: str) -> bytes:
    """Return the bytes that are signed: the template, filled with the body, and the rest by name."""
    told = {name: value.encode("latin-1", "replace") for name, value in told_by_headers.items()} | {"body": body}
    texts = [text.encode() for text in seal.signed.texts]
    return texts[0] + b"".join(told[name] + text for name, text in zip(seal.signed.names, texts[1:], strict=True))


def digest(seal: Seal, secret: str, message: bytes) -> str:
    """Return the digest as the vendor writes it, but for the prefix and the padding."""
    made = hmac.digest(key(secret, seal.secret_encoding, seal.secret_prefix), message, seal.algorithm)
    if seal.encoding == "hex":
        return made.hex()
    encoded = base64.b64encode(made) if seal.encoding == "base64" else base64.urlsafe_b64encode(made)
    return encoded.decode().rstrip("=")


def sealed(seal: Seal, made: str, stamp: str) -> dict[str, str]:
    """Return the headers by which a vendor sends a digest and its time."""
    value = f"{seal.prefix}{made}" if seal.part is None else f"{seal.part}={seal.prefix}{made}"
    if seal.timestamp_part is not None:
        value = f"{seal.timestamp_part}={stamp}{seal.separator}{value}"
    return {seal.header: value} | ({seal.timestamp_header: stamp} if seal.timestamp_header else {})


def stamp_of(seal: Seal, now: datetime) -> str:
    """Return this moment as the vendor writes it."""
    if seal.timestamp_unit == "iso":
        return now.isoformat()
    return str(int(now.timestamp() * (1000 if seal.timestamp_unit == "milliseconds" else 1)))
