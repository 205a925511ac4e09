"""The vault: what is sealed by it opens only with a secret of the configuration, so a dump of Redis opens nothing.

The keys are made by scrypt, slowly, for an admin's token may be a weak one; each once a process, when it is first
needed. Any of them opens, the first seals. What is sealed says by which, and belongs to one owner::

    1.SALT.KEY.BOX      KEY is a short name of the key; BOX is nonce and AES-256-GCM, with the owner as associated data

Nothing of the name can be reckoned without scrypt: it is no short cut for whoever guesses tokens.
"""

import base64
import binascii
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from redis import Redis

from lifecycle import keys
from lifecycle.config import Config
from lifecycle.errors import Refused

VERSION = "1"
KEY_BYTES, NAME_BYTES, NONCE_BYTES, SALT_BYTES = 32, 4, 12, 16
# 32 MiB and three rounds, one of the settings that OWASP's Password Storage Cheat Sheet names as equally strong.
COST, BLOCK, ROUNDS = 2**15, 8, 3
DERIVED_MAX = 64
SEALED_CHARS_MAX = 200_000


@dataclass(frozen=True)
class Key:
    """A key that was made of a secret."""

    name: str
    cipher: AESGCM = field(repr=False)


class Vault:
    """Seals and opens; both cost a third of a second the first time that a key is needed, and next to nothing then."""

    def __init__(self, redis: Redis, secrets: Sequence[str]) -> None:
        """Keep the secrets, of which the first seals; no key is made yet."""
        self._redis = redis
        self._secrets = tuple(dict.fromkeys(secrets))

    @classmethod
    def of(cls, redis: Redis, config: Config) -> "Vault":
        """Return the vault of a configuration.

        Admins' tokens open even where there are keys for encryption: what was sealed by them before is still sealed.
        """
        both = (*config.signals.encryption_keys, *config.service.admin_tokens)
        return cls(redis, [secret.value for secret in both])

    def seal(self, text: str, owner: str) -> str:
        """Seal a text for its owner by the first key. Raises Refused where there is none."""
        salt = self._salt()
        key, nonce = self._first(salt), os.urandom(NONCE_BYTES)
        box = nonce + key.cipher.encrypt(nonce, text.encode(), owner.encode())
        return ".".join((VERSION, salt.hex(), key.name, base64.urlsafe_b64encode(box).decode()))

    def open(self, sealed: str, owner: str) -> str:
        """Open what was sealed for this owner. Raises Refused where no key does."""
        salt, name, box = _parts(sealed)
        for key in self._keys(salt):
            if key.name == name:
                return _opened(key, box, owner)
        raise Refused(
            f"it was sealed by key {name}, of which the secret is in neither signals.encryption_keys nor"
            " service.admin_tokens",
            reason="key_unknown",
        )

    def is_current(self, sealed: str) -> bool:
        """Tell whether the first key sealed this, so that the others are not needed for it."""
        salt, name, _ = _parts(sealed)
        return self._first(salt).name == name

    def _first(self, salt: bytes) -> Key:
        for key in self._keys(salt):
            return key
        raise Refused("nothing can be sealed without signals.encryption_keys", reason="key_missing")

    def _keys(self, salt: bytes) -> Iterator[Key]:
        return (_derived(secret, salt) for secret in self._secrets)

    def _salt(self) -> bytes:
        """Return the salt of this Redis: one for all, or each opening by another process would take as long again."""
        self._redis.set(keys.SALT, os.urandom(SALT_BYTES), nx=True)
        found: Any = self._redis.get(keys.SALT)
        return bytes(found)


@lru_cache(DERIVED_MAX)
def _derived(secret: str, salt: bytes) -> Key:
    made = Scrypt(salt=salt, length=KEY_BYTES + NAME_BYTES, n=COST, r=BLOCK, p=ROUNDS).derive(secret.encode())
    return Key(made[KEY_BYTES:].hex(), AESGCM(made[:KEY_BYTES]))


def _parts(sealed: str) -> tuple[bytes, str, bytes]:
    """Return salt, name of the key, and box. Raises Refused for what is no sealed text."""
    try:
        version, salt, name, box = sealed[:SEALED_CHARS_MAX].split(".")
        parts = bytes.fromhex(salt), name, base64.urlsafe_b64decode(box)
    except (ValueError, binascii.Error) as error:
        raise Refused("what is kept is not sealed text", reason="seal_broken") from error
    if version != VERSION or len(parts[0]) != SALT_BYTES:
        raise Refused("what is kept was sealed in a way that is not known here", reason="seal_broken")
    return parts


def _opened(key: Key, box: bytes, owner: str) -> str:
    try:
        return key.cipher.decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], owner.encode()).decode()
    except (InvalidTag, ValueError) as error:
        raise Refused("what is kept was changed, or sealed for another owner", reason="seal_broken") from error
