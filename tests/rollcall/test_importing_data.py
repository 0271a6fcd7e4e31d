"""An import of data objects adds every valid row, reports every invalid one, and adds nothing when repeated."""

import json
import tracemalloc
from pathlib import Path

import pytest

from events.data_object import DeleteData, UpdateData
from rollcall.data_importer import REMEMBERED_ROWS, DataFields, DataImporter
from rollcall.import_result import ImportResult
from rollcall.userfile import UserFileError, read_records
from tests.log import NOBODY, Log


async def take(log: Log, path: Path, *rows: object, key: str | None = None, name: str = "name") -> ImportResult:
    """Import rows as JSON lines; a string is written unchanged."""
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return await take_file(log, path, key=key, name=name)


async def take_file(log: Log, path: Path, *, key: str | None = None, name: str = "name") -> ImportResult:
    """Import a file."""
    fields = DataFields("owner", name, key)
    importer = DataImporter(log.commands, log.data, log.keys.requests, fields, path.stem)
    return await importer.run(read_records(path, "owner"), lambda done: None)


async def contents(log: Log) -> list[tuple[str, object]]:
    """The objects that were created, in the order of their names."""
    found = [await log.data.past_data(one.stream_id) for one in await log.all() if one.type == "DataCreated"]
    return sorted(((data.name, data.content) for data in found if data), key=lambda pair: pair[0])


async def test_owners_are_named_by_id_username_or_email(log: Log, tmp_path: Path) -> None:
    """All other fields are content, and so is an object under that name."""
    ann = (await log.register("ann")).user_id
    outcome = await take(
        log,
        tmp_path / "things.json",
        {"owner": str(ann), "name": "A", "n": 1, "deep": {"x": [1]}},
        {"owner": "ANN", "name": "B", "content": {"n": 2}},
        {"owner": "Ann@example.com", "content": {"n": 3}, "more": True},
    )

    assert (outcome.added, outcome.refused) == (3, [])
    assert await contents(log) == [
        ("A", {"n": 1, "deep": {"x": [1]}}),
        ("B", {"n": 2}),
        ("things", {"n": 3, "more": True}),
    ]


async def test_refused_rows_are_reported_with_their_line_and_reason_and_the_rest_goes_in(
    log: Log, tmp_path: Path
) -> None:
    """Whatever is wrong with them."""
    await log.register("ann")
    outcome = await take(
        log,
        tmp_path / "things.json",
        {"owner": "ann", "name": "Good"},
        {"owner": "nobody", "name": "N"},
        {"name": "N"},
        {"owner": 7, "name": "N"},
        "{bad",
        {"owner": "ann", "name": ["N"]},
        {"owner": "ann", "name": ""},
        {"owner": "ann", "name": "N", "a.b": 1},
        {"owner": "ann", "name": "Good"},
        {"owner": "ann", "name": "N", "content": {"a": 1}, "a": 2},
        {"owner": "ann", "name": "N", "big": "x" * 1_100_000},
    )

    assert outcome.added == 1
    reasons = {refused.line: refused.reason for refused in outcome.refused}
    assert reasons[2] == "owner: there is no user with this id, username or email"
    assert reasons[3] == "owner: missing: expected the id, username or email of the owner"
    assert reasons[4] == "owner: expected the id, username or email of the owner as a text"
    assert "JSON" in reasons[5]
    assert reasons[6] == "name: the name is no text"
    assert reasons[7] == "name: a name has 1 to 200 characters, this one has 0"
    assert "the key 'a.b' cannot be stored" in reasons[8]
    assert reasons[9] == "row: duplicates the data object of line 1"
    assert reasons[10] == "content: 'a' is both a field of the row and inside its content: rename one"
    assert reasons[11].startswith("content: at most 1048576 bytes")


async def test_a_second_run_adds_nothing_whatever_became_of_the_objects(log: Log, tmp_path: Path) -> None:
    """They may have been changed and deleted."""
    await log.register("ann")
    rows = [{"owner": "ann", "name": f"N{number}", "n": number} for number in range(100)]
    first = await take(log, tmp_path / "things.json", *rows)
    ids = [one.stream_id for one in await log.all() if one.is_data]
    await log.data.change(ids[0], UpdateData(name="Changed"), NOBODY)
    await log.data.change(ids[1], DeleteData(), NOBODY)
    head = await log.store.head()

    second = await take(log, tmp_path / "things.json", *rows)

    assert (first.added, second.added, second.already_there, second.refused) == (100, 0, 100, [])
    assert await log.store.head() == head


async def test_a_key_says_what_makes_two_rows_the_same(log: Log, tmp_path: Path) -> None:
    """For one owner; the first of two goes in, and without a value there is no key."""
    await log.register("ann")
    await log.register("bob")
    rows: list[dict[str, object]] = [
        {"owner": "ann", "name": "A", "sku": 7, "n": 1},
        {"owner": "ann", "name": "B", "sku": 7, "n": 2},
        {"owner": "bob", "name": "C", "sku": 7},
        {"owner": "bob", "name": "D", "sku": "7"},
        {"owner": "bob", "name": "E"},
    ]
    first = await take(log, tmp_path / "things.json", *rows, key="sku")
    second = await take(log, tmp_path / "things.json", {**rows[0], "name": "Other"}, key="sku")

    assert [(refused.line, refused.reason) for refused in first.refused] == [
        (2, "sku: duplicates the data object of line 1"),
        (5, "sku: missing, or neither a text nor a number, so the row has no key"),
    ]
    assert (first.added, second.added, second.already_there) == (3, 0, 1)
    assert await contents(log) == [("A", {"sku": 7, "n": 1}), ("C", {"sku": 7}), ("D", {"sku": "7"})]


async def test_the_id_of_an_object_tells_nothing_about_its_row(log: Log, tmp_path: Path) -> None:
    """It is made with a secret: who guesses the row cannot check the guess."""
    ann = (await log.register("ann")).user_id
    fields = DataFields("owner", "name", "sku")
    path = tmp_path / "things.json"
    path.write_text(json.dumps({"owner": "ann", "sku": 1}))
    await DataImporter(log.commands, log.data, b"one secret", fields, "N").run(read_records(path), lambda done: None)
    await DataImporter(log.commands, log.data, b"another", fields, "N").run(read_records(path), lambda done: None)

    ids = [one.stream_id for one in await log.all() if one.owner_id == ann]
    assert len(set(ids)) == 2
    assert {one.version for one in ids} == {8}


async def test_an_array_and_csv_are_read_as_well(log: Log, tmp_path: Path) -> None:
    """Cells of CSV are texts."""
    await log.register("ann")
    (tmp_path / "array.json").write_text(json.dumps([{"owner": "ann", "name": "A", "n": 1}]))
    (tmp_path / "table.csv").write_text("owner;name;n\nann;B;2\n")

    for file in ("array.json", "table.csv"):
        assert (await take_file(log, tmp_path / file)).added == 1
    assert await contents(log) == [("A", {"n": 1}), ("B", {"n": "2"})]


def test_an_owner_column_that_is_missing_or_ambiguous_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    """The message says what was found."""
    for header, message in (
        ("user;name", "has no column 'owner'"),
        ("owner;name;owner", "more than one column called 'owner'"),
    ):
        (tmp_path / "table.csv").write_text(f"{header}\nann;B\n")
        with pytest.raises(UserFileError, match=message):
            next(read_records(tmp_path / "table.csv", "owner"))


async def test_memory_does_not_grow_with_the_file(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are written some at a time, and few lines are remembered."""
    await log.register("ann")
    path = tmp_path / "things.json"
    path.write_text("".join(json.dumps({"owner": "ann", "n": n, "pad": "x" * 2_000}) + "\n" for n in range(6_000)))

    async def created(*_: object, **__: object) -> None:
        return

    monkeypatch.setattr(type(log.data), "create", created)
    tracemalloc.start()
    outcome = await take_file(log, path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert outcome.added == 6_000
    assert peak < 5_000_000  # the file has 12 MB
    assert REMEMBERED_ROWS <= 100_000
