"""`rollcall rebuild` and `rollcall drop` on the command line."""

from datetime import datetime
from typing import Annotated

import typer

from rollcall.arguments import Views, settings_for
from rollcall.rebuilding import drop_look, finish_rebuilds, look_back, rebuild_views, roll_views_back
from rollcall.running import run


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
    settings = settings_for("rebuild")
    if when is not None:
        run(look_back(settings, views.names, when, name))
    if rollback:
        run(roll_views_back(settings, views.names))
    if finish:
        run(finish_rebuilds(settings, views.names))
    run(rebuild_views(settings, views.names))


def drop(views: Views, name: Annotated[str, typer.Argument(help="What it is called: users_at_...")]) -> None:
    """Remove a look at the past that `rollcall rebuild --as` has made. Anything else is refused."""
    run(drop_look(settings_for("drop"), views.names, name))


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
