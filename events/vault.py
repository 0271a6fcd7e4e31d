"""The vault: each user's events sealed with a key of that user's own, which deletion destroys.

The log is append-only, so personal data cannot be removed from it; without the user's key it cannot be read. Keys are
in `user_keys`, wrapped by the master key. AES-256-GCM (NIST SP 800-38D) with random 96-bit nonces: one key seals a few
events, far from the 2^32 that the standard allows.

Every event is sealed, also one without personal data, whose seal is only a tag. The seal is bound to the stream,
version, type and id of the event and to its open columns (`place_of`). So whoever can write to the table but has no key
can neither make an event that readers accept nor change or move one. The position, the instant and the hash before are
not part of the seal: they are known only while the head is locked, and sealing there would make all writers wait for
it. The keyed hash of the chain covers them (`events/chain.py`).

The hash of a password has one more seal, under a key that seals nothing else. Only the key of the newest hash is kept,
in `credential_keys` (`events/credentials.py`).

A deletion destroys the wrapped key in its own transaction and leaves a proof in its place, sealed by the master key. A
row without key and without proof was emptied by another hand: its user counts as damaged, and not as deleted.
"""

import hashlib
import struct
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


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A row of `user_keys`: the key of a living user, or the proof that a deletion destroyed it."""

    user_id: UUID
    wrapped: bytes | None = field(repr=False)
    deletion_proof: bytes | None
    master_key_id: bytes | None


@dataclass(frozen=True, slots=True)
class CredentialKey:
    """A row of `credential_keys`: the key that the hash of a user's password is sealed with, wrapped."""

    user_id: UUID
    version: int
    """Of the event that holds the sealed hash."""
    wrapped: bytes = field(repr=False)
    master_key_id: bytes


def opened(cipher: AESGCM, sealed: bytes, place: bytes) -> bytes:
    """The personal data of an event.

    Raises:
        InvalidTag: it was altered, or belongs to another place or key.
    """
    return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place)


_PLACE: Final = struct.Struct(">17s16sQ16sII")


def place_of(stream_id: bytes, version: int, event_id: bytes, type_: str, data: str, metadata: str) -> bytes:
    """The place of an event, which its personal data is bound to.

    The texts follow the lengths of the first two in characters, so no two events have the same place. Made for each
    event that is read: this takes 0.2 us, and to encode the texts one by one 0.7 us.
    """
    lengths = len(type_), len(data)
    return (
        _PLACE.pack(b"rollcall event v2", stream_id, version, event_id, *lengths) + f"{type_}{data}{metadata}".encode()
    )


class Vault:
    """Makes, wraps, unwraps and destroys the keys of users."""

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

    def key_of(self, owner: UUID, wrapped: bytes, master_key_id: bytes | None, *, remember: bool = True) -> UserKey:
        """The key that the log keeps for a user. `remember` keeps it for the next caller.

        Raises:
            WrongMasterKey: it was wrapped with a master key that is not at hand.
            DamagedKey: it was altered, is another user's, or has lost the id of its master key.
        """
        return (self._remembered if remember else self._unwrap)(owner, wrapped, master_key_id)

    def rewrapped(self, owner: UUID, wrapped: bytes, master_key_id: bytes | None) -> UserKey:
        """The same key, wrapped by `master_key`.

        Raises:
            WrongMasterKey, DamagedKey: as for `key_of`.
        """
        return self._wrap(owner, self.unwrapped(owner, wrapped, master_key_id))

    def unwrapped(self, owner: UUID, wrapped: bytes, master_key_id: bytes | None) -> bytes:
        """The bytes of a key, past the cache: bulk readers keep only these.

        Raises:
            WrongMasterKey, DamagedKey: as for `key_of`.
        """
        if master_key_id is None:
            raise DamagedKey(owner)
        return self._opened(wrapped, master_key_id, owner, _wrapped_place(owner, master_key_id))

    def destroyed(self, owner: UUID) -> KeyRow:
        """The row that a deletion leaves: no key, and the proof that a program with the master key destroyed it."""
        proof = self._sealed(b"", _proof_place(owner, self.master_key_id))
        return KeyRow(owner, None, proof, self.master_key_id)

    def check_destroyed(self, owner: UUID, deletion_proof: bytes | None, master_key_id: bytes | None) -> None:
        """Check that a deletion destroyed the key of a row without one.

        Raises:
            WrongMasterKey: the proof is sealed with a master key that is not at hand.
            DamagedKey: there is no proof, or it is not one of this user's deletion.
        """
        if deletion_proof is None or master_key_id is None:
            raise DamagedKey(owner)
        self._opened(deletion_proof, master_key_id, owner, _proof_place(owner, master_key_id))

    def seal_credential(
        self, owner: UUID, version: int, event_id: bytes, password_hash: str
    ) -> tuple[bytes, CredentialKey]:
        """Seal the hash of a password, for one event, with a fresh key; return the sealed hash and the wrapped key."""
        secret, nonce = self._random_bytes(KEY_BYTES), self.nonce()
        place = _credential_place(owner, version, event_id)
        sealed = nonce + AESGCM(secret).encrypt(nonce, password_hash.encode(), place)
        return sealed, self._credential_key(owner, version, secret)

    def open_credential(self, key: CredentialKey, event_id: bytes, sealed: bytes) -> str:
        """The hash of a password.

        Raises:
            WrongMasterKey: its key was wrapped with a master key that is not at hand.
            DamagedKey: the key or the sealed hash was altered, or belongs to another event.
        """
        cipher = AESGCM(self._credential_secret(key))
        try:
            return opened(cipher, sealed, _credential_place(key.user_id, key.version, event_id)).decode()
        except (InvalidTag, ValueError):  # ValueError: the nonce is too short
            raise DamagedKey(key.user_id) from None

    def rewrapped_credential(self, key: CredentialKey) -> CredentialKey:
        """The same key, wrapped by `master_key`.

        Raises:
            WrongMasterKey, DamagedKey: as for `open_credential`.
        """
        return self._credential_key(key.user_id, key.version, self._credential_secret(key))

    def nonce(self) -> bytes:
        """A random nonce."""
        return self._random_bytes(NONCE_BYTES)

    def _wrap(self, owner: UUID, secret: bytes) -> UserKey:
        wrapped = self._sealed(secret, _wrapped_place(owner, self.master_key_id))
        return UserKey(wrapped, self.master_key_id, AESGCM(secret))

    def _unwrap(self, owner: UUID, wrapped: bytes, master_key_id: bytes | None) -> UserKey:
        cipher = AESGCM(self.unwrapped(owner, wrapped, master_key_id))
        return UserKey(wrapped, master_key_id or b"", cipher)

    def _credential_key(self, owner: UUID, version: int, secret: bytes) -> CredentialKey:
        wrapped = self._sealed(secret, _credential_key_place(owner, version, self.master_key_id))
        return CredentialKey(owner, version, wrapped, self.master_key_id)

    def _credential_secret(self, key: CredentialKey) -> bytes:
        place = _credential_key_place(key.user_id, key.version, key.master_key_id)
        return self._opened(key.wrapped, key.master_key_id, key.user_id, place)

    def _sealed(self, secret: bytes, place: bytes) -> bytes:
        nonce = self.nonce()
        return nonce + self._ciphers[self.master_key_id].encrypt(nonce, secret, place)

    def _opened(self, sealed: bytes, master_key_id: bytes, owner: UUID, place: bytes) -> bytes:
        cipher = self._ciphers.get(master_key_id)
        if cipher is None:
            raise WrongMasterKey(expected=master_key_id, found=tuple(self._ciphers))
        try:
            return opened(cipher, sealed, place)
        except (InvalidTag, ValueError):  # ValueError: the nonce is too short
            raise DamagedKey(owner) from None


def _id_of(master_key: bytes) -> bytes:
    if len(master_key) != KEY_BYTES:
        raise ValueError(f"expected a master key of {KEY_BYTES} bytes, found {len(master_key)}")
    return hashlib.sha256(b"rollcall master key id v1" + master_key).digest()[:8]


def _wrapped_place(owner: UUID, master_key_id: bytes) -> bytes:
    return b"rollcall wrapped key v1" + master_key_id + owner.bytes


def _proof_place(owner: UUID, master_key_id: bytes) -> bytes:
    return b"rollcall destroyed key v1" + master_key_id + owner.bytes


def _credential_key_place(owner: UUID, version: int, master_key_id: bytes) -> bytes:
    return b"rollcall credential key v1" + master_key_id + owner.bytes + version.to_bytes(8)


def _credential_place(owner: UUID, version: int, event_id: bytes) -> bytes:
    return b"rollcall credential v1" + owner.bytes + version.to_bytes(8) + event_id
