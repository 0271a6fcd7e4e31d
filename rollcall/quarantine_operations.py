"""`rollcall quarantine`: what operators do about users whose events a view cannot apply."""

from collections.abc import Sequence
from uuid import UUID

import msgspec
from rich.table import Table

from events.errors import DamagedEvent, DamagedKey
from projections.errors import NotQuarantined, OutOfStep, RefusedValue, ViewMissing
from projections.quarantine import Quarantine, troubled
from projections.reports import save_quarantined
from projections.view import View
from rollcall import exits
from rollcall.house import House, open_house
from rollcall.output import note, result_console, say, say_json
from rollcall.settings import Settings

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
            await view.give_up(user_id)
        except NotQuarantined as error:
            note(f"error: {error}; nothing was done")
            return exits.BAD_INPUT
        await _report(house, view)
    say(f"{user_id} stays in {view.name} as it is until the next rebuild, and counts as trouble no more")
    return exits.OK


async def _retry(house: House, view: View, user_id: UUID) -> int:
    try:
        await view.release(user_id, house.store.read_user)
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
