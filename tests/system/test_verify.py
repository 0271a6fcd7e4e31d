"""`rollcall verify` as a process: its output and exit codes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from typer.testing import CliRunner

from events.database import Database
from projections.mongo.client import MongoDatabase
from projections.mongo.view import MongoView
from projections.mysql.view import MySQLView
from rollcall import exits
from rollcall.cli import app
from rollcall.embedded import Addresses
from tests.damage import alter_key
from tests.events.exports import opened
from tests.log import Log
from tests.projections import drifts
from tests.system.installation import Finished, Installation, own_servers

SECRETS = ("ada@example.com", "forged@example.com", "Lovelace", "London", "Forged")


@dataclass(frozen=True, slots=True)
class Site:
    """An installation whose views equal its log of three users."""

    installation: Installation
    log: Log
    ids: list[str]
    relational: drifts.Drifts
    document: drifts.Drifts

    async def verify(self, *arguments: str) -> Finished:
        """Run `rollcall verify`."""
        return await self.installation.run("verify", *arguments)


@pytest_asyncio.fixture
async def site(database: Database, documents: MongoDatabase, addresses: Addresses, tmp_path: Path) -> Site:
    """Views filled directly, without a projector process."""
    log = await opened(database)
    ids = [
        (await log.register(name, name="Ada Lovelace", attributes={"town": "London"})).user_id
        for name in ("ada", "bob", "carol")
    ]
    for view in (MySQLView(database), MongoView(documents)):
        await view.prepare()
        await view.apply(await log.all(), after=await log.at(0))
    address = database.address
    mysql_url = f"mysql://{address.user}:{address.password}@{address.host}:{address.port}/{address.database}"
    mongo_url = addresses.mongo_url.replace("/rollcall?", f"/{documents.name}?")
    return Site(
        own_servers(tmp_path, mysql_url, mongo_url),
        log,
        list(map(str, ids)),
        drifts.mysql_drifts(database),
        drifts.mongo_drifts(documents),
    )


def lines_of(finished: Finished) -> list[dict[str, Any]]:
    """The JSON lines of standard output."""
    return [json.loads(line) for line in finished.out.splitlines()]


async def test_differences_are_reported_masked_and_repaired(site: Site) -> None:
    """The exit code is 0 without differences, 1 with some, and 0 after all of them are repaired."""
    clean = await site.verify()
    assert clean.code == exits.OK
    assert clean.out.splitlines() == [
        f"{view}: 3 users compared, 0 differences of 0 users; the view is at position 3 of 3"
        for view in ("mysql_users", "mongo_users")
    ]
    for stage in ("folding the log: 3 of 3 events", "comparing mysql_users: 3 of 3 users", "comparing mongo_users"):
        assert stage in clean.err

    ada, bob, carol = (UUID(one) for one in site.ids)
    await site.relational.set(ada, email="forged@example.com")
    await site.relational.drop_index("by_email")
    await site.document.set(ada, **{"history.0.type": "RoleChanged"})
    await site.document.set(bob, name="Forged", version=7)
    await site.document.remove(carol)

    reported = await site.verify()
    assert reported.code == exits.NOT_ALL
    assert reported.out.splitlines()[:6] == [
        'mysql_users: index by_email: expected "same_email", found nothing',
        f'mysql_users: user {ada}: email: expected "<15 characters>", found "<18 characters>"',
        reported.out.splitlines()[2],
        f'mongo_users: user {bob}: name: expected "<12 characters>", found "<6 characters>"',
        f"mongo_users: user {bob}: version: expected 1, found 7",
        f"mongo_users: user {carol}: is missing",
    ]
    assert reported.out.splitlines()[2].startswith(f"mongo_users: user {ada}: history[0]: expected ")
    assert not any(secret in reported.out + reported.err for secret in SECRETS)

    shown = await site.verify("mysql", "--show-values", "--json", "--user", site.ids[0])
    assert shown.code == exits.NOT_ALL
    assert lines_of(shown)[0] == {
        "view": "mysql_users",
        "kind": "changed",
        "user_id": site.ids[0],
        "is_data": False,
        "field": "email",
        "expected": "ada@example.com",
        "found": "forged@example.com",
    }

    repaired = await site.verify("--repair", "--json")
    assert repaired.code == exits.OK
    *differences, mysql, mongo = lines_of(repaired)
    assert [(one["view"], one["kind"], one["user_id"]) for one in differences] == [
        ("mysql_users", "index", None),
        ("mysql_users", "changed", site.ids[0]),
        ("mongo_users", "changed", site.ids[0]),
        ("mongo_users", "changed", site.ids[1]),
        ("mongo_users", "changed", site.ids[1]),
        ("mongo_users", "missing", site.ids[2]),
    ]
    assert not any(secret in repaired.out for secret in SECRETS)
    assert (mysql["differences"], mysql["left"], mongo["differences"], mongo["left"]) == (2, 0, 4, 0)
    assert (await site.verify()).out == clean.out


async def test_a_sample_reports_its_seed_and_size(site: Site) -> None:
    """A sample of 100% is allowed; only the named view is compared."""
    finished = await site.verify("mongo", "--sample", "100%", "--seed", "5")

    assert finished.code == exits.OK
    assert finished.out == (
        "mongo_users: 3 users compared (seed 5), 0 differences of 0 users; the view is at position 3 of 3\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sample", "2"], "expected a percentage such as 1%"),
        (["--sample", "0%"], "expected a percentage such as 1%"),
        (["--sample", "1%", "--user", "01a2020d-b3d5-7a96-99c5-4a2a4e12f0d1"], "use only one of the two"),
        (["--expect", "7:00"], "only together with --log"),
        (["--against", "heads", "--public-key", "x"], "only together with --log"),
        (["--log", "--against", "heads"], "use both or neither"),
        (["--log", "--against", "heads", "--public-key", "x"], "rollcall heads --public-key"),
        (["--log", "--repair", "--without-keys"], "goes only with --expect, --against"),
        (["--log", "mysql"], "goes only with --expect, --against"),
    ],
)
def test_conflicting_arguments_are_refused(arguments: list[str], message: str) -> None:
    """The exit code is 2, before settings are read or servers contacted."""
    finished = CliRunner().invoke(app, ["verify", *arguments])

    assert finished.exit_code == exits.BAD_INPUT
    assert message in finished.stderr


async def test_an_unknown_user_id_is_an_error(site: Site) -> None:
    """The exit code is 2: the id is probably mistyped."""
    finished = await site.verify("--user", "01a2020d-b3d5-7a96-99c5-4a2a4e12f0d1")

    assert finished.code == exits.BAD_INPUT
    assert "error: neither the log nor a view has a user 01a2020d-b3d5-7a96-99c5-4a2a4e12f0d1" in finished.err


async def test_a_damaged_user_is_reported_and_hides_no_other(site: Site) -> None:
    """Exit code 1 and the reason, unmasked; alone, among all users, and where a repair leaves the user as it is."""
    ada, bob, _ = site.ids
    await alter_key(site.log.database, UUID(bob))
    await site.relational.set(UUID(ada), name="Forged")

    of_bob = await site.verify("mysql", "--user", bob, "--json")
    of_all = await site.verify("mysql", "--repair", "--json")

    [difference, summary] = lines_of(of_bob)
    assert (of_bob.code, difference["kind"], difference["user_id"], summary["left"]) == (1, "unreadable", bob, 1)
    assert "the key of its user was altered" in difference["found"]
    *differences, summary = lines_of(of_all)
    assert [(one["user_id"], one["kind"]) for one in differences] == [(ada, "changed"), (bob, "unreadable")]
    assert (of_all.code, summary["differences"], summary["left"]) == (1, 2, 1)
    assert f"mysql_users: user {bob}: event at position 2 cannot be read" in (await site.verify("mysql")).out
