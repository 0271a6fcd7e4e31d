"""The command line, as an operator and a script meet it."""

import base64
import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from graph.schema import make_schema
from rollcall.cli import app
from tests.system.installation import KEY, Finished, Installation, own_servers
from tests.waiting import eventually

COMMANDS = (
    "dev",
    "serve",
    "projector",
    "status",
    "quarantine",
    "rebuild",
    "import",
    "create-admin",
    "set-password",
    "rotate-master-key",
    "schema",
)


@pytest.fixture
def installation(urls: tuple[str, str], tmp_path: Path) -> Installation:
    """An installation of which nothing runs yet."""
    return own_servers(tmp_path, *urls)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_command_says_what_it_does(command: str) -> None:
    """`--help` teaches, and needs neither settings nor servers."""
    finished = CliRunner().invoke(app, [*command.split(), "--help"])

    assert finished.exit_code == 0
    assert len(finished.stdout.splitlines()) > 4
    if not command:
        assert all(f"  {name} " in finished.stdout for name in COMMANDS)


async def test_schema_prints_the_schema(tmp_path: Path) -> None:
    """For generated types; it needs no servers."""
    finished = await Installation(tmp_path, 1, {}).run("schema")

    assert finished.out == make_schema().as_str() + "\n"


async def test_status_tells_by_its_exit_code_that_nothing_runs(installation: Installation) -> None:
    """Both views are there, STOPPED, and the code is 1."""
    finished = await installation.run("status", "--json")

    assert finished.code == 1
    assert [(view["name"], view["state"], view["lag"]) for view in json.loads(finished.out)] == [
        ("mysql_users", "STOPPED", 0),
        ("mongo_users", "STOPPED", 0),
    ]
    table = await installation.run("status")
    assert "mysql_users  STOPPED" in table.out


async def test_status_can_be_watched(installation: Installation) -> None:
    """It is told again and again, a line of JSON each time, until Ctrl-C, which is a good end."""
    async with installation.running("status", "--watch", "--json") as watching:

        async def told_twice() -> bool:
            return len(watching.out) >= 2

        await eventually(told_twice)
        assert await watching.stop(signal.SIGINT) == 0

    assert {len(json.loads(line)) for line in watching.out} == {2}


async def test_administrators_and_passwords_are_set_by_hand(installation: Installation) -> None:
    """From standard input, checked like any other; an imported user signs in once a password is set."""
    path = installation.directory / "users.csv"
    path.write_text("login,mail,full\nimp,imp@example.com,Imported\n")

    async def run(*arguments: str, stdin: str = "") -> tuple[int, str]:
        finished: Finished = await installation.run(*arguments, stdin=stdin)
        return finished.code, finished.out + finished.err

    code, said = await run("create-admin", "root", "root@example.com", stdin="short\n")
    assert code == 2
    assert "at least 8" in said
    code, said = await run("create-admin", "root", "not an email", stdin="long enough\n")
    assert (code, "not an email address" in said) == (2, True)
    assert (await run("create-admin", "root", "root@example.com", stdin="long enough\n"))[0] == 0
    code, said = await run("create-admin", "ROOT", "root2@example.com", stdin="long enough\n")
    assert (code, "belongs to someone else" in said) == (2, True)
    assert (await run("import", "users.csv", "--map", "username=login,email=mail,name=full"))[0] == 0
    assert (await run("set-password", "nobody", stdin="long enough\n"))[0] == 2
    assert (await run("set-password", "imp@example.com", stdin="long enough\n"))[0] == 0

    async with installation.running("serve"):
        await eventually(installation.ready)
        assert await installation.sign_in("imp", "long enough")
        admin = await installation.sign_in("root@example.com", "long enough")
        assert await installation.ask("{ me { role } }", admin) == {"me": {"role": "ADMIN"}}
        with pytest.raises(AssertionError, match="introspection has been disabled"):
            await installation.ask("{ __schema { queryType { name } } }", admin)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("import", "nowhere.json"), "nowhere.json cannot be read"),
        (("import", "--map", "user=login", "users.json"), "--map"),
        (("import", "binary.json"), "UTF-8"),
        (("rebuild", "postgres"), "'mysql', 'mongo'"),
        (("projector",), "view"),
        (("frobnicate",), "No such command"),
    ],
)
async def test_wrong_arguments_are_told_and_nothing_is_done(
    installation: Installation, arguments: tuple[str, ...], message: str
) -> None:
    """Exit code 2, and a message that names what is wrong."""
    (installation.directory / "binary.json").write_bytes(b"\xff\xfe\x00")

    finished = await installation.run(*arguments)

    assert finished.code == 2
    assert message.lower() in finished.err.lower()
    assert "Traceback" not in finished.err


async def test_a_database_that_is_away_is_told_in_one_line(tmp_path: Path) -> None:
    """A command that needs it now does not wait: exit code 4."""
    installation = own_servers(tmp_path, "mysql://u:p@127.0.0.1:1/rollcall", "mongodb://127.0.0.1:1/rollcall")

    finished = await installation.run("status")

    assert finished.code == 4
    assert finished.err.startswith("error: ")
    assert "127.0.0.1" in finished.err
    assert len(finished.err.splitlines()) == 1


async def test_the_master_key_is_rotated_while_the_api_goes_on(installation: Installation) -> None:
    """Processes that know both keys serve before, during and after; at the end the new key alone is enough."""
    new = base64.b64encode(bytes(reversed(range(32)))).decode()
    both = {**installation.variables, "ROLLCALL_OTHER_MASTER_KEY": new}
    swapped = {**installation.variables, "ROLLCALL_MASTER_KEY": new, "ROLLCALL_OTHER_MASTER_KEY": KEY}
    alone = {**installation.variables, "ROLLCALL_MASTER_KEY": new}
    assert (await installation.run("rotate-master-key")).code == 2

    async with replace(installation, variables=both).running("serve"):
        await eventually(installation.ready)
        rotated = await replace(installation, variables=swapped).run("rotate-master-key")
        assert rotated.code == 0, rotated.err
        assert rotated.out.startswith("1 keys were rewrapped")
        assert await installation.sign_in("admin", "correct horse battery")
    refused = await installation.run("set-password", "admin", stdin="long enough\n")
    assert refused.code == 3
    assert "the master key is not the one" in refused.err
    assert (await replace(installation, variables=alone).run("set-password", "admin", stdin="long enough\n")).code == 0
