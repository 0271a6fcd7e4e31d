"""The command line, as operators and scripts use it."""

import base64
import json
import signal
from dataclasses import replace
from importlib.metadata import version
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
    "export-users",
    "create-admin",
    "set-password",
    "invite",
    "rotate-master-key",
    "schema",
)


@pytest.fixture
def installation(urls: tuple[str, str], tmp_path: Path) -> Installation:
    """An installation without running processes."""
    return own_servers(tmp_path, *urls)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_describes_every_command(command: str) -> None:
    """`--help` needs neither settings nor servers."""
    finished = CliRunner().invoke(app, [*command.split(), "--help"])

    assert finished.exit_code == 0
    assert len(finished.stdout.splitlines()) > 4
    if not command:
        assert all(f"  {name} " in finished.stdout for name in COMMANDS)
        assert "..." not in finished.stdout.partition("Commands:")[2]  # no sentence is cut off


def test_the_program_says_its_version() -> None:
    """That of its package, which the messages in Kafka name too."""
    finished = CliRunner().invoke(app, ["--version"])

    assert (finished.exit_code, finished.stdout) == (0, f"rollcall {version('rollcall')}\n")


async def test_schema_prints_the_schema(tmp_path: Path) -> None:
    """`rollcall schema` prints the SDL, or that of the subgraph, and needs no servers."""
    finished = await Installation(tmp_path, 1, {}).run("schema")
    subgraph = await Installation(tmp_path, 1, {}).run("schema", "--federation")

    assert finished.out == make_schema().as_str() + "\n"
    assert subgraph.out == make_schema().subgraph + "\n"


async def test_status_exits_with_1_when_no_projector_runs(installation: Installation) -> None:
    """Both views are STOPPED, and the exit code is 1."""
    finished = await installation.run("status", "--json")

    assert finished.code == 1
    assert [(view["name"], view["state"], view["lag"]) for view in json.loads(finished.out)] == [
        ("mysql_users", "STOPPED", 0),
        ("mongo_users", "STOPPED", 0),
    ]
    table = await installation.run("status")
    assert "mysql_users  STOPPED" in table.out


async def test_status_watch_repeats_until_interrupted(installation: Installation) -> None:
    """`--watch --json` prints one line of JSON per report; SIGINT ends it with exit code 0."""
    async with installation.running("status", "--watch", "--json") as watching:

        async def printed_twice() -> bool:
            return len(watching.out) >= 2

        await eventually(printed_twice)
        assert await watching.stop(signal.SIGINT) == 0

    assert {len(json.loads(line)) for line in watching.out} == {2}


async def test_create_admin_and_set_password_read_the_password_from_stdin(installation: Installation) -> None:
    """Both validate their input; an imported user can sign in after `set-password`."""
    path = installation.directory / "users.csv"
    path.write_text("login,mail,full\nimp,imp@example.com,Imported\n")

    async def run(*arguments: str, stdin: str = "") -> tuple[int, str]:
        finished: Finished = await installation.run(*arguments, stdin=stdin)
        return finished.code, finished.out + finished.err

    code, output = await run("create-admin", "root", "root@example.com", stdin="short\n")
    assert code == 2
    assert "at least 8" in output
    code, output = await run("create-admin", "root", "not an email", stdin="long enough\n")
    assert (code, "not an email address" in output) == (2, True)
    assert (await run("create-admin", "root", "root@example.com", stdin="long enough\n"))[0] == 0
    code, output = await run("create-admin", "ROOT", "root2@example.com", stdin="long enough\n")
    assert (code, "belongs to someone else" in output) == (2, True)
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


REGISTER = "mutation($input: RegisterInput!) { register(input: $input) { user { username } errors { code field } } }"


async def test_registration_by_invitation_and_its_budget(installation: Installation) -> None:
    """The settings reach the API: an invitation of `rollcall invite` admits one person, and the budget is spent."""
    variables = {"ROLLCALL_REGISTRATION": "invitation", "ROLLCALL_REGISTRATIONS_PER_HOUR": "3"}
    installation = replace(installation, variables={**installation.variables, **variables})
    invited = [await installation.run("invite", "--days", "2") for _ in range(2)]
    invitations = [finished.out.strip() for finished in invited]

    def given(number: int, invitation: str | None) -> dict[str, object]:
        names = {"username": f"person{number}", "email": f"person{number}@example.com", "name": "A Person"}
        return {**names, "password": "a pass phrase of mine", "invitation": invitation}

    async with installation.running("serve"):
        await eventually(installation.ready)
        answers = [
            (await installation.ask(REGISTER, input=given(number, invitation)))["register"]
            for number, invitation in enumerate((None, invitations[0], invitations[0], invitations[1]))
        ]
        limited = await installation.post({"query": REGISTER, "variables": {"input": given(9, invitations[1])}})

    refused = {"user": None, "errors": [{"code": "INVALID_INVITATION", "field": ["invitation"]}]}
    admitted = [{"user": {"username": f"person{number}"}, "errors": []} for number in (1, 3)]
    assert answers == [refused, admitted[0], refused, admitted[1]]
    assert limited["errors"][0]["extensions"]["code"] == "RATE_LIMITED"


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
async def test_wrong_arguments_are_refused_with_a_reason(
    installation: Installation, arguments: tuple[str, ...], message: str
) -> None:
    """The exit code is 2, and the message names the wrong argument."""
    (installation.directory / "binary.json").write_bytes(b"\xff\xfe\x00")

    finished = await installation.run(*arguments)

    assert finished.code == 2
    assert message.lower() in finished.err.lower()
    assert "Traceback" not in finished.err


async def test_an_unreachable_database_is_a_one_line_error(tmp_path: Path) -> None:
    """`status` does not wait for the database: the exit code is 4."""
    installation = own_servers(tmp_path, "mysql://u:p@127.0.0.1:1/rollcall", "mongodb://127.0.0.1:1/rollcall")

    finished = await installation.run("status")

    assert finished.code == 4
    assert finished.err.startswith("error: ")
    assert "127.0.0.1" in finished.err
    assert len(finished.err.splitlines()) == 1


async def test_the_master_key_is_rotated_while_the_api_serves(installation: Installation) -> None:
    """Processes with both keys serve throughout the rotation; afterwards the new key alone is enough."""
    new = base64.b64encode(bytes(reversed(range(32)))).decode()
    both = {**installation.variables, "ROLLCALL_OTHER_MASTER_KEY": new}
    swapped = {**installation.variables, "ROLLCALL_MASTER_KEY": new, "ROLLCALL_OTHER_MASTER_KEY": KEY}
    alone = {**installation.variables, "ROLLCALL_MASTER_KEY": new}
    assert (await installation.run("rotate-master-key")).code == 2

    async with replace(installation, variables=both).running("serve"):
        await eventually(installation.ready)
        rotated = await replace(installation, variables=swapped).run("rotate-master-key")
        assert rotated.code == 0, rotated.err
        assert rotated.out.startswith("2 keys were rewrapped")  # the user's and that of the password's hash
        assert await installation.sign_in("admin", "correct horse battery")
    refused = await installation.run("set-password", "admin", stdin="long enough\n")
    assert refused.code == 3
    assert "the master key is not the one" in refused.err
    assert (await replace(installation, variables=alone).run("set-password", "admin", stdin="long enough\n")).code == 0
