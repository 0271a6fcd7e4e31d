"""What operators do by hand: each command's work, from the settings to the exit code."""

from pathlib import Path

from events.errors import Rejected
from events.rotation import rotate_master_key
from graph.auth.passwords import WeakPassword
from rollcall import exits
from rollcall.admins import create_admin, set_password
from rollcall.house import open_house
from rollcall.importing import Imported, Importer
from rollcall.output import note, say, say_json
from rollcall.progress import progress
from rollcall.settings import Settings
from rollcall.userfile import FieldMap, read_users


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
        say_json(outcome)
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
    say(f"{done} keys were rewrapped; all are wrapped with the master key {key_id} now")
    return exits.OK


async def add_admin(settings: Settings, username: str, email: str, name: str, password: str) -> int:
    """`rollcall create-admin`."""
    async with open_house(settings, note) as house, house.passwords() as passwords:
        await house.prepare_log()
        try:
            done = await create_admin(house, passwords, username, email, name, password)
        except (Rejected, WeakPassword) as refusal:
            return _refused(refusal)
    say(f"{username} is an ADMIN now, with id {done.user_id}")
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
    say(f"{login} signs in with the new password from now on")
    return exits.OK


def _refused(refusal: Exception) -> int:
    note(f"error: {refusal}; nothing was done")
    return exits.BAD_INPUT


def _print_outcome(outcome: Imported) -> None:
    for refused in outcome.refused:
        say(f"line {refused.line}: {refused.reason}")
    say(
        f"{outcome.added} added, {outcome.already_there} already there, {len(outcome.refused)} refused, "
        f"of {outcome.total} rows"
    )
