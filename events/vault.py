"""The vault: each user's personal data sealed with a key of that user's own, which deletion destroys.

The log is append-only, so personal data cannot be removed from it; without the user's key it cannot be read. Keys are
in `user_keys`, wrapped by the master key. A deletion destroys the wrapped key in its own transaction, and its row
stays, empty, so that a destroyed key differs from a lost one. AES-256-GCM (NIST SP 800-38D) with random 96-bit nonces:
one key seals a few events, far from the 2^32 that the standard allows. Sealed data is bound to its stream, version and
type, and a wrapped key to its user and its master key's id, so neither can be moved.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from events.errors import DamagedKey, WrongMasterKey

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
REMEMBERED_KEYS: Final = 50_000
"""Unwrapped keys that a process keeps: about 2.7 kB each, so 130 MB at most."""

RandomBytes = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class UserKey:
    """A user's key: the cipher, and its wrapped form in the log."""

    wrapped: bytes = field(repr=False)
    master_key_id: bytes
    cipher: AESGCM = field(repr=False)

    def seal(self, personal: bytes, place: bytes, nonce: bytes) -> bytes:
        """The sealed form of an event's personal data, bound to its place (`place_of`)."""
        return nonce + self.cipher.encrypt(nonce, personal, place)


def opened(cipher: AESGCM, sealed: bytes, place: bytes) -> bytes:
    """The personal data of an event.

    Raises:
        InvalidTag: it was altered, or belongs to another place or key.
    """
    return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place)


def place_of(stream_id: UUID, version: int, type_: str) -> bytes:
    """The place of an event, which its personal data is bound to."""
    return b"rollcall event v1" + stream_id.bytes + version.to_bytes(8) + type_.encode()


class Vault:
    """Makes, wraps and unwraps the keys of users."""

    def __init__(self, master_key: bytes, random_bytes: RandomBytes, *, others: Sequence[bytes] = ()) -> None:
        """`master_key` wraps and unwraps; `others` only unwrap, during a rotation of the master key."""
        self._random_bytes = random_bytes
        self._ciphers = {_id_of(secret): AESGCM(secret) for secret in (*others, master_key)}
        self.master_key_id = _id_of(master_key)
        """8 bytes that identify the master key and reveal nothing else about it."""
        # The wrapped form is part of the cache's key, so a key that was destroyed in the log is never found here.
        self._remembered = lru_cache(maxsize=REMEMBERED_KEYS)(self._unwrap)

    def new_key(self, owner: UUID) -> UserKey:
        """A fresh key for a new user."""
        return self._wrap(owner, self._random_bytes(KEY_BYTES))

    def key_of(self, owner: UUID, wrapped: bytes, master_key_id: bytes) -> UserKey:
        """The key that the log keeps for a user.

        Raises:
            WrongMasterKey: it was wrapped with a master key that is not at hand.
            DamagedKey: it was altered, or is another user's.
        """
        return self._remembered(owner, wrapped, master_key_id)

    def rewrapped(self, owner: UUID, wrapped: bytes, master_key_id: bytes) -> UserKey:
        """The same key, wrapped by `master_key`.

        Raises:
            WrongMasterKey, DamagedKey: as for `key_of`.
        """
        return self._wrap(owner, self.unwrapped(owner, wrapped, master_key_id))

    def secret(self, owner: UUID, key: UserKey) -> bytes:
        """The bytes of a key that is not used as a cipher.

        Raises:
            WrongMasterKey, DamagedKey: as for `key_of`.
        """
        return self.unwrapped(owner, key.wrapped, key.master_key_id)

    def unwrapped(self, owner: UUID, wrapped: bytes, master_key_id: bytes) -> bytes:
        """The bytes of a key, past the cache: bulk readers keep only these.

        Raises:
            WrongMasterKey, DamagedKey: as for `key_of`.
        """
        cipher = self._ciphers.get(master_key_id)
        if cipher is None:
            raise WrongMasterKey(expected=master_key_id, found=tuple(self._ciphers))
        try:
            return cipher.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _bound(owner, master_key_id))
        except InvalidTag:
            raise DamagedKey(owner) from None

    def nonce(self) -> bytes:
        """A random nonce."""
        return self._random_bytes(NONCE_BYTES)

    def _wrap(self, owner: UUID, secret: bytes) -> UserKey:
        nonce, bound = self.nonce(), _bound(owner, self.master_key_id)
        wrapped = nonce + self._ciphers[self.master_key_id].encrypt(nonce, secret, bound)
        return UserKey(wrapped, self.master_key_id, AESGCM(secret))

    def _unwrap(self, owner: UUID, wrapped: bytes, master_key_id: bytes) -> UserKey:
        return UserKey(wrapped, master_key_id, AESGCM(self.unwrapped(owner, wrapped, master_key_id)))


def _id_of(master_key: bytes) -> bytes:
    if len(master_key) != KEY_BYTES:
        raise ValueError(f"expected a master key of {KEY_BYTES} bytes, found {len(master_key)}")
    return hashlib.sha256(b"rollcall master key id v1" + master_key).digest()[:8]


def _bound(owner: UUID, master_key_id: bytes) -> bytes:
    return b"rollcall wrapped key v1" + master_key_id + owner.bytes
