"""Signed heads: heads of the log, kept where whoever can write to the database cannot.

A keyed chain shows what was altered, but not that the log was cut off at its end, nor what somebody with the master key
wrote. So a process (`rollcall heads`) signs the head every few seconds with an Ed25519 key of its own and appends it,
as one line of JSON, to a file, a URL or standard output:

    {"log":"9b1c...","position":497,"hash":"5d29...","time":"2026-11-29T07:00:00Z","key":"c0de...","signature":"..."}

Each line says: at this time the log with this id ended at this position with this hash. The hash covers every event
before. A head is signed only if every event since the one that was signed before it follows in the chain, so a forged
event is found within seconds, and is in no signed head.

`rollcall verify --log --against FILE` compares the lines with the log. Whoever verifies needs the public key only.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Self
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from events.chain import START, Head, check_end, read_end, walk
from events.database import Database
from events.errors import BadHeads, BrokenChain
from events.log_keys import LogKeys


class SignedHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A head, and who signed it when."""

    log: UUID
    position: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    hash: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    time: Annotated[datetime, msgspec.Meta(tz=True)]
    key: str
    """Id of the key that signed it."""
    signature: bytes = b""

    @property
    def head(self) -> Head:
        """The head."""
        return Head(self.position, bytes.fromhex(self.hash))

    @property
    def signed_text(self) -> bytes:
        """What the signature is of: the line without it."""
        return b"rollcall head v1\n" + msgspec.json.encode(msgspec.structs.replace(self, signature=b""))

    @property
    def line(self) -> bytes:
        """The line of the file."""
        return msgspec.json.encode(self) + b"\n"


@dataclass(frozen=True, slots=True)
class HeadKey:
    """The key that signs heads."""

    private: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """The key that 32 random bytes make."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        return self.private.public_key().public_bytes_raw()

    def sign(self, log_id: UUID, head: Head, time: datetime) -> SignedHead:
        """Sign a head."""
        signed = SignedHead(log_id, head.position, head.hash.hex(), time.astimezone(UTC), key_id(self.public))
        return msgspec.structs.replace(signed, signature=self.private.sign(signed.signed_text))


def key_id(public: bytes) -> str:
    """The name of a public key in the lines that it verifies."""
    return hashlib.sha256(b"rollcall head key v1" + public).hexdigest()[:16]


def parse_public_key(text: str) -> bytes:
    """The public key in base64, as `rollcall heads --public-key` prints it.

    Raises:
        ValueError: the text is something else.
    """
    try:
        public = base64.b64decode(text.strip(), validate=True)
        Ed25519PublicKey.from_public_bytes(public)
    except ValueError:
        raise ValueError("expected the 32 bytes in base64 that `rollcall heads --public-key` prints") from None
    return public


def read_signed_heads(
    lines: Iterable[bytes], log_id: UUID, public_keys: Sequence[bytes]
) -> Iterator[tuple[int, SignedHead]]:
    """The heads of a file, each with the number of its line. Every line is verified, and against the one before it.

    Raises:
        BadHeads: with the first line that was altered, is of another log, or says that the log was cut or rewritten.
    """
    keys = {key_id(public): Ed25519PublicKey.from_public_bytes(public) for public in public_keys}
    before: SignedHead | None = None
    for number, text in enumerate(lines, start=1):
        signed = _verified(number, text, keys)
        if signed.log != log_id:
            raise BadHeads(number, f"it is a head of the log {signed.log}, this is the log {log_id}")
        if before is not None and signed.position < before.position:
            raise BadHeads(
                number,
                f"position {signed.position} was signed at {signed.time} after position {before.position} at "
                f"{before.time}: the log was cut between the two",
            )
        if before is not None and signed.position == before.position and signed.hash != before.hash:
            raise BadHeads(number, f"another hash of position {signed.position} was signed before: it was rewritten")
        yield number, signed
        before = signed


def _verified(number: int, text: bytes, keys: Mapping[str, Ed25519PublicKey]) -> SignedHead:
    try:
        signed = msgspec.json.decode(text, type=SignedHead)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadHeads(number, f"not a signed head: {error}") from error
    if signed.key not in keys:
        raise BadHeads(number, f"expected the signature of {' or '.join(keys)}, found one of {signed.key}")
    try:
        keys[signed.key].verify(signed.signature, signed.signed_text)
    except InvalidSignature:
        raise BadHeads(number, "the signature is not of this line: it was altered") from None
    return signed


class KeptHeads:
    """Compares signed heads, in the order of their positions, with a log that is walked in the same order."""

    def __init__(self, heads: Iterator[tuple[int, SignedHead]]) -> None:
        self.compared = 0
        self._heads = heads
        self._next = next(heads, None)
        self.passes(START)

    def passes(self, mark: Head) -> None:
        """Compare the heads at the position of the log's next event.

        Raises:
            BadHeads: a head is another one than was signed.
        """
        while self._next is not None and self._next[1].position <= mark.position:
            number, signed = self._next
            if signed.head != mark:
                raise BadHeads(
                    number,
                    f"the hash {signed.hash} of position {signed.position} was signed at {signed.time}, "
                    f"found {mark.hash.hex()}: the log was rewritten here or before",
                )
            self.compared += 1
            self._next = next(self._heads, None)

    def finish(self, end: Head) -> None:
        """Check that no head is of a later position than the log's end.

        Raises:
            BadHeads: the log was cut.
        """
        if self._next is not None:
            number, signed = self._next
            raise BadHeads(
                number,
                f"position {signed.position} was signed at {signed.time}, but the log ends at {end.position}: "
                "it was cut",
            )


class HeadFollower:
    """Follows the chain from one signed head to the next."""

    def __init__(self, database: Database, keys: LogKeys, signed: Head | None) -> None:
        """`signed` is the last head that was signed; without one, the first is taken as it is."""
        self._database = database
        self._keys = keys
        self._signed = signed

    async def next(self) -> Head:
        """The head now, after every event since the last head was verified.

        Raises:
            BrokenChain: an event since then does not follow, or the log was cut or rewritten.
        """
        head, newest = await read_end(self._database)
        if self._signed is None:
            self._signed = head
        mark = self._signed
        if newest < mark.position:
            raise BrokenChain(newest + 1, f"position {mark.position} was signed before, and the log ends here")
        async for page in walk(self._database, self._keys.chain, mark, newest):
            mark = page[-1].mark
        check_end(head, mark)
        self._signed = mark
        return mark
