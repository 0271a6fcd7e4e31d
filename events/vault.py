"""The vault: each user's personal data sealed with a key of that user's own, which deletion destroys.

The log is append-only, so what it says about a person can never be taken out of it. Instead it is unreadable without
the user's key. Keys live in `user_keys`, wrapped by the master key. Deletion destroys the wrapped key in its own
transaction: what is left in the log, in its backups and in every export of it is noise, and a rebuild brings nothing
back. The row itself stays, empty, so that a key that was destroyed can be told from one that was lost.

AES-256-GCM throughout (NIST SP 800-38D) with random 96-bit nonces: one key seals a few events, far from the 2^32 that
the standard allows. What is sealed is bound to its stream, version and type, so it cannot be moved to another event;
a wrapped key is bound to its user and to the master key's id.
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
"""Unwrapped keys that a process keeps at hand: about 2.7 kB each, so 130 MB at most."""

RandomBytes = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class UserKey:
    """A user's key, ready to use, and the form in which the log keeps it."""

    wrapped: bytes = field(repr=False)
    master_key_id: bytes
    cipher: AESGCM = field(repr=False)

    def seal(self, personal: bytes, place: bytes, nonce: bytes) -> bytes:
        """What the log keeps of an event's personal data; `place` says where the event stands."""
        return nonce + self.cipher.encrypt(nonce, personal, place)


def opened(cipher: AESGCM, sealed: bytes, place: bytes) -> bytes:
    """The personal data of an event.

    Raises:
        InvalidTag: it was altered, or belongs to another place or key.
    """
    return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place)


def place_of(stream_id: UUID, version: int, type_: str) -> bytes:
    """Where an event stands, as what its personal data is bound to."""
    return b"rollcall event v1" + stream_id.bytes + version.to_bytes(8) + type_.encode()


class Vault:
    """Makes, wraps and unwraps the keys of users."""

    def __init__(self, master_key: bytes, random_bytes: RandomBytes, *, others: Sequence[bytes] = ()) -> None:
        """`master_key` wraps; `others` are only there to unwrap, while the master key is being rotated."""
        self._random_bytes = random_bytes
        self._ciphers = {_id_of(secret): AESGCM(secret) for secret in (*others, master_key)}
        self.master_key_id = _id_of(master_key)
        """Tells the master key from any other, and nothing else about it: 8 bytes."""
        # The wrapped form is what the cache goes by, so a key that was destroyed is not found any more.
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
        """The same key, wrapped by the master key of today.

        Raises:
            WrongMasterKey, DamagedKey: as for `key_of`.
        """
        return self._wrap(owner, self.unwrapped(owner, wrapped, master_key_id))

    def secret(self, owner: UUID, key: UserKey) -> bytes:
        """The key itself, for those that are not ciphers.

        Raises:
            WrongMasterKey, DamagedKey: as for `key_of`.
        """
        return self.unwrapped(owner, key.wrapped, key.master_key_id)

    def unwrapped(self, owner: UUID, wrapped: bytes, master_key_id: bytes) -> bytes:
        """The key itself, for readers of very many, which keep nothing else and are not remembered.

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
        """A number that is used once."""
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
