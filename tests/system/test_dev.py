"""`rollcall dev` starts everything from an empty directory, and leaves no process when it ends."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from rollcall import exits
from rollcall.commands.dev import url_of
from rollcall.settings import Settings
from tests.ports import free_port
from tests.system.installation import Installation, Process, own_servers
from tests.waiting import PATIENCE_SECONDS, eventually

REGISTER = """
mutation($input: RegisterInput!) {
  register(input: $input) { user { id version } position session { accessToken } errors { code field message } }
}
"""
FIELDS = {"username": "zoe", "email": "zoe@example.com", "name": "Zoë", "password": "a long password"}
CHANGES = """
subscription($after: Position!) {
  userChanges(after: $after) { position type userId version changedFields user { name role } }
}
"""


def processes_of(directory: Path) -> list[str]:
    """Command lines of all processes with this working directory or with it among their arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            here = (entry / "cwd").readlink()
        except OSError:
            continue  # the process has ended
        if here.is_relative_to(directory) or str(directory) in command:
            found.append(command)
    return found


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    """An installation with private servers in an empty directory."""
    return Installation(tmp_path, free_port(), {"ROLLCALL_PASSWORD_PROFILE": "weak-for-tests"}, forked=False)


async def first_token(installation: Installation, dev: Process) -> str:
    """Sign in as the administrator with the password of the `ready` line."""
    ready = await dev.line("ready")
    assert f"{installation.url}/graphql" in ready
    return await installation.sign_in("admin", ready.rpartition(" ")[2].strip())


async def test_dev_serves_a_users_whole_life_and_resumes_after_a_stop(installation: Installation) -> None:
    """A user is created, changed and deleted in both views; SIGINT and SIGKILL end every process; data survive."""
    async with installation.running("dev") as dev:
        admin = await first_token(installation, dev)
        assert (await installation.ask("{ __schema { queryType { name } } }"))["__schema"]
        async with following(installation, admin) as ws:
            messages: list[Any] = []

            async def receive_changes() -> None:
                """Receive the changes before the deletion: after it they hold no user."""
                messages.extend([await ws.receive_json(timeout=PATIENCE_SECONDS) for _ in range(3)])

            user_id = await run_through_a_life(installation, admin, receive_changes)
            messages.append(await ws.receive_json(timeout=PATIENCE_SECONDS))
        changes = [message["payload"]["data"]["userChanges"] for message in messages]
        assert [change["type"] for change in changes] == [
            "USER_REGISTERED",
            "USER_UPDATED",
            "ROLE_CHANGED",
            "USER_DELETED",
        ]
        assert [change["version"] for change in changes] == [1, 2, 3, 4]
        assert {change["userId"] for change in changes} == {user_id}
        assert changes[2]["user"] == {"name": "Zoë 😀", "role": "TECHNICAL_WORKER"}
        assert changes[3]["user"] is None
        async with following(installation, admin) as ws:
            stopping = asyncio.create_task(dev.stop(signal.SIGINT))
            assert (await ws.receive(timeout=PATIENCE_SECONDS)).type is aiohttp.WSMsgType.CLOSE
            assert ws.close_code == aiohttp.WSCloseCode.GOING_AWAY
            assert await stopping == 0
    assert processes_of(installation.directory) == []

    async with installation.running("dev") as dev:
        admin = await first_token(installation, dev)

        async def live() -> bool:
            data = await installation.ask("{ users { totalCount } projections { state position } }", admin)
            assert data["users"] == {"totalCount": 1}
            return bool(data["projections"] == [{"state": "LIVE", "position": "5"}] * 4)  # views, webhooks and mail

        await eventually(live)
        dev.popen.send_signal(signal.SIGKILL)
        await dev.popen.wait()

        async def all_gone() -> bool:
            return processes_of(installation.directory) == []

        await eventually(all_gone)


@asynccontextmanager
async def following(installation: Installation, token: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """Open a socket that subscribes to all changes after the head."""
    [head, *_] = (await installation.ask("{ projections { head } }", token))["projections"]
    async with installation.socket(token) as ws:
        payload = {"query": CHANGES, "variables": {"after": head["head"]}}
        await ws.send_json({"type": "subscribe", "id": "1", "payload": payload})
        yield ws


async def run_through_a_life(
    installation: Installation, admin: str, before_deletion: Callable[[], Awaitable[None]]
) -> str:
    """Register, update, promote and delete a user, checking both views; return its id."""
    registered = (await installation.ask(REGISTER, input=FIELDS))["register"]
    assert registered["errors"] == []
    user_id: str = registered["user"]["id"]
    token = registered["session"]["accessToken"]
    await installation.ask(
        'mutation($id: ID!) { updateUser(input: {id: $id, name: "Zoë 😀", attributes: {city: "Köln"}}) '
        "{ errors { code } } }",
        token,
        id=user_id,
    )
    await installation.ask(
        "mutation($id: ID!) { changeRole(input: {id: $id, role: TECHNICAL_WORKER}) { errors { code } } }",
        admin,
        id=user_id,
    )
    token = await installation.sign_in("zoe", "a long password")  # the new role ended the session
    both = """
    query($id: ID!) {
      user(id: $id) { name role version }
      searchUsers(text: "zoe", where: [{path: "city", eq: "Köln"}]) { edges { node { name role version } } }
    }
    """
    expected = {"name": "Zoë 😀", "role": "TECHNICAL_WORKER", "version": 3}

    async def in_both() -> bool:
        data = await installation.ask(both, admin, id=user_id)
        return bool(data["user"] == expected and data["searchUsers"]["edges"] == [{"node": expected}])

    await eventually(in_both)
    await before_deletion()
    await installation.ask(
        "mutation($id: ID!) { deleteUser(input: {id: $id}) { deletedUserId errors { code } } }", token, id=user_id
    )

    async def in_neither() -> bool:
        data = await installation.ask(both, admin, id=user_id)
        return bool(data["user"] is None and data["searchUsers"]["edges"] == [])

    await eventually(in_neither)
    return user_id


async def test_dev_signs_heads_into_a_file_of_its_data_directory(installation: Installation) -> None:
    """Which proves later that the log holds them; without settings, and with the key that the first start made."""
    variables = {**installation.variables, "ROLLCALL_HEADS_SECONDS": "0.1"}
    path = installation.directory / "var" / "heads.jsonl"
    installation = replace(installation, variables=variables, forked=True)
    async with installation.running("dev") as dev:
        await dev.line("ready")
        await installation.ask(REGISTER, input={**FIELDS, "username": "ada", "email": "ada@example.com"})

        async def signed() -> bool:
            return path.exists() and b'"position":2' in path.read_bytes()

        await eventually(signed)
        public = (await installation.run("heads", "--public-key")).out.strip()
        command = ("verify", "--log", "--against", str(path), "--public-key", public)
        verified = await installation.run(*command)
    assert (verified.code, "the log holds all " in verified.err) == (exits.OK, True), verified.err


async def test_dev_is_ready_on_an_ipv6_address(urls: tuple[str, str], tmp_path: Path) -> None:
    """The `ready` line has a URL that works, with brackets around the address."""
    installation = own_servers(tmp_path, *urls)
    port = installation.port
    installation = replace(installation, variables={**installation.variables, "ROLLCALL_HOST": "::1"})

    async with installation.running("dev") as dev:
        ready = await dev.line("ready")
        assert f"http://[::1]:{port}/graphql" in ready
        async with aiohttp.ClientSession() as client, client.get(f"http://[::1]:{port}/readyz") as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "localhost"),
        ("0.0.0.0", "127.0.0.1"),  # noqa: S104 - not bound
        ("::", "[::1]"),
        ("::1", "[::1]"),
    ],
)
def test_the_address_of_any_host_is_a_url_that_reaches_it(host: str, address: str) -> None:
    """Those that stand for every address are reached at the loopback address of their own version."""
    assert url_of(Settings(host=host, port=8000)) == f"http://{address}:8000"


async def test_a_port_in_use_is_an_error(urls: tuple[str, str], tmp_path: Path) -> None:
    """`dev` exits with 2 and names the variable. The API that listens there is not taken for its own."""

    async def answer_ready(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    installation = own_servers(tmp_path, *urls)
    async with await asyncio.start_server(answer_ready, "127.0.0.1", installation.port):
        finished = await installation.run("dev")

    assert (finished.code, finished.out) == (2, "")
    assert "ROLLCALL_PORT: cannot listen on 127.0.0.1:" in finished.err
    assert "set another ROLLCALL_PORT" in finished.err


async def test_invalid_settings_are_reported_before_anything_starts(tmp_path: Path) -> None:
    """The error names each invalid variable and the expected value."""
    variables = {
        "ROLLCALL_MYSQL_URL": "postgres://x",
        "ROLLCALL_MASTER_KEY": "short",
        "ROLLCALL_PASSWORD_PROFILE": "md5",
        "ROLLCALL_LOG_LEVEL": "loud",
    }

    finished = await Installation(tmp_path, free_port(), variables).run("serve")

    assert finished.code == 2
    for name in variables:
        assert name in finished.err
    assert "expected mysql://USER:PASSWORD@HOST:PORT/SCHEMA" in finished.err
    assert list(tmp_path.iterdir()) == []
