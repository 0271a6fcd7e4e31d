"""`rollcall status`: show the state of the projections, as a table or as JSON, once or every second."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from events.errors import DatabaseUnavailable
from projections.status import ProjectionStatus, StatusFeed
from projections.webhooks import NAME as WEBHOOKS
from projections.webhooks.status import WebhookStatus, read_webhooks
from rollcall import exits
from rollcall.console import Json, note, result_console, run, say_json, settings_for
from rollcall.settings import Settings
from rollcall.wiring import now, open_installation, prepare_log

WATCH_SECONDS: Final = 1.0

Show = Callable[[list[ProjectionStatus], list[WebhookStatus]], None]


app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def status(
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every second, until Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """Show the state of each projection.

    Shows its state, its position and the log's head, its lag, when its position last moved, when its projector last
    reported, the active and the standby processes, the number of quarantined users, and the last error; and of each
    webhook its state, the position up to which it has accepted everything, its lag, what is pending and what is dead.
    Exit code 0: all are LIVE, no user is in quarantine, and no webhook was disabled by failures; else 1.
    """
    settings = settings_for("status")
    run(_status(settings, watch=watch, as_json=as_json), when_stopped=exits.OK if watch else exits.INTERRUPTED)


async def _status(settings: Settings, *, watch: bool, as_json: bool) -> int:
    async with open_installation(settings, note) as installation:
        await prepare_log(installation)
        feed = StatusFeed(installation.database)
        with _showing(as_json=as_json, watch=watch) as show:
            while watch:
                try:
                    show(await feed.read(), await read_webhooks(installation.database))
                except DatabaseUnavailable as error:
                    note(f"waiting: {error}")
                await asyncio.sleep(WATCH_SECONDS)
            statuses, endpoints = await feed.read(), await read_webhooks(installation.database)
            show(statuses, endpoints)
    healthy = all(status.healthy for status in statuses) and all(endpoint.healthy for endpoint in endpoints)
    return exits.OK if healthy else exits.NOT_ALL


@contextmanager
def _showing(*, as_json: bool, watch: bool) -> Iterator[Show]:
    console = result_console()
    if as_json:
        yield _print_json
    elif watch and console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda statuses, endpoints: live.update(_tables_and_errors(statuses, endpoints), refresh=True)
    else:
        yield lambda statuses, endpoints: console.print(_tables_and_errors(statuses, endpoints), soft_wrap=True)


def _print_json(statuses: list[ProjectionStatus], endpoints: list[WebhookStatus]) -> None:
    of_each = {"endpoints": [{**msgspec.to_builtins(endpoint), "lag": endpoint.lag} for endpoint in endpoints]}
    shown = [
        {**msgspec.to_builtins(status), "lag": status.lag, **(of_each if status.name == WEBHOOKS else {})}
        for status in statuses
    ]
    say_json(shown, at_once=True)


def _tables_and_errors(statuses: list[ProjectionStatus], endpoints: list[WebhookStatus]) -> RenderableType:
    errors = [Text(f"{status.name}: {status.last_error}") for status in statuses if status.last_error]
    errors += [Text(f"webhook {one.id}: {one.last_error}") for one in endpoints if one.last_error]
    return Group(_table(statuses), *([_table_of_webhooks(endpoints)] if endpoints else []), *errors)


def _table_of_webhooks(endpoints: list[WebhookStatus]) -> Table:
    table = Table("webhook", "state", "position", "lag", "lag s", "pending", "dead", box=None)
    for one in endpoints:
        numbers = (str(one.position), str(one.lag), f"{one.lag_seconds:.1f}", str(one.pending), str(one.dead))
        table.add_row(str(one.id), one.state, *numbers)
    return table


def _table(statuses: list[ProjectionStatus]) -> Table:
    table = Table(
        "projection", "state", "position", "head", "lag", "lag s", "events/s", "moved", "heard", "active", "standby",
        "quarantine", box=None,
    )  # fmt: skip
    for status in statuses:
        table.add_row(
            status.name,
            _state(status),
            str(status.position),
            str(status.head),
            str(status.lag),
            f"{status.lag_seconds:.1f}",
            f"{status.events_per_second:.1f}",
            _ago(status.progressed_at),
            _ago(status.updated_at),
            status.process,
            ", ".join(status.standbys) or "-",
            str(status.quarantined),
        )
    return table


def _state(status: ProjectionStatus) -> str:
    if status.rebuild_progress is not None:
        return f"{status.state} {status.rebuild_progress:.0%}"
    return f"{status.state} (died)" if status.died else status.state


def _ago(moment: datetime | None) -> str:
    """The time since then, in the largest unit of which at least one has passed."""
    if moment is None:
        return "never"
    seconds = max(0.0, (now() - moment).total_seconds())
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.1f} s ago"
