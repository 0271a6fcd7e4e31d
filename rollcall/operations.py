"""What operators do by hand: each command's work, from the settings to the exit code."""

import sys
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from events.errors import Rejected
from events.rotation import rotate_master_key
from graph.auth.passwords import WeakPassword
from projections.reports import State
from projections.status import ProjectionStatus, read_status
from rollcall import exits
from rollcall.admins import create_admin, set_password
from rollcall.house import open_house
from rollcall.importing import Imported, Importer
from rollcall.progress import progress
from rollcall.settings import Settings
from rollcall.userfile import FieldMap, read_users


def note(line: str) -> None:
    """Something on the way, on standard error."""
    sys.stderr.write(f"{line}\n")


async def show_status(settings: Settings, *, as_json: bool) -> int:
    """`rollcall status`."""
    async with open_house(settings, note) as house:
        await house.prepare_log()
        statuses = await read_status(house.database)
    if as_json:
        _print_json([{**msgspec.to_builtins(status), "lag": status.lag} for status in statuses])
    else:
        _print_status(statuses)
    return exits.OK if all(status.state is State.LIVE for status in statuses) else exits.NOT_ALL


async def import_file(settings: Settings, path: Path, fields: FieldMap, *, as_json: bool) -> int:
    """`rollcall import`."""
    file = read_users(path, fields)
    async with open_house(settings, note) as house:
        await house.prepare_log()
        with progress(f"importing {path.name}", "bytes") as advance:
            outcome = await Importer(house.commands).run(file, lambda done: advance(done, file.size))
    for field in file.unmet_fields:
        note(f"warning: --map names the field {field!r}, which no row has")
    if as_json:
        _print_json(msgspec.to_builtins(outcome))
    else:
        _print_outcome(outcome)
    return exits.NOT_ALL if outcome.refused else exits.OK


async def rotate_keys(settings: Settings) -> int:
    """`rollcall rotate-master-key`."""
    if settings.other_master_key is None:
        note("error: ROLLCALL_OTHER_MASTER_KEY: set it to the old master key, and ROLLCALL_MASTER_KEY to the new one")
        return exits.BAD_INPUT
    async with open_house(settings, note) as house:
        await house.prepare_log()
        with progress("rewrapping", "keys") as advance:
            done = await rotate_master_key(house.database, house.vault, advance)
    key_id = house.vault.master_key_id.hex()
    sys.stdout.write(f"{done} keys were rewrapped; all are wrapped with the master key {key_id} now\n")
    return exits.OK


async def add_admin(settings: Settings, username: str, email: str, name: str, password: str) -> int:
    """`rollcall create-admin`."""
    async with open_house(settings, note) as house, house.passwords() as passwords:
        await house.prepare_log()
        try:
            done = await create_admin(house, passwords, username, email, name, password)
        except (Rejected, WeakPassword) as refusal:
            return _refused(refusal)
    sys.stdout.write(f"{username} is an ADMIN now, with id {done.user_id}\n")
    return exits.OK


async def change_password(settings: Settings, login: str, password: str) -> int:
    """`rollcall set-password`."""
    async with open_house(settings, note) as house, house.passwords() as passwords:
        await house.prepare_log()
        try:
            done = await set_password(house, passwords, login, password)
        except (Rejected, WeakPassword) as refusal:
            return _refused(refusal)
    if done is None:
        note(f"error: there is no user {login!r}")
        return exits.BAD_INPUT
    sys.stdout.write(f"{login} signs in with the new password from now on\n")
    return exits.OK


def _refused(refusal: Exception) -> int:
    note(f"error: {refusal}; nothing was done")
    return exits.BAD_INPUT


def _print_status(statuses: list[ProjectionStatus]) -> None:
    console = Console()
    console.print(_status_table(statuses), soft_wrap=True)
    for status in statuses:
        if status.last_error:
            console.print(f"{status.name}: {status.last_error}", soft_wrap=True, markup=False)


def _status_table(statuses: list[ProjectionStatus]) -> Table:
    table = Table("projection", "state", "position", "head", "lag", "lag s", "events/s", "process", box=None)
    for status in statuses:
        table.add_row(
            status.name,
            status.state if status.rebuild_progress is None else f"{status.state} {status.rebuild_progress:.0%}",
            str(status.position),
            str(status.head),
            str(status.lag),
            f"{status.lag_seconds:.1f}",
            f"{status.events_per_second:.1f}",
            status.process,
        )
    return table


def _print_outcome(outcome: Imported) -> None:
    for refused in outcome.refused:
        sys.stdout.write(f"line {refused.line}: {refused.reason}\n")
    sys.stdout.write(
        f"{outcome.added} added, {outcome.already_there} already there, {len(outcome.refused)} refused, "
        f"of {outcome.total} rows\n"
    )


def _print_json(value: object) -> None:
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
