"""`importUsers`: rows of a file become users, by the rules and with the report of `rollcall import`."""

import asyncio
import json

from events.event_types import Role
from tests.graph.client import Json
from tests.graph.site import Person, Site
from tests.waiting import eventually

IMPORT = """
mutation($input: ImportUsersInput!) {
  importUsers(input: $input) { imported existing refused { line message } position errors { code message field } }
}
"""
HASH = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$kSEYPHmQVmXSAcB2UPmjPQ"


async def imported(admin: Person, content: str, **more: object) -> Json:
    return await admin.client.field(IMPORT, input={"content": content, **more})


async def test_rows_are_imported_once_and_refused_with_their_lines(site: Site) -> None:
    """JSON lines, an array and CSV; a second run adds nothing; lines count from where the slice begins."""
    admin = await site.person(Role.ADMIN)
    lines = "\n".join(
        json.dumps(row)
        for row in (
            {"login": "imp1", "email": "imp1@example.com", "name": "One", "city": "Ipoh"},
            {"login": "imp2", "email": "no email"},
            {"login": "imp1", "email": "imp1@example.com"},
        )
    )
    found = await imported(admin, lines, map=["username=login"], firstLine=101)
    assert (found["imported"], found["existing"], found["errors"]) == (1, 0, [])
    assert [row["line"] for row in found["refused"]] == [102, 103]
    assert found["refused"][0]["message"].startswith("email")

    again = await imported(admin, lines, map=["username=login"])
    assert (again["imported"], again["existing"], [row["line"] for row in again["refused"]]) == (0, 1, [2, 3])
    array = json.dumps([{"username": "imp3", "email": "imp3@example.com", "password_hash": HASH}])
    assert (await imported(admin, array))["imported"] == 1
    assert (await imported(admin, "username,email\nimp4,imp4@example.com\n"))["imported"] == 1

    account = await site.log.commands.find("imp1")
    assert account is not None
    user = account.user
    assert user is not None
    assert (user.name, user.attributes, user.role) == ("One", {"city": "Ipoh"}, Role.CUSTOMER)
    assert int(found["position"]) >= user.position


async def test_a_hash_that_only_the_command_wraps_is_refused_and_says_so(site: Site) -> None:
    """A user never comes in silently without the password that the file has: by MD5 or SHA-1."""
    admin = await site.person(Role.ADMIN)
    hashes = ["5f4dcc3b5aa765d61d8327deb882cf99", "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "md5$salt$" + "0" * 32, HASH]
    lines = "\n".join(
        json.dumps({"username": f"weak{n}", "email": f"weak{n}@example.com", "password_hash": hash_})
        for n, hash_ in enumerate(hashes)
    )

    found = await imported(admin, lines)

    assert (found["imported"], [row["line"] for row in found["refused"]]) == (1, [1, 2, 3])
    messages = {row["message"] for row in found["refused"]}
    assert len(messages) == 1
    assert messages.pop().startswith("password_hash: a hash by MD5 or SHA-1 is wrapped in argon2 by `rollcall import`")
    assert await site.log.commands.find("weak0") is None


async def test_the_same_slice_twice_at_once_adds_each_user_once(site: Site) -> None:
    """A client that repeats a request while the first one runs."""
    admin = await site.person(Role.ADMIN)
    rows = "\n".join(json.dumps({"username": f"twice{n}", "email": f"twice{n}@example.com"}) for n in range(40))

    first, second = await asyncio.gather(imported(admin, rows), imported(admin, rows))
    assert first["imported"] + second["imported"] == 40


async def test_what_is_no_file_of_users_is_refused_as_a_whole(site: Site) -> None:
    """With the field at fault, and no path of the server."""
    admin = await site.person(Role.ADMIN)
    for values, field in (
        ({"content": ""}, "content"),
        ({"content": "   "}, "content"),
        ({"content": "x" * 1_000_001}, "content"),
        ({"content": "a,b\n1,2", "map": ["nonsense"]}, "map"),
        ({"content": "username\nx", "firstLine": 0}, "firstLine"),
        ({"content": "username\nx", "format": "XML"}, "format"),
        ({"content": "username\nx", "format": "JSONL"}, "format"),
        ({"content": "[" + "{}," * 5_000 + "{}]"}, "content"),
        ({"content": "email\n" + "x\n" * 5_001}, "content"),
    ):
        found = await admin.client.field(IMPORT, input=values)
        assert [(error["code"], error["field"]) for error in found["errors"]] == [("INVALID", [field])], values
        assert "/proc" not in found["errors"][0]["message"]
        assert found["imported"] == 0


async def test_the_largest_slice_is_taken(site: Site) -> None:
    """5,000 rows; quotes that a request has to escape; values that are nested deeply."""
    admin = await site.person(Role.ADMIN)
    found = await imported(admin, "[" + "{}," * 4_999 + "{}]", format="json", firstLine=None)
    assert (len(found["refused"]), found["errors"]) == (5_000, [])

    found = await imported(admin, '{"a":"' + '"' * 400_000)
    assert (len(found["refused"]), found["errors"]) == (1, [])
    nested = await imported(admin, '{"email": "deep@example.com", "a": ' + "[" * 100_000 + "]" * 100_000 + "}")
    assert "nested" in nested["refused"][0]["message"]


async def test_a_slice_that_was_cut_off_is_finished_by_sending_it_again(site: Site) -> None:
    """Whatever the first request had come to."""
    admin = await site.person(Role.ADMIN)
    rows = "\n".join(json.dumps({"username": f"again{n}", "email": f"again{n}@example.com"}) for n in range(60))
    sending = asyncio.create_task(imported(admin, rows))

    async def begun() -> bool:
        return await site.log.commands.find("again3") is not None

    await eventually(begun)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)

    found = await imported(admin, rows)
    assert (found["imported"] + found["existing"], found["refused"]) == (60, [])
    assert await site.log.commands.find("again59") is not None
    assert (await imported(admin, rows))["existing"] == 60


async def test_only_an_administrator_imports(site: Site) -> None:
    """As only one creates users."""
    for role in (Role.CUSTOMER, Role.TECHNICAL_WORKER, Role.SENIOR_MANAGEMENT):
        person = await site.person(role)
        assert await person.client.refused(IMPORT, input={"content": "username\nx"}) == ["FORBIDDEN"]
