"""Lists and objects that a plan completes are the same, errors included, as when the stock executor completes them."""

from collections.abc import Generator
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter
from typing import Any
from uuid import UUID

import msgspec
import pytest
import strawberry
from graphql import GraphQLInterfaceType, GraphQLObjectType, execute, get_named_type, is_leaf_type
from hypothesis import given, settings
from hypothesis import strategies as st
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext as StockExecutor
from strawberry.utils.await_maybe import await_maybe

from events.data_object import DataObject
from events.event_types import Role
from events.user import User
from graph import documents
from graph.data_types import DataObjectConnection, DataObjectType, ListedData
from graph.documents import DocumentCache
from graph.event_names import UserEventType
from graph.execution import PlanExecutor
from graph.execution.columns import FieldPlan, Uncovered, object_plan, unchanged_plan
from graph.nodes import Node
from graph.projection_types import Projection
from graph.relay import PageInfo
from graph.scalars import SCALARS, Position
from graph.types import ListedUser, UserChange, UserConnection, UserType
from projections.status import State

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)


def user_of(number: int) -> User:
    """A user as the graph shows it."""
    return User(
        id=UUID(int=number),
        username=f"user{number}",
        email=f"user{number}@example.com",
        name="Ünï ☃",
        role=list(Role)[number % 4],
        attributes={"a": [1, 2.5, None, {"b": "c"}]},
        version=number + 1,
        position=number + 7,
        created_at=NOW,
        updated_at=NOW,
    )


async def count() -> int:
    return 3


def connection(users: list[User]) -> UserConnection:
    """One page of users."""
    page = PageInfo(has_next_page=True, has_previous_page=False, start_cursor="a", end_cursor=None)
    return UserConnection(
        edges=[ListedUser(user, partial(str, user.username)) for user in users], page_info=page, count=count
    )


def change(number: int, user: User | None) -> UserChange:
    """A change of a user."""
    return UserChange(
        position=Position(number),
        cursor=f"cursor{number}",
        type=list(UserEventType)[number % 5],
        user_id=strawberry.ID(str(number)),
        version=number,
        changed_fields=["name", "email"][: number % 3],
        recorded_at=NOW,
        user=user,
    )


def data_object(serial: int, **fields: Any) -> Any:
    """A data object, in order unless told otherwise."""
    data = DataObject(
        id=UUID(int=serial),
        number=serial,
        owner_id=UUID(int=1),
        name=f"Object {serial}",
        content={"n": serial},
        version=serial,
        position=serial,
        created_at=NOW,
        updated_at=NOW,
    )
    return msgspec.structs.replace(data, **fields)


def broken_data_objects() -> list[Any]:
    """Data objects, some in order and some not, and something else."""
    return [data_object(1), data_object(2, number=2**31), data_object(3, name=None), user_of(1)]


def listed_data(*data: Any) -> DataObjectConnection:
    """A page of data objects."""

    async def count() -> int:
        return len(data)

    page = PageInfo(has_next_page=False, has_previous_page=True, start_cursor=None, end_cursor="c")
    edges = [ListedData(one, partial(str, "c")) for one in data]
    return DataObjectConnection(edges=edges, page_info=page, count=count)


class Later:
    """A value that is waited for."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __await__(self) -> Generator[None, None, object]:
        yield
        return self._value


def shown(number: int) -> Any:
    """The same for a field whose type shows it."""
    return user_of(number)


def broken(**fields: Any) -> Any:
    """A user of which some fields are not what their type says."""
    return msgspec.structs.replace(user_of(1), **fields)


def broken_users() -> list[Any]:
    """Users, some in order and some not, and something else."""
    return [
        user_of(1),
        broken(username=None),
        broken(role="NONE SUCH"),
        broken(version="many"),
        broken(created_at="yesterday"),
        "no user at all",
        broken(position=None),
        broken(position=ValueError("one that was returned")),
        broken(attributes=ValueError("and another")),
        broken(position=Later(5)),
        broken(attributes=Later({"a": 1})),
        user_of(2),
    ]


def projections() -> list[Projection | None]:
    """One that is not there, and one that is."""
    return [
        None,
        Projection(
            name="a",
            state=State.LIVE,
            position=Position(1),
            head=Position(2),
            lag=1,
            lag_seconds=0.5,
            events_per_second=2.0,
            rebuild_progress=None,
            last_error=None,
            quarantined=0,
            updated_at=NOW,
            active=True,
            standbys=0,
            error_number=None,
            binlog_file=None,
            binlog_position=None,
            verification=None,
        ),
    ]


class Sub(User, frozen=True):
    """Nothing that the schema knows."""


@strawberry.type
class Query:
    """What the two executors are asked: the schema's own types, over values in order and out of it."""

    users: list[UserType] = strawberry.field(resolver=lambda: [shown(number) for number in range(4)])
    connection: UserConnection = strawberry.field(resolver=lambda: connection([user_of(1), user_of(2)]))
    changes: list[UserChange] = strawberry.field(
        resolver=lambda: [change(number, user_of(number) if number % 2 else None) for number in range(6)]
    )
    projections: list[Projection | None] = strawberry.field(resolver=projections)
    one: UserType = strawberry.field(resolver=lambda: shown(3))
    none: UserType | None = strawberry.field(resolver=lambda: None)
    node: Node = strawberry.field(resolver=lambda: shown(5))
    nodes: list[Node] = strawberry.field(resolver=lambda: [shown(5), shown(6)])
    names: list[str] = strawberry.field(resolver=lambda: ["a", "b"])
    broken: list[UserType | None] = strawberry.field(resolver=broken_users)
    broken_strictly: list[UserType] | None = strawberry.field(resolver=broken_users)
    broken_connection: UserConnection | None = strawberry.field(resolver=lambda: connection(broken_users()[:3]))
    broken_one: UserType | None = strawberry.field(resolver=lambda: broken(email=None))
    data: list[DataObjectType] = strawberry.field(resolver=lambda: [data_object(1), data_object(2)])
    data_page: DataObjectConnection = strawberry.field(resolver=lambda: listed_data(data_object(1), data_object(2)))
    broken_data: list[DataObjectType | None] = strawberry.field(resolver=broken_data_objects)
    other_ids: list[UserType | None] = strawberry.field(
        resolver=lambda: [broken(id=one) for one in ("a", 7, None, NOW)]
    )


class Quiet(strawberry.Schema):
    """Does not log the errors that are compared here."""

    def process_errors(self, errors: Any, execution_context: Any = None) -> None:
        """Nothing."""


OPTIONS: dict[str, Any] = {"query": Query, "config": StrawberryConfig(scalar_map=SCALARS)}
STOCK = Quiet(**OPTIONS)
PLANNED = Quiet(**OPTIONS, execution_context_class=PlanExecutor)
TYPES = STOCK._schema.type_map


ASKING = {
    ("User", "emailVerified"),
    ("User", "history"),
    ("User", "data"),
    ("User", "dataIds"),
    ("DataObject", "owner"),
    ("DataObject", "history"),
}
"""Fields that ask the log or a view."""


@st.composite
def selections(draw: st.DrawFn, kind: str, depth: int = 0) -> str:
    """A selection on a type: fields under aliases or not, directives, inline fragments, `__typename`."""
    named = TYPES[kind]
    assert isinstance(named, GraphQLObjectType | GraphQLInterfaceType)
    fields = [(name, field) for name, field in named.fields.items() if (kind, name) not in ASKING]
    chosen = draw(st.lists(st.sampled_from(fields), min_size=1, max_size=4))
    parts = [draw(_field(name, field, depth)) for name, field in chosen]
    if draw(st.booleans()):
        parts.append("__typename")
    if isinstance(named, GraphQLObjectType) and depth and draw(st.booleans()):
        name, field = draw(st.sampled_from(fields))
        parts.append(f"... on {kind} {{ {draw(_field(name, field, depth))} }}")
    if kind == "Node":
        parts.append(f"... on User {draw(selections('User', depth + 1))}")
    return "{ " + " ".join(parts) + " }"


@st.composite
def _field(draw: st.DrawFn, name: str, field: Any, depth: int) -> str:
    alias = draw(st.sampled_from(["", "", f"x_{name}: ", f"y_{name}: "]))
    directive = draw(st.sampled_from(["", "", "", " @include(if: $yes)", " @skip(if: $yes)", " @include(if: false)"]))
    kind = get_named_type(field.type)
    inner = "" if is_leaf_type(kind) else " " + draw(selections(kind.name, depth + 1))
    return f"{alias}{name}{directive}{inner}"


async def both(document: str, *, yes: bool) -> list[tuple[Any, list[Any]]]:
    """What the two executors answer: data and errors."""
    answers = [await schema.execute(document, {"yes": yes}) for schema in (STOCK, PLANNED)]
    return [(answer.data, sorted(map(str, answer.errors or []))) for answer in answers]


@settings(max_examples=300, deadline=None)
@given(document=selections("Query"), yes=st.booleans())
async def test_a_plan_answers_as_the_stock_executor_does(document: str, yes: bool) -> None:
    """For any selection of the schema's types, over values in order and out of order."""
    stock, planned = await both(f"query ($yes: Boolean!) {document} ", yes=yes)

    assert planned == stock


@settings(max_examples=100, deadline=None)
@given(document=selections("Query"), values=st.lists(st.booleans(), min_size=2, max_size=3))
async def test_a_document_that_is_cached_answers_anew_each_time(document: str, values: list[bool]) -> None:
    """With the plans of earlier executions, whatever its variables were then."""
    schema = PLANNED._schema
    parsed, _, plans, _ = DocumentCache().checked(schema, f"query ($yes: Boolean!) {document} ")
    executors: list[tuple[Any, dict[str, Any]]] = [(StockExecutor, {}), (PlanExecutor, {"plans": plans})]
    for yes in values:
        stock, planned = [
            await await_maybe(execute(schema, parsed, variable_values={"yes": yes}, executor_class=kind, **kept))
            for kind, kept in executors
        ]

        assert planned.data == stock.data
        assert sorted(map(str, planned.errors or [])) == sorted(map(str, stock.errors or []))


@pytest.mark.parametrize(
    ("condition", "times"),
    [("", 1), ("@include(if: true)", 1), ("@include(if: $yes)", 3)],
    ids=["none", "fixed", "open"],
)
async def test_a_plan_is_made_once_for_a_document_unless_it_depends_on_variables(
    monkeypatch: pytest.MonkeyPatch, condition: str, times: int
) -> None:
    """Of three executions, the first makes it for all, or each makes its own."""
    text = f"query ($yes: Boolean!) {{ users {{ name {condition} }} used: __typename @skip(if: false) }}"
    parsed, _, plans, _ = DocumentCache().checked(PLANNED._schema, text)
    made: list[object] = []
    make = PlanExecutor._make_object_plan

    def watched(self: PlanExecutor, kind: Any, details: Any) -> Any:
        made.append(kind)
        return make(self, kind, details)

    monkeypatch.setattr(PlanExecutor, "_make_object_plan", watched)
    for _ in range(3):
        variables = {"yes": True}
        await await_maybe(
            execute(PLANNED._schema, parsed, None, None, variables, executor_class=PlanExecutor, plans=plans)
        )

    assert len(made) == times


async def test_plans_count_towards_the_bound_of_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small document can have plans that take several times its own memory."""
    monkeypatch.setattr(documents, "CACHE_CHARACTERS", 5_000)
    remembered, schema = DocumentCache(), PLANNED._schema
    weights = []
    for number in range(100):
        places = " ".join(f"m{one}: users {{ ...F }}" for one in range(20))
        text = f"query q{number} {{ {places} }} fragment F on User {{ id username email name role version }}"
        parsed, _, plans, _ = remembered.checked(schema, text)
        weights.append(remembered._cached.currsize)
        await await_maybe(execute(schema, parsed, executor_class=PlanExecutor, plans=plans))
        remembered.weigh(text)
        weights.append(remembered._cached.currsize)

    assert weights[1] - weights[0] == 20 * 6 * documents.PLAN_CHARACTERS
    assert max(weights) <= 5_000
    assert weights[-1] == sum(checked.weight for checked in remembered._cached.values())


async def test_errors_in_a_list_have_the_same_places() -> None:
    """Nulls where none may be, values that do not serialise, objects of another class."""
    document = "{ broken { id username role version createdAt position } brokenStrictly { email username } }"

    stock, planned = await both(document, yes=True)

    assert planned == stock
    assert len(stock[1]) >= 5


async def test_an_object_of_a_subclass_is_left_to_the_stock_executor() -> None:
    """It might have properties of its own."""
    plan = object_plan(User, [FieldPlan("name", attrgetter("name"), unchanged_plan)])
    assert plan([user_of(1)]) == [{"name": "Ünï ☃"}]

    with pytest.raises(Uncovered):
        plan([user_of(1), Sub(**msgspec.structs.asdict(user_of(1)))])


async def test_a_page_of_users_is_completed_by_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stock executor completes no field of a user."""
    fields: list[str] = []
    execute = PlanExecutor.execute_field

    def watched(self: PlanExecutor, parent_type: Any, *rest: Any) -> Any:
        fields.append(parent_type.name)
        return execute(self, parent_type, *rest)

    monkeypatch.setattr(PlanExecutor, "execute_field", watched)
    answer = await PLANNED.execute("{ connection { totalCount edges { cursor node { id name role } } } }")

    assert answer.data is not None
    assert answer.data["connection"]["totalCount"] == 3
    assert fields == ["Query", "UserConnection", "UserConnection"]
