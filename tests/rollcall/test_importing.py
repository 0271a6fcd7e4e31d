"""An import adds every valid row, reports every invalid one, and adds nothing when repeated."""

import json
from pathlib import Path

import pytest

from events.event_types import Role
from rollcall.import_result import ImportResult
from rollcall.importer import Importer
from rollcall.userfile import FieldMap, parse_mapping, read_users
from tests.log import Log

BCRYPT = "$2b$04$abcdefghijklmnopqrstuuOd1ZbE3M0zL5YQ0yG3j4r0cU8mZbW2e"


async def take(log: Log, path: Path, *rows: object, mapping: str = "") -> ImportResult:
    """Import rows as JSON lines; a string is written unchanged."""
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    fields = parse_mapping(mapping) if mapping else FieldMap()
    return await Importer(log.commands).run(read_users(path, fields), lambda done: None)


def row(username: str | None, email: str | None, **fields: object) -> dict[str, object]:
    """A row with the given fields; None leaves a field out."""
    given = {"username": username, "email": email, "name": "Somebody", **fields}
    return {name: value for name, value in given.items() if value is not None}


async def test_the_duplicates_of_a_file_are_refused_and_the_rest_goes_in(log: Log, tmp_path: Path) -> None:
    """The first of two rows wins. Each refused row is reported with its line and the field that is taken."""
    outcome = await take(
        log,
        tmp_path / "users.json",
        row("ann", "ann@example.com"),
        row("bob", "ANN@example.com"),
        row("Ann", "other@example.com"),
        row("ANN", "ann@example.com"),
        row("cid", "cid@example.com"),
    )

    assert outcome.added == 2
    assert [(refused.line, refused.reason) for refused in outcome.refused] == [
        (2, "email: this email belongs to someone else"),
        (3, "username: this username, or one that looks like it, belongs to someone else"),
        (4, "username: duplicates the user of line 1"),
    ]


async def test_a_second_run_of_the_same_file_adds_nothing(log: Log, tmp_path: Path) -> None:
    """The head stays, also with usernames derived from emails, and the same lines are refused."""
    rows = [row("ann", "ann@example.com"), row(None, "ann@example.org"), row("x y", "x@example.com"), "{bad"]
    first = await take(log, tmp_path / "users.json", *rows)
    head = await log.store.head()

    second = await take(log, tmp_path / "users.json", *rows)

    assert (first.added, second.added, second.already_there) == (2, 0, 2)
    assert second.refused == first.refused
    assert await log.store.head() == head == 2


async def test_two_mailboxes_are_two_users_and_each_is_known_again_in_any_form(log: Log, tmp_path: Path) -> None:
    """Nobody is silently left out; a second run knows everybody, also by other spellings of domain and username."""
    first = await take(
        log,
        tmp_path / "users.json",
        row(None, "ana@stra\u00dfe.example"),
        row(None, "ana@strasse.example"),
        row("Stra\u00dfe", "bo@xn--bcher-kva.example"),
    )

    second = await take(
        log,
        tmp_path / "users.json",
        row(None, "ana@xn--strae-oqa.example"),
        row(None, "ANA@strasse.example"),
        row("STRASSE", "bo@B\u00dcCHER.example"),
    )

    assert (first.added, first.refused) == (3, [])
    assert (second.added, second.already_there, second.refused) == (0, 3, [])


async def test_a_row_without_a_username_gets_one_from_its_email(log: Log, tmp_path: Path) -> None:
    """The local part, shortened if too long, with the first free number if taken; without a valid one, refused."""
    emails = ["jo@a.org", "JO@b.org", "jo@c.org", '"j o"@d.org', "x" * 64 + "@e.org"]

    outcome = await take(log, tmp_path / "users.json", *(row(None, email, name=None) for email in emails))

    found = [await log.commands.find(email) for email in emails if '"' not in email]
    assert [account.user.username for account in found if account and account.user] == ["jo", "JO2", "jo3", "x" * 60]
    assert next(account.user.name for account in found if account and account.user) == "jo"
    assert [refused.line for refused in outcome.refused] == [4]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row("ann", None), "email: missing"),
        (row("ann", "not an email"), "email: not an email address"),
        (row("ann smith", "ann@example.com"), "username: a username cannot contain spaces"),
        (row("a" * 300, "ann@example.com"), "1 to 64 characters, this one has 300"),
        (row("ann", "ann@example.com", role="KING"), "role: expected one of CUSTOMER"),
        (row("ann", "ann@example.com", hashedPassword="x"), "'hashedPassword' is named like a secret"),
        (row("ann", "ann@example.com", a={"api_key": ["x"]}), "'a.api_key.0' is named like a secret"),
        (row("ann", "ann@example.com", note="{SSHA}c2VjcmV0c2VjcmV0"), "'note' holds what looks like a password's"),
        (row("ann", "ann@example.com", big={"$numberLong": str(2**63)}), "64 bits"),
        (row("ann", "ann@example.com", **{"k" * 129: 1}), "a key has at most 128 characters"),
        (row("ann", "ann@example.com", list=list(range(2_001))), "at most 2000 values"),
        (row("ann", "ann@example.com", **{"k" * 128: ["x" * 20] * 1_999}), "bytes of index entries"),
        (row("ann", "ann@example.com", deep=json.loads("[" * 600 + "]" * 600)), "nested at most 32 deep"),
        ('{"email": "ann@example.com", "deep": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        ("{", ""),
    ],
)
async def test_an_invalid_line_is_reported_with_its_reason(log: Log, tmp_path: Path, bad: object, reason: str) -> None:
    """The reason names the field and the error; the lines around it are imported."""
    outcome = await take(
        log, tmp_path / "users.json", row("one", "one@example.com"), bad, row("two", "two@example.com")
    )

    assert outcome.added == 2
    assert [refused.line for refused in outcome.refused] == [2]
    assert reason in outcome.refused[0].reason


async def test_hashes_and_roles_are_imported_and_passwords_are_optional(log: Log, tmp_path: Path) -> None:
    """Fields are mapped by --map; unmapped fields become attributes."""
    await take(
        log,
        tmp_path / "users.json",
        {"login": "ann", "mail": "ann@example.com", "full": "Ann", "password": BCRYPT, "role": "admin", "age": 7},
        {"login": "bob", "mail": "bob@example.com", "full": "Bob"},
        mapping="username=login,email=mail,name=full,password_hash=password",
    )

    ann, bob = await log.commands.find("ann"), await log.commands.find("bob")
    assert ann is not None
    assert ann.user is not None
    assert (ann.user.role, ann.user.attributes) == (Role.ADMIN, {"age": 7})
    assert (await log.commands.credential("ann")).password_hash == BCRYPT
    assert bob is not None
    assert bob.password_version == 0


async def test_extended_json_becomes_plain_values_in_the_attributes(log: Log, tmp_path: Path) -> None:
    """Ids, dates and numbers of a MongoDB export become plain JSON values."""
    await take(
        log,
        tmp_path / "users.json",
        row(
            "ann",
            "ann@example.com",
            _id={"$oid": "5ca4bbcea2dd94ee58162a68"},
            birthdate={"$date": {"$numberLong": "226117231000"}},
            accounts=[{"$numberInt": "371138"}],
        ),
    )

    ann = await log.commands.find("ann")
    assert ann is not None
    assert ann.user is not None
    assert ann.user.attributes == {
        "_id": "5ca4bbcea2dd94ee58162a68",
        "birthdate": "1977-03-02T02:20:31Z",
        "accounts": [371138],
    }
