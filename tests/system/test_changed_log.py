"""A MySQL server restored from a backup, and a MongoDB that two installations name: each view follows one log only.

The backup is taken earlier, and the log grows again differently, while MongoDB is left as it was.
"""

import shutil
import signal
from pathlib import Path
from typing import Any

import aiohttp

from events.database import Address, Database
from projections.status import State, read_status
from rollcall import exits
from rollcall.embedded import Addresses
from tests import databases
from tests.system.installation import Installation, own_servers
from tests.system.servers import OwnServer, own_mysqld
from tests.waiting import eventually

PASSWORD = "a good password"
REGISTER = """
mutation($input: RegisterInput!) {
  register(input: $input) { user { id } session { accessToken } position errors { code } }
}
"""
RENAME = """
mutation($id: ID!, $name: String!) {
  updateUser(input: {id: $id, name: $name}) { position errors { code } }
}
"""
FOLLOW = "subscription($cursor: String) { userChanges(cursor: $cursor) { cursor user { name } } }"


async def registered(installation: Installation, username: str) -> tuple[str, str]:
    """The id and the access token of a new user."""
    fields = {"username": username, "email": f"{username}@example.com", "name": username, "password": PASSWORD}
    payload = (await installation.ask(REGISTER, input=fields))["register"]
    return payload["user"]["id"], payload["session"]["accessToken"]


async def rename(installation: Installation, user_id: str, token: str, name: str) -> None:
    """Rename a user, as soon as the database can be reached."""

    async def done() -> bool:
        answer = await installation.post({"query": RENAME, "variables": {"id": user_id, "name": name}}, token)
        return "errors" not in answer

    await eventually(done)


async def next_change(socket: aiohttp.ClientWebSocketResponse) -> Any:
    """The payload of the next result."""
    while (message := await socket.receive_json())["type"] != "next":
        assert message["type"] == "ping", message
    return message["payload"]


async def follow(socket: aiohttp.ClientWebSocketResponse, cursor: str | None) -> None:
    """Subscribe to a user's own changes, from a cursor on or from now on."""
    variables = {"cursor": cursor}
    await socket.send_json({"id": "1", "type": "subscribe", "payload": {"query": FOLLOW, "variables": variables}})


async def restore(mysqld: OwnServer, data: Path, backup: Path) -> None:
    """Stop the server and start it again with the data of the backup."""
    await mysqld.end(signal.SIGTERM)
    shutil.rmtree(data)
    shutil.copytree(backup, data, symlinks=True)
    await mysqld.start()


async def test_a_restored_backup_of_the_log_is_noticed_and_a_rebuild_is_the_way_back(
    urls: tuple[str, str], tmp_path: Path
) -> None:
    """By the projector, the status, a subscriber and one that resumes; the rebuilt view equals the log and goes on."""
    data, backup = tmp_path / "mysqld", tmp_path / "backup"
    mysqld = await own_mysqld(data)
    try:
        installation = own_servers(tmp_path, mysqld.url, urls[1])
        async with installation.running("serve"):
            await eventually(installation.ready)
            user_id, token = await registered(installation, "kept")
            await mysqld.end(signal.SIGTERM)
            shutil.copytree(data, backup, symlinks=True)
            await mysqld.start()

            async with installation.running("projector", "mysql"), installation.running("projector", "mongo"):
                await rename(installation, user_id, token, "Before")
                async with installation.socket(token) as socket:
                    await follow(socket, None)
                    cursors = []
                    for number in range(3):
                        await rename(installation, user_id, token, f"Lost {number}")
                        cursors.append((await next_change(socket))["data"]["userChanges"]["cursor"])
                await eventually(installation.live)
            await restore(mysqld, data, backup)
            for number in range(6):
                await rename(installation, user_id, token, f"Other {number}")

            faulted = await installation.run("projector", "mongo")
            assert faulted.code == exits.FAULT
            assert "mongo_users follows another log: position" in faulted.err
            assert "so the two part at position" in faulted.err
            status = (await installation.status())["mongo_users"]
            assert status["state"] == "FAULTED"
            assert "rebuild the view" in status["last_error"]
            assert (await installation.run("verify", "mongo")).code != exits.OK
            async with installation.socket(token) as socket:
                await follow(socket, cursors[-1])
                [error] = (await next_change(socket))["errors"]
                assert error["extensions"]["code"] == "LOG_CHANGED"

            rebuilt = await installation.run("rebuild", "mongo")
            assert rebuilt.code == exits.OK, rebuilt.err
            rolled_back = await installation.run("rebuild", "mongo", "--rollback")
            assert rolled_back.code == exits.FAULT
            assert "is not of this log" in rolled_back.err
            async with installation.running("projector", "mysql"), installation.running("projector", "mongo"):
                await rename(installation, user_id, token, "After")
                await eventually(installation.live)
                verified = await installation.run("verify")
            assert verified.code == exits.OK, verified.err
    finally:
        if not mysqld.child.ended():
            await mysqld.end(signal.SIGTERM)


async def test_another_installations_mongodb_is_left_alone(
    urls: tuple[str, str], addresses: Addresses, tmp_path: Path
) -> None:
    """The second installation's projector stops and says of which log the view is; the first goes on."""
    async with databases.empty_schema(addresses) as schema:
        first = own_servers(tmp_path, *urls)
        second = own_servers(tmp_path, addresses.mysql_url.replace("/rollcall", f"/{schema.database}"), urls[1])
        async with first.running("serve"), first.running("projector", "mysql"), first.running("projector", "mongo"):
            await eventually(first.ready)
            user_id, token = await registered(first, "here")
            await eventually(first.live)
            async with second.running("serve"):
                await eventually(second.ready)
                for number in range(3):
                    await registered(second, f"there{number}")

                faulted = await second.run("projector", "mongo")

                assert faulted.code == exits.FAULT
                assert "it is of the log" in faulted.err
                database = Database.at(Address.parse(second.variables["ROLLCALL_MYSQL_URL"]), size=1)
                states = {one.name: one.state for one in await read_status(database)}
                await database.close()
                assert states["mongo_users"] is State.FAULTED
            await rename(first, user_id, token, "Still here")
            await eventually(first.live)
            verified = await first.run("verify")
            assert verified.code == exits.OK, verified.err
