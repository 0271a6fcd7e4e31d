"""Any bytes in one row of `events` or `user_keys` damage the user of that row, and nobody else.

Two columns of `events` are the log's and not the user's, and are left out: a position that is missing is a lost event
of whoever, and a hash is that of the log up to there, by which a follower recognises its log.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import pytest
import pytest_asyncio
from asyncmy.errors import MySQLError
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from events.audit import AuditLog
from events.changes import replay_log
from events.checkpoint import BEGINNING
from events.consistency import Inconsistency, verify_users
from events.database import Database
from events.event_types import EVENT_TYPES
from events.user import Delete, Update, User
from projections.mongo.client import MongoDatabase
from tests.log import NOBODY, Log
from tests.projections.test_projector import projector, running
from tests.projections.test_quarantine import reach
from tests.projections.test_rebuild import rebuilder, silently
from tests.projections.test_verification import Run
from tests.projections.test_view_contract import folded
from tests.projections.views import Bench, mongo_view, mysql_view

EXAMPLES: Final = 4
"""For each column: an example follows, rebuilds and verifies both views."""

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
texts = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.sampled_from(['{"fields":5}', '{"fields":[{"a":1}]}', '{"fields":null}', "{}", "[]", "null", "[" * 60_000]),
    st.sampled_from(['{"schema":99}', '{"schema":1,"actor":5}', '{"schema":-1}', '{"schema":1}']),
)
instants = st.sampled_from(
    ["0000-00-00 00:00:00", "2026-00-00 00:00:00", "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999"]
)
EVENT_COLUMNS: Final[Mapping[str, st.SearchStrategy[Any]]] = {
    "stream_id": st.binary(min_size=16, max_size=16),
    "version": st.integers(0, 2**32 - 1) | st.sampled_from([0, 2**31, 2**32 - 1]),
    "event_id": st.binary(min_size=16, max_size=16),
    "type": st.sampled_from([*EVENT_TYPES, "", "Unknown"]) | st.text(st.characters(codec="ascii"), max_size=64),
    "data": texts,
    "personal": st.binary(max_size=100),
    "metadata": texts,
    "recorded_at": instants,
}
KEY_COLUMNS: Final[Mapping[str, st.SearchStrategy[Any]]] = {
    "user_id": st.binary(min_size=16, max_size=16),
    "wrapped": st.none() | st.binary(max_size=128),
    "deletion_proof": st.none() | st.binary(max_size=64),
    "master_key_id": st.none() | st.binary(min_size=8, max_size=8),
}


@dataclass(frozen=True, slots=True)
class Scene:
    """A log of three living users and a deleted one, and who of them are nobody's victims."""

    log: Log
    bob: UUID
    gone: UUID
    others: Mapping[UUID, User]
    rows: Mapping[UUID, list[int]]
    """The positions of each user's events."""

    @classmethod
    async def of(cls, log: Log) -> "Scene":
        alice, bob, gone, carol = [(await log.register(name)).user_id for name in ("alice", "bob", "gone", "carol")]
        for number in range(2):
            for user_id in (alice, bob, gone, carol):
                await log.commands.change(user_id, Update(name=f"Name {number}", attributes={"n": number}), NOBODY)
        await log.commands.change(gone, Delete(), NOBODY)
        for user_id in (alice, carol):
            await log.commands.change(user_id, Update(name="Last"), NOBODY)
        events = await log.all()
        users, rows = folded(events), dict[UUID, list[int]]()
        for recorded in events:
            rows.setdefault(recorded.stream_id, []).append(recorded.position)
        for operation in ("update", "delete"):
            await log.database.execute(f"DROP TRIGGER events_refuse_{operation}")
        return cls(log, bob, gone, {user_id: users[user_id] for user_id in (alice, carol)}, rows)


async def overwrite(database: Database, table: str, key: tuple[str, object], values: Mapping[str, object]) -> None:
    """Write values into one row with MySQL's strict mode off; skip what the columns cannot hold."""
    async with database.dedicated() as session:
        await session.execute("SET SESSION sql_mode = ''")
        assignments = ", ".join(f"{column} = %s" for column in values)
        try:
            await session.execute(f"UPDATE {table} SET {assignments} WHERE {key[0]} = %s", [*values.values(), key[1]])
        except MySQLError:
            assume(False)


async def check(scene: Scene, *benches: Bench) -> None:
    """Every reader of the log passes over the damage and serves everybody else."""
    log, head = scene.log, await scene.log.store.head()
    seen: dict[UUID, Any] = {}
    async for page in replay_log(log.store, lambda _: True, after=BEGINNING, up_to=head):
        seen |= {change.recorded.stream_id: change.user for change in page.changes}
    assert {user_id: seen[user_id] for user_id in scene.others} == scene.others
    assert len(await AuditLog(log.database).of_all(after=0, limit=100)) == head
    await log.store.position_at(datetime(2026, 1, 1, tzinfo=UTC))
    wrong: list[Inconsistency] = []
    await verify_users(log.database, log.vault, log.keys, wrong.append, lambda *_: None)
    assert not {one.user_id for one in wrong} & scene.others.keys()
    for bench in benches:
        await bench.view.prepare()
        await bench.drop()
        await bench.view.prepare()
        async with running(projector(bench.view, log)):
            await reach(bench, head)
        await check_view(scene, bench)
        rebuilt = await rebuilder(bench, log, quarantine_limit=10).rebuild(silently)
        assert rebuilt.position == head
        await check_view(scene, bench)


async def check_view(scene: Scene, bench: Bench) -> None:
    users = await bench.users()
    assert {user_id: users.get(user_id) for user_id in scene.others} == scene.others
    differences = await Run(scene.log, bench.records, repair=True).all_users()
    assert not {one.user_id for one in differences} & scene.others.keys()


@pytest_asyncio.fixture
async def scene(log: Log) -> Scene:
    """One scene for all examples of a test, each of which restores the row."""
    return await Scene.of(log)


OFTEN: Final = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
"""The fixtures are the same for all examples."""


def some_of(columns: Mapping[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Values of one to three of these columns."""
    names = st.lists(st.sampled_from(sorted(columns)), min_size=1, max_size=3, unique=True)
    return names.flatmap(lambda chosen: st.fixed_dictionaries({name: columns[name] for name in chosen}))


@pytest.mark.parametrize("column", [*EVENT_COLUMNS, "several"])
@OFTEN
@given(data=st.data())
async def test_any_bytes_in_a_row_of_the_log_damage_its_user_alone(
    scene: Scene, database: Database, documents: MongoDatabase, column: str, data: st.DataObject
) -> None:
    """An event of a living user and of a deleted one: feed, audit, projectors, rebuilds, verification and repair."""
    columns = EVENT_COLUMNS if column == "several" else {column: EVENT_COLUMNS[column]}
    position = data.draw(st.sampled_from([*scene.rows[scene.bob], *scene.rows[scene.gone]]))
    values = data.draw(some_of(columns))
    await database.execute("CREATE TABLE kept AS SELECT * FROM events WHERE position = %s", (position,))
    try:
        await overwrite(database, "events", ("position", position), values)
        await check(scene, mysql_view(database), mongo_view(documents))
    finally:
        await database.execute("DELETE FROM events WHERE position = %s", (position,))
        await database.execute("INSERT INTO events SELECT * FROM kept")
        await database.execute("DROP TABLE kept")


@pytest.mark.parametrize("column", [*KEY_COLUMNS, "several"])
@OFTEN
@given(data=st.data())
async def test_any_bytes_in_a_row_of_keys_damage_its_user_alone(
    scene: Scene, database: Database, documents: MongoDatabase, column: str, data: st.DataObject
) -> None:
    """The key of a living user, and the proof that a deleted one's was destroyed."""
    columns = KEY_COLUMNS if column == "several" else {column: KEY_COLUMNS[column]}
    owner = data.draw(st.sampled_from([scene.bob, scene.gone])).bytes
    values = data.draw(some_of(columns))
    await database.execute("CREATE TABLE kept AS SELECT * FROM user_keys WHERE user_id = %s", (owner,))
    try:
        await overwrite(database, "user_keys", ("user_id", owner), values)
        await check(scene, mysql_view(database), mongo_view(documents))
    finally:
        moved = values.get("user_id", owner)
        await database.execute("DELETE FROM user_keys WHERE user_id IN (%s, %s)", (moved, owner))
        await database.execute("INSERT INTO user_keys SELECT * FROM kept")
        await database.execute("DROP TABLE kept")
