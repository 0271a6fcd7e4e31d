"""The commands of the log: head, verify, export and restore."""

import asyncio
import json
import os
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from asyncmy.errors import OperationalError
from typer.testing import CliRunner

from events.chain import Head, read_head
from events.database import Database
from events.errors import InconsistentClaims
from events.user import Update
from rollcall import exits
from rollcall.cli import app
from rollcall.commands.log import export_to, restore_from, show_head, verify_chain
from rollcall.embedded import Addresses
from rollcall.settings import Settings
from tests.events.exports import opened
from tests.log import NOBODY, Log
from tests.system.installation import Installation, own_servers
from tests.waiting import PATIENCE_SECONDS, eventually

Captured = pytest.CaptureFixture[str]
USERS = 20


def settings_of(database: Database, addresses: Addresses) -> Settings:
    """Settings for this schema."""
    variables = installation_of(database, addresses).variables
    return Settings.model_validate({name.removeprefix("ROLLCALL_").lower(): value for name, value in variables.items()})


@pytest_asyncio.fixture
async def filled(database: Database) -> Log:
    """A log of 20 users."""
    log = await opened(database)
    await asyncio.gather(*(log.register(f"user{number}") for number in range(USERS)))
    return log


@pytest.fixture
def settings(filled: Log, addresses: Addresses) -> Settings:
    """Settings for the filled log."""
    return settings_of(filled.database, addresses)


def last(text: str) -> str:
    """The last line."""
    return text.strip().rpartition("\n")[2]


@pytest.mark.parametrize("command", ["head", "verify", "export", "restore"])
def test_help_describes_every_command(command: str) -> None:
    """`--help` needs neither settings nor servers."""
    finished = CliRunner().invoke(app, [command, "--help"])

    assert finished.exit_code == 0
    assert len(finished.stdout.splitlines()) > 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verify", "--log", "--expect", "7"], "expected POSITION:HASH"),
        (["export", "--after", "-1"], "'--after'"),
        (["restore"], "file"),
    ],
)
def test_wrong_arguments_are_refused_with_a_reason(arguments: list[str], message: str) -> None:
    """The exit code is 2, before settings are read or servers contacted."""
    finished = CliRunner().invoke(app, arguments)

    assert finished.exit_code == exits.BAD_INPUT
    assert message in finished.stderr


async def test_a_noted_head_verifies_the_log_later(filled: Log, settings: Settings, capsys: Captured) -> None:
    """Standard output has only the result; progress goes to standard error."""
    head = await read_head(filled.database)

    assert await show_head(settings, as_json=False) == exits.OK
    assert capsys.readouterr() == (f"{head}\n", "")
    assert await show_head(settings, as_json=True) == exits.OK
    assert json.loads(capsys.readouterr().out) == {"position": USERS, "hash": head.hash.hex()}

    assert await verify_chain(settings, head, as_json=False) == exits.OK
    assert capsys.readouterr() == (
        f"{head}\n",
        "verifying the log: 20 of 20 events (100 %)\nverifying keys and claims: 20 of 20 users (100 %)\n",
    )
    assert await verify_chain(settings, None, as_json=True) == exits.OK
    assert json.loads(capsys.readouterr().out) == {"whole": True, "position": USERS, "hash": head.hash.hex()}


async def test_a_broken_log_is_reported_with_its_position(filled: Log, settings: Settings, capsys: Captured) -> None:
    """The exit code is 3 for a different head than expected and for a broken chain."""
    assert await verify_chain(settings, Head(USERS, bytes(32)), as_json=True) == exits.FAULT
    reported = json.loads(capsys.readouterr().out)
    assert (reported["whole"], reported["position"], "noted earlier" in reported["reason"]) == (False, USERS, True)

    await filled.database.execute("DROP TRIGGER events_refuse_delete")
    await filled.database.execute("DELETE FROM events WHERE position = 7")
    assert await verify_chain(settings, None, as_json=False) == exits.FAULT
    out, err = capsys.readouterr()
    assert out == ""
    assert last(err).startswith("error: the log is broken at position 7: ")


async def test_an_export_to_files_is_restored(
    filled: Log, settings: Settings, copy: Database, addresses: Addresses, tmp_path: Path, capsys: Captured
) -> None:
    """Only the owner can read an export, it never overwrites a file, and parts are refused in the wrong order."""
    first, second = tmp_path / "first", tmp_path / "second"
    into = settings_of(copy, addresses)
    assert await export_to(settings, first, 0, with_keys=False) == exits.OK
    assert last(capsys.readouterr().err) == f"exported 20 events, up to {await read_head(filled.database)}"
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    before = first.read_bytes()
    assert await export_to(settings, first, 0, with_keys=True) == exits.BAD_INPUT
    assert "File exists" in capsys.readouterr().err
    assert first.read_bytes() == before
    await filled.register("more")
    assert await export_to(settings, second, USERS, with_keys=True) == exits.OK

    for part, message in ((second, "error: line 1: "), (first, "--without-keys")):
        assert await restore_from(into, part, with_keys=True) == exits.BAD_INPUT
        err = last(capsys.readouterr().err)
        assert message in err
        assert err.endswith("; nothing was restored")
    first.write_bytes(before + second.read_bytes())
    assert await restore_from(into, first, with_keys=True) == exits.OK

    head = await read_head(copy)
    assert head == await read_head(filled.database)
    out, err = capsys.readouterr()
    assert out == f"{head}\n"
    assert "restoring: " in err
    assert "taking claims: 21 of 21 users" in err
    assert await restore_from(into, first, with_keys=True) == exits.BAD_INPUT
    assert "expected an empty log, found a head at position 21" in capsys.readouterr().err


async def test_a_log_without_keys_is_restored_with_a_warning(
    settings: Settings, copy: Database, addresses: Addresses, tmp_path: Path, capsys: Captured
) -> None:
    """The restored log verifies."""
    assert await export_to(settings, tmp_path / "log", 0, with_keys=False) == exits.OK

    assert await restore_from(settings_of(copy, addresses), tmp_path / "log", with_keys=False) == exits.OK
    assert "warning: restored without keys" in capsys.readouterr().err
    assert await verify_chain(settings_of(copy, addresses), None, as_json=False, with_keys=False) == exits.OK


async def test_unusable_files_are_errors(settings: Settings, tmp_path: Path, capsys: Captured) -> None:
    """The exit code is 2, and the message names the reason."""
    for name, message in (("nowhere", "No such file"), ("", "Is a directory")):
        assert await restore_from(settings, tmp_path / name, with_keys=True) == exits.BAD_INPUT
        assert message in capsys.readouterr().err
    assert await export_to(settings, tmp_path / "no" / "folder", 0, with_keys=True) == exits.BAD_INPUT
    assert "folder cannot be written: No such file" in capsys.readouterr().err
    assert await export_to(settings, None, USERS + 1, with_keys=True) == exits.BAD_INPUT
    assert f"--after {USERS + 1}: the log ends at position {USERS}" in capsys.readouterr().err


@pytest_asyncio.fixture
async def environment(copy: Database, settings: Settings, addresses: Addresses) -> AsyncIterator[dict[str, str]]:
    """Environment of processes: FROM is the URL of the filled log, INTO that of the empty one."""
    variables = own_servers(Path(), "", addresses.mongo_url).variables
    assert settings.mysql_url is not None
    into = settings_of(copy, addresses).mysql_url
    assert into is not None
    yield {
        **{name: value for name, value in os.environ.items() if not name.startswith("ROLLCALL_")},
        **variables,
        "FROM": settings.mysql_url.get_secret_value(),
        "INTO": into.get_secret_value(),
        "PYTHON": sys.executable,
    }


async def shell(script: str, environment: dict[str, str]) -> asyncio.subprocess.Process:
    """Start a script in which `rollcall URL COMMAND` runs a command on the log at that URL."""
    function = 'rollcall() { export ROLLCALL_MYSQL_URL="$1"; shift; exec "$PYTHON" -m rollcall "$@"; }\n'
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        "bash", "-c", f"set -o pipefail\n{function}{script}", env=environment, stdin=pipe, stdout=pipe, stderr=pipe
    )


async def test_an_export_is_piped_into_an_empty_log(filled: Log, copy: Database, environment: dict[str, str]) -> None:
    """Standard output has only the log."""
    script = 'rollcall "$FROM" export --with-keys | cat | rollcall "$INTO" restore -'

    process = await shell(script, environment)
    out, err = await process.communicate()

    head = await read_head(filled.database)
    assert (process.returncode, out.decode()) == (0, f"{head}\n"), err.decode()
    assert await read_head(copy) == head
    assert f"exported 20 events, up to {head}" in err.decode()


async def test_an_export_to_a_closed_pipe_fails_with_one_line(filled: Log, environment: dict[str, str]) -> None:
    """The exit code shows that the export is incomplete."""
    await asyncio.gather(*(filled.register(f"more{number}", name="x" * 200) for number in range(1_500)))

    process = await shell('rollcall "$FROM" export --with-keys | head -n 1', environment)
    _, err = await process.communicate()

    assert process.returncode == exits.BAD_INPUT
    assert last(err.decode()) == "error: standard output cannot be written: Broken pipe"


async def test_a_restore_that_waits_for_input_stops_on_sigterm(copy: Database, environment: dict[str, str]) -> None:
    """The exit code is 130, and the log stays empty."""

    async def is_locked() -> bool:
        try:
            await copy.fetch_all("SELECT * FROM log_head FOR UPDATE NOWAIT")
        except OperationalError as error:
            return bool(error.args[0] == 3572)  # ER_LOCK_NOWAIT
        return False

    process = await shell('rollcall "$INTO" restore -', environment)
    await eventually(is_locked)
    process.terminate()

    async with asyncio.timeout(PATIENCE_SECONDS):
        _, err = await process.communicate()
    assert process.returncode == exits.INTERRUPTED, err.decode()
    assert (await read_head(copy)).position == 0


FORGED = "INSERT INTO claims SELECT 'email', REPEAT('x', 32), user_id FROM claims WHERE kind = 'username' LIMIT 1"


def installation_of(database: Database, addresses: Addresses) -> Installation:
    """An installation on this schema."""
    address = database.address
    url = f"mysql://{address.user}:{address.password}@{address.host}:{address.port}/{address.database}"
    return own_servers(Path(), url, addresses.mongo_url)


async def test_forged_and_deleted_claims_are_repaired_by_the_command_line(filled: Log, addresses: Addresses) -> None:
    """Each difference is told; the user whose claim was missing can be changed again."""
    installation, database = installation_of(filled.database, addresses), filled.database
    ada = (await filled.register("ada")).user_id
    before = await database.fetch_all("SELECT * FROM claims ORDER BY kind, value_hash")
    await database.execute("DELETE FROM claims WHERE user_id = %s", (ada.bytes,))
    await database.execute(FORGED)
    with pytest.raises(InconsistentClaims):
        await filled.commands.change(ada, Update(username="lovelace"), NOBODY)
    assert (await installation.run("verify", "--log")).code == exits.FAULT

    repaired = await installation.run("verify", "--log", "--repair")

    assert repaired.code == exits.OK, repaired.err
    assert f"user {ada}: email: the claim is missing" in repaired.out
    assert f"user {ada}: username: the claim is missing" in repaired.out
    assert ": email: 1 claims that the log does not add up to" in repaired.out
    assert "3 differences, 3 repaired" in repaired.err
    assert await database.fetch_all("SELECT * FROM claims ORDER BY kind, value_hash") == before
    assert (await installation.run("verify", "--log")).code == exits.OK
    await filled.commands.change(ada, Update(username="lovelace"), NOBODY)


async def test_a_repair_leaves_and_names_what_it_cannot_know(filled: Log, addresses: Addresses) -> None:
    """The key of a user is lost: the exit code stays 3."""
    await filled.database.execute(FORGED)
    await filled.database.execute(
        "DELETE FROM user_keys WHERE user_id NOT IN "
        "(SELECT user_id FROM claims WHERE value_hash = REPEAT('x', 32)) LIMIT 1"
    )

    repaired = await installation_of(filled.database, addresses).run("verify", "--log", "--repair")

    assert repaired.code == exits.FAULT
    assert "not repaired: user " in repaired.err
    assert ": key: is missing" in repaired.err
    assert "2 differences, 1 repaired" in repaired.err


async def test_nothing_is_repaired_by_a_log_that_is_damaged(filled: Log, addresses: Addresses) -> None:
    """Claims would become what a forger wrote."""
    await filled.database.execute(FORGED)
    await filled.database.execute("DROP TRIGGER events_refuse_update")
    await filled.database.execute("UPDATE events SET metadata = '{}' WHERE position = 3")
    before = await filled.database.fetch_all("SELECT * FROM claims ORDER BY kind, value_hash")

    refused = await installation_of(filled.database, addresses).run("verify", "--log", "--repair")

    assert (refused.code, "position 3" in refused.err) == (exits.FAULT, True), refused.err
    assert await filled.database.fetch_all("SELECT * FROM claims ORDER BY kind, value_hash") == before
