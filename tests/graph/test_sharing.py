"""What a change looks like is found out once, however many listen, and is what each would have found out by itself."""

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

from events.event_types import Origin, Recorded, Role, UserUpdated
from events.feed import Change, ChangeBatch
from events.user import Delete, Update, User
from graph import fanout, sockets
from graph.documents import DocumentCache, checking
from graph.execution import PlanExecutor
from graph.fanout import (
    FORMS,
    OPERATIONS,
    READY_BYTES,
    Kept,
    LiveExecutor,
    LiveSource,
    ReadyAnswer,
    SharedAnswer,
    SharedOperations,
    answers,
)
from graph.scalars import SCALARS
from graph.sockets import _around_ids
from graph.subscriptions import CHANGES as SHOWING
from graph.subscriptions import of_types
from graph.types import UserChange
from tests.graph.client import Json, Socket
from tests.graph.documents import CHANGES, STATUS
from tests.graph.site import Person, Site
from tests.graph.test_completion import NOW, selections
from tests.log import NOBODY, eventually

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
    return Change(recorded, None if deleted else user)


@strawberry.type
class Query:
    """A schema has one."""

    nothing: str = ""


async def _user_changes(info: strawberry.Info) -> AsyncIterable[UserChange]:
    return LiveSource(_batches(info.context), SHOWING)


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
LIVE = strawberry.Schema(**OPTIONS, execution_context_class=LiveExecutor, extensions=[checking(DocumentCache())])


async def told(
    schema: strawberry.Schema, operations: SharedOperations, document: str, changes: list[Change], *, yes: bool
) -> list[Json]:
    """What a listener is told of the changes."""
    results: Any = await schema.stream(document, {"yes": yes}, context_value=changes)
    return [
        json.loads(answer.payload) async for ready in answers(results, operations, NUMBER) for answer in ready.answers
    ]


@settings(max_examples=50, deadline=None)
@given(selection=selections("UserChange"), before=st.booleans(), yes=st.booleans(), limit=st.sampled_from([0, 10_000]))
async def test_what_is_shared_is_what_strawberry_tells_each_by_itself(
    selection: str, before: bool, yes: bool, limit: int
) -> None:
    """Whatever is asked for, after another listener asked the same with other variables and of other versions."""
    document = f"subscription ($yes: Boolean!) {{ userChanges {selection[:-1]} used: __typename @skip(if: $yes) }} }}"
    operations = SharedOperations(limit)
    earlier, later = [change(1), change(2)], [change(2, deleted=True), change(1), change(3)]

    results: Any = await LIVE.stream(document, {"yes": before}, context_value=earlier)
    async with aclosing(results), aclosing(answers(results, operations, NUMBER)) as other:
        assert len((await anext(other)).answers) == 2  # and goes on listening
        shared = await told(LIVE, operations, document, later, yes=yes)

    assert shared == await told(STOCK, operations, document, later, yes=yes)


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
    "choices": """
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
    """Every listener finds out by itself."""
    with patch.context() as patched:
        patched.setattr(SharedOperations, "find", lambda *_: None)
        yield


async def heard(person: Person, document: str, after: int, count: int) -> list[Json]:
    """The payloads of a listener that comes back."""
    async with person.client.socket() as socket:
        await socket.subscribe(document, after=str(after))
        return [(await socket.receive())["payload"] for _ in range(count)]


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("role", list(Role), ids=str)
async def test_every_role_is_told_what_it_would_be_told_alone(
    site: Site, monkeypatch: pytest.MonkeyPatch, role: Role, name: str
) -> None:
    """On the real schema, after somebody of each other role has listened with the same document."""
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
            await socket.receive()  # and goes on listening
        shared = await heard(person, document, start, count)

    with nothing_shared(monkeypatch):
        assert shared == await heard(person, document, start, count)
    assert all("errors" not in payload for payload in shared)


@pytest.fixture
def carried_out(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What operations were carried out for."""
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
    """What was encoded to be shared."""
    found: list[object] = []
    encode = fanout.encoded

    def watched(data: object) -> bytes:
        found.append(data)
        return encode(data)

    monkeypatch.setattr(fanout, "encoded", watched)
    return found


async def listening(site: Site, stack: AsyncExitStack, person: Person, **variables: Json) -> tuple[Socket, str]:
    socket = await stack.enter_async_context(person.client.socket())
    return socket, await site.listen(socket, CHANGES, **variables)


async def test_a_change_is_carried_out_and_encoded_once_however_many_listen(
    site: Site, encodings: list[object], carried_out: list[object]
) -> None:
    """Twenty of three roles, to everybody, to one user, to some types: five changes are carried out five times."""
    people = [await site.person(role) for role in (Role.ADMIN, Role.TECHNICAL_WORKER, Role.CUSTOMER)]
    customer = people[2].id
    async with AsyncExitStack() as stack:
        ways: list[Json] = [{}, {"userId": customer}, {"types": ["USER_UPDATED"], "after": None}]
        listeners = [await listening(site, stack, people[number % 3], **ways[number // 3 % 3]) for number in range(20)]
        for number in range(5):
            await site.log.commands.change(people[2].user.id, Update(name=f"Name {number}"), NOBODY)
        names = [
            [(await socket.next(id_))["userChanges"]["user"]["name"] for _ in range(5)] for socket, id_ in listeners
        ]

    assert names == [[f"Name {number}" for number in range(5)]] * 20
    assert len(carried_out) == len(set(carried_out)) == 5
    assert len(encodings) == 5


async def test_what_asks_who_is_asking_is_carried_out_for_each(site: Site, carried_out: list[object]) -> None:
    """`history` reads, and looks at the viewer: three listeners, three times."""
    people = [await site.person(role) for role in (Role.ADMIN, Role.TECHNICAL_WORKER, Role.CUSTOMER)]
    document = DOCUMENTS["history"]
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(person.client.socket()) for person in people]
        ids = [await site.listen(socket, document) for socket in sockets]
        await site.log.commands.change(people[2].user.id, Update(name="Another"), NOBODY)
        for socket, id_ in zip(sockets, ids, strict=True):
            assert len((await socket.next(id_))["userChanges"]["user"]["history"]["edges"]) == 2

    assert len(carried_out) == 3


async def test_what_a_deleted_user_was_is_not_told_to_those_who_come_later(site: Site) -> None:
    """Although those who were there were told, a moment before, by the same document."""
    staff, person = await site.person(Role.ADMIN), await site.person()
    async with staff.client.socket() as socket:
        id_ = await site.listen(socket, CHANGES)
        done = await site.log.commands.change(person.user.id, Update(name="A secret"), NOBODY)
        assert (await socket.next(id_))["userChanges"]["user"]["name"] == "A secret"
        await site.log.commands.change(person.user.id, Delete(), NOBODY)
        await socket.next(id_)
        site.services.feed._recent.clear()  # as after a thousand changes more

        again = await heard(staff, CHANGES, done.position - 1, 1)

    assert again[0]["data"]["userChanges"]["position"] == str(done.position)
    assert again[0]["data"]["userChanges"]["user"] is None


async def test_the_status_is_shown_once_however_many_listen(site: Site, encodings: list[object]) -> None:
    """A change of another kind, without a position."""
    staff = await site.person(Role.TECHNICAL_WORKER)
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(staff.client.socket()) for _ in range(10)]
        for socket in sockets:
            await socket.next(await socket.subscribe(STATUS))

    assert 1 <= len(encodings) < 10


def test_answers_are_kept_within_a_bound() -> None:
    """The oldest go first; replacing one counts once."""
    answers = SharedOperations(limit=10 * (100 + fanout.ENTRY_BYTES))._answers
    for position in range(100):
        answers[0, position] = answers[0, position] = Kept(False, SharedAnswer(bytes(100)))

    assert answers.currsize == 10 * (100 + fanout.ENTRY_BYTES)
    assert [position for position in range(100) if (0, position) in answers] == list(range(90, 100))


async def test_little_is_made_ahead_of_what_a_client_has_taken() -> None:
    """Of forty large answers that are due at once, not more than 64 KiB and one answer at a time."""
    user = change(1).user
    assert user is not None
    large = msgspec.structs.replace(user, attributes={"note": "x" * 10_000})
    changes = [Change(change(number).recorded, large) for number in range(1, 41)]

    results: Any = await LIVE.stream("subscription { userChanges { user { attributes } } }", context_value=changes)
    batches = answers(results, SharedOperations(), NUMBER)
    sizes = [sum(len(answer.payload) for answer in ready.answers) async for ready in batches]

    assert sum(sizes) > 400_000
    assert max(sizes) < READY_BYTES + 11_000


async def test_operations_that_nobody_listens_to_are_forgotten() -> None:
    """However many different documents were sent."""
    operations = SharedOperations()
    for number in range(50):
        document = f"subscription S{number} {{ userChanges {{ position }} }}"
        assert await told(LIVE, operations, document, [change(1)], yes=True)

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
def test_what_is_sent_under_one_id_is_what_is_sent_under_another(ids: list[str], notes: list[int]) -> None:
    """Of all lengths, in frames of all three sizes."""
    ready = ReadyAnswer([SharedAnswer(json.dumps({"data": "x" * size}).encode()) for size in notes])
    for id_ in ids:
        text = json.dumps(id_).encode()

        sent = text.join(ready.made(len(text), partial(_around_ids, len(text))))

        messages = [json.loads(frame) for frame in frames(sent)]
        assert messages == [{"id": id_, "type": "next", "payload": {"data": "x" * size}} for size in notes]


async def test_listeners_of_all_ids_are_told_the_same_together(site: Site) -> None:
    """Short ids, long ones, and such as are escaped: each hears of five changes, under its own."""
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


async def test_what_is_made_of_a_batch_is_kept_within_a_bound_and_forgotten_with_the_next_change(site: Site) -> None:
    """Of so many operations, in so many forms; whoever still holds the batch then holds no more than the batch."""
    operations, showing, batch = SharedOperations(), SHOWING, ChangeBatch([change(1)])
    found = []
    for number in range(OPERATIONS + 1):
        document = f"subscription S{number} {{ userChanges {{ position }} }}"
        results: Any = await LIVE.stream(document, {}, context_value=[])
        found.append(operations.find((await anext(results)).data._executor))
    ready = [one.ready(batch, showing) for one in found if one is not None]

    assert [one is again for one, again in zip(ready, (s.ready(batch, showing) for s in found if s), strict=True)] == [
        *[True] * OPERATIONS,
        False,
    ]
    assert ready[0] is not None
    made = [ready[0].made(form, lambda _: object()) for form in range(FORMS + 1)]
    assert ready[0].made(FORMS, lambda _: object()) is made[-1]
    assert ready[0].made(0, lambda _: object()) is not made[0]


async def test_frames_are_made_once_however_many_listen(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten sockets of staff hear of a change at a time: three changes are framed three times."""
    framed: list[int] = []
    around_ids = sockets._around_ids

    def watched(size: int, answers: Sequence[SharedAnswer]) -> list[bytes]:
        framed.append(len(answers))
        return around_ids(size, answers)

    monkeypatch.setattr(sockets, "_around_ids", watched)
    staff, person = await site.person(Role.ADMIN), await site.person()
    async with AsyncExitStack() as stack:
        listeners = [await listening(site, stack, staff) for _ in range(10)]
        framed.clear()
        for number in range(3):
            await site.log.commands.change(person.user.id, Update(name=f"Name {number}"), NOBODY)
            for socket, id_ in listeners:
                assert (await socket.next(id_))["userChanges"]["user"]["name"] == f"Name {number}"

    assert framed == [1, 1, 1]


async def test_listeners_who_want_the_same_are_given_the_same_batch(site: Site) -> None:
    """And those who want less are given less."""
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
    first.made["something"] = 1
    await site.log.commands.change(person.user.id, Update(name="One more"), NOBODY)

    async def forgotten() -> bool:
        return not first.made

    await eventually(forgotten)
    assert [one.recorded.position for one in first] == [one.recorded.position for one in updates] == [start + 1]
