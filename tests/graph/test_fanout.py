"""A change is executed, encoded and framed once for all subscribers, and each gets what it would get alone."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, contextmanager
from functools import partial
from typing import Any, Final
from uuid import UUID

import msgspec
import pytest
import strawberry
from hypothesis import given, settings
from hypothesis import strategies as st
from strawberry.schema.config import StrawberryConfig

from events.changes import Change
from events.event_types import Origin, Recorded, Role, UserUpdated
from events.feed import ChangeBatch
from events.user import Delete, Update, User
from graph import fanout, sockets
from graph.documents import CheckedDocuments, DocumentCache
from graph.execution import PlanExecutor
from graph.fanout import (
    BATCH_BYTES,
    ENTRY_BYTES,
    CacheEntry,
    EncodedAnswer,
    Frames,
    Framing,
    SharedOperation,
    SharedOperations,
    SourceStream,
    SubscriptionExecutor,
    response_frames,
)
from graph.scalars import SCALARS
from graph.sockets import _frame_around_id
from graph.subscriptions import CHANGES as TOPIC
from graph.subscriptions import of_types
from graph.types import UserChange
from tests.graph.client import Json, Socket
from tests.graph.documents import CHANGES, STATUS
from tests.graph.site import Person, Site
from tests.graph.test_execution import NOW, selections
from tests.log import NOBODY
from tests.waiting import eventually

NUMBER: Final = UUID(int=7)


def change(position: int, *, deleted: bool = False) -> Change:
    """A change of a user who may be deleted by now."""
    user = User(
        id=NUMBER,
        username="ada",
        email="ada@example.com",
        name='Ünï "☃"\n\u2028',
        role=Role.ADMIN,
        attributes={"a": [1, 2.5, None, {"b": "c"}], "n": 2**63 - 1},
        version=position,
        position=position,
        created_at=NOW,
        updated_at=NOW,
    )
    recorded = Recorded(
        position=position,
        stream_id=NUMBER,
        version=position,
        event_id=NUMBER,
        type="UserUpdated",
        event=UserUpdated(),
        fields=("name",),
        origin=Origin(),
        recorded_at=NOW,
    )
    return Change(recorded, None if deleted else user, NUMBER)


@strawberry.type
class Query:
    """A schema has one."""

    nothing: str = ""


async def _user_changes(info: strawberry.Info) -> AsyncIterable[UserChange]:
    return SourceStream(_batches(info.context), TOPIC)


async def _batches(changes: Sequence[Change]) -> AsyncGenerator[Sequence[Change], None]:
    yield changes


@strawberry.type
class Subscription:
    """The graph's own type of changes, over changes that the context holds."""

    user_changes: AsyncIterable[UserChange] = strawberry.subscription(resolver=_user_changes)


OPTIONS: dict[str, Any] = {
    "query": Query,
    "subscription": Subscription,
    "config": StrawberryConfig(scalar_map=SCALARS),
}
STOCK = strawberry.Schema(**OPTIONS)
SHARING = strawberry.Schema(
    **OPTIONS,
    execution_context_class=SubscriptionExecutor,
    extensions=[partial(CheckedDocuments, DocumentCache())],
)
PAYLOADS: Final = Framing("payloads", lambda answers: [answer.payload for answer in answers])
"""Frames that are the payloads themselves."""


async def answers(
    schema: strawberry.Schema, operations: SharedOperations, document: str, changes: list[Change], *, yes: bool
) -> list[Json]:
    """The answers that a subscriber gets to some changes."""
    results: Any = await schema.stream(document, {"yes": yes}, context_value=changes)
    batches = response_frames(results, operations, NUMBER, PAYLOADS)
    return [json.loads(payload) async for frames in batches for payload in frames]


@settings(max_examples=50, deadline=None)
@given(selection=selections("UserChange"), before=st.booleans(), yes=st.booleans(), limit=st.sampled_from([0, 10_000]))
async def test_shared_answers_are_those_of_the_stock_executor(
    selection: str, before: bool, yes: bool, limit: int
) -> None:
    """For any selection, after another subscriber had the same with other variables and of other versions."""
    document = f"subscription ($yes: Boolean!) {{ userChanges {selection[:-1]} used: __typename @skip(if: $yes) }} }}"
    operations = SharedOperations(limit)
    earlier, later = [change(1), change(2)], [change(2, deleted=True), change(1), change(3)]

    results: Any = await SHARING.stream(document, {"yes": before}, context_value=earlier)
    async with aclosing(results), aclosing(response_frames(results, operations, NUMBER, PAYLOADS)) as other:
        assert len(await anext(other)) == 2  # and goes on
        shared = await answers(SHARING, operations, document, later, yes=yes)

    assert shared == await answers(STOCK, operations, document, later, yes=yes)


FIELDS: Final = "position type userId version changedFields recordedAt"
WITH_HISTORY: Final = "user { id history(first: 2) { edges { node { type position } } } }"
DOCUMENTS: Final = {
    "all fields": CHANGES,
    "fragments": """
        subscription Changes($after: Position) { userChanges(after: $after) { ...One ... on UserChange { version } } }
        fragment One on UserChange { __typename at: position user { ...Two } }
        fragment Two on User { name attributes }
    """,
    "an alias": "subscription Changes($after: Position) { it: userChanges(after: $after) { position user { id } } }",
    "directive variables": """
        subscription Changes($after: Position, $yes: Boolean = true, $no: Boolean = false) {
          userChanges(after: $after) { position version @include(if: $no) user @include(if: $yes) { id } }
        }
    """,
    "history": f"subscription Changes($after: Position) {{ userChanges(after: $after) {{ {FIELDS} {WITH_HISTORY} }} }}",
    "history in a fragment": f"""
        subscription Changes($after: Position) {{ userChanges(after: $after) {{ position ...One }} }}
        fragment One on UserChange {{ {WITH_HISTORY} }}
    """,
}


@contextmanager
def nothing_shared(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each subscriber's operation is executed for it alone."""
    with patch.context() as patched:
        patched.setattr(SharedOperations, "find", lambda *_: None)
        yield


async def resumed(person: Person, document: str, after: int, count: int) -> list[Json]:
    """The payloads of a subscriber that resumes from a position."""
    async with person.client.socket() as socket:
        await socket.subscribe(document, after=str(after))
        return [(await socket.receive())["payload"] for _ in range(count)]


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("role", list(Role), ids=str)
async def test_every_role_gets_what_it_would_get_alone(
    site: Site, monkeypatch: pytest.MonkeyPatch, role: Role, name: str
) -> None:
    """On the real schema, while users of all roles subscribe with the same document."""
    document = DOCUMENTS[name]
    start = await site.log.store.head()
    others = [await site.person(other) for other in Role]
    person = await site.person(role)
    for one in [*others, person]:
        await site.log.commands.change(one.user.id, Update(name="Another"), NOBODY)
    count = 2 if role is Role.CUSTOMER else 10
    async with AsyncExitStack() as stack:
        for other in others:
            socket = await stack.enter_async_context(other.client.socket())
            await socket.subscribe(document, after=str(start))
            await socket.receive()  # and goes on
        shared = await resumed(person, document, start, count)

    with nothing_shared(monkeypatch):
        assert shared == await resumed(person, document, start, count)
    assert all("errors" not in payload for payload in shared)


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Positions of the changes that operations were executed for."""
    found: list[object] = []
    execute = PlanExecutor.execute_operation

    def watched(self: PlanExecutor, serially: bool | None = None) -> Any:
        if isinstance(self.root_value, UserChange):
            found.append(self.root_value.position)
        return execute(self, serially)

    monkeypatch.setattr(PlanExecutor, "execute_operation", watched)
    return found


@pytest.fixture
def encodings(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Data that was encoded to be shared."""
    found: list[object] = []
    encode = fanout.encode_result

    def watched(data: object) -> bytes:
        found.append(data)
        return encode(data)

    monkeypatch.setattr(fanout, "encode_result", watched)
    return found


async def subscribed(site: Site, stack: AsyncExitStack, person: Person, **variables: Json) -> tuple[Socket, str]:
    socket = await stack.enter_async_context(person.client.socket())
    return socket, await site.listen(socket, CHANGES, **variables)


async def test_a_change_is_executed_and_encoded_once_for_all_subscribers(
    site: Site, encodings: list[object], executed: list[object]
) -> None:
    """Twenty of three roles, of all users, of one user, of some types: five changes are executed five times."""
    people = [await site.person(role) for role in (Role.ADMIN, Role.TECHNICAL_WORKER, Role.CUSTOMER)]
    customer = people[2].id
    async with AsyncExitStack() as stack:
        ways: list[Json] = [{}, {"userId": customer}, {"types": ["USER_UPDATED"], "after": None}]
        subscribers = [
            await subscribed(site, stack, people[number % 3], **ways[number // 3 % 3]) for number in range(20)
        ]
        for number in range(5):
            await site.log.commands.change(people[2].user.id, Update(name=f"Name {number}"), NOBODY)
        names = [
            [(await socket.next(id_))["userChanges"]["user"]["name"] for _ in range(5)] for socket, id_ in subscribers
        ]

    assert names == [[f"Name {number}" for number in range(5)]] * 20
    assert len(executed) == len(set(executed)) == 5
    assert len(encodings) == 5


async def test_an_operation_that_depends_on_the_viewer_is_executed_for_each(site: Site, executed: list[object]) -> None:
    """`history` reads, and depends on the viewer: three subscribers, three times."""
    people = [await site.person(role) for role in (Role.ADMIN, Role.TECHNICAL_WORKER, Role.CUSTOMER)]
    document = DOCUMENTS["history"]
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(person.client.socket()) for person in people]
        ids = [await site.listen(socket, document) for socket in sockets]
        await site.log.commands.change(people[2].user.id, Update(name="Another"), NOBODY)
        for socket, id_ in zip(sockets, ids, strict=True):
            assert len((await socket.next(id_))["userChanges"]["user"]["history"]["edges"]) == 2

    assert len(executed) == 3


async def test_a_deleted_user_is_not_shown_to_later_subscribers(site: Site) -> None:
    """Although the same document showed it to others a moment before."""
    staff, person = await site.person(Role.ADMIN), await site.person()
    async with staff.client.socket() as socket:
        id_ = await site.listen(socket, CHANGES)
        done = await site.log.commands.change(person.user.id, Update(name="A secret"), NOBODY)
        assert (await socket.next(id_))["userChanges"]["user"]["name"] == "A secret"
        await site.log.commands.change(person.user.id, Delete(), NOBODY)
        await socket.next(id_)
        site.services.feed._recent.clear()  # as after a thousand changes more

        again = await resumed(staff, CHANGES, done.position - 1, 1)

    assert again[0]["data"]["userChanges"]["position"] == str(done.position)
    assert again[0]["data"]["userChanges"]["user"] is None


async def test_the_projections_status_is_encoded_once_for_all_subscribers(site: Site, encodings: list[object]) -> None:
    """A topic without positions."""
    staff = await site.person(Role.TECHNICAL_WORKER)
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(staff.client.socket()) for _ in range(10)]
        for socket in sockets:
            await socket.next(await socket.subscribe(STATUS))

    assert 1 <= len(encodings) < 10


def test_the_cache_is_bounded() -> None:
    """The least recently used entries go first; a replaced one counts once."""
    cache = SharedOperations(cache_bytes=10 * (100 + ENTRY_BYTES))._cache
    for position in range(100):
        cache[0, position] = cache[0, position] = CacheEntry(False, [bytes(60), bytes(40)])

    assert cache.currsize == 10 * (100 + ENTRY_BYTES)
    assert [position for position in range(100) if (0, position) in cache] == list(range(90, 100))


async def test_little_is_made_ahead_of_what_a_client_has_read() -> None:
    """Of forty large answers that are due at once, not more than 64 KiB and one answer at a time."""
    user = change(1).user
    assert user is not None
    large = msgspec.structs.replace(user, attributes={"note": "x" * 10_000})
    changes = [Change(change(number).recorded, large, NUMBER) for number in range(1, 41)]

    results: Any = await SHARING.stream("subscription { userChanges { user { attributes } } }", context_value=changes)
    batches = response_frames(results, SharedOperations(), NUMBER, PAYLOADS)
    sizes = [sum(map(len, frames)) async for frames in batches]

    assert sum(sizes) > 400_000
    assert max(sizes) < BATCH_BYTES + 11_000


async def test_operations_without_subscribers_are_forgotten() -> None:
    """However many different documents were sent."""
    operations = SharedOperations()
    for number in range(50):
        document = f"subscription S{number} {{ userChanges {{ position }} }}"
        assert await answers(SHARING, operations, document, [change(1)], yes=True)

    assert len(operations._operations) <= 1


def frames(data: bytes) -> Iterator[bytes]:
    """The payloads of the text frames in some bytes (RFC 6455, section 5.2)."""
    while data:
        assert data[0] == 0x81
        wide = {126: 2, 127: 8}.get(data[1], 0)
        size = int.from_bytes(data[2 : 2 + wide], "big") if wide else data[1]
        yield data[2 + wide : 2 + wide + size]
        data = data[2 + wide + size :]


@given(
    ids=st.lists(st.text(min_size=1), min_size=1, max_size=3),
    notes=st.lists(st.sampled_from([0, 1, 60, 90, 65_400, 65_480, 65_536]), min_size=1, max_size=3),
)
def test_frames_are_the_same_under_each_id(ids: list[str], notes: list[int]) -> None:
    """Of all lengths, in frames of all three sizes."""
    answers = [EncodedAnswer(json.dumps({"data": "x" * size}).encode()) for size in notes]
    for id_ in ids:
        text = json.dumps(id_).encode()

        sent = text.join(_frame_around_id(len(text), answers))

        messages = [json.loads(frame) for frame in frames(sent)]
        assert messages == [{"id": id_, "type": "next", "payload": {"data": "x" * size}} for size in notes]


async def test_operations_of_all_ids_get_the_same_together(site: Site) -> None:
    """Short ids, long ones and escaped ones: each gets five changes under its own."""
    staff, person = await site.person(Role.ADMIN), await site.person()
    after = {"after": str(await site.log.store.head())}
    heard: dict[str, list[str]] = {id_: [] for id_ in ("a", "b", "c" * 36, '"☃"', "d" * 200)}
    async with staff.client.socket() as socket:
        for id_ in heard:
            await socket.send({"type": "subscribe", "id": id_, "payload": {"query": CHANGES, "variables": after}})
        for number in range(5):
            await site.log.commands.change(person.user.id, Update(name=f"Name {number}"), NOBODY)
        for _ in range(5 * len(heard)):
            message = await socket.receive()
            heard[message["id"]].append(message["payload"]["data"]["userChanges"]["user"]["name"])

    assert heard == {id_: [f"Name {number}" for number in range(5)] for id_ in heard}


async def shared_operation(operations: SharedOperations, number: int) -> SharedOperation:
    """The shared operation of one of many documents."""
    document = f"subscription S{number} {{ userChanges {{ position }} }}"
    results: Any = await SHARING.stream(document, {}, context_value=[])
    async with aclosing(results):
        found = operations.find((await anext(results)).data.executor)
    assert found is not None
    return found


async def test_a_batch_is_framed_once_for_each_operation_and_form() -> None:
    """Another batch is framed by itself, even one of the same changes."""
    operations, batch, form = SharedOperations(), ChangeBatch([change(1)]), Framing("other", PAYLOADS.frame)
    shared = [await shared_operation(operations, number) for number in range(2)]

    made = [one.frames(batch, TOPIC, framing) for one in shared for framing in (PAYLOADS, form)]
    again = [one.frames(batch, TOPIC, framing) for one in shared for framing in (PAYLOADS, form)]

    assert [one is two for one, two in zip(made, again, strict=True)] == [True] * 4
    assert len({id(frames) for frames in made}) == 4
    assert shared[0].frames(ChangeBatch([change(1)]), TOPIC, PAYLOADS) is not made[0]


async def test_frames_count_towards_the_bound_of_the_cache() -> None:
    """Frames of past batches are evicted like any other entry."""
    operations = SharedOperations(cache_bytes=10_000)
    shared = await shared_operation(operations, 0)
    for number in range(200):
        assert shared.frames(ChangeBatch([change(number)]), TOPIC, PAYLOADS)
        assert operations._cache.currsize <= 10_000

    assert operations._cache.currsize > 9_000


async def test_frames_are_made_once_for_all_subscribers(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten sockets of staff get a change at a time: three changes are framed three times."""
    framed: list[int] = []
    frame = sockets._frame_around_id

    def watched(id_bytes: int, answers: Sequence[EncodedAnswer]) -> Frames:
        framed.append(len(answers))
        return frame(id_bytes, answers)

    monkeypatch.setattr(sockets, "_frame_around_id", watched)
    staff, person = await site.person(Role.ADMIN), await site.person()
    async with AsyncExitStack() as stack:
        subscribers = [await subscribed(site, stack, staff) for _ in range(10)]
        framed.clear()
        for number in range(3):
            await site.log.commands.change(person.user.id, Update(name=f"Name {number}"), NOBODY)
            for socket, id_ in subscribers:
                assert (await socket.next(id_))["userChanges"]["user"]["name"] == f"Name {number}"

    assert framed == [1, 1, 1]


async def test_subscribers_that_want_the_same_get_the_same_batch(site: Site) -> None:
    """And those that want less get less. The feed forgets a batch with the next change."""
    person = await site.person()
    start = await site.log.store.head()
    wants = [of_types(None), of_types(None), of_types(frozenset({"UserUpdated"}))]
    async with AsyncExitStack() as stack:
        feed = site.services.feed
        listeners = [await stack.enter_async_context(aclosing(feed.batches(one, after=start))) for one in wants]
        takes = [asyncio.create_task(anext(listener)) for listener in listeners]
        await site.log.commands.change(person.user.id, Update(name="Another"), NOBODY)
        first, second, updates = await asyncio.gather(*takes)

    assert first is second
    assert isinstance(first, ChangeBatch)
    await site.log.commands.change(person.user.id, Update(name="One more"), NOBODY)

    async def forgotten() -> bool:
        return all(batch is not first for batch in feed._shared.values())

    await eventually(forgotten)
    assert [one.recorded.position for one in first] == [one.recorded.position for one in updates] == [start + 1]
