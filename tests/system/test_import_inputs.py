"""`rollcall import` takes what other systems write, keeps secrets out of attributes, and says what it did."""

import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from events.database import Address, Database
from events.event_types import Role, UserRegistered
from events.migrations import migrate
from events.user import User
from tests.events.exports import opened
from tests.log import Log
from tests.system.installation import Finished, Installation, own_servers
from tests.waiting import eventually

BCRYPT = "$2b$04$abcdefghijklmnopqrstuuOd1ZbE3M0zL5YQ0yG3j4r0cU8mZbW2e"
PHPASS = "$P$984478476IagS59wHZvyQMArzfx58u."


@pytest.fixture
def installation(urls: tuple[str, str], tmp_path: Path) -> Installation:
    """An installation without running processes."""
    return own_servers(tmp_path, *urls)


@pytest_asyncio.fixture
async def database(urls: tuple[str, str]) -> AsyncIterator[Database]:
    """The database of the installation."""
    database = Database.at(Address.parse(urls[0]), size=2)
    yield database
    await database.close()


async def imported(
    installation: Installation, content: str | bytes, *arguments: str, name: str = "users.csv"
) -> Finished:
    """Import a file of this content."""
    path = installation.directory / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return await installation.run("import", name, *arguments)


async def user_of(database: Database, login: str) -> User:
    """The user with this login, from the log."""
    log: Log = await opened(database)
    account = await log.commands.find(login)
    assert account is not None
    assert account.user is not None
    return account.user


async def hash_of(database: Database, login: str) -> str | None:
    return (await (await opened(database)).commands.credential(login)).password_hash


async def test_a_hash_under_another_name_never_becomes_an_attribute(
    installation: Installation, database: Database
) -> None:
    """It is taken as the hash; one that cannot be is refused, and the ways out are named."""
    header = "ID,user_login_name,user_pass,user_mail,display\n"
    mapping = "username=user_login_name,email=user_mail,name=display"
    row = f"1,ann,{BCRYPT},ann@example.com,Ann\n2,bob,5f4dcc3b5aa765d61d8327deb882cf9,bob@example.com,Bob\n"

    finished = await imported(installation, header + row, "--map", mapping)

    assert finished.code == 1, finished
    assert "line 3: attributes: 'user_pass' is named like a secret" in finished.out
    assert "--map password_hash=user_pass" in finished.out
    assert "--ignore user_pass" in finished.out
    assert "5f4dcc3b" not in finished.out + finished.err
    assert (await user_of(database, "ann")).attributes == {"ID": "1"}
    assert await hash_of(database, "ann") == BCRYPT
    again = await imported(installation, header + row, "--map", mapping, "--ignore", "user_pass")
    assert again.code == 0, again
    assert "1 of those added have no password" in again.out
    assert (await user_of(database, "bob")).attributes == {"ID": "2"}


async def test_rows_whose_emails_share_a_local_part_take_linear_time(
    installation: Installation, database: Database
) -> None:
    """Any number of them, in both runs, and with names that are taken already."""
    rows = [json.dumps({"email": f"info@company{n}.example"}) for n in range(3_000)]
    finished = await imported(installation, "\n".join(rows), "--json", name="users.jsonl")

    assert json.loads(finished.out)["added"] == 3_000, finished
    more = [json.dumps({"email": f"info@firm{n}.example"}) for n in range(300)]
    assert json.loads((await imported(installation, "\n".join(more), "--json", name="more.jsonl")).out)["added"] == 300
    again = await imported(installation, "\n".join(rows), "--json", name="users.jsonl")
    assert json.loads(again.out)["already_there"] == 3_000
    assert (await user_of(database, "info@company2999.example")).username == "info3000"
    assert (await user_of(database, "info@firm0.example")).username.startswith("info")


async def test_a_column_in_the_way_is_ignored_and_roles_have_a_default(
    installation: Installation, database: Database
) -> None:
    """A role that is none here is refused with both ways out."""
    content = "email,role,team\nann@example.com,authenticated,red\nbob@example.com,authenticated,\n"

    refused = await imported(installation, content)
    finished = await imported(
        installation, content, "--ignore", "role", "--ignore", "nothing", "--default-role", "technical_worker"
    )

    assert refused.code == 1
    assert "--ignore role" in refused.out
    assert "--default-role" in refused.out
    assert finished.code == 0, finished
    assert "no row has the field 'nothing'" in finished.err
    ann = await user_of(database, "ann")
    assert (ann.role, ann.attributes) == (Role.TECHNICAL_WORKER, {"team": "red"})


async def test_a_hash_in_no_known_form_costs_the_password_and_not_the_person(
    installation: Installation, database: Database
) -> None:
    """Who comes in without a password is counted, by the reason."""
    lines = [
        {"username": "ann", "email": "ann@example.com", "password_hash": "!unusable"},
        {"username": "bob", "email": "bob@example.com", "password_hash": "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$"},
        {"username": "cid", "email": "cid@example.com", "password_hash": ""},
        {"username": "dan", "email": "dan@example.com", "password_hash": BCRYPT},
        {"username": "eve", "email": "eve@example.com", "password_hash": "a hash of our own"},
    ]

    finished = await imported(installation, "\n".join(map(json.dumps, lines)), name="users.jsonl")

    assert finished.code == 0, finished
    assert "2 of those added have no password: the file has none for them" in finished.out
    assert "1 of those added have no password: their hash is yescrypt ($y$), which is not supported" in finished.out
    assert "1 of those added have no password: their hash is in no form that can be verified" in finished.out
    assert [await hash_of(database, name) for name in ("ann", "bob", "cid", "dan")] == [None, None, None, BCRYPT]


async def test_hashes_of_directories_that_are_not_supported_are_named(
    installation: Installation, database: Database
) -> None:
    """By the kind, with the number of users who come without a password, in a dry run and as JSON too."""
    hashes = {
        "MD5-crypt ($1$)": ["$1$nitrosal$iCJ0tC7vAzl1lPxKCLqj2/", "{CRYPT}$1$nitrosal$iCJ0tC7vAzl1lPxKCLqj2/"],
        "Apache's MD5-crypt ($apr1$)": ["$apr1$nitrosal$WnLTZ0ahBoRhUYtxXYQb91"],
        "yescrypt ($y$)": ["{crypt}$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7"],
        "DES crypt": ["{CRYPT}abNANd1rDfiNc", "abJnggxhB/yWI"],
        "BSDi's DES crypt": ["_J9..K0AyUubDrfOgO4s"],
        "argon2 with a pepper (keyid=)": ["$argon2id$v=19$m=65536,t=2,p=1,keyid=Hj5+dsK0$c29tZXNhbHQ$RdescudvJCsgt3ub"],
    }
    given = [(kind, hash_) for kind, found in hashes.items() for hash_ in found]
    lines = [{"email": f"user{n}@example.com", "password_hash": hash_} for n, (_, hash_) in enumerate(given)]
    content = "\n".join(map(json.dumps, lines))

    dry = await imported(installation, content, "--dry-run", name="users.jsonl")
    as_json = await imported(installation, content, "--dry-run", "--json", name="users.jsonl")
    finished = await imported(installation, content, name="users.jsonl")

    for kind, found in hashes.items():
        named = f"{len(found)} of those added have no password: their hash is {kind}, which is not supported"
        assert named in dry.out
        assert named in finished.out
    assert json.loads(as_json.out)["without_password"] == {
        f"unknown hash: {kind}": len(found) for kind, found in hashes.items()
    }
    assert [await hash_of(database, f"user{n}@example.com") for n in range(len(given))] == [None] * len(given)


async def test_keys_with_dots_are_renamed_and_reported(installation: Installation, database: Database) -> None:
    """A dot separates the parts of a path in both views, so claims of Auth0 and the like get another name."""
    line = {"email": "ann@example.com", "https://example.com/plan": "x", "org": {"a.b": 1, "a_b": 2}, "": 4}

    finished = await imported(installation, json.dumps(line), name="users.jsonl")

    assert finished.code == 0, finished
    assert "the key 'https://example.com/plan' of attributes is stored as 'https://example_com/plan'" in finished.err
    assert (await user_of(database, "ann")).attributes == {
        "https://example_com/plan": "x",
        "org": {"a_b_": 1, "a_b": 2},
        "_": 4,
    }


async def test_ids_and_dates_are_kept(installation: Installation, database: Database) -> None:
    """The event says that the user was imported, and when it came to be."""
    ids = ["7b2cb5a8-8d5b-4e6f-9b4f-0a8a53a1a001", "17", "00000000-0000-0000-0000-000000000000"]
    emails = ["ann@example.com", "bob@example.com", "cid@example.com"]
    dates = ["2019-05-04 03:02:01.123+00", "1556938921000", "2019-05-04"]
    rows = [f"{one},{email},{date}" for one, email, date in zip(ids, emails, dates, strict=True)]
    content = "\n".join(["id,email,joined", *rows, f"{ids[0]},dan@example.com,2019-05-04", ",eve@example.com,soon"])

    finished = await imported(installation, content, "--keep-ids", "--created-at", "joined")

    assert "line 4: id: not a UUID of RFC 9562" in finished.out
    assert "line 5: id: belongs to another user" in finished.out
    assert "line 6: created_at: expected an ISO 8601 date" in finished.out
    ann, bob = await user_of(database, "ann"), await user_of(database, "bob")
    assert str(ann.id) == ids[0]
    assert ann.created_at.isoformat() == "2019-05-04T03:02:01.123000+00:00"
    assert bob.attributes == {"id": "17"}
    assert bob.created_at.isoformat() == "2019-05-04T03:02:01+00:00"
    event = (await (await opened(database)).all())[0].event
    assert isinstance(event, UserRegistered)
    assert event.imported
    assert event.created_at == ann.created_at


async def test_a_changed_email_is_brought_over_by_the_id(installation: Installation, database: Database) -> None:
    """With --update and --keep-ids. A dry run says the same; somebody else's email is refused, as is a second row."""
    ids = [f"7b2cb5a8-8d5b-4e6f-9b4f-0a8a53a1a00{number}" for number in range(4)]
    keeping = ("--keep-ids", "--update")
    before = (
        f"id,username,email\n{ids[0]},ann,ann@example.com\n{ids[1]},bob,bob@example.com\n{ids[2]},cid,cid@example.com\n"
    )
    after = (
        f"id,username,email\n{ids[0]},ann,ann@new.example\n{ids[1]},rob,rob@example.com\n"
        f"{ids[2]},cid,ann@new.example\n{ids[3]},dan,dan@example.com\n{ids[3]},don,don@new.example\n"
    )
    assert (await imported(installation, before, *keeping)).code == 0

    refused = await imported(installation, f"id,username,email\n{ids[1]},rob,rob@example.com\n", "--keep-ids")
    dry = await imported(installation, after, *keeping, "--dry-run")
    finished = await imported(installation, after, *keeping)
    again = await imported(installation, after, *keeping)

    assert "line 2: id: belongs to another user, or to a deleted one: leave out --keep-ids" in refused.out
    assert "line 4: email: this email belongs to someone else" in dry.out
    assert "1 added, 2 updated, 0 already there, 2 refused" in dry.out
    assert "line 4: email: this email belongs to someone else" in finished.out
    assert "line 6: username: duplicates the user of line 5" in finished.out
    assert "1 added, 2 updated, 0 already there, 2 refused" in finished.out
    assert "0 added, 3 already there, 2 refused" in again.out
    found = {
        str((user := await user_of(database, login)).id): (user.username, user.email)
        for login in ("ann", "rob", "cid", "dan")
    }
    assert found == {
        ids[0]: ("ann", "ann@new.example"),
        ids[1]: ("rob", "rob@example.com"),
        ids[2]: ("cid", "cid@example.com"),
        ids[3]: ("dan", "dan@example.com"),
    }


async def test_usernames_that_are_emails_sign_in_by_the_email(installation: Installation, database: Database) -> None:
    """The username is made of it; a second run knows the user again."""
    content = "username,email,name\nann@example.com,ann@example.com,Ann\nbob@example.com,,Bob\n"

    assert (await imported(installation, content)).code == 0
    again = await imported(installation, content)

    assert again.out.startswith("0 added, 2 already there")
    assert [(await user_of(database, f"{name}@example.com")).username for name in ("ann", "bob")] == ["ann", "bob"]


async def test_standard_input_and_a_pipe_are_read(installation: Installation, database: Database) -> None:
    """Their rows are read twice as well: they are copied to a file without a name."""
    content = "".join(json.dumps({"email": f"user{n}@example.com"}) + "\n" for n in range(2_000))

    finished = await installation.run("import", "-", stdin=content)

    assert finished.code == 0, finished
    assert "2000 added, 0 already there, 0 refused" in finished.out
    assert "standard input: JSON lines" in finished.err


EXCEL = (
    "sep=;\r\nVorname;Nachname;E-Mail;Straße;\r\n"
    'Änne;Öz;aenne@example.com;"Weg 1\r\n2. Stock";\r\n'
    "Bo;Li;bo@example.com\r\n"
)


@pytest.mark.parametrize(
    ("encoding", "arguments"),
    [("utf-8-sig", ()), ("utf-8", ()), ("utf-16", ()), ("utf-16-le", ()), ("cp1252", ("--encoding", "cp1252"))],
)
async def test_what_excel_saves_is_read(
    installation: Installation, database: Database, encoding: str, arguments: tuple[str, ...]
) -> None:
    """In every encoding, with quoted line breaks, an empty column at the end, and a row that is short."""
    finished = await imported(installation, EXCEL.encode(encoding), "--map", "name=Vorname+Nachname", *arguments)

    assert finished.code == 0, finished
    user = await user_of(database, "aenne@example.com")
    assert (user.name, user.attributes) == ("Änne Öz", {"Straße": "Weg 1\r\n2. Stock"})
    assert (await user_of(database, "bo@example.com")).name == "Bo Li"


async def test_a_wrong_encoding_names_the_right_option(installation: Installation) -> None:
    """The byte at fault is not repeated with its line's content."""
    finished = await imported(installation, EXCEL.encode("cp1252"))

    assert finished.code == 2
    assert "--encoding cp1252" in finished.err


async def test_an_open_quote_costs_its_own_line(installation: Installation) -> None:
    """The rows after it come in."""
    rows = "".join(f"user{n}@example.com,N\n" for n in range(500))

    finished = await imported(installation, 'email,name\n"x@example.com,X\n' + rows)

    assert finished.code == 1
    assert "500 added, 0 already there, 1 refused, of 501 rows" in finished.out
    assert "line 2: not well-formed CSV" in finished.out


async def test_elements_of_an_array_on_one_line_are_named(installation: Installation) -> None:
    """By their number."""
    finished = await imported(installation, json.dumps([{"email": "a@example.com"}, {}, {"email": 5}]), name="u.json")

    assert "element 2 (line 1): email: missing" in finished.out
    assert "element 3 (line 1): email is a number" in finished.out


async def test_a_dry_run_reports_as_the_import_and_writes_nothing(
    installation: Installation, database: Database
) -> None:
    """Duplicates of the file and of the log, secrets, and users without a password; the report has every line."""
    rows: list[dict[str, Any]] = [
        {"username": "ann", "email": "ann@example.com", "password_hash": BCRYPT},
        {"username": "Ann", "email": "other@example.com"},
        {"username": "ann", "email": "ANN@example.com"},
        {"email": "info@a.example"},
        {"email": "info@b.example"},
        {"email": "nobody"},
        {"email": "eve@example.com", "apiKey": "=cmd()"},
    ]
    content = "\n".join(map(json.dumps, rows))

    dry = await imported(installation, content, "--dry-run", "--report", "refused.csv", "--json", name="users.jsonl")

    assert await (await opened(database)).store.head() == 0
    report = (installation.directory / "refused.csv").read_text()
    real = await imported(installation, content, "--json", name="users.jsonl")
    assert json.loads(dry.out) == json.loads(real.out)
    assert (json.loads(dry.out)["added"], json.loads(dry.out)["refused_rows"]) == (3, 4)
    assert report.splitlines()[0] == "line,element,reason"
    assert [line.partition(",")[0] for line in report.splitlines()[1:]] == ["2", "3", "6", "7"]
    assert (installation.directory / "refused.csv").stat().st_mode & 0o077 == 0


async def test_changed_rows_are_brought_over_again(installation: Installation, database: Database) -> None:
    """With --update; a password only as long as it is the imported one."""
    line = {"username": "ann", "email": "ann@example.com", "name": "Ann", "team": "red"}
    assert (await imported(installation, json.dumps(line), name="a.jsonl")).code == 0
    changed = {**line, "name": "Ann Ng", "team": "blue", "role": "TECHNICAL_WORKER", "password_hash": BCRYPT}

    without = await imported(installation, json.dumps(changed), name="b.jsonl")
    finished = await imported(installation, json.dumps(changed), "--update", name="b.jsonl")
    again = await imported(installation, json.dumps(changed), "--update", name="b.jsonl")

    assert without.out.startswith("0 added, 1 already there")
    assert finished.out.startswith("0 added, 1 updated, 0 already there")
    assert again.out.startswith("0 added, 1 already there")
    user = await user_of(database, "ann")
    assert (user.name, user.attributes, user.role) == ("Ann Ng", {"team": "blue"}, Role.TECHNICAL_WORKER)
    assert await hash_of(database, "ann") == BCRYPT
    own = "the password that Ann chose"
    assert (await installation.run("set-password", "ann", stdin=f"{own}\n")).code == 0
    assert (await imported(installation, json.dumps(changed), "--update", name="b.jsonl")).code == 0
    assert await hash_of(database, "ann") != BCRYPT


async def test_an_import_that_was_killed_is_run_again(installation: Installation, database: Database) -> None:
    """After `kill -9` each row is there once."""
    rows = [json.dumps({"username": f"user{n}", "email": f"user{n}@example.com"}) for n in range(20_000)]
    (installation.directory / "users.jsonl").write_text("\n".join(rows))
    await migrate(database, "events")
    log = await opened(database)
    async with installation.running("import", "users.jsonl") as process:

        async def some_are_in() -> bool:
            return await log.store.head() >= 1_000

        await eventually(some_are_in)
        process.popen.send_signal(signal.SIGKILL)

    finished = await installation.run("import", "users.jsonl", "--json")

    outcome = json.loads(finished.out)
    assert outcome["added"] + outcome["already_there"] == 20_000
    assert outcome["already_there"] >= 1_000
    assert await log.store.head() == 20_000


async def test_an_update_that_was_killed_is_run_again(installation: Installation, database: Database) -> None:
    """After `kill -9` each changed row has one event, and the other rows have none."""
    users = [{"username": f"user{n}", "email": f"user{n}@example.com"} for n in range(6_000)]
    changed = [user | ({"name": f"Person {n}"} if n % 3 else {}) for n, user in enumerate(users)]
    (installation.directory / "changed.jsonl").write_text("\n".join(map(json.dumps, changed)))
    assert (await imported(installation, "\n".join(map(json.dumps, users)), name="users.jsonl")).code == 0
    log = await opened(database)
    async with installation.running("import", "changed.jsonl", "--update") as process:

        async def some_are_changed() -> bool:
            return await log.store.head() >= 6_500

        await eventually(some_are_changed)
        process.popen.send_signal(signal.SIGKILL)

    outcome = json.loads((await installation.run("import", "changed.jsonl", "--update", "--json")).out)

    assert outcome["updated"] <= 3_500
    assert (outcome["updated"] + outcome["already_there"], outcome["added"]) == (6_000, 0)
    assert await log.store.head() == 10_000
    changes = [recorded.stream_id for recorded in await log.all() if recorded.position > 6_000]
    assert len(set(changes)) == 4_000
    assert (await user_of(database, "user5998")).name == "Person 5998"
