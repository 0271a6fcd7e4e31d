"""The typed operations, as values: a document, its variables, and what becomes of the answer.

Nothing here sends anything. `Client` and `AsyncClient` have a method of the same name for each function here.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, TypeVar

from rollcall_client.errors import Json, Refused, TransportError
from rollcall_client.models import Credentials, Outcome, Page, Projection, Tokens, User, UserUpdate

T = TypeVar("T")

USER: Final = "{ id username email name role attributes version position createdAt updatedAt }"
PAGE_INFO: Final = "pageInfo { hasNextPage hasPreviousPage startCursor endCursor } totalCount @include(if: $count)"
SESSION: Final = "session { accessToken refreshToken }"
ERRORS: Final = "errors { code message field retryAfter }"
USER_PAYLOAD: Final = f"{{ user {USER} position {ERRORS} }}"

REGISTER: Final = (
    f"mutation($input: RegisterInput!) {{ register(input: $input) {{ user {USER} {SESSION} position {ERRORS} }} }}"
)
LOG_IN: Final = f"mutation($input: LoginInput!) {{ login(input: $input) {{ user {USER} {SESSION} {ERRORS} }} }}"
REFRESH: Final = f"mutation($token: String!) {{ refreshSession(refreshToken: $token) {{ {SESSION} {ERRORS} }} }}"
LOG_OUT: Final = "mutation($everywhere: Boolean) { logout(everywhere: $everywhere) { loggedOut } }"
CREATE_USER: Final = f"mutation($input: CreateUserInput!) {{ createUser(input: $input) {USER_PAYLOAD} }}"
UPDATE_USER: Final = f"mutation($input: UpdateUserInput!) {{ updateUser(input: $input) {USER_PAYLOAD} }}"
UPDATE_USERS: Final = f"mutation($input: [UpdateUserInput!]!) {{ updateUsers(input: $input) {USER_PAYLOAD} }}"
CHANGE_ROLE: Final = f"mutation($input: ChangeRoleInput!) {{ changeRole(input: $input) {USER_PAYLOAD} }}"
CHANGE_PASSWORD: Final = f"mutation($input: ChangePasswordInput!) {{ changePassword(input: $input) {USER_PAYLOAD} }}"
DELETE_USER: Final = f"mutation($input: DeleteUserInput!) {{ deleteUser(input: $input) {{ position {ERRORS} }} }}"
ME: Final = f"{{ me {USER} }}"
GET_USER: Final = f"""
query($id: ID!, $asOf: DateTime, $atPosition: Position) {{ user(id: $id, asOf: $asOf, atPosition: $atPosition) {USER} }}
"""
USERS_BY_IDS: Final = f"query($ids: [ID!]!) {{ usersByIds(ids: $ids) {USER} }}"
LIST_USERS: Final = f"""
query(
  $filter: UserFilter, $orderBy: UserOrder, $first: Int, $after: String, $last: Int, $before: String, $count: Boolean!
) {{
  users(filter: $filter, orderBy: $orderBy, first: $first, after: $after, last: $last, before: $before) {{
    edges {{ node {USER} }} {PAGE_INFO}
  }}
}}
"""
SEARCH_USERS: Final = f"""
query(
  $text: String, $where: [AttributeFilter!], $filter: UserFilter, $first: Int, $after: String, $count: Boolean!
) {{
  searchUsers(text: $text, where: $where, filter: $filter, first: $first, after: $after) {{
    edges {{ node {USER} }} {PAGE_INFO}
  }}
}}
"""
PROJECTIONS: Final = "{ projections { name state position head lag lagSeconds lastError } }"
VIEW_POSITION: Final = "{ dataObjects(first: 0) { pageInfo { hasNextPage } } }"


@dataclass(frozen=True, slots=True)
class Result:
    """The successful answer to an operation."""

    data: Json
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """One request to the server, and how its answer is read."""

    document: str
    variables: Json = field(repr=False)  # passwords
    read: Callable[[Result], T]
    writes: bool = False
    repeatable: bool = True
    """Whether sending it twice does no harm."""
    keyed: bool = False
    """Whether each input takes an idempotency key."""
    signed: bool = True
    """Whether it is sent with the access token."""
    session_of: str | None = None
    """The payload whose session the client goes on with."""
    ends_session: bool = False
    name: str | None = None
    """Which operation of the document, if it has several."""

    def with_keys(self, new_key: Callable[[], str]) -> "Operation[T]":
        """The same operation; each of its inputs has an idempotency key, which stays the same over retries."""
        if not self.keyed:
            return self

        def keyed(given: Json) -> Json:
            return {**given, "idempotencyKey": given.get("idempotencyKey") or new_key()}

        given = self.variables["input"]
        filled = keyed(given) if isinstance(given, Mapping) else [keyed(one) for one in given]
        return replace(self, variables={"input": filled}, keyed=False)


def execute(
    document: str, variables: Json | None = None, *, operation_name: str | None = None, repeatable: bool | None = None
) -> Operation[Json]:
    """Execute any query or mutation, and return its `data`. Refusals of a mutation are in its payload's `errors`.

    A query is retried. A mutation is, once it may have been done, only with `repeatable=True`: say so if sending it
    twice does no harm, such as with an `idempotencyKey` of your own. Select `position` in the payload of a mutation, so
    that the next queries of this client include it.
    """
    # A document with a mutation has this word. One with the word elsewhere is only retried less.
    writes = re.search(r"\bmutation\b", document) is not None
    return Operation(
        document,
        variables or {},
        lambda result: result.data,
        writes=writes,
        repeatable=not writes if repeatable is None else repeatable,
        name=operation_name,
    )


def register(
    username: str,
    email: str,
    name: str,
    password: str,
    *,
    attributes: Json | None = None,
    invitation: str | None = None,
    proof_of_work: str | None = None,
    idempotency_key: str | None = None,
) -> Operation[User | None]:
    """Register a CUSTOMER and go on as that user. None if the email has to be confirmed first."""
    values: dict[str, Any] = {"username": username, "email": email, "name": name, "password": password}
    values |= {"attributes": attributes, "invitation": invitation, "proofOfWork": proof_of_work}
    values["idempotencyKey"] = idempotency_key
    read = _payload("register", lambda payload: User.maybe(payload["user"]))
    return Operation(REGISTER, {"input": values}, read, writes=True, keyed=True, signed=False, session_of="register")


def log_in(login: str, password: str) -> Operation[User]:
    """Sign in with a username or an email. The password is not kept."""
    values = {"login": login, "password": password}
    read = _payload("login", lambda payload: User.of(payload["user"]))
    return Operation(LOG_IN, {"input": values}, read, writes=True, signed=False, session_of="login")


def start_session(credentials: Credentials) -> Operation[Tokens]:
    """Sign in as the user that the client has been all along."""
    values = {"login": credentials.login, "password": credentials.password}
    read = _payload("login", lambda payload: Tokens.of(payload["session"]))
    return Operation(LOG_IN, {"input": values}, read, writes=True, signed=False)


def refresh(refresh_token: str) -> Operation[Tokens]:
    """The next tokens of a session. Within 10 s a repetition returns the same ones."""
    read = _payload("refreshSession", lambda payload: Tokens.of(payload["session"]))
    return Operation(REFRESH, {"token": refresh_token}, read, writes=True, signed=False)


def log_out(*, everywhere: bool = False) -> Operation[bool]:
    """End this session, or all sessions of the user. False if there was none."""
    return Operation(
        LOG_OUT,
        {"everywhere": everywhere},
        lambda result: bool(result.data["logout"]["loggedOut"]),
        writes=True,
        ends_session=True,
    )


def create_user(
    username: str,
    email: str,
    name: str,
    password: str,
    role: str,
    *,
    attributes: Json | None = None,
    idempotency_key: str | None = None,
) -> Operation[User]:
    """Create a user of any role. For ADMIN."""
    values: dict[str, Any] = {"username": username, "email": email, "name": name, "password": password, "role": role}
    values |= {"attributes": attributes, "idempotencyKey": idempotency_key}
    return _of_user("createUser", CREATE_USER, values)


def update_user(
    id: str,  # noqa: A002 - the name in the schema
    *,
    username: str | None = None,
    email: str | None = None,
    name: str | None = None,
    attributes: Json | None = None,
    expected_version: int | None = None,
    idempotency_key: str | None = None,
) -> Operation[User]:
    """Change a user. Fields that are None stay as they are; `attributes` is a JSON merge patch (RFC 7396)."""
    update = UserUpdate(id, username, email, name, attributes, expected_version, idempotency_key)
    return _of_user("updateUser", UPDATE_USER, _input_of(update))


def update_users(updates: Sequence[UserUpdate]) -> Operation[list[Outcome]]:
    """Change up to 100 users; the outcome of each in their order. One that is refused affects no other."""

    def read(result: Result) -> list[Outcome]:
        payloads = result.data["updateUsers"]
        return [Refused.of(one["errors"]) if one["errors"] else User.of(one["user"]) for one in payloads]

    return Operation(UPDATE_USERS, {"input": [_input_of(one) for one in updates]}, read, writes=True, keyed=True)


def change_role(
    id: str,  # noqa: A002 - the name in the schema
    role: str,
    *,
    expected_version: int | None = None,
    idempotency_key: str | None = None,
) -> Operation[User]:
    """Give a user another role, which ends the user's sessions. For ADMIN."""
    values = {"id": id, "role": role, "expectedVersion": expected_version, "idempotencyKey": idempotency_key}
    return _of_user("changeRole", CHANGE_ROLE, values)


def change_password(current_password: str, new_password: str) -> Operation[User]:
    """Change one's own password, which ends one's other sessions. Not repeated once it may have been done."""
    values = {"currentPassword": current_password, "newPassword": new_password}
    return _of_user("changePassword", CHANGE_PASSWORD, values, keyed=False)


def delete_user(
    id: str,  # noqa: A002 - the name in the schema
    *,
    expected_version: int | None = None,
    idempotency_key: str | None = None,
) -> Operation[None]:
    """Delete a user and erase its personal data."""
    values = {"id": id, "expectedVersion": expected_version, "idempotencyKey": idempotency_key}
    read = _payload("deleteUser", lambda _: None)
    return Operation(DELETE_USER, {"input": values}, read, writes=True, keyed=True)


def me() -> Operation[User | None]:
    """The signed-in user; None without a sign-in."""
    return Operation(ME, {}, lambda result: User.maybe(result.data["me"]))


def get_user(
    id: str,  # noqa: A002 - the name in the schema
    *,
    as_of: str | None = None,
    at_position: int | None = None,
) -> Operation[User | None]:
    """One user as of now, of an instant (ISO 8601) or of a position. None if there is none that one may read."""
    variables = {"id": id, "asOf": as_of, "atPosition": None if at_position is None else str(at_position)}
    return Operation(GET_USER, variables, lambda result: User.maybe(result.data["user"]))


def users_by_ids(ids: Sequence[str]) -> Operation[list[User | None]]:
    """Up to 100 users in the order of their ids; None in the place of one that there is not."""
    return Operation(
        USERS_BY_IDS, {"ids": list(ids)}, lambda result: [User.maybe(one) for one in result.data["usersByIds"]]
    )


def list_users(
    *,
    filter: Json | None = None,  # noqa: A002 - the name in the schema
    order_by: Json | None = None,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
    count: bool = False,
) -> Operation[Page[User]]:
    """One page of the users, at most 100. `filter` and `order_by` are `UserFilter` and `UserOrder` of the schema."""
    variables = {"filter": filter, "orderBy": order_by, "first": first, "after": after, "last": last, "before": before}
    return Operation(LIST_USERS, {**variables, "count": count}, lambda result: Page.of(result.data["users"], User.of))


def search_users(
    text: str | None = None,
    *,
    where: Sequence[Json] | None = None,
    filter: Json | None = None,  # noqa: A002 - the name in the schema
    first: int = 20,
    after: str | None = None,
    count: bool = False,
) -> Operation[Page[User]]:
    """Users that have all words of a text and pass all tests on attributes, at most 100 a page."""
    variables = {"text": text, "where": where, "filter": filter, "first": first, "after": after, "count": count}
    return Operation(SEARCH_USERS, variables, lambda result: Page.of(result.data["searchUsers"], User.of))


def projections() -> Operation[list[Projection]]:
    """The states of the views, with the head of the log. For staff."""
    return Operation(PROJECTIONS, {}, lambda result: [Projection.of(found) for found in result.data["projections"]])


def view_position() -> Operation[int]:
    """A position that the MySQL view has reached, not below the client's own latest write."""

    def read(result: Result) -> int:
        if "position" not in result.headers:
            raise TransportError("the answer has no header Position: a gateway removes it")
        return int(result.headers["position"])

    return Operation(VIEW_POSITION, {}, read)


def _of_user(field: str, document: str, values: Json, *, keyed: bool = True) -> Operation[User]:
    """A mutation with a `UserPayload`."""
    read = _payload(field, lambda payload: User.of(payload["user"]))
    return Operation(document, {"input": values}, read, writes=True, repeatable=keyed, keyed=keyed)


def _payload(field: str, of: Callable[[Json], T]) -> Callable[[Result], T]:
    """A reader of a mutation's payload, which raises `Refused` if it has errors."""

    def read(result: Result) -> T:
        payload = result.data[field]
        if payload["errors"]:
            raise Refused.of(payload["errors"])
        return of(payload)

    return read


def _input_of(update: UserUpdate) -> Json:
    return {
        "id": update.id,
        "username": update.username,
        "email": update.email,
        "name": update.name,
        "attributes": update.attributes,
        "expectedVersion": update.expected_version,
        "idempotencyKey": update.idempotency_key,
    }
