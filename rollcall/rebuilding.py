"""What operators do with the copies of the views: rebuild, go back, look at the past."""

import gc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

from projections.rebuild import Rebuilder
from rollcall import exits
from rollcall.house import House, open_house
from rollcall.output import note, say
from rollcall.progress import steps
from rollcall.settings import Settings

THRESHOLDS: Final = (100_000, 50, 50)


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
                await rebuilder.look_back(name, position, tell)
            say(f"{name} beside {view} has the users as they were at position {position}, without those deleted since")
    return exits.OK


async def drop_look(settings: Settings, names: Sequence[str], name: str) -> int:
    """`rollcall drop`."""
    async with rebuilding_house(settings) as house:
        for rebuilder in map(house.rebuilder, names):
            await rebuilder.drop(name)
            say(f"{name} beside {rebuilder.copies.live.name} was removed")
    return exits.OK


@asynccontextmanager
async def rebuilding_house(settings: Settings) -> AsyncIterator[House]:
    """The house, in a process that looks for garbage seldom.

    Folding makes millions of objects and no cycles, so nearly all are freed as soon as they are not needed. With
    Python's thresholds the search for cycles takes a fifth of the time.
    """
    gc.set_threshold(*THRESHOLDS)
    async with open_house(settings, note) as house:
        await house.prepare_log()
        yield house


def _short(house: House, rebuilder: Rebuilder) -> str:
    """The name that the command line has for the view."""
    return next(name for name, view in house.views.items() if view.name == rebuilder.copies.live.name)
