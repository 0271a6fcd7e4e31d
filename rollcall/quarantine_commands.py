"""`rollcall quarantine` on the command line."""

from typing import Annotated
from uuid import UUID

import typer

from rollcall.arguments import Json, View, settings_for
from rollcall.quarantine_operations import drop_quarantined, list_quarantine, retry_quarantined
from rollcall.running import run

quarantine = typer.Typer(
    help="Users that a view has set aside, because one of their events cannot be applied to it.\n\n"
    "Their later events are held, everybody else's flow on. Nothing is lost: it is all in the log. Whoever is deleted "
    "is forgotten by the view all the same, and leaves the quarantine.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@quarantine.command("list")
def list_(as_json: Json = False) -> None:
    """Show who is set aside in which view, at which position, and why. Nothing personal is shown."""
    run(list_quarantine(settings_for("quarantine"), as_json=as_json))


@quarantine.command()
def retry(
    view: View,
    users: Annotated[list[UUID] | None, typer.Argument(metavar="USER", help="Ids; everyone if not given.")] = None,
) -> None:
    """Read the whole stream of a user from the log again, and bring the view's user to the present.

    Do so when what was broken has been mended: the log, a key, the view's database, or the program. The projector may
    go on meanwhile. Exit code 1: somebody still cannot be applied, and stays in quarantine.
    """
    run(retry_quarantined(settings_for("quarantine"), view, users or ()))


@quarantine.command()
def drop(view: View, user: Annotated[UUID, typer.Argument(help="Id of the user.")]) -> None:
    """Accept that the view does not follow a user, until the next rebuild.

    The view keeps what it has of the user, or lacks it if it has nothing. Its events are still held, and its deletion
    is still applied; but `rollcall status` counts it no more, nor does the limit. It can be retried later.
    """
    run(drop_quarantined(settings_for("quarantine"), view, user))
