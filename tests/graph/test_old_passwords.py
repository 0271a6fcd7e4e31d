"""Replaced passwords are gone, and an account that exists costs as much to guess as one that does not."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import bcrypt
import pytest
from structlog.contextvars import get_contextvars

from auth.hash_formats import verify_hash
from auth.password_hashing import Passwords
from events.batch import Append
from events.consistency import Inconsistency, verify_users
from events.database import Connection
from events.event_types import UserUpdated
from events.user import ChangePassword
from rollcall.administrators import set_password
from tests.events.old_secrets import readable_hashes
from tests.events.tampering import silently
from tests.graph.client import Json
from tests.graph.conftest import Complaints
from tests.graph.documents import CHANGE_PASSWORD, DELETE, LOGIN, REGISTER
from tests.graph.site import PASSWORD, Person, Site, somebody
from tests.log import NOBODY, registration

NEW_PASSWORD = "a password that is new"
LONG = 5_000


async def log_in(site: Site, login: str, password: str = PASSWORD) -> list[str]:
    """The codes of a sign-in's errors."""
    payload: Json = await site.anyone.field(LOGIN, input={"login": login, "password": password})
    return [error["code"] for error in payload["errors"]]


async def change_password(person: Person, current: str, new: str) -> list[str]:
    payload = await person.client.field(CHANGE_PASSWORD, input={"currentPassword": current, "newPassword": new})
    return [error["code"] for error in payload["errors"]]


async def fitting(site: Site, user_id: UUID, *passwords: str) -> list[str]:
    """Those of the passwords that fit a hash which can be opened with the database and the master key."""
    hashes = (await readable_hashes(site.log)).get(user_id, set())
    return [password for password in passwords if any(verify_hash(hash_, password) for hash_ in hashes)]


async def test_a_password_that_was_replaced_cannot_be_checked_by_who_has_everything(own_site: Site) -> None:
    """Changed by its owner, set by an operator, and gone with the user."""
    site = own_site  # each key is tried on each event: thousands of both are in the shared log
    person = await site.person()
    passwords = (PASSWORD, NEW_PASSWORD, "set by an operator")
    assert await fitting(site, person.user.id, *passwords) == [PASSWORD]

    assert await change_password(person, PASSWORD, NEW_PASSWORD) == []
    assert await fitting(site, person.user.id, *passwords) == [NEW_PASSWORD]
    await set_password(site.log.commands, site.passwords, person.username, "set by an operator")
    assert await fitting(site, person.user.id, *passwords) == ["set by an operator"]
    assert [await log_in(site, person.username, one) for one in passwords] == [["WRONG_CREDENTIALS"]] * 2 + [[]]

    other = await site.person()
    await other.client.field(DELETE, input={"id": other.id})
    assert await fitting(site, other.user.id, PASSWORD) == []


async def test_an_imported_hash_cannot_be_read_after_the_first_sign_in(own_site: Site) -> None:
    """A weak hash would otherwise stay beside the strong one of the same password."""
    site = own_site
    imported = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    username = f"imported.{uuid4().hex[:12]}"
    user_id = (await site.log.commands.register(registration(username, password_hash=imported), NOBODY)).user_id
    assert (await readable_hashes(site.log))[user_id] == {imported}

    assert await log_in(site, username) == []

    (found,) = (await readable_hashes(site.log))[user_id]
    assert found.startswith("$argon2id$")
    assert await log_in(site, username) == []


async def test_two_first_sign_ins_at_once_both_succeed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """One hashes the password anew while the other checks the imported hash: it is the same password."""
    imported = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    username = f"imported.{uuid4().hex[:12]}"
    await site.log.commands.register(registration(username, password_hash=imported), NOBODY)
    account = site.log.commands.account

    async def overtaken(user_id: UUID) -> Any:
        monkeypatch.setattr(site.log.commands, "account", account)
        assert await log_in(site, username) == []
        return await account(user_id)

    monkeypatch.setattr(site.log.commands, "account", overtaken)

    assert await log_in(site, username) == []


async def test_a_password_that_is_replaced_while_it_is_checked_signs_nobody_in(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was right when it was read."""
    person = await site.person()
    account = site.log.commands.account

    async def overtaken(user_id: UUID) -> Any:
        monkeypatch.setattr(site.log.commands, "account", account)
        await set_password(site.log.commands, site.passwords, person.username, NEW_PASSWORD)
        return await account(user_id)

    monkeypatch.setattr(site.log.commands, "account", overtaken)

    assert await log_in(site, person.username) == ["WRONG_CREDENTIALS"]
    assert await log_in(site, person.username, NEW_PASSWORD) == []


async def test_an_earlier_key_that_is_put_back_signs_nobody_in(own_site: Site) -> None:
    """By somebody with MySQL's password and without the master key. A password that an operator sets repairs it."""
    site = own_site
    person = await site.person()
    where = "WHERE user_id = %s"
    row = await site.log.database.fetch_one(f"SELECT * FROM credential_keys {where}", (person.user.id.bytes,))
    assert row is not None
    assert await change_password(person, PASSWORD, NEW_PASSWORD) == []
    await site.log.database.execute(f"DELETE FROM credential_keys {where}", (person.user.id.bytes,))
    await site.log.database.execute("INSERT INTO credential_keys VALUES (%s, %s, %s, %s)", row)

    assert await fitting(site, person.user.id, PASSWORD, NEW_PASSWORD) == [PASSWORD]
    assert await log_in(site, person.username) == ["WRONG_CREDENTIALS"]
    assert await change_password(person, PASSWORD, "yet another password") == ["WRONG_CREDENTIALS"]
    found: list[Inconsistency] = []
    await verify_users(site.log.database, site.log.vault, site.log.keys, found.append, silently)
    assert [(one.user_id, one.kind) for one in found if one.user_id == person.user.id] == [
        (person.user.id, "credential")
    ]

    await set_password(site.log.commands, site.passwords, person.username, NEW_PASSWORD)
    assert await log_in(site, person.username, NEW_PASSWORD) == []


async def test_another_users_credential_signs_nobody_in(own_site: Site, complaints: Complaints) -> None:
    """The key is bound to its user, and a claim that was moved is compared with the user's name."""
    site = own_site
    victim, thief = await site.person(), await site.person()
    await site.log.database.execute(
        "UPDATE credential_keys AS a JOIN credential_keys AS b ON b.user_id = %s "
        "SET a.version = b.version, a.wrapped = b.wrapped WHERE a.user_id = %s",
        (thief.user.id.bytes, victim.user.id.bytes),
    )
    assert await log_in(site, victim.username) == ["WRONG_CREDENTIALS"]
    assert [line["event"] for line in complaints.take()] == ["credential.unreadable"]
    await set_password(site.log.commands, site.passwords, victim.username, "of the victim only")
    await site.log.database.execute(
        "UPDATE claims SET user_id = %s WHERE user_id = %s", (thief.user.id.bytes, victim.user.id.bytes)
    )
    assert await log_in(site, victim.username) == ["WRONG_CREDENTIALS"]


async def lengthen(site: Site, person: Person) -> None:
    """Give the user a stream of `LONG` events, many at a time."""
    key = (await site.log.store.read_stream(person.user.id)).key
    assert key is not None
    account = await site.log.commands.account(person.user.id)
    for _ in range(LONG // 500):
        changes = tuple(UserUpdated(name=f"Name {number}") for number in range(500))
        append = Append(person.user.id, account.version, account.user, key, changes, NOBODY)
        await site.log.appender.append(append)
        account = await site.log.commands.account(person.user.id)
    await site.log.commands._snapshots.finished()
    assert account.version > LONG


Work = list[tuple[str, object]]


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    """Every statement of a request with the number of its rows, and every hash."""
    done: Work = []

    def count(owner: type, name: str, rows: Callable[[Any], object]) -> None:
        real: Callable[..., Awaitable[Any]] = getattr(owner, name)

        async def counting(self: object, sql: str, *arguments: Any) -> Any:
            place = len(done)
            if is_request := "correlation" in get_contextvars():  # else it is a projector, or the follower of the log
                done.append((sql, None))
            found = await real(self, sql, *arguments)
            if is_request:
                done[place] = (sql, rows(found))
            return found

        monkeypatch.setattr(owner, name, counting)

    count(Connection, "fetch_all", len)
    count(Connection, "execute", lambda changed: "executed")
    matches = Passwords._matches

    def hashing(passwords: Passwords, encoded: str, password: str) -> bool:
        done.append(("hash", None))
        return matches(passwords, encoded, password)

    monkeypatch.setattr(Passwords, "_matches", hashing)
    return done


async def test_a_wrong_password_costs_the_same_whether_the_account_exists_and_however_long_its_stream_is(
    own_site: Site, work: Work
) -> None:
    """The same statements, which return as many rows, and one hash. Only a right password folds the stream."""
    long, short = await own_site.person(), await own_site.person()
    await lengthen(own_site, long)
    logins = [long.username, long.user.email, short.username, f"nobody.{uuid4().hex}", f"{uuid4().hex}@example.com"]

    costs = []
    for login in logins:
        work.clear()
        assert await log_in(own_site, login, "not the password") == ["WRONG_CREDENTIALS"]
        costs.append(list(work))

    assert all(cost == costs[0] for cost in costs), costs
    assert [what for what, _ in costs[0]].count("hash") == 1
    assert not any("FROM snapshots" in what for what, _ in costs[0])
    work.clear()
    assert await log_in(own_site, long.username) == []
    assert any("FROM snapshots" in what for what, _ in work)


async def test_a_hash_that_cannot_be_checked_fails_no_sign_in_of_others(own_site: Site) -> None:
    """An unknown login is checked against the hash of somebody else."""
    people = [await own_site.person() for _ in range(3)]
    for person in people:
        command = ChangePassword(password_hash="of no known form", replaces=1)
        await own_site.log.commands.change(person.user.id, command, NOBODY)

    for login in (f"nobody.{uuid4().hex}", f"{uuid4().hex}@example.com", people[0].username):
        assert await log_in(own_site, login) == ["WRONG_CREDENTIALS"]


async def test_a_registration_that_is_repeated_is_checked_against_the_newest_password(site: Site) -> None:
    """As a sign-in is: the password that it was sent with is gone from the log."""
    given = somebody(idempotencyKey=str(uuid4()))
    first = await site.anyone.field(REGISTER, input=given)
    person = Person(await _user(site, first["user"]["id"]), site.bearing(first["session"]["accessToken"]))
    assert await change_password(person, PASSWORD, NEW_PASSWORD) == []

    answers = [await site.anyone.field(REGISTER, input=given | {"password": one}) for one in (PASSWORD, NEW_PASSWORD)]

    assert [[error["code"] for error in answer["errors"]] for answer in answers] == [["WRONG_CREDENTIALS"], []]


async def _user(site: Site, id_: str) -> Any:
    return (await site.log.commands.account(UUID(id_))).user
