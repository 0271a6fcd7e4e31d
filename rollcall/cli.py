"""The command line."""

import getpass
import sys
from collections.abc import Awaitable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from graph.schema import make_schema
from rollcall import exits
from rollcall.commands.dev import dev as run_dev
from rollcall.commands.log import export_to, restore_from, show_head
from rollcall.commands.quarantine import quarantine
from rollcall.commands.serve import MOST_WORKERS, project, serve_by_workers
from rollcall.commands.serve import serve as run_api
from rollcall.commands.status import show_status
from rollcall.commands.users import add_admin, change_password, import_file, rotate_keys
from rollcall.commands.views import drop, rebuild, verify
from rollcall.console import Json, ViewArgument, note, run, say
from rollcall.console import settings_for as _settings
from rollcall.userfile import FieldMap, UserFileError, parse_mapping

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

app.add_typer(quarantine, name="quarantine")
app.command()(rebuild)
app.command()(drop)
app.command()(verify)


@app.command()
def dev() -> None:
    """Run everything on this machine: private servers, the API and both projectors, until Ctrl-C.

    Prints a line that begins with `ready` when all of it works. A second start on the same ROLLCALL_DATA_DIR goes
    on where the first one stopped.
    """
    settings = _settings("dev")
    run(_finally_ok(run_dev(settings, partial(say, at_once=True))), when_stopped=exits.OK)


@app.command()
def serve(
    workers: Annotated[
        int, typer.Option(min=1, max=MOST_WORKERS, metavar="N", help="So many API processes share the port.")
    ] = 1,
    worker: Annotated[int | None, typer.Option(min=0, hidden=True, help="Be one of those.")] = None,
) -> None:
    """Run the API: GraphQL over HTTP and WebSocket at /graphql, /healthz, /readyz.

    It listens at once on ROLLCALL_HOST and ROLLCALL_PORT, and waits for databases that are away.

    With --workers, one for each core is a good number. Each has metrics on a port of its own, from
    ROLLCALL_METRICS_PORT on; ROLLCALL_PASSWORD_THREADS is for all of them together. One that dies is started again.
    """
    if worker is not None:
        run(_finally_ok(run_api(_settings(f"api-{worker}"), sharing=True)), when_stopped=exits.OK)
    settings = _settings("api")
    if workers > 1:
        run(serve_by_workers(settings, workers), when_stopped=exits.OK)
    run(_finally_ok(run_api(settings)), when_stopped=exits.OK)


@app.command()
def projector(view: ViewArgument) -> None:
    """Keep one view in step with the log, until it is told to stop.

    Of several projectors of one view, one works and the others stand by; one of them takes over within 5 s when the
    first ends, is killed, hangs, or loses MySQL. Exit code 3: the view is FAULTED.
    """
    run(_finally_ok(project(_settings(f"projector-{view}"), view)), when_stopped=exits.OK)


@app.command()
def status(
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every second, until Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """Show how the projections are doing.

    For each: its state, where it and the log are, how far it is behind, when its position last moved and when its
    projector was last heard, which processes work and stand by, how many users are in quarantine, and the last error.
    Exit code 1 unless all are LIVE and nobody is in quarantine.
    """
    settings = _settings("status")
    run(show_status(settings, watch=watch, as_json=as_json), when_stopped=exits.OK if watch else exits.INTERRUPTED)


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
    say(make_schema().as_str())


def main() -> None:
    """The console script."""
    app()


def _path(file: Path) -> Path | None:
    return None if file == Path("-") else file


def _new_password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("New password: ")
    if getpass.getpass("Again: ") != password:
        note("error: the two differ; nothing was done")
        raise typer.Exit(exits.BAD_INPUT)
    return password


async def _finally_ok(work: Awaitable[None]) -> int:
    await work
    return exits.OK
