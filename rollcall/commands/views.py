"""`rollcall rebuild`, `drop` and `verify` on the command line: what one can do about the views themselves.

How differences between a view and the log are told: as a line for people, as JSON for scripts, values masked.

`rollcall verify`: the views against the log.

What operators do with the copies of the views: rebuild, go back, look at the past.
"""

import secrets
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any, Final, NoReturn, Self
from uuid import UUID

import msgspec
import typer

from events.chain import Head
from events.event_types import JSON
from projections.comparison import Difference, DifferenceKind
from projections.rebuild import Rebuilder
from projections.verification import Repair, Tally, Verification
from rollcall import exits
from rollcall.commands.log import verify_chain
from rollcall.console import (
    Advance,
    Json,
    ViewName,
    ViewsArgument,
    note,
    progress,
    run,
    say,
    say_json,
    settings_for,
    steps,
)
from rollcall.rebuild_worker import rebuild_requested
from rollcall.settings import Settings
from rollcall.wiring import House, open_house, rebuilding_house

OPEN: Final = frozenset(
    {"role", "version", "position", "created_at", "updated_at", "createdAt", "updatedAt", "deleted"}
)
"""Fields that say nothing about a person. Every other one is masked, also one that the program does not know."""
OPEN_IN_HISTORY: Final = frozenset({"position", "version", "type", "fields", "actor", "recordedAt"})


def masked(difference: Difference) -> Difference:
    """The difference with its personal values replaced by what kind of value they are."""
    if difference.kind in (DifferenceKind.INDEX, DifferenceKind.CHECKPOINT) or difference.field in OPEN:
        return difference
    mask = _masked_entry if (difference.field or "").startswith("history[") else _mask
    return msgspec.structs.replace(difference, expected=mask(difference.expected), found=mask(difference.found))


def as_json(difference: Difference) -> bytes:
    """One line of JSON."""
    return msgspec.json.encode(difference, enc_hook=_plain)


def as_text(difference: Difference) -> str:
    """One line for people."""
    return f"{difference.view}: {_what(difference)}"


def _what(difference: Difference) -> str:
    match difference.kind:
        case DifferenceKind.MISSING | DifferenceKind.EXTRA:
            return str(difference)
        case DifferenceKind.VIEW:
            return "the view does not exist; start its projector, or rebuild it"
        case DifferenceKind.UNKNOWN_ROW:
            return f"something with the id {_shown(difference.found)} is among the users"
        case DifferenceKind.CHECKPOINT:
            return f"the checkpoint is {difference.found}, past the log's head {difference.expected}; rebuild the view"
        case DifferenceKind.INDEX:
            return f"index {difference.field}: {_both(difference)}"
        case DifferenceKind.CHANGED:
            return f"user {difference.user_id}: {difference.field}: {_both(difference)}"


def _both(difference: Difference) -> str:
    return f"expected {_shown(difference.expected)}, found {_shown(difference.found)}"


def _shown(value: JSON) -> str:
    return "nothing" if value is None else msgspec.json.encode(value, enc_hook=_plain).decode()


def _masked_entry(entry: JSON) -> JSON:
    """Of an entry of a history, what the program writes there itself."""
    if not isinstance(entry, dict):
        return _mask(entry)
    return {name: value if name in OPEN_IN_HISTORY else _mask(value) for name, value in entry.items()}


def _mask(value: JSON) -> JSON:
    match value:
        case None:
            return None
        case str():
            return f"<{len(value)} characters>"
        case dict():
            return f"<object of {len(value)}>"
        case list():
            return f"<list of {len(value)}>"
        case _:
            return f"<{type(value).__name__}>"


def _plain(value: Any) -> str:
    """Whatever a document can hold besides JSON."""
    return str(value)


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """What is to be verified, and how it is told."""

    views: tuple[str, ...]
    user: UUID | None = None
    share: float | None = None
    seed: int = 0
    repair: bool = False
    show_values: bool = False
    as_json: bool = False


async def verify_views(settings: Settings, wanted: VerifyOptions) -> int:
    """`rollcall verify`, without `--log`."""
    async with open_house(settings, note) as house:
        await house.prepare_log()
        known = wanted.user is None or (await house.store.read_stream(wanted.user)).events
        with _Stages() as stages:
            tallies = await _verify(house, wanted, stages)
    if not known and not any(tally.differences for tally in tallies):
        note(f"error: neither the log nor a view knows a user {wanted.user}")
        return exits.BAD_INPUT
    for tally in tallies:
        _tell_tally(tally, wanted)
    return exits.NOT_ALL if any(tally.left for tally in tallies) else exits.OK


async def _verify(house: House, wanted: VerifyOptions, stages: "_Stages") -> Collection[Tally]:
    def tell(difference: Difference) -> None:
        shown = difference if wanted.show_values else masked(difference)
        say(as_json(shown).decode() if wanted.as_json else as_text(shown))

    run = Verification(
        house.log_access,
        [house.records[name] for name in wanted.views],
        tell,
        stages,
        Repair(house.store) if wanted.repair else None,
    )
    if wanted.user is not None:
        await run.user(wanted.user)
    elif wanted.share is not None:
        await run.sample(wanted.share, wanted.seed)
    else:
        await run.all_users(house.settings.rebuild_memory_bytes)
    return run.tallies.values()


class _Stages:
    """A progress bar for each stage, the one before it ended."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __call__(self, title: str, unit: str) -> Advance:
        self._stack.close()
        return self._stack.enter_context(progress(title, unit))


def _tell_tally(tally: Tally, wanted: VerifyOptions) -> None:
    if wanted.as_json:
        seed = {} if wanted.share is None else {"seed": wanted.seed}
        say_json({"kind": "summary", **asdict(tally), **seed})
        return
    chosen = "" if wanted.share is None else f" (seed {wanted.seed})"
    mended = f", {tally.differences - tally.left} mended" if wanted.repair and tally.differences else ""
    held = f", {tally.quarantined} in quarantine and not compared" if tally.quarantined else ""
    say(
        f"{tally.view}: {tally.looked_at} users looked at{chosen}, {tally.differences} differences "
        f"of {tally.differing_users} users{mended}{held}; the view is at position {tally.checkpoint} of {tally.head}"
    )


async def rebuild_views(settings: Settings, names: Sequence[str]) -> int:
    """`rollcall rebuild`."""
    async with rebuilding_house(settings) as house:
        for rebuilder in map(house.rebuilder, names):
            view = rebuilder.copies.live.name
            with steps(f"rebuilding {view}") as tell:
                position = await rebuilder.rebuild(tell)
            await house.rebuild_requests.settle(view)
            say(f"{view} was rebuilt from {position} events, is what they add up to, and serves now")
            say(f"the former one is kept: `rollcall rebuild {_short(house, rebuilder)}` --rollback or --finish")
    return exits.OK


async def roll_views_back(settings: Settings, names: Sequence[str]) -> int:
    """`rollcall rebuild --rollback`."""
    async with rebuilding_house(settings) as house:
        for rebuilder in map(house.rebuilder, names):
            view = rebuilder.copies.live.name
            with steps(f"rolling {view} back") as tell:
                position = await rebuilder.roll_back(tell)
            say(f"the former {view} has caught up to position {position} and serves again; the other one is kept")
    return exits.OK


async def finish_rebuilds(settings: Settings, names: Sequence[str]) -> int:
    """`rollcall rebuild --finish`."""
    async with rebuilding_house(settings) as house:
        for rebuilder in map(house.rebuilder, names):
            await rebuilder.finish()
            say(f"nothing is kept beside {rebuilder.copies.live.name}, but for looks at the past")
    return exits.OK


async def look_back(settings: Settings, names: Sequence[str], when: int | datetime, name: str) -> int:
    """`rollcall rebuild --to-position`, `--to-instant`."""
    async with rebuilding_house(settings) as house:
        head = await house.store.head()
        position = when if isinstance(when, int) else await house.store.position_at(when)
        if position > head:
            note(f"error: --to-position {position}: the log ends at position {head}; nothing was done")
            return exits.BAD_INPUT
        for rebuilder in map(house.rebuilder, names):
            view = rebuilder.copies.live.name
            with steps(f"making {name} beside {view}") as tell:
                await rebuilder.take_snapshot(name, position, tell)
            say(f"{name} beside {view} has the users as they were at position {position}, without those deleted since")
    return exits.OK


async def drop_look(settings: Settings, names: Sequence[str], name: str) -> int:
    """`rollcall drop`."""
    async with rebuilding_house(settings) as house:
        for rebuilder in map(house.rebuilder, names):
            await rebuilder.drop_snapshot(name)
            say(f"{name} beside {rebuilder.copies.live.name} was removed")
    return exits.OK


def _short(house: House, rebuilder: Rebuilder) -> str:
    """The name that the command line has for the view."""
    return next(name for name, view in house.views.items() if view.name == rebuilder.copies.live.name)


def rebuild(
    views: ViewsArgument,
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


def drop(views: ViewsArgument, name: Annotated[str, typer.Argument(help="What it is called: users_at_...")]) -> None:
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
    wanted = VerifyOptions(
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
        mark = Head.parse(expect) if expect else None
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
