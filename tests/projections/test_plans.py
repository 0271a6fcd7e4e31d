"""Lists and searches are answered from an index, on a view of real size."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from events.checkpoint import ANY_LOG, Checkpoint
from events.database import Database
from events.event_types import NOT_READ, Role
from projections.filters import (
    AllOf,
    AnyOf,
    AttributeTest,
    DataOrderField,
    ListCursor,
    NotBefore,
    Operator,
    Order,
    OrderField,
    RoleIs,
    Slice,
    Test,
    TextField,
    TextIs,
    TextStartsWith,
    TimeField,
)
from projections.mongo.client import MongoDatabase
from projections.mongo.search import Search, pipeline
from projections.mongo.view import MongoView
from projections.mysql.copies import MySQLCopies
from projections.mysql.queries import list_statement
from projections.mysql.tables import STAGING
from projections.mysql.view import MySQLView
from rollcall.embedded import Addresses
from tests import databases

ROWS = 100_000
SOMEBODY = UUID("01a201e5-0ccb-76af-b481-7e5b49474588")
SOMETIME = datetime(2026, 1, 20, tzinfo=UTC)

FILL = """
INSERT INTO users
SELECT UNHEX(LEFT(SHA2(n, 256), 32)), CONCAT('user', n), CONCAT('user', n, '@example.com'),
       CONCAT('Name ', SHA2(n, 256)),
       ELT(1 + (n % 50 = 0) + (n % 5000 = 0), 'CUSTOMER', 'TECHNICAL_WORKER', 'ADMIN'), '{}', 1, n,
       '2026-01-01' + INTERVAL n MINUTE, '2026-06-01' + INTERVAL n SECOND,
       CONCAT('user', n), CONCAT('user', n, '@example.com')
FROM (
    SELECT a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 10000 * f.d AS n
    FROM digits a, digits b, digits c, digits e, digits f
) AS numbers
"""


@pytest_asyncio.fixture(scope="module")
async def users_table(addresses: Addresses) -> AsyncIterator[Database]:
    """A users table with 100,000 rows and fresh statistics."""
    async with databases.schema(addresses, size=2) as database:
        await MySQLView(database).prepare()
        await database.execute("CREATE TABLE digits (d INT PRIMARY KEY)")
        await database.execute("INSERT INTO digits VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9)")
        await database.execute(FILL)
        await database.execute("ANALYZE TABLE users")
        yield database


async def plan(database: Database, test: Test, order: Order, wanted: Slice) -> dict[str, Any]:
    """MySQL's plan of a slice: the one table's access, and whether a sort goes before it."""
    sql, parameters = list_statement(test, order, wanted)
    rows = await database.fetch_all(f"EXPLAIN FORMAT=TRADITIONAL {sql}", parameters)
    _, _, _, _, access, _, key, _, _, examined, _, extra = rows[0]
    return {"access": access, "key": key, "rows": examined, "sorts": "filesort" in (extra or "")}


@pytest.mark.parametrize("field", OrderField)
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("backward", [False, True])
async def test_a_page_of_the_whole_list_reads_only_its_rows(
    users_table: Database, field: OrderField, descending: bool, backward: bool
) -> None:
    """The first page in any order comes straight from that order's index, without a sort."""
    found = await plan(users_table, AllOf(()), Order(field, descending), Slice(20, backward=backward))

    assert found == {"access": "index", "key": f"by_{field}", "rows": 21, "sorts": False}


@pytest.mark.parametrize("field", OrderField)
@pytest.mark.parametrize("descending", [False, True])
async def test_a_page_in_the_middle_begins_at_its_cursor(
    users_table: Database, field: OrderField, descending: bool
) -> None:
    """However deep a page is, the index is entered at the cursor: no OFFSET, no sort."""
    value = SOMETIME if field.endswith("_at") else "user50000"
    after = ListCursor(value, SOMEBODY)

    found = await plan(users_table, AllOf(()), Order(field, descending), Slice(20, after=after))

    assert (found["access"], found["key"], found["sorts"]) == ("range", f"by_{field}", False)


@pytest.mark.parametrize(
    ("test", "key"),
    [
        (TextIs(TextField.EMAIL, ("user77@example.com",)), "by_email"),
        (TextIs(TextField.USERNAME, ("user77", "user78")), "by_username"),
        (TextStartsWith(TextField.USERNAME, "user777"), "by_username"),
        (TextStartsWith(TextField.NAME, "Name abc"), "by_name"),
        (RoleIs((Role.ADMIN,)), "by_role"),
        (NotBefore(TimeField.UPDATED_AT, datetime(2026, 6, 2, 3, 45, tzinfo=UTC)), "by_updated_at"),
        (AllOf((RoleIs((Role.ADMIN,)), TextStartsWith(TextField.EMAIL, "u"))), "by_role"),
    ],
)
async def test_a_selective_filter_reads_few_rows(users_table: Database, test: Test, key: str) -> None:
    """A lookup, a prefix, a rare role or a recent change is found through its index."""
    found = await plan(users_table, test, Order(), Slice(20))

    assert found["key"] == key
    assert found["rows"] < ROWS / 20


async def test_a_role_is_listed_in_order_of_registration_without_a_sort(users_table: Database) -> None:
    """The common staff list: one role, newest first."""
    found = await plan(users_table, RoleIs((Role.TECHNICAL_WORKER,)), Order(descending=True), Slice(20))

    assert (found["key"], found["sorts"]) == ("by_role", False)


async def test_any_of_two_lookups_uses_both_indexes(users_table: Database) -> None:
    """Username or email, as in a search box."""
    both = AnyOf((TextIs(TextField.EMAIL, ("user7@example.com",)), TextIs(TextField.USERNAME, ("user8",))))

    found = await plan(users_table, both, Order(), Slice(20))

    assert found["access"] == "index_merge"


def stages(node: Any) -> set[str]:
    """The names of all stages of a MongoDB plan."""
    if isinstance(node, list):
        return {name for inner in node for name in stages(inner)}
    if isinstance(node, dict):
        own = {node["stage"]} if isinstance(node.get("stage"), str) else set()
        return own | {name for inner in node.values() for name in stages(inner)}
    return set()


@pytest.mark.parametrize(
    ("search", "stage"),
    [
        (Search("elizabeth ray", ()), "IXSCAN"),
        (Search("", (AttributeTest("accounts", Operator.EQ, 371138),)), "IXSCAN"),
        (Search("", (AttributeTest("address.city", Operator.EQ, "Kuala Lumpur"),)), "IXSCAN"),
        (Search("", (AttributeTest("score", Operator.GT, 10),)), "IXSCAN"),
        (Search("", (AttributeTest("tier", Operator.IN, ["Gold", "Bronze"]),)), "IXSCAN"),
        (Search("", (AttributeTest("tier", Operator.EXISTS, True),)), "IXSCAN"),
    ],
)
async def test_a_search_of_documents_uses_an_index(documents: MongoDatabase, search: Search, stage: str) -> None:
    """Words and tests on any path are answered without a scan of every document."""
    await MongoView(documents).prepare()
    filler = [
        {"_id": UUID(int=n), "attributes": {"accounts": [n], "score": n % 10}, "version": 1} for n in range(3_000)
    ]
    await documents["users"].insert_many(filler)

    explained = await documents.command(
        "explain",
        {"aggregate": "users", "pipeline": pipeline(search, 20, None), "cursor": {}},
        verbosity="queryPlanner",
    )

    assert stage in stages(explained)
    assert "COLLSCAN" not in stages(explained)


FILL_DATA = """
INSERT INTO {data} (id, number, owner_id, name, content, version, position, created_at, updated_at)
SELECT UNHEX(LPAD(HEX(n), 32, '0')), n, UNHEX(LPAD(HEX(n MOD 100), 32, '0')), CONCAT('Object ', n), '{{}}', 1, n,
       TIMESTAMP('2026-01-01') + INTERVAL n SECOND, TIMESTAMP('2026-01-01') + INTERVAL n SECOND
FROM (SELECT a.d + 10 * b.d + 100 * c.d + 1000 * e.d AS n FROM digits a, digits b, digits c, digits e) AS numbers
"""


@pytest.mark.parametrize("field", DataOrderField)
async def test_a_list_of_a_copy_that_was_just_filled_reads_only_its_rows(
    users_table: Database, field: DataOrderField
) -> None:
    """A rebuild counts the rows of its copy, for which MySQL may take some seconds; until then it would sort them."""
    copies = MySQLCopies(users_table)
    copy = await copies.staging()
    try:
        await copy.begin(Checkpoint(ANY_LOG, 1, NOT_READ))
        await users_table.execute(STAGING.sql(FILL_DATA))
        await copy.complete()
        sql, parameters = list_statement(
            AllOf(()), Order(field), Slice(20), columns="id, LENGTH(content)", table=STAGING.sql("{data}")
        )
        [row] = await users_table.fetch_all(f"EXPLAIN FORMAT=TRADITIONAL {sql}", parameters)
    finally:
        await copy.discard()

    assert (row[4], row[6], row[9]) == ("index", f"by_{field}", 21)
