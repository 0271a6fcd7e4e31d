"""`rollcall rebuild`, `drop` and `verify` on the command line: what one can do about the views themselves."""

import secrets
from datetime import datetime
from typing import Annotated, NoReturn
from uuid import UUID

import typer

from events.chain import Mark
from rollcall.arguments import Json, ViewName, Views, settings_for
from rollcall.log_operations import verify_chain
from rollcall.rebuilding import drop_look, finish_rebuilds, look_back, rebuild_views, roll_views_back
from rollcall.requested import rebuild_requested
from rollcall.running import run
from rollcall.verifying import Wanted, verify_views


def rebuild(
    views: Views,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Let the former view serve again, after it has caught up.")
    ] = False,
    finish: Annotated[
        bool, typer.Option("--finish", help="Remove the former view, and what an interrupted rebuild has left.")
    ] = False,
    requested: Annotated[
        bool, typer.Option("--requested", help="Only if `rebuildProjection` was asked for, as the API itself runs it.")
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
    if sum((rollback, finish, requested, bool(name))) > 1 or (when is None) != (not name):
        raise typer.BadParameter("give --rollback, --finish, --requested, --as with a position or instant, or nothing")
    settings = settings_for("rebuild")
    if when is not None:
        run(look_back(settings, views.names, when, name))
    if rollback:
        run(roll_views_back(settings, views.names))
    if finish:
        run(finish_rebuilds(settings, views.names))
    if requested:
        run(rebuild_requested(settings, views.names))
    run(rebuild_views(settings, views.names))


def drop(views: Views, name: Annotated[str, typer.Argument(help="What it is called: users_at_...")]) -> None:
    """Remove a look at the past that `rollcall rebuild --as` has made. Anything else is refused."""
    run(drop_look(settings_for("drop"), views.names, name))


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
    run(verify_views(settings_for("verify"), wanted))


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


def _verify_log(expect: str, others: list[object], *, as_json: bool) -> NoReturn:
    if any(others):
        raise typer.BadParameter(
            "the log has no views, users or values: give only --expect and --json", param_hint="--log"
        )
    try:
        mark = Mark.parse(expect) if expect else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--expect") from error
    run(verify_chain(settings_for("verify"), mark, as_json=as_json))


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
