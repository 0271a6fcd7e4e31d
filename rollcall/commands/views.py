"""`rollcall rebuild`, `drop` and `verify`: commands on the views and their copies."""

import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, NoReturn
from uuid import UUID

import structlog
import typer

from events.chain import Head
from events.errors import DatabaseUnavailable
from events.signed_heads import parse_public_key
from projections.comparison import NO_END, Difference
from projections.errors import RebuildRunning, ViewUnavailable
from projections.quarantine import Quarantine, unresolved
from projections.rebuild import Rebuilder, Rebuilt, rebuild_together
from projections.rebuild_requests import RebuildRequests
from projections.rebuild_steps import StepProgress
from projections.status import save_quarantined
from projections.verification import Repair, Tally, Verification
from rollcall import exits
from rollcall.commands.log import SignedHeadsFile, verify_chain
from rollcall.console import (
    Advance,
    Json,
    ViewName,
    ViewsArgument,
    note,
    progress,
    report_error,
    run,
    say,
    say_json,
    settings_for,
    steps,
)
from rollcall.differences import as_json, as_text, masked
from rollcall.rebuild_parts import child_workers, work
from rollcall.settings import Settings
from rollcall.wiring import Installation, open_installation, prepare_log, rebuilding

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


@app.command()
def verify(
    view: Annotated[ViewName | None, typer.Argument(help="The view. Default: both.")] = None,
    verify_log: Annotated[
        bool,
        typer.Option("--log", help="Verify the log instead: its positions, its hash chain, its head, keys and claims."),
    ] = False,
    expect: Annotated[
        str,
        typer.Option(
            metavar="POSITION:HASH",
            help="With --log: an earlier output of `rollcall head`, which the log must contain.",
        ),
    ] = "",
    against: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --log: signed heads of `rollcall heads`, which the log must contain."),
    ] = None,
    public_key: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="With --against: output of `rollcall heads --public-key`. Repeatable."),
    ] = None,
    without_keys: Annotated[
        bool, typer.Option("--without-keys", help="With --log: the log was restored without keys and claims.")
    ] = False,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Write the users that differ again from the log, then compare again. With --log: write the claims.",
        ),
    ] = False,
    user: Annotated[UUID | None, typer.Option(metavar="ID", help="Compare only this user.")] = None,
    sample: Annotated[str, typer.Option(metavar="SHARE", help="Compare only a share of the users, such as 1%.")] = "",
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=2**64 - 1, help="Seed of the sample. The same seed selects the same users."),
    ] = None,
    show_values: Annotated[
        bool, typer.Option("--show-values", help="Print personal values, which are masked by default.")
    ] = False,
    as_json_: Json = False,
) -> None:
    """Compare the views with the log, user by user and field by field, and print each difference.

    All processes may keep running. Finds missing, changed and unknown rows and documents, wrong indexes and
    checkpoints, and in MongoDB also wrong history, search words, tokens and tombstones. Compares a view that is behind
    the log as of its checkpoint. Exit code 1: a difference was found and not repaired.

    With --log the command verifies the hash chain of the log instead, and prints the first position that is not as it
    was written. Then it verifies that a user's key is gone if and only if the log deletes the user, and that the claims
    are what the log adds up to; --repair makes the claims so, and does nothing if the chain is broken. Exit code 3: the
    log is broken, or a key or a claim is wrong and not repaired.
    """
    if verify_log:
        others: list[object] = [view, user, sample, show_values, repair and without_keys]
        signed = _signed_heads(against, public_key or [])
        _verify_log(expect, others, as_json=as_json_, with_keys=not without_keys, against=signed, repair=repair)
    if expect or without_keys or against or public_key:
        hint = "--expect, --without-keys, --against, --public-key"
        raise typer.BadParameter("only together with --log", param_hint=hint)
    if user is not None and sample:
        raise typer.BadParameter("use only one of the two", param_hint="--user, --sample")
    wanted = VerifyOptions(
        views=tuple(ViewName) if view is None else (view,),
        user=user,
        share=_share(sample),
        seed=secrets.randbits(32) if seed is None else seed,
        repair=repair,
        show_values=show_values,
        as_json=as_json_,
    )
    run(_verify(settings_for("verify"), wanted))


def _signed_heads(against: Path | None, public_keys: Sequence[str]) -> SignedHeadsFile | None:
    if (against is None) != (not public_keys):
        raise typer.BadParameter("use both or neither", param_hint="--against, --public-key")
    try:
        keys = [parse_public_key(text) for text in public_keys]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--public-key") from error
    return None if against is None else SignedHeadsFile(against, keys)


def _verify_log(
    expect: str,
    others: list[object],
    *,
    as_json: bool,
    with_keys: bool,
    against: SignedHeadsFile | None,
    repair: bool,
) -> NoReturn:
    if any(others):
        raise typer.BadParameter(
            "goes only with --expect, --against, --public-key, --json, and --without-keys or --repair",
            param_hint="--log",
        )
    try:
        mark = Head.parse(expect) if expect else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--expect") from error
    run(
        verify_chain(settings_for("verify"), mark, as_json=as_json, with_keys=with_keys, against=against, repair=repair)
    )


def _share(text: str) -> float | None:
    """The share of the users, between 0 and 1, that a percentage gives."""
    if not text:
        return None
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        share = 0.0
    if not text.endswith("%") or not 0 < share <= 1:
        raise typer.BadParameter(f"expected a percentage such as 1%, found {text!r}", param_hint="--sample")
    return share


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """Selects what to verify and how to print differences."""

    views: tuple[str, ...]
    user: UUID | None
    share: float | None
    seed: int
    repair: bool
    show_values: bool
    as_json: bool


async def _verify(settings: Settings, options: VerifyOptions) -> int:
    def show(difference: Difference) -> None:
        shown = difference if options.show_values else masked(difference)
        say(as_json(shown).decode() if options.as_json else as_text(shown))

    async with open_installation(settings, note) as installation:
        await prepare_log(installation)
        known = options.user is None or await installation.store.read_streams([options.user], up_to=NO_END)
        with ExitStack() as bars:

            def stage(title: str, unit: str) -> Advance:
                bars.close()
                return bars.enter_context(progress(title, unit))

            verification = Verification(
                installation.log_access,
                [installation.records[name] for name in options.views],
                show,
                stage,
                Repair(installation.store) if options.repair else None,
            )
            if options.user is not None:
                await verification.user(options.user)
            elif options.share is not None:
                await verification.sample(options.share, options.seed)
            else:
                await verification.all_users(settings.rebuild_memory_bytes)
    tallies = verification.tallies.values()
    if not known and not any(tally.differences for tally in tallies):
        note(f"error: neither the log nor a view has a user {options.user}")
        return exits.BAD_INPUT
    for tally in tallies:
        _print_tally(tally, options)
    return exits.NOT_ALL if any(tally.left for tally in tallies) else exits.OK


def _print_tally(tally: Tally, options: VerifyOptions) -> None:
    if options.as_json:
        seed = {} if options.share is None else {"seed": options.seed}
        say_json({"kind": "summary", **asdict(tally), **seed})
        return
    chosen = "" if options.share is None else f" (seed {options.seed})"
    repaired = f", {tally.differences - tally.left} repaired" if options.repair and tally.differences else ""
    held = f", {tally.quarantined} in quarantine and not compared" if tally.quarantined else ""
    say(
        f"{tally.view}: {tally.looked_at} users compared{chosen}, {tally.differences} differences "
        f"of {tally.differing_users} users{repaired}{held}; the view is at position {tally.checkpoint} of {tally.head}"
    )
