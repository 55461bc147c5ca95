"""Private keys at rest: sealed with AES-256-GCM under a secret that is not in the database.

To check a SHA1 signature the service needs the private key itself (protocol section 2), so keys
cannot be stored as hashes. What can be had is that the database, its backups and its disk do not
suffice to sign.
"""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from api.errors import TaskStoreError
from api.settings import KEY_SECRET, Settings

_PREFIX = "aes256gcm:"  # no private key of older stores holds a colon
_NONCE_BYTES = 12


class KeySealed(TaskStoreError):
    """A stored private key cannot be opened with the secrets at hand."""


class KeyCipher:
    """Seals and opens private keys.

    Args:
        secrets: of 32 bytes each. The first seals, any opens; none leaves keys as they are.
    """

    def __init__(self, secrets: Sequence[bytes] = ()) -> None:
        self._ciphers = [AESGCM(secret) for secret in secrets]

    def seal(self, private_key: str, *, public_key: str) -> str:
        """What to store. It opens for this public key only: rows cannot be exchanged."""
        if not self._ciphers:
            return private_key
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[0].encrypt(nonce, private_key.encode(), public_key.encode())
        return _PREFIX + base64.b64encode(nonce + sealed).decode()

    def open(self, stored: str, *, public_key: str) -> str:
        """The private key that was stored, sealed or not.

        Raises:
            KeySealed: none of the secrets opens it.
        """
        private_key, _ = self._opened(stored, public_key)
        return private_key

    def is_current(self, stored: str, *, public_key: str) -> bool:
        """Whether it is stored as `seal` would store it now.

        Raises:
            KeySealed: none of the secrets opens it.
        """
        _, cipher = self._opened(stored, public_key)
        return cipher is (self._ciphers[0] if self._ciphers else None)

    def _opened(self, stored: str, public_key: str) -> tuple[str, AESGCM | None]:
        if not stored.startswith(_PREFIX):
            return stored, None
        for cipher in self._ciphers:
            with contextlib.suppress(InvalidTag, ValueError):  # the latter of a damaged row
                data = base64.b64decode(stored.removeprefix(_PREFIX), validate=True)
                nonce, sealed = data[:_NONCE_BYTES], data[_NONCE_BYTES:]
                return cipher.decrypt(nonce, sealed, public_key.encode()).decode(), cipher
        raise KeySealed(
            f"the private key of {public_key} is sealed with another secret than the"
            f" {len(self._ciphers)} that the settings give (key_secrets, key_secret_file)"
        )


def key_cipher(settings: Settings) -> KeyCipher:
    """The cipher that the settings ask for.

    Raises:
        OSError: the file of the secrets cannot be read.
        TaskStoreError: it holds something else than secrets.
    """
    if settings.key_secret_file is not None:
        return KeyCipher(_read_secrets(settings.key_secret_file))
    secrets = [secret.get_secret_value() for secret in settings.key_secrets]
    return KeyCipher([bytes.fromhex(secret) for secret in secrets])


def _read_secrets(file: Path) -> list[bytes]:
    """One a line, the current one first."""
    lines = file.read_text(encoding="utf-8", errors="replace").split()
    if not lines or not all(KEY_SECRET.fullmatch(line) for line in lines):
        raise TaskStoreError(f"{file} must hold 64 hex digits a line")  # not what it holds instead
    return [bytes.fromhex(line) for line in lines]
