"""`rollcall import-data`: create the data objects of a file."""

from pathlib import Path
from typing import Annotated

import typer

from rollcall.commands.users import report_import
from rollcall.console import Json, note, progress, run, settings_for
from rollcall.data_importer import DataFields, DataImporter
from rollcall.settings import Settings
from rollcall.userfile import read_records
from rollcall.wiring import open_installation, open_writer

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command("import-data")
def import_data_(
    file: Annotated[Path, typer.Argument(help="JSON lines (also MongoDB Extended JSON), a JSON array, or CSV.")],
    owner: Annotated[str, typer.Option(metavar="FIELD", help="The field with the id, username or email of the owner.")],
    key: Annotated[
        str, typer.Option(metavar="FIELD", help="Rows of one owner with the same value are the same data object.")
    ] = "",
    name: Annotated[
        str, typer.Option(metavar="FIELD", help="The field with the name; without one, the name is the file's.")
    ] = "name",
    as_json: Json = False,
) -> None:
    """Create the data objects of a file. Each refused row is printed with its line and reason; the others go in.

    All fields other than owner and name become content; an object in a field called content is content as it is. A
    second run of the same file adds nothing: two rows are the same if they have the same owner and the same key, or
    without --key, if they are equal. An object that was changed or deleted since is not made again. Exit code 1: some
    rows were refused. Exit code 2: the file or an option is invalid, and nothing was done.
    """
    fields = DataFields(owner, name, key or None)
    if owner in {name, key}:
        raise typer.BadParameter("it cannot be the field of the name or of the key as well", param_hint="--owner")
    run(_import_data(settings_for("import-data"), file, fields, as_json=as_json))


async def _import_data(settings: Settings, path: Path, fields: DataFields, *, as_json: bool) -> int:
    file = read_records(path, *filter(None, (fields.owner, fields.key)))
    async with open_installation(settings, note) as installation:
        writer = await open_writer(installation)
        importer = DataImporter(writer.commands, writer.data, writer.keys.requests, fields, path.stem[:200])
        with progress(f"importing {path.name}", "bytes") as advance:
            outcome = await importer.run(file, lambda done: advance(done, file.size))
    if not importer.owner_met:
        note(f"warning: --owner: no row has the field {fields.owner!r}")
    return report_import(outcome, as_json=as_json)
