"""`rollcall export-users`: everybody as the log has them, with the fields that are asked for."""

import csv
import io
import json
from operator import itemgetter
from pathlib import Path

import pytest

from events.database import Address, Database
from events.user import Delete
from tests.events.exports import opened
from tests.log import NOBODY
from tests.system.installation import Installation, own_servers


@pytest.fixture
def installation(urls: tuple[str, str], tmp_path: Path) -> Installation:
    """An installation without running processes."""
    return own_servers(tmp_path, *urls)


ROWS = [
    {"username": "ann", "email": "ann@example.com", "name": "=1+1", "city": {"name": "Ipoh"}, "phone": "+60 12"},
    {"username": "bob", "email": "bob@example.com", "name": "Bob", "note": 'a "quoted",\nline', "n": 5},
    {"username": "gone", "email": "gone@example.com", "name": "Gone"},
]


async def test_exported_users_are_those_of_the_log(installation: Installation, urls: tuple[str, str]) -> None:
    """Not the deleted ones; what a spreadsheet would calculate is made harmless; JSON lines come back by an import."""
    (installation.directory / "users.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    assert (await installation.run("import", "users.jsonl")).code == 0
    assert (await installation.run("set-password", "ann", stdin="a good password\n")).code == 0
    database = Database.at(Address.parse(urls[0]), size=2)
    log = await opened(database)
    gone = await log.commands.find("gone")
    assert gone is not None
    assert gone.user is not None
    await log.commands.change(gone.user.id, Delete(), NOBODY)

    # By name: the ids of two users that an import makes in the same millisecond are in any order.
    lines = sorted(
        map(json.loads, (await installation.run("export-users")).out.splitlines()), key=itemgetter("username")
    )
    table = await installation.run(
        "export-users", "--format", "csv", "--fields", "username,name,attributes.city.name,attributes.phone,attributes"
    )
    hashes = await installation.run("export-users", "--fields", "username,password_hash", "--output", "hashes.jsonl")

    assert [(line["username"], line["name"], "password_hash" in line) for line in lines] == [
        ("ann", "=1+1", False),
        ("bob", "Bob", False),
    ]
    rows = csv.DictReader(io.StringIO(table.out.replace("\r\n", "\n")))
    ann, bob = sorted(rows, key=itemgetter("username"))
    assert (ann["name"], ann["attributes.city.name"], ann["attributes.phone"]) == ("'=1+1", "Ipoh", "'+60 12")
    assert (json.loads(bob["attributes"]), bob["attributes.phone"]) == ({"note": 'a "quoted",\nline', "n": 5}, "")
    assert hashes.out == ""
    path = installation.directory / "hashes.jsonl"
    assert path.stat().st_mode & 0o077 == 0
    found = {line["username"]: line["password_hash"] for line in map(json.loads, path.read_text().splitlines())}
    assert found["ann"].startswith("$argon2id$")
    assert found["bob"] is None
    assert (await installation.run("export-users", "--output", "hashes.jsonl")).code == 2
    unknown = await installation.run("export-users", "--fields", "username,passwords")
    assert (unknown.code, "there is no field 'passwords'" in unknown.err) == (2, True)

    (installation.directory / "back.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    again = await installation.run("import", "back.jsonl", "--keep-ids", "--created-at", "created_at")
    assert again.out.startswith("0 added, 2 already there")
    await database.close()
