"""`rollcall import`, `create-admin`, `set-password` and `invite`: commands on users."""

import getpass
import secrets
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from auth.password_policy import WeakPassword
from auth.registration import INVITATION, INVITATION_DAYS
from auth.single_use import SingleUseTokens
from events.errors import Rejected
from rollcall import exits
from rollcall.administrators import create_admin, password_threads, set_password
from rollcall.console import Json, note, progress, run, say, say_json, settings_for
from rollcall.importer import Importer, ImportResult
from rollcall.settings import Settings
from rollcall.userfile import FieldMap, UserFileError, parse_mapping, read_users
from rollcall.wiring import now, open_installation, open_writer, prepare_log

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="JSON lines (also MongoDB Extended JSON), a JSON array, or CSV.")],
    mapping: Annotated[
        str,
        typer.Option(
            "--map",
            metavar="TARGET=FIELD,...",
            help="Names of the file's fields for username, email, name, role and password_hash, where they differ, "
            "such as: username=login,password_hash=password",
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Register the users of a file. Valid rows are registered; each refused row is printed with its line and reason.

    A row needs an email. A missing username is derived from the email, a missing name is the username. All fields other
    than username, email, name, role and password_hash become attributes. The file must not contain passwords: give a
    hash (argon2, bcrypt, pbkdf2_sha256), or none, and use `rollcall set-password` later. A second run of the same file
    adds nothing. Exit code 1: some rows were refused. Exit code 2: the file or --map is invalid, and nothing was done.
    """
    settings = settings_for("import")
    try:
        fields = parse_mapping(mapping) if mapping else FieldMap()
    except UserFileError as error:
        raise typer.BadParameter(str(error), param_hint="--map") from error
    run(_import(settings, file, fields, as_json=as_json))


async def _import(settings: Settings, path: Path, fields: FieldMap, *, as_json: bool) -> int:
    file = read_users(path, fields)
    async with open_installation(settings, note) as installation:
        writer = await open_writer(installation)
        with progress(f"importing {path.name}", "bytes") as advance:
            outcome = await Importer(writer.commands).run(file, lambda done: advance(done, file.size))
    for unmet in file.unmet_fields:
        note(f"warning: --map: no row has the field {unmet!r}")
    return report_import(outcome, as_json=as_json)


def report_import(outcome: ImportResult, *, as_json: bool) -> int:
    """Print what became of the rows of a file; the exit code that says whether all went in."""
    if as_json:
        say_json(outcome)
    else:
        for refused in outcome.refused:
            say(f"line {refused.line}: {refused.reason}")
        say(
            f"{outcome.added} added, {outcome.already_there} already there, {len(outcome.refused)} refused, "
            f"of {outcome.total} rows"
        )
    return exits.NOT_ALL if outcome.refused else exits.OK


@app.command("create-admin")
def create_admin_(
    username: Annotated[str, typer.Argument(help="Username of the new administrator.")],
    email: Annotated[str, typer.Argument(help="Email address of the new administrator.")],
    name: Annotated[str, typer.Option(help="Name of the person. Default: the username.")] = "",
) -> None:
    """Register a new ADMIN.

    Prompts for the password, or reads it from standard input if that is not a terminal. Exit code 2: a value or the
    password is refused.
    """
    run(_create_admin(settings_for("create-admin"), username, email, name or username, _new_password()))


async def _create_admin(settings: Settings, username: str, email: str, name: str, password: str) -> int:
    async with open_installation(settings, note) as installation, password_threads(settings) as passwords:
        writer = await open_writer(installation)
        try:
            done = await create_admin(writer.commands, passwords, username, email, name, password)
        except (Rejected, WeakPassword) as refusal:
            note(f"error: {refusal}; nothing was done")
            return exits.BAD_INPUT
    say(f"{username} is an ADMIN now, with id {done.user_id}")
    return exits.OK


@app.command("set-password")
def set_password_(login: Annotated[str, typer.Argument(help="Username or email.")]) -> None:
    """Set a user's password, for example after an import without one.

    Prompts for the password, or reads it from standard input if that is not a terminal. Exit code 2: there is no such
    user, or the password is refused.
    """
    run(_set_password(settings_for("set-password"), login, _new_password()))


async def _set_password(settings: Settings, login: str, password: str) -> int:
    async with open_installation(settings, note) as installation, password_threads(settings) as passwords:
        writer = await open_writer(installation)
        try:
            done = await set_password(writer.commands, passwords, login, password)
        except (Rejected, WeakPassword) as refusal:
            note(f"error: {refusal}; nothing was done")
            return exits.BAD_INPUT
    if done is None:
        note(f"error: there is no user {login!r}")
        return exits.BAD_INPUT
    say(f"the password of {login} is set")
    return exits.OK


@app.command("invite")
def invite_(
    days: Annotated[
        int,
        typer.Option(
            min=INVITATION_DAYS[0],
            max=INVITATION_DAYS[-1],
            metavar="N",
            help="Days for which the invitation is valid.",
        ),
    ] = 7,
) -> None:
    """Print an invitation, with which one person can register where ROLLCALL_REGISTRATION is `invitation`."""
    run(_invite(settings_for("invite"), timedelta(days=days)))


async def _invite(settings: Settings, lifetime: timedelta) -> int:
    async with open_installation(settings, note) as installation:
        secret = (await prepare_log(installation)).throttle
        invitations = SingleUseTokens(installation.database, secret, INVITATION, now, secrets.token_bytes)
        invitation = invitations.issue(lifetime)
    note(f"valid until {invitation.expires_at.isoformat()}")
    say(invitation.text)
    return exits.OK


def _new_password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("New password: ")
    if getpass.getpass("Again: ") != password:
        note("error: the passwords differ; nothing was done")
        raise typer.Exit(exits.BAD_INPUT)
    return password
