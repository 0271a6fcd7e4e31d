"""`rollcall rebuild` and `drop`: commands on the copies of the views."""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from typing import Annotated, Final

import structlog
import typer

from events.errors import DatabaseUnavailable
from projections.errors import RebuildRunning, ViewUnavailable
from projections.quarantine import Quarantine, unresolved
from projections.rebuild import Rebuilder, Rebuilt, rebuild_together
from projections.rebuild_requests import RebuildRequests
from projections.rebuild_steps import StepProgress
from projections.status import save_quarantined
from rollcall import exits
from rollcall.console import (
    ViewsArgument,
    note,
    report_error,
    run,
    say,
    settings_for,
    steps,
)
from rollcall.rebuild_parts import child_workers, work
from rollcall.settings import Settings
from rollcall.wiring import Installation, rebuilding

app = typer.Typer(rich_markup_mode=None, add_completion=False)
log = structlog.get_logger(__name__)

NICENESS: Final = 10
"""Niceness of a rebuild that a client requested, so that requests to the API have priority."""


@app.command()
def rebuild(
    views: ViewsArgument,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Bring the previous copy up to date and swap it with the live view.")
    ] = False,
    finish: Annotated[
        bool, typer.Option("--finish", help="Remove the previous copy and the staging copy of an interrupted rebuild.")
    ] = False,
    requested: Annotated[
        bool,
        typer.Option("--requested", help="Rebuild only if a client requested it. The API uses this."),
    ] = False,
    to_position: Annotated[
        int | None,
        typer.Option(min=0, metavar="POSITION", help="With --as: the position of the snapshot."),
    ] = None,
    to_instant: Annotated[
        str, typer.Option(metavar="INSTANT", help="With --as: the time of the snapshot, such as 2026-11-01T00:00:00Z.")
    ] = "",
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="Name of the snapshot: users_at_...")] = "",
    workers: Annotated[
        int, typer.Option("--workers", min=1, max=64, help="Processes that share the work and the memory.")
    ] = 1,
    part: Annotated[bool, typer.Option("--part", hidden=True)] = False,
) -> None:
    """Fill a staging copy of a view from the log, compare it with the log, and swap it with the live view.

    Clients and projectors keep running. An interrupted rebuild leaves the live view unchanged, and the next rebuild
    continues it. The previous copy is kept for --rollback until --finish or the next rebuild. Deletions remove users
    from it too.

    With --as and --to-position or --to-instant the command makes a snapshot instead: another table or collection with
    the users as they were at that position of the log, without those deleted since. `rollcall drop` removes it.

    A user whose events are damaged, or whom the view's database rejects, is quarantined in the new copy and printed.

    With --workers the users are divided among processes, and the views are rebuilt one after the other. If one of the
    processes ends, nothing is swapped, and the next rebuild begins anew.

    ROLLCALL_REBUILD_MEMORY limits the memory for users. Exit code 1: done, and users are quarantined. Exit code 2:
    there is no previous copy, or the snapshot cannot be made. Exit code 3: another rebuild of the view is running, the
    staging copy differs from the log and was not swapped, or more users than ROLLCALL_QUARANTINE_LIMIT are damaged.
    """
    when = _when(to_position, to_instant)
    if sum((rollback, finish, requested, bool(name))) > 1 or (when is None) != (not name):
        raise typer.BadParameter(
            "use only one of --rollback, --finish, --requested, and --as with --to-position or --to-instant"
        )
    if workers > 1 and (rollback or finish or requested or name):
        raise typer.BadParameter("goes with none of --rollback, --finish, --requested and --as", param_hint="--workers")
    settings = settings_for("rebuild")
    if part:
        run(_rebuild_part(settings, views.names))
    if when is not None:
        run(_take_snapshots(settings, views.names, when, name))
    if rollback:
        run(_roll_back(settings, views.names))
    if finish:
        run(_finish(settings, views.names))
    if requested:
        run(_rebuild_requested(settings, views.names))
    run(_rebuild(settings, views.names, workers))


def _when(position: int | None, instant: str) -> int | datetime | None:
    """The position or the instant that was given; None if neither was."""
    if position is not None and instant:
        raise typer.BadParameter("use --to-position or --to-instant, not both")
    if not instant:
        return position
    try:
        when = datetime.fromisoformat(instant)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--to-instant") from error
    if when.tzinfo is None:
        raise typer.BadParameter("needs a time zone, such as Z in 2026-11-01T00:00:00Z", param_hint="--to-instant")
    return when


async def _rebuild_part(settings: Settings, names: Sequence[str]) -> int:
    """Be one worker of a rebuild of one view."""
    async with rebuilding(settings, note) as installation:
        return await work(installation.rebuilders[names[0]])


async def _rebuild(settings: Settings, names: Sequence[str], workers: int) -> int:
    """Rebuild the views side by side, or by several workers one after the other.

    The error of one is reported after the result of the other.
    """
    codes = []
    async with rebuilding(settings, note) as installation:
        with ExitStack() as shown:

            def advance(view: str) -> StepProgress:
                return shown.enter_context(steps(f"rebuilding {view}", alone=len(names) == 1))

            chosen = [installation.rebuilders[name] for name in names]
            results: list[Rebuilt | BaseException] = (
                await rebuild_together(chosen, advance)
                if workers == 1
                else [
                    await _rebuild_by(workers, rebuilder, name, advance)
                    for rebuilder, name in zip(chosen, names, strict=True)
                ]
            )
        for name, rebuilt in zip(names, results, strict=True):
            view = installation.rebuilders[name].copies.live.name
            if isinstance(rebuilt, BaseException):
                note(f"{view} was not rebuilt")
                codes.append(report_error(rebuilt))
                continue
            await RebuildRequests(installation.database).settle(view)
            say(f"{view} was rebuilt from {rebuilt.position} events, equals the log, and serves now")
            say(f"the previous copy is kept: `rollcall rebuild {name} --rollback` goes back to it, --finish removes it")
            codes.append(await _report_quarantine(installation, view, rebuilt.quarantine))
    return max(codes)


async def _rebuild_by(
    workers: int, rebuilder: Rebuilder, name: str, advance: Callable[[str], StepProgress]
) -> Rebuilt | Exception:
    try:
        async with child_workers(rebuilder, name, workers) as crew:
            return await rebuilder.rebuild(advance(rebuilder.copies.live.name), workers=crew)
    except Exception as error:  # noqa: BLE001 - reported after the results of the other views
        return error


async def _report_quarantine(installation: Installation, view: str, quarantine: Quarantine) -> int:
    """Print whom the copy that serves now has quarantined, and save their number; the exit code."""
    await save_quarantined(installation.database, view, unresolved(quarantine))
    return _print_quarantine(view, quarantine)


def _print_quarantine(copy: str, quarantine: Quarantine) -> int:
    for one in quarantine:
        dropped = " (dropped)" if one.dropped else ""
        say(f"{copy}: user {one.user_id} is in quarantine at position {one.position}{dropped}: {one.reason}")
    return exits.NOT_ALL if unresolved(quarantine) else exits.OK


async def _roll_back(settings: Settings, names: Sequence[str]) -> int:
    codes = []
    async with rebuilding(settings, note) as installation:
        for rebuilder in (installation.rebuilders[name] for name in names):
            view = rebuilder.copies.live.name
            with steps(f"rolling {view} back") as advance:
                done = await rebuilder.roll_back(advance)
            reached = f"was brought up to position {done.position} and serves now"
            say(f"the previous copy of {view} {reached}; the other is kept")
            codes.append(await _report_quarantine(installation, view, done.quarantine))
    return max(codes)


async def _finish(settings: Settings, names: Sequence[str]) -> int:
    async with rebuilding(settings, note) as installation:
        for rebuilder in (installation.rebuilders[name] for name in names):
            await rebuilder.finish()
            say(f"no copy of {rebuilder.copies.live.name} is kept, except snapshots")
    return exits.OK


async def _take_snapshots(settings: Settings, names: Sequence[str], when: int | datetime, name: str) -> int:
    codes = []
    async with rebuilding(settings, note) as installation:
        head = await installation.store.head()
        position = when if isinstance(when, int) else await installation.store.position_at(when)
        if position > head:
            note(f"error: --to-position {position}: the log ends at position {head}; nothing was done")
            return exits.BAD_INPUT
        for rebuilder in (installation.rebuilders[view] for view in names):
            view = rebuilder.copies.live.name
            with steps(f"making {name} of {view}") as advance:
                taken = await rebuilder.take_snapshot(name, position, advance)
            say(f"{name} of {view} has the users as they were at position {position}, without those deleted since")
            codes.append(_print_quarantine(f"{name} of {view}", taken.quarantine))
    return max(codes)


async def _rebuild_requested(settings: Settings, names: Sequence[str]) -> int:
    """Rebuild each view whose rebuild is requested, and record the result.

    Raises:
        DatabaseUnavailable, ViewUnavailable: a retry may succeed.
        Exception: a retry would fail too, so the failure is recorded.
    """
    os.nice(NICENESS)
    async with rebuilding(settings, note) as installation:
        requests = RebuildRequests(installation.database)
        for rebuilder in (installation.rebuilders[name] for name in names):
            view = rebuilder.copies.live.name
            if not await requests.is_waiting(view):
                continue
            log.info("rebuild.begun", view=view)
            try:
                rebuilt = await rebuilder.rebuild(lambda *_: None)
            except RebuildRunning:
                log.info("rebuild.elsewhere", view=view)
            except (DatabaseUnavailable, ViewUnavailable):
                raise
            except Exception as error:
                log.exception("rebuild.failed", view=view)
                await requests.fail(view, str(error).partition("\n")[0])
                raise
            else:
                await requests.settle(view)
                quarantined = unresolved(rebuilt.quarantine)
                await save_quarantined(installation.database, view, quarantined)
                log.info("rebuild.done", view=view, position=rebuilt.position, quarantined=quarantined)
    return exits.OK


@app.command()
def drop(views: ViewsArgument, name: Annotated[str, typer.Argument(help="Name of the snapshot: users_at_...")]) -> None:
    """Remove a snapshot that `rollcall rebuild --as` made. Exit code 2: there is no such snapshot."""
    run(_drop(settings_for("drop"), views.names, name))


async def _drop(settings: Settings, names: Sequence[str], name: str) -> int:
    async with rebuilding(settings, note) as installation:
        for rebuilder in (installation.rebuilders[view] for view in names):
            await rebuilder.drop_snapshot(name)
            say(f"{name} of {rebuilder.copies.live.name} was removed")
    return exits.OK
