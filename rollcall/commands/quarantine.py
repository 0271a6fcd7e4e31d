"""`rollcall quarantine`: list, retry and drop users whose events a view cannot apply."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Annotated
from uuid import UUID

import msgspec
import typer
from rich.table import Table

from events.errors import DamagedEvent, UnusableKey
from projections.errors import NotQuarantined, OutOfStep, RefusedValue, ViewMissing
from projections.publications import KAFKA
from projections.quarantine import Quarantine, unresolved
from projections.status import read_status, save_quarantined
from projections.view import Follower
from rollcall import exits
from rollcall.console import Json, note, result_console, run, say, say_json, settings_for
from rollcall.publications import kafka_cluster, kafka_publication
from rollcall.settings import Settings
from rollcall.wiring import Installation, open_installation, prepare_log


class FollowerName(StrEnum):
    """A view or a publication."""

    MYSQL = "mysql"
    MONGO = "mongo"
    KAFKA = KAFKA


FollowerArgument = Annotated[FollowerName, typer.Argument(help="The view or the publication.")]

STILL_BROKEN = (DamagedEvent, UnusableKey, OutOfStep, RefusedValue)


app = typer.Typer(
    help="List, retry or drop users whose events a view cannot apply.\n\n"
    "The view holds the later events of a quarantined user and applies those of all other users. No event is lost, "
    "since the log has them all. A deletion removes the user from the view and from the quarantine.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the quarantined users of each view, with position and reason. Prints no personal data."""
    run(_list(settings_for("quarantine"), as_json=as_json))


async def _list(settings: Settings, *, as_json: bool) -> int:
    async with open_installation(settings, note) as installation:
        await prepare_log(installation)
        found = {view.name: await _quarantine(view) for view in installation.views.values()}
        if KAFKA in {status.name for status in await read_status(installation.database)}:
            async with _follower(installation, KAFKA, reading=True) as publication:
                found[KAFKA] = await _quarantine(publication)
    if as_json:
        say_json([{"view": view, **msgspec.structs.asdict(one)} for view, ones in found.items() for one in ones])
        return exits.OK
    table = Table("projection", "user", "position", "event", "dropped", "reason", box=None)
    for view, ones in found.items():
        for one in ones:
            dropped = "yes" if one.dropped else "no"
            table.add_row(view, str(one.user_id), str(one.position), one.type, dropped, one.reason)
    if table.row_count:
        result_console().print(table, soft_wrap=True)
    else:
        note("no user is in quarantine")
    return exits.OK


@app.command()
def retry(
    view: FollowerArgument,
    users: Annotated[
        list[UUID] | None, typer.Argument(metavar="USER", help="Ids of users. Default: all quarantined users.")
    ] = None,
) -> None:
    """Apply the whole stream of a user again, and release the user from quarantine.

    First repair the cause: the log, a key, the view's database, or the program. The projector may keep running.
    Exit code 1: a user still cannot be applied and stays in quarantine. Exit code 2: a user is not in quarantine.
    """
    run(_retry(settings_for("quarantine"), view, users or ()))


async def _retry(settings: Settings, name: str, user_ids: Sequence[UUID]) -> int:
    async with open_installation(settings, note) as installation:
        await prepare_log(installation)
        async with _follower(installation, name) as view:
            wanted = user_ids or [one.user_id for one in await _quarantine(view)]
            outcomes = [await _retry_user(installation, view, user_id) for user_id in wanted]
            await _save_count(installation, view)
    return max(outcomes, default=exits.OK)


async def _retry_user(installation: Installation, view: Follower, user_id: UUID) -> int:
    try:
        await view.release_user(user_id, installation.store.read_user)
    except NotQuarantined as error:
        note(f"error: {error}")
        return exits.BAD_INPUT
    except STILL_BROKEN as error:
        say(f"{user_id}: still cannot be applied: {error}")
        return exits.NOT_ALL
    say(f"{user_id}: released, {view.name} has it as the log has it")
    return exits.OK


@app.command()
def drop(view: FollowerArgument, user: Annotated[UUID, typer.Argument(help="Id of the user.")]) -> None:
    """Accept that the view does not follow a user until a retry or a rebuild can apply the user's events.

    The view keeps its present row of the user, if any. It still holds the user's events and applies a deletion.
    `rollcall status` and ROLLCALL_QUARANTINE_LIMIT no longer count the user. `retry` still works later. Exit code 2:
    the user is not in quarantine.
    """
    run(_drop(settings_for("quarantine"), view, user))


async def _drop(settings: Settings, name: str, user_id: UUID) -> int:
    async with open_installation(settings, note) as installation:
        await prepare_log(installation)
        async with _follower(installation, name) as view:
            try:
                await view.drop_user(user_id)
            except NotQuarantined as error:
                note(f"error: {error}; nothing was done")
                return exits.BAD_INPUT
            await _save_count(installation, view)
    say(f"{user_id}: dropped, {view.name} does not follow this user until a retry or a rebuild succeeds")
    return exits.OK


@asynccontextmanager
async def _follower(installation: Installation, name: str, *, reading: bool = False) -> AsyncIterator[Follower]:
    """The view or the publication of this name. With `reading`, a running publisher is not fenced."""
    if name != KAFKA:
        yield installation.views[name]
        return
    async with kafka_cluster(installation.settings, note) as cluster:
        publication = kafka_publication(installation, cluster, fencing=not reading)
        try:
            yield publication
        finally:
            publication.close()


async def _quarantine(view: Follower) -> Quarantine:
    try:
        return await view.quarantine()
    except ViewMissing:
        return ()


async def _save_count(installation: Installation, view: Follower) -> None:
    await save_quarantined(installation.database, view.name, unresolved(await _quarantine(view)))
