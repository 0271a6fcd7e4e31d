"""Permissions: the table of docs/security.md, cell by cell, over HTTP, with every field of the answers."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from graphql import (
    FieldNode,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    OperationDefinitionNode,
    get_named_type,
    parse,
    print_ast,
)

from events.data_object import CreateData, UpdateData
from events.event_types import Role
from graph.schema import make_schema
from projections.mysql import NAME as MYSQL_USERS
from tests.graph.client import Client, Json
from tests.graph.documents import (
    BY_IDS,
    CHANGE_PASSWORD,
    CHANGE_ROLE,
    CHANGES,
    CREATE,
    CREATE_DATA,
    CREATE_WEBHOOK,
    DATA_CHANGES,
    DATA_HISTORY,
    DELETE,
    DELETE_DATA,
    DELETE_WEBHOOK,
    DELIVERIES,
    END_SESSION,
    EVENTS,
    HISTORY,
    IMPORT,
    INVITE,
    INVITE_USER,
    LIST,
    LIST_DATA,
    LOGIN,
    LOGOUT,
    ME,
    NODE,
    NODES,
    ONE,
    ONE_DATA,
    PERSONAL_DATA,
    PROJECTIONS,
    REBUILD,
    REDELIVER,
    REFRESH,
    REGISTER,
    REQUEST_RESET,
    REQUEST_VERIFICATION,
    RESET,
    SEARCH,
    SEARCH_DATA,
    SESSIONS,
    STATISTICS,
    STATUS,
    THEN,
    TRANSFER_DATA,
    UPDATE,
    UPDATE_DATA,
    UPDATE_SEVERAL,
    UPDATE_WEBHOOK,
    VERIFY,
    WEBHOOKS,
)
from tests.graph.site import PASSWORD, Person, Site
from tests.log import NOBODY

VIEWERS = (None, Role.CUSTOMER, Role.TECHNICAL_WORKER, Role.SENIOR_MANAGEMENT, Role.ADMIN)
"""The columns; None is anyone."""


@dataclass(frozen=True, slots=True)
class Cast:
    """The user that an operation is about."""

    viewer: Person | None
    other: Person
    refresh_token: str = ""
    """Of the other."""
    own_data: str = ""
    """The id of a data object of the viewer's; without a viewer, of the other's."""
    other_data: str = ""
    """The id of a data object of the other's."""

    @property
    def own_id(self) -> str:
        """The viewer's id; without a viewer, another user's."""
        return (self.viewer or self.other).id


@dataclass(frozen=True, slots=True)
class Row:
    """An operation, and what becomes of it for each of `VIEWERS`.

    `yes` is an answer, `null` an answer that says nothing, `sign in` is UNAUTHENTICATED and `no` is FORBIDDEN.
    """

    name: str
    document: str
    outcomes: tuple[str, str, str, str, str]
    variables: Callable[[Cast], Json] = lambda _: {}

    @property
    def field(self) -> str:
        return self.name.partition(" ")[0]


def new_user(_: Cast) -> Json:
    name = f"new.{uuid4().hex[:12]}"
    return {"username": name, "email": f"{name}@example.com", "name": "New", "password": PASSWORD}


def part_of_another(part: str | None, cast: Cast) -> Json:
    return {"userId": cast.other.id, "after": part}


STAFF = ("sign in", "no", "yes", "yes", "yes")
EVERYBODY_WITH_AN_ACCOUNT = ("sign in", "yes", "yes", "yes", "yes")
LATER = "9999-01-01T00:00:00Z"
ADMIN_ONLY = ("sign in", "no", "no", "no", "yes")
OTHERS_DATA = ("sign in", "not found", "no", "no", "yes")
"""Of data objects that one may not read, one does not learn that they exist."""
INVALID_LINK = ("invalid",) * 5
"""Whoever has the token of a mail may use it; nobody has this one."""

QUERIES = [
    Row("me", ME, ("null", "yes", "yes", "yes", "yes")),
    Row("user oneself", ONE, EVERYBODY_WITH_AN_ACCOUNT, lambda cast: {"id": cast.own_id}),
    Row("user another", ONE, ("sign in", "null", "yes", "yes", "yes"), lambda cast: {"id": cast.other.id}),
    Row("user nobody", ONE, ("sign in", "null", "null", "null", "null"), lambda _: {"id": str(uuid4())}),
    Row("user no-id", ONE, ("sign in", "null", "null", "null", "null"), lambda _: {"id": "1 OR 1=1"}),
    Row("node oneself", NODE, EVERYBODY_WITH_AN_ACCOUNT, lambda cast: {"id": cast.own_id}),
    Row("node another", NODE, ("sign in", "null", "yes", "yes", "yes"), lambda cast: {"id": cast.other.id}),
    Row("usersByIds oneself", BY_IDS, EVERYBODY_WITH_AN_ACCOUNT, lambda cast: {"ids": [cast.own_id]}),
    Row("usersByIds another", BY_IDS, ("sign in", "null", "yes", "yes", "yes"), lambda cast: {"ids": [cast.other.id]}),
    Row("nodes another", NODES, ("sign in", "null", "yes", "yes", "yes"), lambda cast: {"ids": [cast.other.id]}),
    Row(
        "nodes data-of-another",
        NODES,
        ("sign in", "null", "yes", "yes", "yes"),
        lambda cast: {"ids": [cast.other_data]},
    ),
    Row("users", LIST, STAFF),
    Row("searchUsers", SEARCH, STAFF),
    Row("user then", THEN, ("sign in", "null", "yes", "yes", "yes"), lambda cast: {"id": cast.other.id, "asOf": LATER}),
    Row("user oneself-then", THEN, EVERYBODY_WITH_AN_ACCOUNT, lambda cast: {"id": cast.own_id, "asOf": LATER}),
    Row("user history-of-oneself", HISTORY, EVERYBODY_WITH_AN_ACCOUNT, lambda cast: {"id": cast.own_id}),
    Row("user history", HISTORY, ("sign in", "null", "yes", "yes", "yes"), lambda cast: {"id": cast.other.id}),
    Row("data of-oneself", ONE_DATA, EVERYBODY_WITH_AN_ACCOUNT, lambda cast: {"id": cast.own_data}),
    Row("data of-another", ONE_DATA, ("sign in", "null", "yes", "yes", "yes"), lambda cast: {"id": cast.other_data}),
    Row(
        "data of-another-then",
        ONE_DATA,
        ("sign in", "null", "yes", "yes", "yes"),
        lambda cast: {"id": cast.other_data, "asOf": LATER},
    ),
    Row("data history-of-oneself", DATA_HISTORY, EVERYBODY_WITH_AN_ACCOUNT, lambda cast: {"id": cast.own_data}),
    Row("data history", DATA_HISTORY, ("sign in", "null", "yes", "yes", "yes"), lambda cast: {"id": cast.other_data}),
    Row("data none", ONE_DATA, ("sign in", "null", "null", "null", "null"), lambda _: {"id": str(uuid4())}),
    Row("node data-of-oneself", NODE, EVERYBODY_WITH_AN_ACCOUNT, lambda cast: {"id": cast.own_data}),
    Row("node data-of-another", NODE, ("sign in", "null", "yes", "yes", "yes"), lambda cast: {"id": cast.other_data}),
    Row("dataObjects", LIST_DATA, EVERYBODY_WITH_AN_ACCOUNT),
    Row("searchData", SEARCH_DATA, EVERYBODY_WITH_AN_ACCOUNT),
    Row("events", EVENTS, STAFF),
    Row("events oneself", EVENTS, STAFF, lambda cast: {"userId": cast.own_id}),
    Row("projections", PROJECTIONS, STAFF),
    Row("statistics", STATISTICS, ("sign in", "no", "no", "yes", "yes")),
    Row("sessions", SESSIONS, EVERYBODY_WITH_AN_ACCOUNT),
    Row("sessions of-oneself", SESSIONS, EVERYBODY_WITH_AN_ACCOUNT, lambda cast: {"userId": cast.own_id}),
    Row("sessions of-another", SESSIONS, ADMIN_ONLY, lambda cast: {"userId": cast.other.id}),
    Row("personalData", PERSONAL_DATA, EVERYBODY_WITH_AN_ACCOUNT),
    *(
        Row(f"personalData of-another-{part}", PERSONAL_DATA, ADMIN_ONLY, partial(part_of_another, part))
        for part in (None, "sessions:0", "history:0", "data:0")
    ),
    Row("webhooks", WEBHOOKS, ADMIN_ONLY),
    Row("webhookDeliveries", DELIVERIES, ADMIN_ONLY, lambda cast: {"id": cast.other.id}),
]
MUTATIONS = [
    Row("register", REGISTER, ("yes", "yes", "yes", "yes", "yes"), lambda cast: {"input": new_user(cast)}),
    Row(
        "login",
        LOGIN,
        ("yes", "yes", "yes", "yes", "yes"),
        lambda cast: {"input": {"login": cast.other.username, "password": PASSWORD}},
    ),
    Row("refreshSession", REFRESH, ("yes", "yes", "yes", "yes", "yes"), lambda cast: {"token": cast.refresh_token}),
    Row("logout", LOGOUT, EVERYBODY_WITH_AN_ACCOUNT),
    Row(
        "requestPasswordReset",
        REQUEST_RESET,
        ("yes", "yes", "yes", "yes", "yes"),
        lambda cast: {"login": cast.other.username},
    ),
    Row("resetPassword", RESET, INVALID_LINK, lambda _: {"token": "A" * 43, "new": PASSWORD}),
    Row("verifyEmail", VERIFY, INVALID_LINK, lambda _: {"token": "A" * 43}),
    Row("requestEmailVerification", REQUEST_VERIFICATION, EVERYBODY_WITH_AN_ACCOUNT),
    Row(
        "inviteUser",
        INVITE_USER,
        ADMIN_ONLY,
        lambda cast: {"input": {k: v for k, v in new_user(cast).items() if k != "password"} | {"role": "CUSTOMER"}},
    ),
    Row("endSession", END_SESSION, EVERYBODY_WITH_AN_ACCOUNT, lambda _: {"id": str(uuid4())}),
    Row("createInvitation", INVITE, ADMIN_ONLY),
    Row("importUsers", IMPORT, ADMIN_ONLY, lambda cast: {"input": {"content": "username"}}),
    Row("createUser", CREATE, ADMIN_ONLY, lambda cast: {"input": new_user(cast) | {"role": "TECHNICAL_WORKER"}}),
    Row(
        "updateUser oneself",
        UPDATE,
        EVERYBODY_WITH_AN_ACCOUNT,
        lambda cast: {"input": {"id": cast.own_id, "name": "Another"}},
    ),
    Row(
        "updateUser another",
        UPDATE,
        ADMIN_ONLY,
        lambda cast: {"input": {"id": cast.other.id, "name": "Another"}},
    ),
    Row(
        "updateUsers oneself",
        UPDATE_SEVERAL,
        EVERYBODY_WITH_AN_ACCOUNT,
        lambda cast: {"input": [{"id": cast.own_id, "name": "Another"}]},
    ),
    Row(
        "updateUsers another",
        UPDATE_SEVERAL,
        ADMIN_ONLY,
        lambda cast: {"input": [{"id": cast.own_id, "name": "One"}, {"id": cast.other.id, "name": "Another"}]},
    ),
    Row(
        "changePassword",
        CHANGE_PASSWORD,
        EVERYBODY_WITH_AN_ACCOUNT,
        lambda _: {"input": {"currentPassword": PASSWORD, "newPassword": "another good password"}},
    ),
    Row(
        "changeRole oneself",
        CHANGE_ROLE,
        ADMIN_ONLY,
        lambda cast: {"input": {"id": cast.own_id, "role": "SENIOR_MANAGEMENT"}},
    ),
    Row(
        "changeRole another",
        CHANGE_ROLE,
        ADMIN_ONLY,
        lambda cast: {"input": {"id": cast.other.id, "role": "SENIOR_MANAGEMENT"}},
    ),
    Row("createData", CREATE_DATA, EVERYBODY_WITH_AN_ACCOUNT, lambda _: {"input": {"name": "New", "content": {}}}),
    Row(
        "createData for-another",
        CREATE_DATA,
        ADMIN_ONLY,
        lambda cast: {"input": {"ownerId": cast.other.id, "name": "New", "content": {}}},
    ),
    Row(
        "updateData of-oneself",
        UPDATE_DATA,
        EVERYBODY_WITH_AN_ACCOUNT,
        lambda cast: {"input": {"id": cast.own_data, "name": "Another"}},
    ),
    Row(
        "updateData of-another",
        UPDATE_DATA,
        OTHERS_DATA,
        lambda cast: {"input": {"id": cast.other_data, "name": "Another"}},
    ),
    Row(
        "transferData",
        TRANSFER_DATA,
        ADMIN_ONLY,
        lambda cast: {"input": {"id": cast.own_data, "ownerId": cast.other.id}},
    ),
    Row("deleteData of-oneself", DELETE_DATA, EVERYBODY_WITH_AN_ACCOUNT, lambda cast: {"input": {"id": cast.own_data}}),
    Row("deleteData of-another", DELETE_DATA, OTHERS_DATA, lambda cast: {"input": {"id": cast.other_data}}),
    Row("deleteUser oneself", DELETE, EVERYBODY_WITH_AN_ACCOUNT, lambda cast: {"input": {"id": cast.own_id}}),
    Row("deleteUser another", DELETE, ADMIN_ONLY, lambda cast: {"input": {"id": cast.other.id}}),
]
WEBHOOK_MUTATIONS = [
    Row("createWebhook", CREATE_WEBHOOK, ADMIN_ONLY, lambda _: {"input": {"url": "https://example.com/hook"}}),
    Row("updateWebhook", UPDATE_WEBHOOK, ADMIN_ONLY, lambda cast: {"input": {"id": cast.other.id, "enabled": False}}),
    Row("deleteWebhook", DELETE_WEBHOOK, ADMIN_ONLY, lambda cast: {"id": cast.other.id}),
    Row("redeliver", REDELIVER, ADMIN_ONLY, lambda cast: {"id": f"{cast.other.id}:1"}),
]
REBUILDS = [Row("rebuildProjection", REBUILD, ("sign in", "no", "yes", "no", "yes"), lambda _: {"name": MYSQL_USERS})]
SUBSCRIPTIONS = [
    Row("userChanges everybody", CHANGES, ("sign in", "null", "yes", "yes", "yes")),
    Row("userChanges oneself", CHANGES, EVERYBODY_WITH_AN_ACCOUNT, lambda cast: {"userId": cast.own_id}),
    Row("userChanges another", CHANGES, STAFF, lambda cast: {"userId": cast.other.id}),
]
DATA_SUBSCRIPTIONS = [
    Row("dataChanges everybody", DATA_CHANGES, ("sign in", "null", "yes", "yes", "yes")),
    Row("dataChanges oneself", DATA_CHANGES, EVERYBODY_WITH_AN_ACCOUNT, lambda cast: {"ownerId": cast.own_id}),
    Row("dataChanges another", DATA_CHANGES, STAFF, lambda cast: {"ownerId": cast.other.id}),
]
STATUSES = [Row("projectionStatus", STATUS, STAFF)]
FIELDS = {
    "DataChange": "position cursor type dataId ownerId version changedFields recordedAt data",
    "DataObject": "id number owner name content version position createdAt updatedAt",
    "DataObjectConnection": "edges pageInfo totalCount",
    "DataObjectEdge": "cursor node",
    "DataPayload": "data position errors",
    "Cohort": "week registered active",
    "DayActivity": "day registrations deletions signIns failedSignIns activeUsers total",
    "DayCount": "day count",
    "DeleteDataPayload": "deletedDataId position errors",
    "DeleteUserPayload": "deletedUserId position errors",
    "ImportPayload": "imported existing refused position errors",
    "ImportRefusal": "line message",
    "InvitationPayload": "invitation expiresAt errors",
    "LogoutPayload": "loggedOut",
    "Node": "id",
    "PersonalDataPart": "kind content next",
    "PageInfo": "hasNextPage hasPreviousPage startCursor endCursor",
    "Projection": "name state position head lag lagSeconds eventsPerSecond quarantined rebuildProgress lastError "
    "updatedAt active standbys errorNumber binlogFile binlogPosition verification quarantine",
    "QuarantinedUser": "userId position reason",
    "RebuildPayload": "projection errors",
    "RegisterPayload": "user session position errors",
    "RoleCount": "role count",
    "Session": "accessToken accessTokenExpiresAt refreshToken refreshTokenExpiresAt",
    "SessionPayload": "session user errors",
    "RequestPayload": "accepted errors",
    "User": "id username email name role attributes version position createdAt updatedAt",
    "UserChange": "position cursor type userId version changedFields recordedAt user",
    "UserConnection": "edges pageInfo totalCount",
    "UserEdge": "cursor node",
    "UserError": "code message field retryAfter",
    "UserEvent": "id position userId dataId version type changedFields actorId recordedAt",
    "UserEventConnection": "edges pageInfo",
    "UserEventEdge": "cursor node",
    "SessionInfo": "id current startedAt lastSeenAt expiresAt device address",
    "UserPayload": "user position errors",
    "UserStatistics": "total byRole registrationsByDay activity activeSessions retention",
    "Verification": "checkedAt usersChecked differences",
    "Webhook": "id url types roles enabled disabledReason publicKey position lag state lagSeconds pending "
    "dead lastError createdAt",
    "WebhookDelivery": "id position status attempts durationMs error deliveredAt nextAttemptAt",
    "WebhookDeliveryConnection": "edges pageInfo",
    "WebhookDeliveryEdge": "cursor node",
    "WebhookPayload": "webhook secret errors",
}
"""Fields open to every viewer that may read the object. Any other field needs rows of its own, as `history` has."""
HISTORY_OF = "id history { edges { cursor node { id position userId version type changedFields actorId recordedAt } } }"
SOMEBODY_ELSES = ("sign in", "no", "yes", "yes", "yes")
HISTORIES = [
    Row("me", f"{{ me {{ {HISTORY_OF} }} }}", ("null", "yes", "yes", "yes", "yes")),
    Row(
        "node oneself",
        f"query ($id: ID!) {{ node(id: $id) {{ ... on User {{ {HISTORY_OF} }} }} }}",
        EVERYBODY_WITH_AN_ACCOUNT,
        lambda cast: {"id": cast.own_id},
    ),
    Row(
        "node another",
        f"query ($id: ID!) {{ node(id: $id) {{ ... on User {{ {HISTORY_OF} }} }} }}",
        ("sign in", "null", "yes", "yes", "yes"),
        lambda cast: {"id": cast.other.id},
    ),
    Row(
        "user another-then",
        f"query ($id: ID!, $at: DateTime) {{ user(id: $id, asOf: $at) {{ {HISTORY_OF} }} }}",
        ("sign in", "null", "yes", "yes", "yes"),
        lambda cast: {"id": cast.other.id, "at": LATER},
    ),
    Row("users", f"{{ users {{ edges {{ node {{ {HISTORY_OF} }} }} }} }}", STAFF),
    Row("searchUsers", f"{{ searchUsers {{ edges {{ node {{ {HISTORY_OF} }} }} }} }}", STAFF),
    Row(
        "register",
        f"mutation ($input: RegisterInput!) {{ register(input: $input) {{ user {{ {HISTORY_OF} }} }} }}",
        SOMEBODY_ELSES,
        lambda cast: {"input": new_user(cast)},
    ),
    Row(
        "login another",
        f"mutation ($input: LoginInput!) {{ login(input: $input) {{ user {{ {HISTORY_OF} }} }} }}",
        SOMEBODY_ELSES,
        lambda cast: {"input": {"login": cast.other.username, "password": PASSWORD}},
    ),
    Row(
        "refreshSession another",
        f"mutation ($token: String!) {{ refreshSession(refreshToken: $token) {{ user {{ {HISTORY_OF} }} }} }}",
        SOMEBODY_ELSES,
        lambda cast: {"token": cast.refresh_token},
    ),
    Row(
        "updateUser oneself",
        f"mutation ($input: UpdateUserInput!) {{ updateUser(input: $input) {{ user {{ {HISTORY_OF} }} }} }}",
        EVERYBODY_WITH_AN_ACCOUNT,
        lambda cast: {"input": {"id": cast.own_id, "name": "Another"}},
    ),
]
"""`User.history` asks by itself who may read it, wherever the user comes from."""
OWNED = "id dataIds data { edges { cursor node { id number name content } } }"
OWNED_DATA = [
    Row(row.name, row.document.replace(HISTORY_OF, OWNED), row.outcomes, row.variables)
    for row in HISTORIES
    if row.field not in {"register", "users", "searchUsers"}
]
"""`User.data` and `User.dataIds` ask by themselves who may read them, as `User.history` does."""
CODES = {"sign in": "UNAUTHENTICATED", "no": "FORBIDDEN"}
REFUSALS = {"not found": "NOT_FOUND", "invalid": "INVALID_TOKEN"}


SCHEMA = make_schema()._schema


def full(document: str) -> str:
    """The same operation, with every field of `FIELDS` that its answer can have."""
    tree = parse(document)
    operation = next(node for node in tree.definitions if isinstance(node, OperationDefinitionNode))
    (field,) = operation.selection_set.selections
    assert isinstance(field, FieldNode)
    root = SCHEMA.get_root_type(operation.operation)
    assert root is not None
    wanted = parse(f"{{ x {selection(get_named_type(root.fields[field.name.value].type))} }}").definitions[0]
    assert isinstance(wanted, OperationDefinitionNode)
    (inner,) = wanted.selection_set.selections
    assert isinstance(inner, FieldNode)
    return print_ast(tree).replace(print_ast(field), print_ast(field).partition(" {")[0] + print_ast(inner)[1:])


def selection(kind: GraphQLNamedType | None) -> str:
    """Every field of `FIELDS` in a type, and in the types of these fields; of a node, those of what it can be."""
    if isinstance(kind, GraphQLInterfaceType):
        shown = (f"... on {name} {selection(SCHEMA.type_map[name])}" for name in ("User", "DataObject"))
        return f"{{ {FIELDS[kind.name]} {' '.join(shown)} }}"
    if not isinstance(kind, GraphQLObjectType):
        return ""
    fields = (f"{name} {selection(get_named_type(kind.fields[name].type))}" for name in FIELDS[kind.name].split())
    return f"{{ {' '.join(fields)} }}"


def reachable() -> Iterator[GraphQLObjectType | GraphQLInterfaceType]:
    """Every type that an answer can have parts of, other than the roots and introspection."""
    roots = {SCHEMA.query_type, SCHEMA.mutation_type, SCHEMA.subscription_type}
    for kind in SCHEMA.type_map.values():
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType) and kind not in roots and kind.name[:2] != "__":
            yield kind


def cells(rows: list[Row]) -> pytest.MarkDecorator:
    """Every cell of the table's rows, one test each."""
    found = [(row, role, outcome) for row in rows for role, outcome in zip(VIEWERS, row.outcomes, strict=True)]
    ids = [f"{row.name} by {role or 'anyone'}: {outcome}" for row, role, outcome in found]
    return pytest.mark.parametrize(("row", "role", "outcome"), found, ids=ids)


@pytest_asyncio.fixture(scope="module", autouse=True)
async def administrator(shared_site: Site) -> Person:
    """One who stays, so that no administrator of a test is the last one."""
    return await shared_site.person(Role.ADMIN)


@pytest_asyncio.fixture(scope="module")
async def readers(shared_site: Site) -> dict[Role | None, Cast]:
    """A user of each role and another user to read, all of them in the views."""
    other = await shared_site.person()
    people = {role: await shared_site.person(role) if role else None for role in VIEWERS}
    data = {role: await data_of(shared_site, person or other) for role, person in people.items()}
    others = await data_of(shared_site, other)
    await shared_site.caught_up()
    return {role: Cast(person, other, "", data[role], others) for role, person in people.items()}


async def data_of(site: Site, owner: Person) -> str:
    """The id of a new data object of this user."""
    return str((await site.log.data.create(owner.user.id, CreateData("Notes", {"a": 1}), NOBODY)).data_id)


async def newcomers(site: Site, role: Role | None) -> Cast:
    """People of the test's own, to be changed."""
    other = await site.person()
    granted = await site.services.sessions.start(other.user.id, other.user.version)
    viewer = await site.person(role) if role else None
    data = await data_of(site, viewer or other), await data_of(site, other)
    return Cast(viewer, other, granted.token.text, *data)


def client_of(site: Site, cast: Cast) -> Client:
    return cast.viewer.client if cast.viewer else site.anyone


@cells(QUERIES)
async def test_queries(site: Site, readers: dict[Role | None, Cast], row: Row, role: Role | None, outcome: str) -> None:
    """Each viewer gets what the table says; a user that it may not read is null, like one that does not exist."""
    cast = readers[role]

    answer = await client_of(site, cast).ask(full(row.document), **row.variables(cast))

    assert answer.codes == ([CODES[outcome]] if outcome in CODES else [])
    if outcome not in CODES:
        assert (answer.body["data"][row.field] in (None, [None])) is (outcome == "null")


@cells(MUTATIONS)
async def test_mutations(site: Site, row: Row, role: Role | None, outcome: str) -> None:
    """Each command is executed for the roles in the table, and writes no event for others."""
    cast = await newcomers(site, role)
    head = await site.log.store.head()

    answer = await client_of(site, cast).ask(full(row.document), **row.variables(cast))

    assert answer.codes == ([CODES[outcome]] if outcome in CODES else [])
    if outcome in CODES:
        assert await site.log.store.head() == head
    elif outcome in REFUSALS:
        assert [error["code"] for error in answer.body["data"][row.field]["errors"]] == [REFUSALS[outcome]]
        assert await site.log.store.head() == head
    else:
        found = answer.body["data"][row.field]
        for payload in found if isinstance(found, list) else [found]:
            assert payload.get("errors", []) == []


@cells(WEBHOOK_MUTATIONS)
async def test_webhooks(site: Site, row: Row, role: Role | None, outcome: str) -> None:
    """Nobody but an administrator creates one, or learns which exist."""
    cast, endpoints = await newcomers(site, role), site.services.webhooks.endpoints
    before = len(await endpoints.all())

    answer = await client_of(site, cast).ask(full(row.document), **row.variables(cast))

    assert answer.codes == ([CODES[outcome]] if outcome in CODES else [])
    assert len(await endpoints.all()) - before == ((row.name, outcome) == ("createWebhook", "yes"))


@cells(REBUILDS)
async def test_rebuild(site: Site, readers: dict[Role | None, Cast], row: Row, role: Role | None, outcome: str) -> None:
    """A rebuild starts for the roles in the table, and for no others."""
    answer = await client_of(site, readers[role]).ask(row.document, **row.variables(readers[role]))

    assert answer.codes == ([CODES[outcome]] if outcome in CODES else [])
    assert await site.services.rebuilds.is_waiting(MYSQL_USERS) is (outcome == "yes")
    await site.services.rebuilds.settle(MYSQL_USERS)


@cells(SUBSCRIPTIONS)
async def test_subscriptions(site: Site, row: Row, role: Role | None, outcome: str) -> None:
    """Each subscriber receives the users that the table allows: `null` receives itself and no others."""
    cast = await newcomers(site, role)
    audible = cast.viewer if "oneself" in row.name or outcome == "null" else cast.other
    async with client_of(site, cast).socket() as socket:
        if outcome in CODES:
            id_ = await socket.subscribe(full(row.document), **row.variables(cast))
            assert await socket.codes(id_) == [CODES[outcome]]
            return

        id_ = await site.listen(socket, full(row.document), **row.variables(cast))
        assert audible is not None
        for person in (cast.other, audible):
            await person.client.field(UPDATE, input={"id": person.id, "name": "Changed"})

        assert (await socket.next(id_))["userChanges"]["userId"] == audible.id


@cells(DATA_SUBSCRIPTIONS)
async def test_data_subscriptions(site: Site, row: Row, role: Role | None, outcome: str) -> None:
    """Each subscriber receives the data objects that the table allows: `null` receives its own and no others."""
    cast = await newcomers(site, role)
    own = "oneself" in row.name or outcome == "null"
    async with client_of(site, cast).socket() as socket:
        if outcome in CODES:
            id_ = await socket.subscribe(full(row.document), **row.variables(cast))
            assert await socket.codes(id_) == [CODES[outcome]]
            return

        id_ = await site.listen(socket, full(row.document), **row.variables(cast))
        for data_id in (cast.other_data, cast.own_data):
            await site.log.data.change(UUID(data_id), UpdateData(name="Changed"), NOBODY)

        change = (await socket.next(id_))["dataChanges"]
        assert change["dataId"] == (cast.own_data if own else cast.other_data)
        assert change["data"]["name"] == "Changed"


@cells(OWNED_DATA)
async def test_owned_data(site: Site, row: Row, role: Role | None, outcome: str) -> None:
    """Only the owner and staff may read it, wherever the user is selected."""
    cast = await newcomers(site, role)
    await site.caught_up()

    answer = await client_of(site, cast).ask(row.document, **row.variables(cast))

    assert set(answer.codes) == ({CODES[outcome]} if outcome in CODES else set())
    assert ('"cursor"' in json.dumps(answer.body)) is (outcome == "yes")


@cells(STATUSES)
async def test_status(site: Site, readers: dict[Role | None, Cast], row: Row, role: Role | None, outcome: str) -> None:
    """A role that may read the projections' status may subscribe to it too."""
    async with client_of(site, readers[role]).socket() as socket:
        id_ = await socket.subscribe(full(row.document))
        if outcome in CODES:
            assert await socket.codes(id_) == [CODES[outcome]]
        else:
            assert len((await socket.next(id_))["projectionStatus"]) == 2


@cells(HISTORIES)
async def test_histories(site: Site, row: Row, role: Role | None, outcome: str) -> None:
    """Only the user itself and staff may read it, wherever the user is selected; not even a client that is about to
    be signed in by the same mutation.
    """
    cast = await newcomers(site, role)
    await site.caught_up()

    answer = await client_of(site, cast).ask(row.document, **row.variables(cast))

    assert set(answer.codes) == ({CODES[outcome]} if outcome in CODES else set())
    if outcome in CODES:
        assert '"cursor"' not in json.dumps(answer.body)
    else:
        assert ('"cursor"' in json.dumps(answer.body)) is (outcome == "yes")


async def test_the_table_covers_every_field_of_every_type() -> None:
    """A field that is added without saying who may read it fails here."""
    alone = {
        ("User", "emailVerified"),
        ("User", "history"),
        ("User", "data"),
        ("User", "dataIds"),
        ("DataObject", "history"),
    }
    found = {(kind.name, name) for kind in reachable() for name in kind.fields}

    assert {(kind, name) for kind, names in FIELDS.items() for name in names.split()} == found - alone
    assert alone <= found


async def test_the_table_covers_every_operation_of_the_schema() -> None:
    """An operation that is added without saying who may do it fails here."""
    roots = [SCHEMA.query_type, SCHEMA.mutation_type, SCHEMA.subscription_type]

    known = {name for root in roots if isinstance(root, GraphQLObjectType) for name in root.fields}

    assert {
        row.field
        for row in [
            *QUERIES,
            *MUTATIONS,
            *WEBHOOK_MUTATIONS,
            *REBUILDS,
            *SUBSCRIPTIONS,
            *DATA_SUBSCRIPTIONS,
            *STATUSES,
        ]
    } == known
