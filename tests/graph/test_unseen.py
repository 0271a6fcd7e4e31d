"""A user that the viewer may not read is answered like one that does not exist: byte for byte, by every field."""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from structlog.contextvars import get_contextvars

from events.database import Connection, Database
from events.event_types import Role
from tests.graph.client import Client, Json
from tests.graph.documents import CHANGE_ROLE, CHANGES, DELETE, EVENTS, HISTORY, LIST, NODE, ONE, SEARCH, THEN, UPDATE
from tests.graph.site import Person, Site

QUESTIONS: dict[str, tuple[str, Any]] = {
    "user": (ONE, lambda id_: {"id": id_}),
    "node": (NODE, lambda id_: {"id": id_}),
    "user at a position": (THEN, lambda id_: {"id": id_, "atPosition": "1"}),
    "user at an instant": (THEN, lambda id_: {"id": id_, "asOf": "2026-01-01T00:00:00Z"}),
    "user in the time to come": (THEN, lambda id_: {"id": id_, "asOf": "9999-01-01T00:00:00Z"}),
    "history": (HISTORY, lambda id_: {"id": id_}),
    "events": (EVENTS, lambda id_: {"userId": id_}),
    "users": (LIST, lambda id_: {"filter": {"username": {"eq": id_}}}),
    "searchUsers": (SEARCH, lambda id_: {"text": id_}),
    "updateUser": (UPDATE, lambda id_: {"input": {"id": id_, "name": "Another"}}),
    "updateUser with a version": (UPDATE, lambda id_: {"input": {"id": id_, "name": "A", "expectedVersion": 1}}),
    "updateUser with a key": (UPDATE, lambda id_: {"input": {"id": id_, "name": "A", "idempotencyKey": "k"}}),
    "changeRole": (CHANGE_ROLE, lambda id_: {"input": {"id": id_, "role": "ADMIN"}}),
    "deleteUser": (DELETE, lambda id_: {"input": {"id": id_}}),
}


@dataclass(frozen=True, slots=True)
class Cast:
    """The viewers, and the users that they ask for."""

    customer: Person
    admin: Person
    ids: dict[str, str]


@pytest_asyncio.fixture(scope="module")
async def cast(shared_site: Site) -> Cast:
    """An existing user, a deleted one, an unknown id, and a malformed id."""
    other, deleted = await shared_site.person(), await shared_site.person()
    admin, customer = await shared_site.person(Role.ADMIN), await shared_site.person()
    await deleted.client.field(DELETE, input={"id": deleted.id})
    await shared_site.caught_up()
    ids = {"there": other.id, "deleted": deleted.id, "never": str(uuid4()), "none": "1 OR 1=1"}
    return Cast(customer, admin, ids)


@dataclass(frozen=True, slots=True)
class Steps:
    """What the databases were asked."""

    asked: Counter[str]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Counts every statement that a request reads with, on its way to the server."""
    asked: Counter[str] = Counter()
    for owner in (Database, Connection):
        for name in ("fetch_one", "fetch_all"):
            _count(monkeypatch, owner, name, asked)
    return Steps(asked)


def _count(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, asked: Counter[str]) -> None:
    real = getattr(owner, name)

    async def counting(self: object, sql: str, arguments: Any = ()) -> Any:
        # Without it, it is a projector or the follower of the log. A view's position is remembered for a moment.
        if "correlation" in get_contextvars() and "users_checkpoint" not in sql:
            asked[sql] += 1
        return await real(self, sql, arguments)

    monkeypatch.setattr(owner, name, counting)


async def said(client: Client, document: str, variables: Json) -> tuple[int, str]:
    """An answer, without what is different in any two."""
    answer = await client.ask(document, **variables)
    return answer.status, json.dumps(answer.body)


@pytest.mark.parametrize("signed_in", [True, False], ids=["customer", "nobody"])
@pytest.mark.parametrize("question", QUESTIONS)
async def test_one_may_not_learn_who_exists(site: Site, cast: Cast, question: str, signed_in: bool) -> None:
    """A user, a deleted user, an unused id and no id at all: one answer."""
    document, variables = QUESTIONS[question]
    client = cast.customer.client if signed_in else site.anyone

    answers = {kind: await said(client, document, variables(id_)) for kind, id_ in cast.ids.items()}

    assert len(set(answers.values())) == 1, answers


@pytest.mark.parametrize("question", QUESTIONS)
async def test_one_may_not_learn_it_from_the_time_it_takes(site: Site, cast: Cast, question: str, steps: Steps) -> None:
    """The same statements are sent to MySQL for each of them."""
    document, variables = QUESTIONS[question]
    counted = {}
    await said(cast.customer.client, document, variables(str(uuid4())))  # the first request reads the viewer's account
    for kind, id_ in cast.ids.items():
        steps.asked.clear()
        await said(cast.customer.client, document, variables(id_))
        counted[kind] = sum(steps.asked.values())

    assert len(set(counted.values())) == 1, counted


@pytest.mark.parametrize("signed_in", [True, False], ids=["customer", "nobody"])
async def test_one_may_not_learn_it_by_listening(site: Site, cast: Cast, signed_in: bool) -> None:
    """`userChanges` of a user, a deleted user and an unused id, from now on and from the beginning."""
    client = cast.customer.client if signed_in else site.anyone
    heard = []
    async with client.socket() as socket:
        for kind in ("there", "deleted", "never"):
            for after in (None, "0"):
                id_ = await socket.subscribe(CHANGES, userId=cast.ids[kind], after=after)
                heard.append(json.dumps(await socket.receive()).replace(f'"{id_}"', '"id"'))

    assert len(set(heard)) == 1, heard


@pytest.mark.parametrize("question", ["user", "node", "user at a position", "user in the time to come", "history"])
async def test_a_deleted_user_is_as_one_who_never_was_for_staff_too(site: Site, cast: Cast, question: str) -> None:
    """Only the audit log still has events of it."""
    document, variables = QUESTIONS[question]

    answers = {
        kind: await said(cast.admin.client, document, variables(cast.ids[kind])) for kind in ("deleted", "never")
    }

    assert len(set(answers.values())) == 1, answers
