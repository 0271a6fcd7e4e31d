"""Verify the tables beside the log: users' keys, credentials and claims are exactly what the log adds up to. Repair the
claims.

The chain covers `events` only. Here each user's stream is folded, and compared with the user's rows:

    user_keys         the key is there, or a deletion in the log destroyed it and left its proof
    credential_keys   the key of the newest password's hash, if the user lives and has a password, and it opens the hash
    claims            the username, the email and the seat of an administrator, no more and no less

The hashes of earlier passwords cannot be opened, as is meant, and no reader needs them. The stream of a data object has
no rows of its own. It is folded with the keys of its owners, so that no event is unreadable.

Users are read in the order of their ids, some at a time, each page in a snapshot of its own. So memory is bounded, the
answer is exact while appends go on, and no transaction stays open. The chain is to be verified as well: an event that
was removed at the end of a stream takes its effects with it.

A page with a wrong claim is repaired under the lock of the head, which every append takes: no append is between what
the log says and what is written. The users were folded before the lock; under it only those are folded again that an
append has changed since. So appends wait for a few statements, however long the streams are. Keys cannot be repaired:
no log has them.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from events import sql
from events.chain import ChainProgress
from events.claims import HashedClaim, claims_of, hashed
from events.credentials import credential_problem, credentials_of
from events.data_object import DataObject, evolve_data
from events.database import Database, Row, Source
from events.errors import UnreadableEvent, UnusableKey
from events.event_types import DATA_TYPES, UserDeleted
from events.ids import uuid_of
from events.log_keys import LogKeys
from events.recorded import recorded_of
from events.rows import OWNER, ROW_COLUMNS, TYPE, VERSION
from events.statements import LOCK_HEAD, STREAM_VERSIONS, take_claims
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
READ_CLAIMS = "SELECT kind, value_hash, user_id FROM claims WHERE user_id IN ({ids})"
DELETE_CLAIMS = "DELETE FROM claims WHERE (kind, value_hash) IN ({claims})"


class Inconsistency(msgspec.Struct, frozen=True):
    """A row that is not what the log adds up to."""

    user_id: UUID
    kind: str
    """`key`, `credential`, `events` or the kind of a claim."""
    problem: str
    is_data: bool = False
    """It is a data object."""

    def __str__(self) -> str:
        return f"{'data object' if self.is_data else 'user'} {self.user_id}: {self.kind}: {self.problem}"


@dataclass(slots=True)
class _Folded:
    """What the log and the table of keys say about one user or data object, which has no key of its own."""

    cipher: AESGCM | None = None
    key_problem: str | None = "is missing"
    """Why the key cannot be used, or is not there."""
    destroyed: bool = False
    """There is a proof of the deletion."""
    version: int = 0
    """Version of the last event; 0 if the log does not have the user."""
    deleted: bool = False
    """The last event is the deletion."""
    account: Account = Account()  # noqa: RUF009 - frozen
    is_data: bool = False
    data: DataObject | None = None
    unreadable: str | None = None
    """Why the events could not be folded."""
    credential_problem: str | None = None

    @property
    def known(self) -> bool:
        """The log says what the user's claims are."""
        return self.is_data or not self.version or not (self.unreadable or self.key_problem)


@dataclass(frozen=True, slots=True)
class _Page:
    """Some users as of one moment."""

    users: dict[bytes, _Folded]
    wrong_claims: list[Inconsistency]


async def verify_users(
    database: Database, vault: Vault, keys: LogKeys, found: Callable[[Inconsistency], None], progress: ChainProgress
) -> None:
    """Verify the keys, credentials and claims of all users. `found` is called with each row that differs."""
    async for page in _pages(database, vault, keys, progress):
        for user_id, folded in page.users.items():
            for kind, problem in _problems(folded):
                found(Inconsistency(uuid_of(user_id), kind, problem, folded.is_data))
        for inconsistency in page.wrong_claims:
            found(inconsistency)


async def repair_claims(database: Database, vault: Vault, keys: LogKeys, progress: ChainProgress) -> None:
    """Make the claims what the log adds up to. Verify the chain before: this believes the log.

    Left as they are: the claims of users whose events cannot be read, and a claim that two users have by the log, which
    one of them can take while it is missing. It stays with the one that has it.

    Missing claims first, then those that are too many: one that another user has wrongly is never free in between.
    """
    for first, removes in ((0, False), (1, True)):

        def advance(done: int, total: int, first: int = first) -> None:
            progress(first * total + done, 2 * total)

        async for page in _pages(database, vault, keys, advance):
            if page.wrong_claims:
                await _repair_page(database, vault, keys, page.users, removes=removes)


async def _pages(database: Database, vault: Vault, keys: LogKeys, progress: ChainProgress) -> AsyncIterator[_Page]:
    counted = await database.fetch_one(COUNT_USERS)
    total, done, last = counted[0] if counted else 0, 0, b""
    while True:
        async with database.snapshot() as source:
            after = (last, PAGE_USERS)
            ids = [row[0] for row in await source.fetch_all(NEXT_USERS, (*after, *after, *after, *after, PAGE_USERS))]
            if not ids:
                return
            users = await _folded(source, vault, ids)
            page = _Page(users, _wrong_claims(users, await _claims_of(source, keys, users)))
        yield page
        done, last = done + len(ids), ids[-1]
        progress(done, max(total, done))


async def _folded(source: Source, vault: Vault, ids: Sequence[bytes]) -> dict[bytes, _Folded]:
    users = await _with_keys(source, vault, ids)
    owners = dict(users)
    last, version = ids[0], 0
    while rows := await source.fetch_all(READ_EVENTS, (last, last, version, ids[-1], PAGE_EVENTS)):
        if unmet := sorted({row[OWNER] for row in rows if row[OWNER]} - owners.keys()):
            owners |= await _with_keys(source, vault, unmet)
        for row in rows:
            _fold(users[row[1]], owners[row[OWNER] or row[1]], row)
        last, version = rows[-1][1], rows[-1][VERSION]
    credentials = await credentials_of(source, vault, ids)
    for user_id, folded in users.items():
        folded.credential_problem = credential_problem(folded.account, credentials.get(user_id))
    return users


async def _with_keys(source: Source, vault: Vault, ids: Sequence[bytes]) -> dict[bytes, _Folded]:
    users = {user_id: _Folded() for user_id in ids}
    for user_id, *columns in await source.fetch_all(READ_KEYS.format(ids=sql.binaries(ids))):
        _read_key(users[user_id], vault, uuid_of(user_id), *columns)
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


def _fold(folded: _Folded, owner: _Folded, row: Row) -> None:
    """Fold one more event, which is sealed with the key of `owner`."""
    folded.version = row[VERSION]
    folded.is_data = row[TYPE] in DATA_TYPES
    folded.deleted = row[TYPE] == UserDeleted.__name__
    if folded.unreadable or (owner.key_problem and (row[OWNER] is not None) == folded.is_data):
        return
    try:
        recorded = recorded_of(row, owner.cipher)
        if folded.is_data:
            folded.data = evolve_data(folded.data, recorded)
        else:
            folded.account = evolve_account(folded.account, recorded)
    except UnreadableEvent as error:
        folded.unreadable = str(error)


def _problems(folded: _Folded) -> Iterator[tuple[str, str]]:
    if not folded.version or folded.is_data:
        if folded.key_problem != "is missing":
            yield "key", "belongs to a user that the log does not have"
        if folded.credential_problem:
            yield "credential", "belongs to a user that the log does not have"
        if folded.unreadable:
            yield "events", folded.unreadable
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


@dataclass(frozen=True, slots=True)
class _Claims:
    """The claims of some users: by the log, and in the table."""

    expected: dict[bytes, set[HashedClaim]]
    """By user."""
    owners: dict[HashedClaim, bytes]
    """Of each expected claim and of each claim that the users have: the user that has it in the table."""

    def surplus(self, user_id: bytes) -> list[HashedClaim]:
        """The claims of the user in the table that the log does not add up to."""
        expected = self.expected[user_id]
        return [claim for claim, owner in self.owners.items() if owner == user_id and claim not in expected]

    def lacking(self, user_id: bytes) -> list[HashedClaim]:
        """The user's claims that are missing in the table or another user's there."""
        return [claim for claim in self.expected[user_id] if self.owners.get(claim) != user_id]


async def _claims_of(source: Source, keys: LogKeys, users: dict[bytes, _Folded]) -> _Claims:
    expected = {
        user_id: {hashed(keys.claims, claim) for claim in claims_of(folded.account.user)}
        for user_id, folded in users.items()
    }
    rows = await source.fetch_all(READ_CLAIMS.format(ids=sql.binaries(users)))
    if wanted := set().union(*expected.values()):
        rows += await source.fetch_all(FIND_CLAIMS.format(claims=_tuples(wanted)))
    return _Claims(expected, {HashedClaim(kind, digest): owner for kind, digest, owner in rows})


def _wrong_claims(users: dict[bytes, _Folded], claims: _Claims) -> list[Inconsistency]:
    """Claims that are missing, another user's, or too many. Of users that cannot be folded nothing is known."""
    wrong = []
    for user_id, folded in users.items():
        if not folded.known:
            continue
        for claim in claims.lacking(user_id):
            owner = claims.owners.get(claim)
            problem = "the claim is missing" if owner is None else f"the claim is that of user {uuid_of(owner)}"
            wrong.append(Inconsistency(uuid_of(user_id), claim.kind, problem))
        for kind, count in Counter(claim.kind for claim in claims.surplus(user_id)).items():
            problem = f"{count} claims that the log does not add up to"
            wrong.append(Inconsistency(uuid_of(user_id), kind, problem))
    return wrong


async def _repair_page(
    database: Database, vault: Vault, keys: LogKeys, folded: dict[bytes, _Folded], *, removes: bool
) -> None:
    """Give users the claims that they lack, or remove those that they have too many."""
    async with database.transaction() as connection:
        await connection.fetch_one(LOCK_HEAD)
        versions: dict[bytes, int] = dict(await connection.fetch_all(STREAM_VERSIONS.format(ids=sql.binaries(folded))))
        moved = [user_id for user_id, one in folded.items() if versions.get(user_id, 0) != one.version]
        users = folded | await _folded_singly(connection, vault, moved)
        claims = await _claims_of(connection, keys, users)
        known = [user_id for user_id, one in users.items() if one.known]
        if removes:
            surplus = [claim for user_id in known for claim in claims.surplus(user_id)]
            if surplus:
                await connection.execute(DELETE_CLAIMS.format(claims=_tuples(surplus)))
            return
        lacking = [(claim, user_id) for user_id in known for claim in claims.lacking(user_id)]
        holders = {claims.owners[claim] for claim, _ in lacking if claim in claims.owners}
        others = users | await _folded_singly(connection, vault, holders - users.keys())
        kept = {
            claim
            for holder in holders
            for claim, owner in claims.owners.items()
            if owner == holder and not _gives(others[holder], claim, keys)
        }
        taken: dict[HashedClaim, UUID] = {}
        for claim, user_id in lacking:
            if claim not in kept:
                taken.setdefault(claim, uuid_of(user_id))
        if taken:
            await connection.execute(DELETE_CLAIMS.format(claims=_tuples(taken)))
            await connection.execute(take_claims(taken.items()))


def _gives(holder: _Folded, claim: HashedClaim, keys: LogKeys) -> bool:
    """The log does not say, and cannot be unable to say, that the holder has the claim."""
    return holder.known and claim not in {hashed(keys.claims, own) for own in claims_of(holder.account.user)}


async def _folded_singly(source: Source, vault: Vault, ids: Iterable[bytes]) -> dict[bytes, _Folded]:
    """Like `_folded`, for users whose ids are not neighbours."""
    users: dict[bytes, _Folded] = {}
    for user_id in ids:
        users |= await _folded(source, vault, [user_id])
    return users


def _tuples(claims: Iterable[HashedClaim]) -> str:
    return ", ".join(f"({sql.text(claim.kind)}, {sql.binary(claim.digest)})" for claim in claims)
