"""`rollcall quarantine` on the command line.

`rollcall quarantine`: what operators do about users whose events a view cannot apply.
"""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import msgspec
import typer
from rich.table import Table

from events.errors import DamagedEvent, DamagedKey
from projections.errors import NotQuarantined, OutOfStep, RefusedValue, ViewMissing
from projections.quarantine import Quarantine, troubled
from projections.status import save_quarantined
from projections.view import View
from rollcall import exits
from rollcall.console import Json, ViewArgument, note, result_console, run, say, say_json, settings_for
from rollcall.settings import Settings
from rollcall.wiring import House, open_house

STILL_BROKEN = (DamagedEvent, DamagedKey, OutOfStep, RefusedValue)


async def list_quarantine(settings: Settings, *, as_json: bool) -> int:
    """Show who is set aside in which view, and why."""
    async with open_house(settings, note) as house:
        await house.prepare_log()
        found = {view.name: await _quarantine(view) for view in house.views.values()}
    if as_json:
        rows = [{"view": view, **msgspec.structs.asdict(one)} for view, ones in found.items() for one in ones]
        say_json(rows)
    else:
        _print(found)
    return exits.OK


async def retry_quarantined(settings: Settings, name: str, user_ids: Sequence[UUID]) -> int:
    """Bring users to the present from the log; all of them if none is named."""
    async with open_house(settings, note) as house:
        await house.prepare_log()
        view = house.views[name]
        wanted = user_ids or [one.user_id for one in await _quarantine(view)]
        outcomes = [await _retry(house, view, user_id) for user_id in wanted]
        await _report(house, view)
    return max(outcomes, default=exits.OK)


async def drop_quarantined(settings: Settings, name: str, user_id: UUID) -> int:
    """Leave a user in the view as it is, until the next rebuild."""
    async with open_house(settings, note) as house:
        await house.prepare_log()
        view = house.views[name]
        try:
            await view.drop_user(user_id)
        except NotQuarantined as error:
            note(f"error: {error}; nothing was done")
            return exits.BAD_INPUT
        await _report(house, view)
    say(f"{user_id} stays in {view.name} as it is until the next rebuild, and counts as trouble no more")
    return exits.OK


async def _retry(house: House, view: View, user_id: UUID) -> int:
    try:
        await view.release_user(user_id, house.store.read_user)
    except NotQuarantined as error:
        note(f"error: {error}")
        return exits.BAD_INPUT
    except STILL_BROKEN as error:
        say(f"{user_id}: still cannot be applied: {error}")
        return exits.NOT_ALL
    say(f"{user_id}: released, {view.name} has it as the log has it")
    return exits.OK


async def _quarantine(view: View) -> Quarantine:
    try:
        return await view.quarantine()
    except ViewMissing:
        return ()


async def _report(house: House, view: View) -> None:
    await save_quarantined(house.database, view.name, troubled(await _quarantine(view)))


def _print(found: dict[str, Quarantine]) -> None:
    table = Table("projection", "user", "position", "event", "dropped", "reason", box=None)
    for view, ones in found.items():
        for one in ones:
            table.add_row(
                view, str(one.user_id), str(one.position), one.type, "yes" if one.dropped else "no", one.reason
            )
    if table.row_count:
        result_console().print(table, soft_wrap=True)
    else:
        note("nobody is in quarantine")


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
    view: ViewArgument,
    users: Annotated[list[UUID] | None, typer.Argument(metavar="USER", help="Ids; everyone if not given.")] = None,
) -> None:
    """Read the whole stream of a user from the log again, and bring the view's user to the present.

    Do so when what was broken has been mended: the log, a key, the view's database, or the program. The projector may
    go on meanwhile. Exit code 1: somebody still cannot be applied, and stays in quarantine.
    """
    run(retry_quarantined(settings_for("quarantine"), view, users or ()))


@quarantine.command()
def drop(view: ViewArgument, user: Annotated[UUID, typer.Argument(help="Id of the user.")]) -> None:
    """Accept that the view does not follow a user, until the next rebuild.

    The view keeps what it has of the user, or lacks it if it has nothing. Its events are still held, and its deletion
    is still applied; but `rollcall status` counts it no more, nor does the limit. It can be retried later.
    """
    run(drop_quarantined(settings_for("quarantine"), view, user))
