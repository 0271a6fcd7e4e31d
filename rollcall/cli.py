"""The command line: which command is in which module. A module is imported when its command is called.

A `rollcall status` that imported the GraphQL schema would take three times as long to start.
"""

from importlib import import_module
from typing import Final

import typer
from typer.core import TyperCommand, TyperGroup

COMMANDS: Final = {
    "dev": "dev",
    "serve": "serve",
    "projector": "projector",
    "status": "status",
    "quarantine": "quarantine",
    "rebuild": "views",
    "drop": "views",
    "verify": "views",
    "import": "users",
    "create-admin": "users",
    "set-password": "users",
    "head": "log",
    "export": "log",
    "restore": "log",
    "rotate-master-key": "log",
    "schema": "schema",
}
"""The module of `rollcall.commands` that has the command."""


class CommandGroup(TyperGroup):
    """The commands of `COMMANDS`."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # noqa: ARG002 - typer's own
        """In the order of `--help`."""
        return list(COMMANDS)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> TyperCommand | None:  # type: ignore[override]  # noqa: ARG002
        """Import the command."""
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


@app.callback()
def rollcall() -> None:
    """Rollcall: an event-sourced user store. One log in MySQL, two views, a GraphQL API.

    Settings are ROLLCALL_* variables. Without ROLLCALL_MYSQL_URL and ROLLCALL_MONGO_URL, private servers are used whose
    data is in ROLLCALL_DATA_DIR (var).

    Exit codes: 0 done; 1 done, but something needs attention; 2 a setting, argument or file cannot be used; 3 a fault;
    4 a database is away; 130 stopped.
    """


def main() -> None:
    """The console script."""
    app()
