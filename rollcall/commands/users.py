"""`rollcall import`, `create-admin`, `set-password` and `invite`: commands on users."""

import asyncio
import csv
import gc
import getpass
import os
import secrets
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from auth.password_hashing import WAITING_PASSWORDS, Passwords
from auth.password_policy import WeakPassword
from auth.registration import INVITATION, INVITATION_DAYS
from auth.single_use import SingleUseTokens
from events.errors import Rejected
from events.event_types import Role
from rollcall import exits
from rollcall.administrators import create_admin, password_threads, set_password
from rollcall.console import Json, note, progress, run, say, say_json, settings_for
from rollcall.export_rows import harmless
from rollcall.import_result import ImportResult, RefusedRow
from rollcall.import_rules import OF_KIND, NoPassword, Options
from rollcall.importer import Importer
from rollcall.settings import Settings
from rollcall.userfile import (
    SYSTEMS,
    FieldMap,
    UserFile,
    UserFileError,
    parse_mapping,
    read_hash_config,
    read_users,
)
from rollcall.wiring import COLLECT_SELDOM, now, open_installation, open_writer, prepare_log

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command("import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(help="JSON lines, a JSON document, CSV or LDIF; - is standard input."),
    ],
    mapping: Annotated[
        str,
        typer.Option(
            "--map",
            metavar="TARGET=FIELD,...",
            help="Fields for username, email, name, role, password_hash, id, created_at and disabled, where they have "
            "other names: username=login,email=contact.email,name=first_name+last_name",
        ),
    ] = "",
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="FIELD", help="Leave this field out. May be given several times.")
    ] = None,
    format_: Annotated[
        str,
        typer.Option("--format", metavar="NAME", help=f"What wrote the file: {', '.join(SYSTEMS)}."),
    ] = "",
    encoding: Annotated[
        str, typer.Option(metavar="NAME", help="Of a file that is neither UTF-8 nor UTF-16: cp1252 for Excel's CSV.")
    ] = "",
    hash_config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Firebase's password hash parameters, as its console shows them."),
    ] = None,
    default_role: Annotated[
        Role, typer.Option(case_sensitive=False, help="The role of rows without one.")
    ] = Role.CUSTOMER,
    keep_ids: Annotated[
        bool, typer.Option("--keep-ids", help="Keep ids that are UUIDs; others become the attribute originalId.")
    ] = False,
    created_at: Annotated[str, typer.Option(metavar="FIELD", help="The field that says when a user came to be.")] = "",
    update: Annotated[
        bool,
        typer.Option("--update", help="Bring existing users up to date: name, role, attributes, unused hash."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing, and print the whole report.")] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write refused rows to this CSV as well: line, element, reason.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Register the users of a file. Valid rows are registered; each refused row is printed with its line and reason.

    The files of Firebase, Auth0, Keycloak, Django, WordPress, Supabase, Devise, Okta and LDAP are recognised, and what
    was recognised is printed before the import begins. Try --dry-run first.

    \b
    rollcall import users.csv --map username=login,email=mail --dry-run
    rollcall import firebase.json --hash-config parameters.txt
    pg_dump_users | rollcall import - --ignore role --created-at joined

    A row needs an email. A missing username is derived from it, a missing name is the username. All other fields become
    attributes; one that looks like a secret is refused, unless --map password_hash= takes it or --ignore leaves it out.
    The file must not contain passwords: give hashes (argon2, bcrypt, PBKDF2, scrypt, phpass, SSHA, ...), which sign in
    with the old password. A user with no hash, or one in an unknown form, comes in without a password and is counted.

    A second run of the same file adds nothing, so an import that was interrupted is simply run again. Exit code 1: some
    rows were refused. Exit code 2: the file or an option is invalid, and nothing was done.
    """
    settings = settings_for("import")
    try:
        fields = parse_mapping(mapping) if mapping else FieldMap()
    except UserFileError as error:
        raise typer.BadParameter(str(error), param_hint="--map") from error
    if created_at:
        fields = FieldMap({**fields.given, "created_at": created_at}, fields.ignored)
    fields = FieldMap(fields.given, tuple(ignore or ()))
    options = Options(default_role, keep_ids=keep_ids, update=update, dry_run=dry_run)

    def opened() -> UserFile:
        config = None if hash_config is None else read_hash_config(hash_config)
        return read_users(file, fields, encoding=encoding or None, system=format_ or None, hash_config=config)

    run(_import(settings, opened, options, report, as_json=as_json))


async def _import(
    settings: Settings, opened: Callable[[], UserFile], options: Options, report: Path | None, *, as_json: bool
) -> int:
    file = opened()
    note(f"{file.name}: {file.description}")
    gc.set_threshold(*COLLECT_SELDOM)
    async with open_installation(settings, note) as installation:
        writer = await open_writer(installation)
        async with password_threads(settings) as passwords:
            with _refusals(report) as refused, progress(f"importing {file.name}", "bytes") as advance:
                importer = Importer(writer.commands, options=options, hash_=_hasher(passwords), on_refused=refused)
                outcome = await importer.run(file, lambda done: advance(done, file.size))
    for unmet in file.unmet_fields:
        note(f"warning: no row has the field {unmet!r}, which an option names")
    for key, name in outcome.renamed.items():
        note(f"the key {key!r} of attributes is stored as {name!r}: a dot separates the parts of a path")
    if file.others:
        note(f"{file.others} records are no users, and were left out")
    if options.dry_run:
        note("nothing was written: --dry-run")
    return report_import(outcome, as_json=as_json)


def _hasher(passwords: Passwords) -> Callable[[str], Awaitable[str]]:
    """Hashes a text on the threads, as many at once as there is room for in their lane."""
    room = asyncio.Semaphore(WAITING_PASSWORDS)

    async def hashed(text: str) -> str:
        async with room:
            return await passwords.hash(text)

    return hashed


@contextmanager
def _refusals(path: Path | None) -> Iterator[Callable[[RefusedRow], None]]:
    """What takes each refused row: writes it to a CSV file, which only its owner can read."""
    if path is None:
        yield lambda _: None
        return
    try:
        file = open(path, "w", newline="", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600))  # noqa: SIM115
    except OSError as error:
        raise UserFileError(f"--report {path} cannot be written: {error.strerror}") from error
    with file:
        rows = csv.writer(file)
        rows.writerow(["line", "element", "reason"])
        yield lambda refused: rows.writerow([refused.line, refused.element or "", harmless(refused.reason)])


def report_import(outcome: ImportResult, *, as_json: bool) -> int:
    """Print what became of the rows of a file; the exit code that says whether all went in."""
    if as_json:
        say_json(outcome)
    else:
        for refused in outcome.refused:
            say(f"{refused.place}: {refused.reason}")
        if outcome.refused_rows > len(outcome.refused):
            say(f"... and {outcome.refused_rows - len(outcome.refused)} more: --report FILE has them all")
        for why, count in outcome.without_password.items():
            reason, _, name = why.partition(OF_KIND)
            known = f"their hash is {name}, which is not supported" if name else WITHOUT_PASSWORD[reason]
            say(f"{count} of those added have no password: {known}")
        changed = f"{outcome.updated} updated, " if outcome.updated else ""
        say(
            f"{outcome.added} added, {changed}{outcome.already_there} already there, {outcome.refused_rows} refused, "
            f"of {outcome.total} rows"
        )
    return exits.NOT_ALL if outcome.refused_rows else exits.OK


WITHOUT_PASSWORD: Final = {
    NoPassword.NONE_GIVEN.value: "the file has none for them",
    NoPassword.UNKNOWN_HASH.value: "their hash is in no form that can be verified",
    NoPassword.DISABLED.value: "the file says that they must not sign in",
}
"""Why users come in without a password, for the report."""


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
            note(f"error: {str(refusal).removesuffix('.')}; nothing was done")
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
            note(f"error: {str(refusal).removesuffix('.')}; nothing was done")
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
