"""Files of other systems, in the form in which they write them: recognised, imported, and signed in to as before.

The persons are invented. The hashes were made by the systems' own packages: Django, passlib, bcrypt, argon2-cffi,
bcryptjs and firebase-scrypt.
"""

import json
import shutil
from pathlib import Path

import pytest

from events.database import Address, Database
from rollcall.userfile import BadRow, FieldMap, UserRow, read_hash_config, read_users
from tests.events.exports import opened
from tests.system.installation import Installation, own_servers
from tests.waiting import eventually

EXPORTS = Path(__file__).parent / "exports"
PASSWORD = "a password of old"

FILES = {
    "firebase.json": ("firebase", 5, ["fay@fb.example", "fritz@fb.example"]),
    "firebase.csv": ("firebase", 5, ["fay@fbcsv.example", "fritz@fbcsv.example"]),
    "auth0.ndjson": ("auth0", 4, ["ada", "ada@a0.example", "alan@a0.example"]),
    "keycloak.json": ("keycloak", 5, ["kira", "karl@kc.example", "kemal", "kofi"]),
    "django.json": ("django", 7, ["dora", "dan", "dee", "dov@dj.example", "dmd"]),
    "django_table.csv": ("django", 2, ["tara", "tom"]),
    "wordpress.csv": ("wordpress", 3, ["wanda", "wim@wp.example", "wolf"]),
    "devise.csv": ("devise", 1, ["dev@devise.example"]),
    "supabase.csv": ("supabase", 2, ["sue@sb.example"]),
    "okta.csv": ("okta", 1, []),
    "directory.ldif": ("ldif", 3, ["lena", "lukasz"]),
}
"""The system of each file, the rows of users in it, and logins with the old password."""
LEFT_WITHOUT_PASSWORD = [
    *(
        "foff@fb.example",
        "fgoogle@fb.example",
        "foff@fbcsv.example",
        "fgoogle@fbcsv.example",
        "amy@a0.example",
        "abe@a0.example",
        "kdis",
    ),
    *("dunusable", "dinactive", "oauth@sb.example", "olga@okta.example", "lock"),
]


@pytest.mark.parametrize("name", FILES)
def test_each_system_is_recognised_and_its_users_are_read(name: str) -> None:
    """By the fields of its records; what is no user is left out."""
    system, users, _ = FILES[name]
    config = read_hash_config(EXPORTS / "firebase_parameters.txt")

    file = read_users(EXPORTS / name, FieldMap(), hash_config=config)
    rows = list(file)

    assert file.system.name == system
    assert len(rows) == users
    assert not [row for row in rows if isinstance(row, BadRow)]
    assert all(row.email for row in rows if isinstance(row, UserRow)) or system == "firebase"
    forced = read_users(EXPORTS / name, FieldMap(), system=system, hash_config=config)
    assert list(forced) == rows


def test_names_dates_and_ids_are_those_of_the_system() -> None:
    """Its one-time tokens, counters and roles are left out; its other fields are attributes."""
    first = {
        name: next(row for row in read_users(EXPORTS / name, FieldMap()) if isinstance(row, UserRow)) for name in FILES
    }

    assert {name: (row.username, row.name) for name, row in first.items()} == {
        "firebase.json": (None, "Fay Base"),
        "firebase.csv": (None, "Base, Fay"),
        "auth0.ndjson": ("ada", "Ada King"),
        "keycloak.json": ("kira", "Kira Mustermann"),
        "django.json": ("dora", "Dora Ng"),
        "django_table.csv": ("tara", "Tara Ng"),
        "wordpress.csv": ("wanda", "Wanda W."),
        "devise.csv": (None, "Dev Ise"),
        "supabase.csv": (None, "Sue Pabase"),
        "okta.csv": ("olga@okta.example", "Olga Kta"),
        "directory.ldif": ("lena", "Lena Lang"),
    }
    assert {name for name, row in first.items() if row.created_at is None} == {"okta.csv"}
    assert {name for name, row in first.items() if row.role is not None} == set()
    assert first["supabase.csv"].attributes["raw_user_meta_data"] == {"plan": "pro"}
    assert first["keycloak.json"].attributes["phone"] == "+60 12"
    assert "recovery_token" not in first["supabase.csv"].attributes
    assert "pwdhistory" not in first["directory.ldif"].attributes


def test_firebase_writes_the_same_users_as_json_and_as_csv_without_a_header(tmp_path: Path) -> None:
    """An older export has fewer columns."""
    config = read_hash_config(EXPORTS / "firebase_parameters.txt")
    text = (EXPORTS / "firebase.csv").read_text().replace("fbcsv", "fb").replace("csvf", "fire")
    (tmp_path / "new.csv").write_text(text.replace('"Base, Fay"', "Fay Base"))
    (tmp_path / "old.csv").write_text("".join(f"{line.rsplit(',', 3)[0]},\n" for line in text.splitlines()[1:]))

    (tmp_path / "own.csv").write_text("email,emailVerified\na@example.com,true\n")

    users = [
        list(read_users(path, FieldMap(), hash_config=config))
        for path in (EXPORTS / "firebase.json", tmp_path / "new.csv")
    ]
    json_users, csv_users = [[as_said(row) for row in rows] for rows in users]
    assert csv_users == json_users
    assert [as_said(row) for row in read_users(tmp_path / "old.csv", FieldMap(), hash_config=config)] == [
        {**user, "disabled": False} for user in json_users[1:]
    ]
    assert [row.email for row in read_users(tmp_path / "own.csv", FieldMap()) if isinstance(row, UserRow)] == [
        "a@example.com"
    ]


def as_said(row: UserRow | BadRow) -> dict[str, object]:
    """A row without its place in the file. JSON also says that there are no providers, where CSV says nothing."""
    assert isinstance(row, UserRow)
    said = {name: getattr(row, name) for name in UserRow.__dataclass_fields__ if name not in {"line", "element"}}
    return {**said, "attributes": {name: value for name, value in row.attributes.items() if value != []}}


async def test_everybody_signs_in_with_the_old_password(urls: tuple[str, str], tmp_path: Path) -> None:
    """Through the API, twice: the second time with the hash that the first sign-in made of it."""
    installation: Installation = own_servers(tmp_path, *urls)
    shutil.copytree(EXPORTS, tmp_path, dirs_exist_ok=True)
    for name, (system, users, _) in FILES.items():
        options = ["--hash-config", "firebase_parameters.txt"] if system == "firebase" else []
        dry = await installation.run("import", name, "--keep-ids", "--dry-run", "--json", *options)
        finished = await installation.run("import", name, "--keep-ids", "--json", *options)
        outcome = json.loads(finished.out)
        refused = 1 if system == "firebase" else 0  # a user with a telephone number only
        assert (outcome["added"], outcome["refused_rows"]) == (users - refused, refused), finished
        assert json.loads(dry.out) == outcome
        again = json.loads((await installation.run("import", name, "--keep-ids", "--json", *options)).out)
        assert (again["added"], again["already_there"]) == (0, users - refused)

    database = Database.at(Address.parse(urls[0]), size=2)
    log = await opened(database)
    logins = [login for _, _, found in FILES.values() for login in found]
    imported = {login: (await log.commands.credential(login)).password_hash for login in logins}
    assert [login for login, found in imported.items() if found is None] == []
    assert [
        login for login in LEFT_WITHOUT_PASSWORD if (await log.commands.credential(login)).password_hash is not None
    ] == []
    kira = await log.commands.find("kira")
    assert kira is not None
    assert kira.user is not None
    assert str(kira.user.id) == "5b1f3a9e-2c64-4f0a-8a9d-000000000001"
    assert kira.user.created_at.isoformat() == "2020-09-01T00:00:00+00:00"
    async with installation.running("serve"):
        await eventually(installation.ready)
        for login in logins:
            assert await installation.sign_in(login, PASSWORD), login
        for login in logins:
            assert await installation.sign_in(login, PASSWORD), login
    for login in logins:
        now = (await log.commands.credential(login)).password_hash
        assert now is not None
        assert now.startswith("$argon2id$"), (login, imported[login])
    await database.close()


async def test_firebase_without_its_parameters_brings_the_persons(urls: tuple[str, str], tmp_path: Path) -> None:
    """Nobody is lost, and who has no password is counted."""
    installation = own_servers(tmp_path, *urls)
    shutil.copy(EXPORTS / "firebase.json", tmp_path)

    finished = await installation.run("import", "firebase.json")

    assert "firebase.json: a JSON array under 'users', Firebase auth:export" in finished.err
    assert "2 of those added have no password: their hash is in no form" in finished.out
    bad = await installation.run("import", "firebase.json", "--hash-config", "firebase.json")
    assert bad.code == 2
    assert "Password hash parameters" in bad.err
