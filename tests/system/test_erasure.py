"""Promise 5 for a whole installation: after a deletion no stored or printed byte holds personal data of the user."""

from pathlib import Path
from uuid import UUID

import msgspec

from events.database import Address, Database
from tests.system.binlog import rows_in_binary_log
from tests.system.dumps import dump, holding
from tests.system.installation import Installation, own_servers
from tests.waiting import eventually

NEEDLES = ("needleuser", "needle-mail", "Needle Nämé", "needle attribute", "Kuala Needle")
REGISTER = """
mutation($input: RegisterInput!) {
  register(input: $input) { user { id } session { accessToken } errors { code } }
}
"""


PLAIN_TEXT = {"users", "users_old", "users_rebuild"}
"""Tables whose rows are in the binary log in plain text (docs/security.md)."""


async def logged_bytes(urls: tuple[str, str]) -> dict[str, bytes]:
    """Row events of the server's binary log, by table."""
    database = Database.at(Address.parse(urls[0]), size=1)
    rows = await rows_in_binary_log(database)
    await database.close()
    return rows


async def test_a_deleted_user_leaves_no_personal_data(urls: tuple[str, str], tmp_path: Path) -> None:
    """Tables, collections, an export, the binary log, logs and output hold none, even after rebuilds of both views."""
    installation = own_servers(tmp_path, *urls)
    async with installation.running("dev") as dev:
        await dev.line("ready")
        user_id, token = await register_and_change(installation)
        await eventually(installation.live)
        assert set(holding(await dump(urls), *NEEDLES)) == {"users", "mongo users"}

        await installation.ask(
            "mutation($id: ID!) { deleteUser(input: {id: $id}) { errors { code } } }", token, id=user_id
        )
        await eventually(installation.live)
        assert holding(await dump(urls), *NEEDLES) == {}
        for view in ("mysql", "mongo"):
            assert (await installation.run("rebuild", view)).code == 0
        await eventually(installation.live)
        exported = await installation.run("export", "--with-keys", "-")
        assert exported.code == 0
        assert msgspec.json.decode(exported.out.splitlines()[0])
        printed = {
            "export": exported.out.encode(),
            "log": "".join(dev.err).encode(),
            "output": "".join(dev.out).encode(),
        }
        assert holding(await dump(urls) | printed, *NEEDLES) == {}

        logged = await logged_bytes(urls)
        assert set(holding(logged, *NEEDLES)) <= PLAIN_TEXT
        assert set(holding(logged, *NEEDLES)["users"]) == set(NEEDLES)  # control: the search finds plain text
        assert all(there in logged["events"] for there in (b"UserRegistered", b"UserUpdated", UUID(user_id).bytes))
        assert UUID(user_id).bytes in logged["user_keys"]


async def register_and_change(installation: Installation) -> tuple[str, str]:
    """Register and change a user; return its id and access token."""
    fields = {
        "username": "needleuser",
        "email": "needle-mail@example.com",
        "name": "Needle Nämé",
        "password": "needle password",
        "attributes": {"note": "needle attribute"},
    }
    registered = (await installation.ask(REGISTER, input=fields))["register"]
    user_id, token = registered["user"]["id"], registered["session"]["accessToken"]
    await installation.ask(
        'mutation($id: ID!) { updateUser(input: {id: $id, attributes: {city: "Kuala Needle"}}) { errors { code } } }',
        token,
        id=user_id,
    )
    await installation.ask("query { me { name email } }", token)
    return user_id, token
