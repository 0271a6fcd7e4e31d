"""The command line."""

import getpass
import secrets
import sys
from collections.abc import Awaitable
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn
from uuid import UUID

import typer

from events.chain import Mark
from graph.schema import make_schema
from rollcall import exits
from rollcall.dev import dev as run_dev
from rollcall.log_operations import export_to, restore_from, show_head, verify_chain
from rollcall.logs import configure_logging
from rollcall.operations import (
    add_admin,
    change_password,
    import_file,
    rotate_keys,
    show_status,
)
from rollcall.rebuilding import drop_look, finish_rebuilds, look_back, rebuild_views, roll_views_back
from rollcall.running import run
from rollcall.serving import project
from rollcall.serving import serve as run_api
from rollcall.settings import BadSettings, Settings, load_settings
from rollcall.userfile import FieldMap, UserFileError, parse_mapping
from rollcall.verifying import Wanted, verify_views

app = typer.Typer(
    help="Rollcall: an event-sourced user store. One log in MySQL, two views, a GraphQL API.\n\n"
    "Settings are ROLLCALL_* variables. Without ROLLCALL_MYSQL_URL and ROLLCALL_MONGO_URL, private servers are "
    "used whose data is in ROLLCALL_DATA_DIR (var).\n\n"
    "Exit codes: 0 done; 1 done, but not all is well; 2 a setting, argument or file cannot be used; "
    "3 a fault; 4 a database is away; 130 stopped.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class ViewName(StrEnum):
    """The views, as the command line calls them."""

    MYSQL = "mysql"
    MONGO = "mongo"


class ViewNames(StrEnum):
    """One of the views, or all."""

    MYSQL = "mysql"
    MONGO = "mongo"
    ALL = "all"

    @property
    def names(self) -> list[ViewName]:
        """The views that are meant."""
        return list(ViewName) if self is ViewNames.ALL else [ViewName(self)]


View = Annotated[ViewName, typer.Argument(help="Which view.")]
Views = Annotated[ViewNames, typer.Argument(help="Which view, or all, one after the other.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


@app.command()
def dev() -> None:
    """Run everything on this machine: private servers, the API and both projectors, until Ctrl-C.

    Prints a line that begins with `ready` when all of it works. A second start on the same ROLLCALL_DATA_DIR goes
    on where the first one stopped.
    """
    settings = _settings("dev")
    run(_finally_ok(run_dev(settings, _say)), when_stopped=exits.OK)


@app.command()
def serve() -> None:
    """Run the API: GraphQL over HTTP and WebSocket at /graphql, /healthz, /readyz.

    It listens at once on ROLLCALL_HOST and ROLLCALL_PORT, and waits for databases that are away.
    """
    run(_finally_ok(run_api(_settings("api"))), when_stopped=exits.OK)


@app.command()
def projector(view: View) -> None:
    """Keep one view in step with the log, until it is told to stop.

    Of several projectors of one view, one works and the others stand by. Exit code 3: the view is FAULTED.
    """
    run(_finally_ok(project(_settings(f"projector-{view}"), view)), when_stopped=exits.OK)


@app.command()
def status(as_json: Json = False) -> None:
    """Show how the projections are doing: state, position, lag, last error. Exit code 1 unless all are live."""
    run(show_status(_settings("status"), as_json=as_json))


@app.command()
def rebuild(
    views: Views,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Let the former view serve again, after it has caught up.")
    ] = False,
    finish: Annotated[
        bool, typer.Option("--finish", help="Remove the former view, and what an interrupted rebuild has left.")
    ] = False,
    to_position: Annotated[
        int | None,
        typer.Option(min=0, metavar="POSITION", help="With --as: the users as they were at this position of the log."),
    ] = None,
    to_instant: Annotated[
        str, typer.Option(metavar="INSTANT", help="With --as: at this instant, such as 2026-11-01T00:00:00Z.")
    ] = "",
    name: Annotated[
        str, typer.Option("--as", metavar="NAME", help="What the look at the past is called: users_at_...")
    ] = "",
) -> None:
    """Make a view anew from the log, beside the one that serves; compare it with the log; swap the two.

    Clients and projectors go on meanwhile and notice nothing. If it is interrupted, the live view is as it was, and the
    next rebuild goes on where this one was. The former view is kept until --finish or the next rebuild, so that
    --rollback can let it serve again; users who are deleted are removed from it too.

    With --as it makes a second table or collection instead, of the users as they were once, without those who were
    deleted since: nobody can tell any more who they were. `rollcall drop` removes it.

    ROLLCALL_REBUILD_MEMORY limits its memory. Exit code 3: another rebuild of the view is running, or the new view is
    not what the log adds up to, and so does not serve.
    """
    when = _when(to_position, to_instant)
    if sum((rollback, finish, bool(name))) > 1 or (when is None) != (not name):
        raise typer.BadParameter("give --rollback, or --finish, or --as with --to-position or --to-instant, or nothing")
    settings = _settings("rebuild")
    if when is not None:
        run(look_back(settings, views.names, when, name))
    if rollback:
        run(roll_views_back(settings, views.names))
    if finish:
        run(finish_rebuilds(settings, views.names))
    run(rebuild_views(settings, views.names))


@app.command()
def drop(views: Views, name: Annotated[str, typer.Argument(help="What it is called: users_at_...")]) -> None:
    """Remove a look at the past that `rollcall rebuild --as` has made. Anything else is refused."""
    run(drop_look(_settings("drop"), views.names, name))


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="JSON lines (MongoDB Extended JSON included), a JSON array, or CSV.")],
    mapping: Annotated[
        str,
        typer.Option(
            "--map",
            metavar="TARGET=FIELD,...",
            help="Which fields of the file are username, email, name, role and password_hash, where the names "
            "differ, such as: username=login,password_hash=password",
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Register the users of a file. What can go in goes in; every refused line is told with its reason.

    A row without a username gets one from its email; without a name, its username. Fields that are not named above
    become attributes. Passwords are never in the file: give a hash (argon2, bcrypt, pbkdf2_sha256) or none, and the
    user cannot sign in until `rollcall set-password`. A second run of the same file adds nothing. Exit code 1: some
    lines were refused.
    """
    settings = _settings("import")
    try:
        fields = parse_mapping(mapping) if mapping else FieldMap()
    except UserFileError as error:
        raise typer.BadParameter(str(error), param_hint="--map") from error
    run(import_file(settings, file, fields, as_json=as_json))


@app.command("create-admin")
def create_admin(
    username: Annotated[str, typer.Argument(help="The new administrator's username.")],
    email: Annotated[str, typer.Argument(help="And email.")],
    name: Annotated[str, typer.Option(help="The person's name; the username if not given.")] = "",
) -> None:
    """Make a new ADMIN. The password is asked for, or read from standard input if that is no terminal."""
    settings = _settings("create-admin")
    run(add_admin(settings, username, email, name or username, _new_password()))


@app.command("set-password")
def set_password(login: Annotated[str, typer.Argument(help="Username or email.")]) -> None:
    """Set a user's password, such as of one who was imported without any.

    The password is asked for, or read from standard input if that is no terminal.
    """
    settings = _settings("set-password")
    run(change_password(settings, login, _new_password()))


@app.command()
def head(as_json: Json = False) -> None:
    """Print where the log ends, as POSITION:HASH.

    Keep it outside this machine: `rollcall verify --log --expect POSITION:HASH` can tell later whether the log up to
    there is still the same.
    """
    run(show_head(_settings("head"), as_json=as_json))


@app.command()
def verify(
    view: Annotated[ViewName | None, typer.Argument(help="Which view; both if not given.")] = None,
    log: Annotated[
        bool, typer.Option("--log", help="Verify the log instead: its positions, its hash chain and its head.")
    ] = False,
    expect: Annotated[
        str,
        typer.Option(
            metavar="POSITION:HASH", help="With --log: what `rollcall head` has printed once; must still hold."
        ),
    ] = "",
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what differs, from the log, and look again; nothing else is written.")
    ] = False,
    user: Annotated[UUID | None, typer.Option(metavar="ID", help="Only this user.")] = None,
    sample: Annotated[
        str, typer.Option(metavar="SHARE", help="Only a share of the users, such as 1%, for a quick look.")
    ] = "",
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=2**64 - 1, help="Which users a sample has: those that the same seed gave before."),
    ] = None,
    show_values: Annotated[
        bool, typer.Option("--show-values", help="Show personal values, which are masked otherwise.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare the views with the log, user by user and field by field, and tell each difference.

    Everything may go on meanwhile. Rows and documents, those that are missing or should not be there, indexes and
    checkpoints are looked at; in MongoDB also history, words, tokens and tombstones. A view that is behind the log is
    compared as of where it is. Exit code 1: something differs, and was not mended.

    With --log the log itself is walked, and the first position, if any, is named from which on it is not what was
    written. Exit code 3: the log is broken.
    """
    if log:
        _verify_log(expect, [view, repair, user, sample, show_values], as_json=as_json)
    if expect:
        raise typer.BadParameter("goes with --log", param_hint="--expect")
    if user is not None and sample:
        raise typer.BadParameter("one user is no sample: give one of the two", param_hint="--user, --sample")
    wanted = Wanted(
        views=tuple(ViewName) if view is None else (view,),
        user=user,
        share=_share(sample),
        seed=secrets.randbits(32) if seed is None else seed,
        repair=repair,
        show_values=show_values,
        as_json=as_json,
    )
    run(verify_views(_settings("verify"), wanted))


def _verify_log(expect: str, others: list[object], *, as_json: bool) -> NoReturn:
    if any(others):
        raise typer.BadParameter(
            "the log has no views, users or values: give only --expect and --json", param_hint="--log"
        )
    try:
        mark = Mark.parse(expect) if expect else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--expect") from error
    run(verify_chain(_settings("verify"), mark, as_json=as_json))


def _share(text: str) -> float | None:
    """A share of the users, between 0 and 1, from a percentage."""
    if not text:
        return None
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        share = 0.0
    if not text.endswith("%") or not 0 < share <= 1:
        raise typer.BadParameter(f"expected a percentage such as 1%, found {text!r}", param_hint="--sample")
    return share


@app.command("export")
def export_(
    file: Annotated[Path, typer.Argument(help="A new file; - is standard output.")] = Path("-"),
    after: Annotated[int, typer.Option(min=0, metavar="POSITION", help="Begin after this position.")] = 0,
    with_keys: Annotated[
        bool, typer.Option("--with-keys", help="Add the users' keys, wrapped by the master key.")
    ] = False,
) -> None:
    """Write the log as JSON lines, up to where it ends now. Everything may go on meanwhile.

    Without keys the personal data in it stays sealed. With them, whoever has the file and the master key can read it,
    also of users who are deleted later: keep such files no longer than you may.

    Exports that follow one another are restored as one: `cat first second | rollcall restore -`. Only the last one
    needs keys.
    """
    run(export_to(_settings("export"), _path(file), after, with_keys=with_keys))


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="What `rollcall export --with-keys` has written; - is standard input.")],
    without_keys: Annotated[
        bool, typer.Option("--without-keys", help="Restore a log that nobody can read, to keep and verify it.")
    ] = False,
) -> None:
    """Fill an empty log from an export, wholly or not at all; a file that was altered or cut off is refused.

    Restore before any API is started, with the master key that the keys were wrapped with, here or in
    ROLLCALL_OTHER_MASTER_KEY. Views follow by themselves if they are empty; `rollcall rebuild` those that are not.
    """
    run(restore_from(_settings("restore"), _path(file), with_keys=not without_keys))


@app.command("rotate-master-key")
def rotate_master_key() -> None:
    """Wrap the keys of all users with a new master key, while everything goes on.

    First restart every process with the new key in ROLLCALL_OTHER_MASTER_KEY, then with the two changed round. Then run
    this, with the new key in ROLLCALL_MASTER_KEY and the old one in ROLLCALL_OTHER_MASTER_KEY. When it is done, restart
    without the old one. It may be interrupted and run again.
    """
    run(rotate_keys(_settings("rotate-master-key")))


@app.command()
def schema() -> None:
    """Print the GraphQL schema, for generated types."""
    sys.stdout.write(make_schema().as_str() + "\n")


def main() -> None:
    """The console script."""
    app()


def _settings(process: str) -> Settings:
    try:
        settings = load_settings()
    except BadSettings as error:
        sys.stderr.write(f"error: {error}\n")
        raise typer.Exit(exits.BAD_INPUT) from None
    configure_logging(settings, process)
    return settings


def _when(position: int | None, instant: str) -> int | datetime | None:
    """The position or the instant that was given; None if neither was."""
    if position is not None and instant:
        raise typer.BadParameter("give --to-position or --to-instant, not both")
    if not instant:
        return position
    try:
        when = datetime.fromisoformat(instant)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--to-instant") from error
    if when.tzinfo is None:
        raise typer.BadParameter("say its time zone, such as the Z of 2026-11-01T00:00:00Z", param_hint="--to-instant")
    return when


def _path(file: Path) -> Path | None:
    return None if file == Path("-") else file


def _new_password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("New password: ")
    if getpass.getpass("Again: ") != password:
        sys.stderr.write("error: the two differ; nothing was done\n")
        raise typer.Exit(exits.BAD_INPUT)
    return password


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def _finally_ok(work: Awaitable[None]) -> int:
    await work
    return exits.OK
