"""The command line. The module of a command is imported when the command is called.

Otherwise `rollcall status` would import the GraphQL schema and take three times as long to start.
"""

from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

COMMANDS: Final = {
    "dev": "dev",
    "serve": "serve",
    "projector": "projector",
    "publish": "publish",
    "status": "status",
    "quarantine": "quarantine",
    "rebuild": "views",
    "drop": "views",
    "verify": "verify",
    "import": "users",
    "import-data": "data",
    "export-users": "export_users",
    "create-admin": "users",
    "set-password": "users",
    "invite": "users",
    "head": "log",
    "heads": "heads",
    "export": "log",
    "restore": "log",
    "rotate-master-key": "log",
    "schema": "schema",
}
"""Each command and its module in `rollcall.commands`."""


class CommandGroup(TyperGroup):
    """A group that imports the module of a command on demand."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # noqa: ARG002 - typer's own
        """The names in the order of `--help`."""
        return list(COMMANDS)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # typer has no public names for the two
        """The first sentence of each command, wrapped where typer would cut it off."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(limit=200)) for name, command in found if command])

    def get_command(self, ctx: typer.Context, cmd_name: str) -> TyperCommand | None:  # type: ignore[override]  # noqa: ARG002
        """The command of this name, imported from its module."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"rollcall.commands.{COMMANDS[cmd_name]}")
        found = typer.main.get_command(module.app)
        if isinstance(found, TyperGroup) and cmd_name in found.commands:
            found = found.commands[cmd_name]
        found.name = cmd_name
        return found  # type: ignore[return-value]


app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"rollcall {version('rollcall')}")
        raise typer.Exit


@app.callback()
def rollcall(
    _: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Rollcall: an event-sourced user store. One log in MySQL, two views, a GraphQL API.

    Settings are environment variables, ROLLCALL_*. Set ROLLCALL_MYSQL_URL and ROLLCALL_MONGO_URL to use your own
    servers. Without them Rollcall runs private servers with their data in ROLLCALL_DATA_DIR (var).

    Exit codes: 0 done; 1 done, with problems; 2 a setting, argument or file is invalid; 3 a fault that needs a person;
    4 a database is away; 130 stopped.
    """


def main() -> None:
    """Entry point of the `rollcall` script."""
    app()
