"""What `--update` must not do: give one user what another's row brings, take a password away, or stop for one user."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

import pytest

from events.commands import UserCommands
from events.event_types import Role
from events.snapshots import Fold
from events.user import Update, User
from tests.damage import alter_key, alter_newest
from tests.log import NOBODY, Log, wire
from tests.rollcall.test_import_updates import HASHES, Row, take


async def user(log: Log, user_id: UUID | str) -> User:
    """The user as of now."""
    found = (await log.commands.account(UUID(str(user_id)))).user
    assert found is not None
    return found


def row_of(number: int, **fields: object) -> Row:
    """A row of a user with an id."""
    return {
        "id": str(UUID(int=number, version=4)),
        "username": f"u{number}",
        "email": f"u{number}@example.com",
        **fields,
    }


@pytest.mark.parametrize("named", [True, False], ids=["with usernames", "by email alone"])
async def test_users_who_swap_their_emails_do_not_get_each_others_rows(log: Log, tmp_path: Path, named: bool) -> None:
    """Both are in the log by their ids. The password of one would open the other's account."""
    rows = [row_of(1, name="One", password_hash=HASHES[0]), row_of(2, name="Two", role="TECHNICAL_WORKER")]
    await take(log, tmp_path / "users.jsonl", rows)
    one, two = (dict(row) for row in rows)
    one["email"], two["email"] = two["email"], one["email"]
    one["username"], two["username"] = two["username"], one["username"]
    one["password_hash"] = HASHES[1]
    if not named:
        del one["username"], two["username"]
    before = [await user(log, str(row["id"])) for row in rows]

    dry = await take(log, tmp_path / "users.jsonl", [one, two], dry_run=True)
    done = await take(log, tmp_path / "users.jsonl", [one, two])

    assert [await user(log, str(row["id"])) for row in rows] == before
    assert dry == done
    assert [refused.line for refused in done.refused] == [1, 2]


async def test_an_email_given_to_a_colleague_brings_the_colleague_and_not_the_former_user(
    log: Log, tmp_path: Path
) -> None:
    rows = [row_of(1, name="One"), row_of(2, name="Two")]
    await take(log, tmp_path / "users.jsonl", rows)

    done = await take(log, tmp_path / "users.jsonl", [row_of(2, email="u1@example.com", username=None, name="Two")])

    assert ((await user(log, str(rows[0]["id"]))).name, done.refused_rows) == ("One", 1)


async def test_a_password_chosen_at_the_registration_is_not_replaced(log: Log, tmp_path: Path) -> None:
    """It is not the imported one, though no other has come since."""
    own = await log.register("ada", password_hash=HASHES[0])

    done = await take(log, tmp_path / "users.jsonl", [{"email": "ada@example.com", "password_hash": HASHES[1]}])

    credential = await log.commands.credential_of(own.user_id)
    assert (credential.password_hash, done.already_there) == (HASHES[0], 1)


@pytest.mark.parametrize("damage", [alter_key, alter_newest])
@pytest.mark.parametrize("dry_run", [True, False], ids=["dry", "run"])
async def test_a_damaged_user_does_not_stop_the_others(log: Log, tmp_path: Path, damage: object, dry_run: bool) -> None:
    rows = [row_of(number) for number in (1, 2, 3)]
    await take(log, tmp_path / "users.jsonl", rows)
    await damage(log.database, UUID(str(rows[1]["id"])))  # type: ignore[operator]
    fresh = wire(log.database)  # no key is remembered

    done = await take(fresh, tmp_path / "users.jsonl", [{**row, "name": "Other"} for row in rows], dry_run=dry_run)

    assert (done.updated, [refused.line for refused in done.refused]) == (2, [2])


async def test_two_imports_of_one_file_at_once_refuse_nothing(log: Log, tmp_path: Path) -> None:
    rows = [row_of(number, password_hash=HASHES[0]) for number in range(1, 31)]
    await take(log, tmp_path / "users.jsonl", rows)
    changed = [{**row, "name": "Other", "role": "TECHNICAL_WORKER", "password_hash": HASHES[1]} for row in rows]
    other = wire(log.database)

    one, two = await asyncio.gather(
        take(log, tmp_path / "one.jsonl", changed), take(other, tmp_path / "two.jsonl", changed)
    )

    assert (one.refused, two.refused) == ([], [])
    assert len(await log.all()) == 30 * 4


async def test_a_row_finds_nobody_who_has_given_its_email_away(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process changes the email between the look-up of the row's user and the reading of the user."""
    former = await log.register("ada")
    other, folds = wire(log.database).commands, UserCommands.folds

    async def overtaken(self: UserCommands, user_ids: Iterable[UUID]) -> dict[UUID, Fold]:
        wanted = list(user_ids)
        if wanted:
            await other.change(former.user_id, Update(email="elsewhere@example.com"), NOBODY)
        return await folds(self, wanted)

    monkeypatch.setattr(UserCommands, "folds", overtaken)
    await take(log, tmp_path / "users.jsonl", [{"email": "ada@example.com", "name": "Eve", "password_hash": HASHES[0]}])

    assert (await user(log, former.user_id)).name == "Ada"
    assert (await log.commands.credential_of(former.user_id)).password_hash is None


@pytest.mark.parametrize("dry_run", [True, False], ids=["dry", "run"])
async def test_a_row_does_not_take_the_last_administrators_role(log: Log, tmp_path: Path, dry_run: bool) -> None:
    """Of several whom the file demotes, the last one stays."""
    for name in ("ada", "eve", "bob"):
        await log.register(name, Role.ADMIN)
    rows: list[Row] = [{"email": f"{name}@example.com", "role": "CUSTOMER"} for name in ("ada", "eve", "bob")]

    done = await take(log, tmp_path / "users.jsonl", rows, window=1, dry_run=dry_run)

    assert (done.updated, [refused.line for refused in done.refused]) == (2, [3])
    (reason,) = (refused.reason for refused in done.refused)
    assert "the last ADMIN" in reason


async def test_a_dry_run_counts_the_administrators_that_the_file_brings(log: Log, tmp_path: Path) -> None:
    await log.register("ada", Role.ADMIN)
    rows: list[Row] = [
        {"email": "new@example.com", "role": "ADMIN"},
        {"email": "ada@example.com", "role": "CUSTOMER"},
    ]

    dry = await take(log, tmp_path / "users.jsonl", rows, window=1, dry_run=True)

    assert dry == await take(log, tmp_path / "users.jsonl", rows, window=1)
    assert (dry.added, dry.updated, dry.refused_rows) == (1, 1, 0)
