"""What a thief of a backup can read in it, while a user lives and after the user was deleted."""

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest_asyncio
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from events.database import Address, Database
from events.log_keys import open_log_secret
from events.recorded import recorded_of
from events.rows import ROW_COLUMNS
from events.vault import Vault
from rollcall import exits
from tests.system.dumps import dump, forms, holding
from tests.system.installation import KEY, Installation, own_servers
from tests.waiting import eventually

USERNAME, EMAIL, NAME, ATTRIBUTE = PERSONAL = (
    "needleuser",
    "needle-mail@example.com",
    "Needle Nämé",
    "needle attribute",
)
PASSWORD, NEW_PASSWORD = PASSWORDS = ("needle password one", "needle password two")
IDEMPOTENCY_KEY: Final = "needle-idempotency-key"
ADDRESS: Final = "127.0.0.1"
MASTER_KEY: Final = base64.b64decode(KEY)
SESSION = "session { accessToken refreshToken }"
REGISTER = (
    f"mutation($i: RegisterInput!) {{ register(input: $i) {{ position user {{ id }} {SESSION} errors {{ code }} }} }}"
)
LOGIN = f"mutation($i: LoginInput!) {{ login(input: $i) {{ {SESSION} errors {{ code }} }} }}"
REFRESH = f"mutation($t: String!) {{ refreshSession(refreshToken: $t) {{ {SESSION} errors {{ code }} }} }}"
UPDATE = "mutation($i: UpdateUserInput!) { updateUser(input: $i) { errors { code } } }"
CHANGE_PASSWORD = "mutation($i: ChangePasswordInput!) { changePassword(input: $i) { errors { code } } }"
DELETE = "mutation($id: ID!) { deleteUser(input: {id: $id}) { errors { code } } }"
ONE = "query($id: ID!, $at: Position) { user(id: $id, atPosition: $at) { username } }"
FIND_KEY = "SELECT wrapped, master_key_id FROM user_keys WHERE user_id = %s"
PUT_BACK = "UPDATE user_keys SET wrapped = %s, deletion_proof = NULL WHERE user_id = %s"
FIND_EVENTS = f"SELECT {ROW_COLUMNS} FROM events WHERE stream_id = %s ORDER BY version"


@dataclass
class Life:
    """A user of a running installation, who leaves every kind of row, and its secrets."""

    installation: Installation
    database: Database
    vault: Vault = field(default_factory=lambda: Vault(MASTER_KEY, bytes))
    id: UUID = field(init=False)
    position: int = 0
    """Of the registration."""
    token: str = ""
    tokens: list[str] = field(default_factory=list)

    async def register(self) -> None:
        given = {"username": USERNAME, "email": EMAIL, "name": NAME, "password": PASSWORD}
        payload = await self._signed_in(REGISTER, "register", i={**given, "idempotencyKey": IDEMPOTENCY_KEY})
        self.id, self.position = UUID(payload["user"]["id"]), int(payload["position"])

    async def go_on(self) -> None:
        """Refresh, fail to sign in, change the password, write a lot, and be in copies and snapshots."""
        await self._signed_in(REFRESH, "refreshSession", t=self.tokens[1])
        wrong = await self.installation.ask(LOGIN, i={"login": EMAIL, "password": "a wrong password"})
        assert wrong["login"]["errors"] == [{"code": "WRONG_CREDENTIALS"}]
        await self.do(CHANGE_PASSWORD, i={"currentPassword": PASSWORD, "newPassword": NEW_PASSWORD})
        await self._signed_in(LOGIN, "login", i={"login": USERNAME, "password": NEW_PASSWORD})
        for number in range(8):  # large enough for a snapshot of the account
            attributes = {"note": f"{ATTRIBUTE} {number} " + "much text " * 6_000}
            key = f"{IDEMPOTENCY_KEY}-{number}"
            await self.do(UPDATE, i={"id": str(self.id), "attributes": attributes, "idempotencyKey": key})
        await eventually(self._has_snapshot)
        await eventually(self.installation.live)
        for view in ("mysql", "mongo"):
            for arguments in ((), ("--to-position", "3", "--as", "users_at_three")):
                finished = await self.installation.run("rebuild", view, *arguments)
                assert finished.code == exits.OK, finished.err
        await eventually(self.installation.live)

    async def delete(self) -> None:
        """Delete the user, and wait until both views have applied it."""
        await self.do(DELETE, id=str(self.id))
        await eventually(self.installation.live)

    async def mail_has_left(self) -> bool:
        """The outbox has no mail of the user any more."""
        found = await self.database.fetch_one("SELECT 1 FROM outbox WHERE user_id = %s", (self.id.bytes,))
        return found is None

    async def do(self, document: str, **variables: Any) -> None:
        """A mutation that must succeed."""
        [payload] = (await self.installation.ask(document, self.token, **variables)).values()
        assert payload["errors"] == []

    async def _signed_in(self, document: str, name: str, **variables: Any) -> Any:
        payload = (await self.installation.ask(document, **variables))[name]
        assert payload["errors"] == []
        self.token = payload["session"]["accessToken"]
        self.tokens += payload["session"].values()
        return payload

    async def _has_snapshot(self) -> bool:
        found = await self.database.fetch_one("SELECT 1 FROM snapshots WHERE owner_id = %s", (self.id.bytes,))
        return found is not None

    async def wrapped_key(self) -> tuple[bytes, bytes]:
        """The user's key as `user_keys` has it, and the id of its master key."""
        row = await self.database.fetch_one(FIND_KEY, (self.id.bytes,))
        assert row is not None
        return row[0], row[1]


@pytest_asyncio.fixture
async def life(urls: tuple[str, str], tmp_path: Path) -> AsyncIterator[Life]:
    """A registered user."""
    installation = own_servers(tmp_path, *urls)
    database = Database.at(Address.parse(urls[0]), size=2)
    async with installation.running("dev") as dev:
        await dev.line("ready")
        life = Life(installation, database)
        await life.register()
        yield life
    await database.close()


def in_view(place: str) -> bool:
    """A place is a copy of one of the views."""
    return place.removeprefix("mongo ").startswith("users")


def parts(token: str) -> list[str | bytes]:
    """A token, and what of it alone is secret: the signature or the MAC."""
    if "." in token:
        return [token, token.rpartition(".")[2]]
    return [token, base64.urlsafe_b64decode(f"{token}==")[-32:]]


async def test_a_backup_shows_people_in_the_views_and_nothing_to_sign_in_with(
    life: Life, urls: tuple[str, str]
) -> None:
    """Log, claims, snapshots and requests name nobody. No table holds a password, a token, or a fast hash of one."""
    await life.go_on()
    stolen = await dump(urls)

    personal = holding(stolen, *PERSONAL)
    assert {"users", "users_old", "users_at_three", "mongo users_at_three"} <= set(personal)
    assert [place for place in personal if not in_view(place)] == []
    outside = {place: text for place, text in stolen.items() if not in_view(place)}
    assert holding(outside, *(form for value in PERSONAL for form in forms(value))) == {}
    user_key = life.vault.unwrapped(life.id, *await life.wrapped_key())
    log_secret = await open_log_secret(life.database, life.vault)
    keys = [MASTER_KEY, user_key, life.vault.unwrapped(log_secret.log_id, log_secret.wrapped, log_secret.master_key_id)]
    tokens = [part for token in life.tokens for part in parts(token)]
    secrets: list[str | bytes] = [*PASSWORDS, *tokens, *keys, IDEMPOTENCY_KEY, ADDRESS]
    for secret in secrets:
        assert holding(stolen, *forms(secret)) == {}, secret
    assert holding(stolen, "$argon2") == {}


async def test_a_backup_made_after_a_deletion_has_nothing_of_the_user(life: Life, urls: tuple[str, str]) -> None:
    """No copy of a view, no snapshot, no session and no key. Ids remain, with what happened, and keyed hashes."""
    await life.go_on()
    wrapped, _ = await life.wrapped_key()
    await life.delete()
    stolen = await dump(urls)

    secrets: list[str | bytes] = [*PERSONAL, *PASSWORDS, *life.tokens, IDEMPOTENCY_KEY, wrapped]
    assert holding(stolen, *(form for value in secrets for form in forms(value))) == {}
    with_id = {place for place in holding(stolen, life.id.bytes) if not in_view(place)}
    # The last two until the mail of the deletion has left, and until the links of mails have expired.
    assert with_id - {"outbox", "mailed_links"} == {"events", "requests", "user_keys"}
    await eventually(life.mail_has_left)
    assert all(what in stolen["events"] for what in (b"UserRegistered", b"CUSTOMER", b"UserDeleted"))


async def test_a_key_copied_before_the_deletion_and_the_master_key_open_the_events(life: Life) -> None:
    """A limit: who has an older backup and the master key can read a deleted user. Neither alone is enough."""
    row = await life.wrapped_key()
    await life.delete()
    registered, _ = await life.database.fetch_all(FIND_EVENTS, (life.id.bytes,))

    cipher = AESGCM(life.vault.unwrapped(life.id, *row))

    assert NAME in repr(recorded_of(registered, cipher))


async def test_a_key_that_is_put_back_opens_the_past_only_and_is_named(life: Life) -> None:
    """By somebody with MySQL's password who copied the row before the deletion; the program has the master key.

    A limit: staff can ask for the user's past again, until `verify --log` names the user. Nobody comes back.
    """
    wrapped, _ = await life.wrapped_key()
    admin = await life.installation.sign_in("admin", "correct horse battery")
    past = {"id": str(life.id), "at": str(life.position)}
    await life.delete()
    assert await life.installation.ask(ONE, admin, **past) == {"user": None}
    assert (await life.installation.run("verify", "--log")).code == exits.OK

    await life.database.execute(PUT_BACK, (wrapped, life.id.bytes))

    assert await life.installation.ask(ONE, admin, **past) == {"user": {"username": USERNAME}}
    for view in ("mysql", "mongo"):
        assert (await life.installation.run("rebuild", view)).code == exits.OK
    assert await life.installation.ask(ONE, admin, id=str(life.id)) == {"user": None}
    signed_in = await life.installation.ask(LOGIN, i={"login": USERNAME, "password": PASSWORD})
    assert signed_in["login"]["errors"] == [{"code": "WRONG_CREDENTIALS"}]
    verified = await life.installation.run("verify", "--log")
    assert verified.code == exits.FAULT
    assert f"user {life.id}: key: is not destroyed, though the log deletes the user" in verified.out + verified.err
