"""`--update` brings the rows of a window over together, with the outcome of taking them one by one."""

import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_DNS, UUID, uuid5

import pytest

from events.commands import UserCommands
from events.database import Database
from events.event_types import UserUpdated
from events.snapshots import Fold
from events.user import Delete, Update
from rollcall.import_result import ImportResult
from rollcall.import_rules import Options
from rollcall.importer import Importer
from rollcall.userfile import FieldMap, read_users
from tests.log import NOBODY, Log, wire

HASHES = ["$2b$04$abcdefghijklmnopqrstuuOd1ZbE3M0zL5YQ0yG3j4r0cU8mZbW2e", "$P$984478476IagS59wHZvyQMArzfx58u."]
MD5 = "5f4dcc3b5aa765d61d8327deb882cf99"

Row = dict[str, object]


async def wrapped(digest: str) -> str:
    return "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$kSEYPHmQVmXSAcB2UPmjPQ"


async def take(log: Log, path: Path, rows: list[Row], window: int = 512, *, dry_run: bool = False) -> ImportResult:
    """Bring rows over, with their ids."""
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    options = Options(keep_ids=True, update=True, dry_run=dry_run)
    importer = Importer(log.commands, options=options, hash_=wrapped, window=window)
    return await importer.run(read_users(path, FieldMap()), lambda done: None)


def random_rows(chance: random.Random, world: str, count: int) -> list[Row]:
    """Rows of few people, who take each other's emails, usernames and ids."""
    rows: list[Row] = []
    for _ in range(count):
        one, other = chance.randrange(12), chance.randrange(12)
        row: Row = {"email": f"{world}{one}@example.com", "name": f"Name {chance.randrange(3)}"}
        if chance.random() < 0.7:
            row["username"] = f"{world}{one if chance.random() < 0.8 else other}"
        if chance.random() < 0.5:
            row["id"] = str(uuid5(NAMESPACE_DNS, f"{world}{one if chance.random() < 0.6 else other}"))
        if chance.random() < 0.3:
            row["role"] = chance.choice(["TECHNICAL_WORKER", "CUSTOMER", "KING"])
        if chance.random() < 0.3:
            row["password_hash"] = chance.choice([*HASHES, MD5])
        if chance.random() < 0.2:
            row["username"] = f"{world}{'x' * chance.choice([3, 70])}{one}"
        if chance.random() < 0.1:
            row["name"] = "x" * 1_000
        rows.append(row)
    return rows


async def people(log: Log, world: str) -> dict[str, tuple[object, ...]]:
    """Everybody of a world, by email."""
    found: dict[str, tuple[object, ...]] = {}
    for number in range(12):
        account = await log.commands.find(f"{world}{number}@example.com")
        if account is not None and account.user is not None:
            user = account.user
            credential = await log.commands.credential_of(user.id)
            found[user.email.removeprefix(world)] = (
                user.username.removeprefix(world),
                user.name,
                user.role,
                credential.password_hash,
                user.version,
            )
    return found


@pytest.mark.parametrize("seed", range(6))
async def test_rows_taken_together_are_rows_taken_one_by_one(log: Log, tmp_path: Path, seed: int) -> None:
    """Who is there afterwards, what is reported, and what a dry run says before: for files that contradict themselves.

    Window by window as well, where the next window is read while the one before it is taken.
    """
    for file in range(3):
        found = []
        for world, window in (("one-", 1), ("few-", 5), ("all-", 512)):
            rows = random_rows(random.Random(f"{seed} {file}"), world, 25)
            dry = await take(log, tmp_path / "dry.jsonl", rows, window, dry_run=True)
            done = await take(log, tmp_path / "run.jsonl", rows, window)
            assert dry == done, f"{world}: {rows}"
            assert done.total == 25
            found.append((done, await people(log, world)))
        assert found[1] == found[0]
        assert found[2] == found[0]


async def test_changed_rows_share_transactions(log: Log, tmp_path: Path) -> None:
    """A row's change waits for no other row's: the events of very many rows have few instants."""
    rows: list[Row] = [{"email": f"user{n}@example.com"} for n in range(300)]
    await take(log, tmp_path / "users.jsonl", rows)

    done = await take(log, tmp_path / "users.jsonl", [{**row, "city": "Ipoh"} for row in rows])

    changes = [recorded for recorded in await log.all() if isinstance(recorded.event, UserUpdated)]
    assert (done.updated, len(changes)) == (300, 300)
    assert len({recorded.recorded_at for recorded in changes}) <= 30


async def test_unchanged_rows_cost_no_statement_each(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With hashes as well."""
    rows: list[Row] = [{"email": f"user{n}@example.com", "password_hash": HASHES[n % 2]} for n in range(300)]
    await take(log, tmp_path / "users.jsonl", rows)
    head, statements = await log.store.head(), reads(monkeypatch)
    again = await take(log, tmp_path / "users.jsonl", rows)

    assert (again.already_there, await log.store.head()) == (300, head)
    assert len(statements) <= 10


async def test_rows_that_change_name_role_and_password_do_not_read_one_by_one(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The three commands of each are on what the one before it left; the pool has connections for few reads at once."""
    rows: list[Row] = [{"email": f"user{n}@example.com", "password_hash": HASHES[0]} for n in range(200)]
    await take(log, tmp_path / "users.jsonl", rows)
    changed = [{**row, "name": "Somebody", "role": "TECHNICAL_WORKER", "password_hash": HASHES[1]} for row in rows]
    statements = reads(monkeypatch)

    done = await take(log, tmp_path / "users.jsonl", changed)

    assert (done.updated, await log.store.head()) == (200, 800)
    assert len(statements) <= 20


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that are read outside of transactions from now on."""
    statements, fetch_all = list[str](), Database.fetch_all

    async def counted(self: Database, sql: str, arguments: Sequence[object] = ()) -> Any:
        statements.append(sql)
        return await fetch_all(self, sql, arguments)

    monkeypatch.setattr(Database, "fetch_all", counted)
    return statements


async def test_a_user_who_changes_meanwhile_keeps_both_changes(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process changes, or deletes, users between their reading and their rows' changes."""
    rows: list[Row] = [{"email": f"user{n}@example.com", "name": f"Name {n}"} for n in range(3)]
    await take(log, tmp_path / "users.jsonl", rows)
    other, folds = wire(log.database).commands, UserCommands.folds

    async def overtaken(self: UserCommands, user_ids: Iterable[UUID]) -> dict[UUID, Fold]:
        found = await folds(self, user_ids)
        if found:
            one, two, _ = found
            await other.change(one, Update(attributes={"by": "another"}), NOBODY)
            await other.change(two, Delete(), NOBODY)
        return found

    monkeypatch.setattr(UserCommands, "folds", overtaken)
    done = await take(log, tmp_path / "users.jsonl", [{**row, "city": "Ipoh"} for row in rows])

    assert (done.updated, [refused.reason for refused in done.refused]) == (2, ["id: there is no such user"])
    account = await log.commands.find("user0@example.com")
    assert account is not None
    assert account.user is not None
    assert account.user.attributes == {"by": "another", "city": "Ipoh"}
