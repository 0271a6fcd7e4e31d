"""Verify the tables beside the log: users' keys, credentials and claims are exactly what the log adds up to.

The chain covers `events` only. Here each user's stream is folded, and compared with the user's rows:

    user_keys         the key is there, or a deletion in the log destroyed it and left its proof
    credential_keys   the key of the newest password's hash, if the user lives and has a password, and it opens the hash
    claims            the username, the email and the seat of an administrator, no more and no less

The hashes of earlier passwords cannot be opened, as is meant, and no reader needs them.

Users are read in the order of their ids, some at a time, each page in a snapshot of its own. So memory is bounded, the
answer is exact while appends go on, and no transaction stays open. The chain is to be verified as well: an event that
was removed at the end of a stream takes its effects with it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from events import sql
from events.chain import ROW_COLUMNS, ChainProgress
from events.claims import HashedClaim, claims_of, hashed
from events.credentials import credential_problem, credentials_of
from events.database import Database, Row, Source
from events.errors import UnreadableEvent, UnusableKey
from events.event_types import UserDeleted
from events.ids import uuid_of
from events.log_keys import LogKeys
from events.store import recorded_of
from events.user import Account, evolve_account
from events.vault import Vault

PAGE_USERS: Final = 200
PAGE_EVENTS: Final = 1_000

COUNT_USERS = "SELECT COUNT(*) FROM user_keys"
# Also users of whom only one of the tables knows.
NEXT_USERS = """
(SELECT DISTINCT stream_id AS user_id FROM events WHERE stream_id > %s ORDER BY stream_id LIMIT %s)
UNION (SELECT user_id FROM user_keys WHERE user_id > %s ORDER BY user_id LIMIT %s)
UNION (SELECT user_id FROM credential_keys WHERE user_id > %s ORDER BY user_id LIMIT %s)
UNION (SELECT DISTINCT user_id FROM claims WHERE user_id > %s ORDER BY user_id LIMIT %s)
ORDER BY user_id LIMIT %s
"""
READ_KEYS = "SELECT user_id, wrapped, deletion_proof, master_key_id FROM user_keys WHERE user_id IN ({ids})"
READ_EVENTS = f"""
SELECT {ROW_COLUMNS} FROM events FORCE INDEX (one_event_per_version)
WHERE (stream_id > %s OR stream_id = %s AND version > %s) AND stream_id <= %s
ORDER BY stream_id, version LIMIT %s
"""  # noqa: S608 - constants
FIND_CLAIMS = "SELECT kind, value_hash, user_id FROM claims WHERE (kind, value_hash) IN ({claims})"
COUNT_CLAIMS = "SELECT user_id, kind, COUNT(*) FROM claims WHERE user_id IN ({ids}) GROUP BY user_id, kind"


class Inconsistency(msgspec.Struct, frozen=True):
    """A row that is not what the log adds up to."""

    user_id: UUID
    kind: str
    """`key`, `credential`, `events` or the kind of a claim."""
    problem: str

    def __str__(self) -> str:
        return f"user {self.user_id}: {self.kind}: {self.problem}"


@dataclass(slots=True)
class _Folded:
    """What the log and the table of keys say about one user."""

    cipher: AESGCM | None = None
    key_problem: str | None = "is missing"
    """Why the key cannot be used, or is not there."""
    destroyed: bool = False
    """There is a proof of the deletion."""
    events: int = 0
    deleted: bool = False
    """The last event is the deletion."""
    account: Account = Account()  # noqa: RUF009 - frozen
    unreadable: str | None = None
    """Why the events could not be folded."""
    credential_problem: str | None = None


async def verify_users(
    database: Database, vault: Vault, keys: LogKeys, found: Callable[[Inconsistency], None], progress: ChainProgress
) -> None:
    """Verify the keys, credentials and claims of all users. `found` is called with each row that differs."""
    counted = await database.fetch_one(COUNT_USERS)
    total, done, last = counted[0] if counted else 0, 0, b""
    while True:
        async with database.snapshot() as source:
            after = (last, PAGE_USERS)
            ids = [row[0] for row in await source.fetch_all(NEXT_USERS, (*after, *after, *after, *after, PAGE_USERS))]
            if not ids:
                return
            users = await _folded(source, vault, ids)
            for user_id, folded in users.items():
                for kind, problem in _problems(folded):
                    found(Inconsistency(uuid_of(user_id), kind, problem))
            for inconsistency in await _wrong_claims(source, keys, users):
                found(inconsistency)
        done, last = done + len(ids), ids[-1]
        progress(done, max(total, done))


async def _folded(source: Source, vault: Vault, ids: Sequence[bytes]) -> dict[bytes, _Folded]:
    users = {user_id: _Folded() for user_id in ids}
    for user_id, *columns in await source.fetch_all(READ_KEYS.format(ids=sql.binaries(ids))):
        _read_key(users[user_id], vault, uuid_of(user_id), *columns)
    last, version = ids[0], 0
    while rows := await source.fetch_all(READ_EVENTS, (last, last, version, ids[-1], PAGE_EVENTS)):
        for row in rows:
            _fold(users[row[1]], row)
        last, version = rows[-1][1], rows[-1][2]
    credentials = await credentials_of(source, vault, ids)
    for user_id, folded in users.items():
        folded.credential_problem = credential_problem(folded.account, credentials.get(user_id))
    return users


def _read_key(
    folded: _Folded, vault: Vault, owner: UUID, wrapped: bytes | None, proof: bytes | None, master_key_id: bytes | None
) -> None:
    try:
        if wrapped is None or master_key_id is None:
            folded.key_problem = "was emptied without a deletion"
            vault.check_destroyed(owner, proof, master_key_id)
            folded.destroyed = True
        else:
            folded.key_problem = "was altered, is another user's, or is wrapped with an unknown master key"
            folded.cipher = AESGCM(vault.unwrapped(owner, wrapped, master_key_id))
        folded.key_problem = None
    except UnusableKey:
        return


def _fold(folded: _Folded, row: Row) -> None:
    folded.events += 1
    folded.deleted = row[4] == UserDeleted.__name__
    if folded.cipher is None or folded.unreadable:
        return
    try:
        folded.account = evolve_account(folded.account, recorded_of(row, folded.cipher))
    except UnreadableEvent as error:
        folded.unreadable = str(error)


def _problems(folded: _Folded) -> Iterator[tuple[str, str]]:
    if not folded.events:
        if folded.key_problem != "is missing":
            yield "key", "belongs to a user that the log does not have"
        if folded.credential_problem:
            yield "credential", "belongs to a user that the log does not have"
        return
    if folded.deleted and not folded.destroyed:
        yield "key", "is not destroyed, though the log deletes the user"
    elif folded.destroyed and not folded.deleted:
        yield "key", "was destroyed by a deletion that the log does not have"
    elif folded.key_problem:
        yield "key", folded.key_problem
    if folded.unreadable:
        yield "events", folded.unreadable
    elif folded.credential_problem and not folded.key_problem:
        yield "credential", folded.credential_problem


async def _wrong_claims(source: Source, keys: LogKeys, users: dict[bytes, _Folded]) -> Iterable[Inconsistency]:
    """Claims that are missing, another user's, or too many. Of users that cannot be folded nothing is known."""
    # A list, since two users of one page may have one name: a claim that was removed could be taken again.
    expected = [
        (hashed(keys.claims, claim), user_id)
        for user_id, folded in users.items()
        for claim in claims_of(folded.account.user)
    ]
    owners: dict[HashedClaim, bytes] = {}
    if expected:
        wanted = ", ".join(f"({sql.text(claim.kind)}, {sql.binary(claim.digest)})" for claim, _ in expected)
        rows = await source.fetch_all(FIND_CLAIMS.format(claims=wanted))
        owners = {HashedClaim(kind, digest): owner for kind, digest, owner in rows}
    known = {user_id for user_id, folded in users.items() if not folded.unreadable and not folded.key_problem}
    counts = {
        (user_id, kind): int(count)
        for user_id, kind, count in await source.fetch_all(COUNT_CLAIMS.format(ids=sql.binaries(users)))
    }
    wrong = []
    for claim, user_id in expected:
        owner = owners.get(claim)
        if owner == user_id:
            counts[user_id, claim.kind] -= 1
        elif user_id in known:
            problem = "the claim is missing" if owner is None else f"the claim is that of user {uuid_of(owner)}"
            wrong.append(Inconsistency(uuid_of(user_id), claim.kind, problem))
    wrong += [
        Inconsistency(uuid_of(user_id), kind, f"{count} claims that the log does not add up to")
        for (user_id, kind), count in counts.items()
        if count and (user_id in known or not users[user_id].events)
    ]
    return wrong
