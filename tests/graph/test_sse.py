"""GraphQL over server-sent events: what is sent, to whom, and how a stream ends."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from itertools import count, islice

import pytest
from aiohttp import ClientPayloadError
from multidict import CIMultiDict, CIMultiDictProxy

from auth.sessions import Sessions
from events.checkpoint import cursor_of
from events.errors import DatabaseUnavailable
from events.user import Update
from graph import media_types, sse
from graph.media_types import MediaType
from tests.graph.client import answer_of
from tests.graph.documents import CHANGES, ME, UPDATE
from tests.graph.events import ACCEPT, Event, Events, streaming
from tests.graph.site import Person, Site
from tests.graph.test_watch import CAUSES
from tests.log import NOBODY
from tests.waiting import PATIENCE_SECONDS, eventually

URQL = (
    "application/graphql-response+json, application/graphql+json, application/json, text/event-stream, multipart/mixed"
)
"""What urql says with every query and mutation."""


async def rename(site: Site, person: Person, *names: str) -> list[str]:
    """Change a name so often; the positions of the changes."""
    return [str((await site.log.commands.change(person.user.id, Update(name=name), NOBODY)).position) for name in names]


async def listening(site: Site, stack: AsyncExitStack, person: Person) -> Events:
    """A stream that hears of what happens from here on."""
    start = await site.log.store.head()
    return await stack.enter_async_context(streaming(person.client, CHANGES, after=str(start)))


async def opened(site: Site, before: int) -> None:
    """Wait until there is one subscriber more than before."""

    async def is_there() -> bool:
        return len(site.services.feed._subscribers) > before

    await eventually(is_there)


async def test_each_event_has_the_cursor_to_resume_from(site: Site) -> None:
    """In `id`, whatever the document selects; also with `history`, which is not shared."""
    person = await site.person()
    with_history = "subscription { userChanges(after: %s) { user { history(first: 1) { edges { cursor } } } } }"
    end = await site.log.store.end()
    await rename(site, person, "One", "Two")
    page = await site.log.store.read_after(end, limit=2)
    cursors = [cursor_of(end.log_id, recorded) for recorded in page.events]
    for document in ("subscription { userChanges(after: %s) { version } }", with_history):
        async with streaming(person.client, document % f'"{end.position}"') as events:
            assert [(event.id if event else None) for event in [await events.event(), await events.event()]] == cursors


@pytest.mark.parametrize("how", ["after", "cursor", "Last-Event-ID", "both"])
async def test_a_client_that_resumes_misses_nothing_and_gets_nothing_twice(site: Site, how: str) -> None:
    """By an argument, or by the header, which takes precedence: a client repeats the request as it was."""
    person = await site.person()
    start = str(await site.log.store.head())
    await rename(site, person, "One", "Two")
    async with streaming(person.client, CHANGES, after=start) as events:
        first = await events.event()
    assert first is not None
    assert first.id is not None
    await rename(site, person, "Three")

    position = first.data["data"]["userChanges"]["position"]
    arguments = {"after": {"after": position}, "cursor": {"cursor": first.id}, "both": {"after": start}}.get(how, {})
    headers = {} if how in ("after", "cursor") else {"Last-Event-ID": first.id}
    async with streaming(person.client, CHANGES, headers, **arguments) as events:
        names = [(await events.next())["userChanges"]["user"]["name"] for _ in range(2)]

    assert names == ["Two", "Three"]


@pytest.mark.parametrize("position", ["", "1", "x", "A" * 55, "A" * 57, "A" * 52 + "====", "\u0661" * 56])
async def test_a_last_event_id_that_is_no_cursor_is_refused(site: Site, position: str) -> None:
    """Before the stream begins."""
    person = await site.person()
    headers = {**person.client.headers, "Accept": ACCEPT, "Last-Event-ID": position}
    async with site.session.post(site.anyone.url, json={"query": CHANGES}, headers=headers) as response:
        assert response.status == 400
        assert "Last-Event-ID" in (await answer_of(response)).message


async def test_queries_and_mutations_are_answered_and_completed(site: Site) -> None:
    """By POST; a GET may query and subscribe, and change nothing."""
    person = await site.person()
    async with streaming(person.client, ME) as events:
        assert (await events.next())["me"]["id"] == person.id
        assert await events.rest() == ["complete"]
    async with streaming(person.client, UPDATE, input={"id": person.id, "name": "New"}) as events:
        assert (await events.next())["updateUser"]["user"]["name"] == "New"
        assert await events.rest() == ["complete"]

    headers = {**person.client.headers, "Accept": ACCEPT}
    mutation = f'mutation {{ updateUser(input: {{id: "{person.id}", name: "Other"}}) {{ position }} }}'
    found = []
    for document in (ME, mutation):
        async with site.session.get(site.anyone.url, params={"query": document}, headers=headers) as response:
            found.append(await Events(response).event())
    assert found[0] is not None
    assert found[0].data["data"]["me"]["name"] == "New"
    assert found[1] is not None
    assert "errors" in found[1].data


WRONG = {
    "{ me {": None,
    "{ nothing }": None,
    "subscription { userChanges(after: 1) { version } }": None,
    'subscription { userChanges(after: "99999999") { version } }': "LOG_CHANGED",
    'subscription { userChanges(cursor: "x") { version } }': "BAD_USER_INPUT",
    'subscription { userChanges(after: "1", cursor: "x") { version } }': "BAD_USER_INPUT",
    "subscription { projectionStatus { name } }": "FORBIDDEN",
}


@pytest.mark.parametrize(("document", "code"), WRONG.items(), ids=range(len(WRONG)))
async def test_an_error_of_the_operation_comes_within_the_stream(site: Site, document: str, code: str | None) -> None:
    """As the protocol has it: `next` with the errors, then `complete`, so no client repeats it."""
    person = await site.person()
    async with streaming(person.client, document) as events:
        event = await events.event()
        assert event is not None
        assert event.data["data"] is None
        assert event.data["errors"][0].get("extensions", {}).get("code") == code
        assert await events.rest() == ["complete"]


async def test_a_subscriber_must_be_signed_in(site: Site) -> None:
    """Without a token the stream has the error; with a bad one there is no stream."""
    async with streaming(site.anyone, CHANGES) as events:
        event = await events.event()
        assert event is not None
        assert event.data["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
        assert await events.rest() == ["complete"]

    headers = {"Accept": ACCEPT, "Authorization": "Bearer x.y.z"}
    async with site.session.post(site.anyone.url, json={"query": CHANGES}, headers=headers) as response:
        assert response.status == 401
        assert (await answer_of(response)).codes == ["UNAUTHENTICATED"]


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (ACCEPT, True),
        ("text/event-stream, multipart/mixed", True),
        ("TEXT/EVENT-STREAM;q=0.9", True),
        ("text/html, text/event-stream, */*;q=0.1", True),
        ("application/json;q=0.5, text/event-stream", True),
        (URQL, False),
        ("application/json, text/event-stream", False),
        ("*/*", False),
        ("*/*, text/event-stream", False),
        ("text/event-stream;q=0.5, application/json", False),
        ("text/event-stream;q=0", False),
        ("text/event-stream;q=x", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        ("", False),
        (";q=1,,", False),
    ],
)
async def test_a_client_that_prefers_events_gets_a_stream(accept: str, wanted: bool) -> None:
    """By quality, and among equals by order."""
    headers = CIMultiDictProxy(CIMultiDict({"Accept": accept}))
    assert (media_types.accepted(headers, media_types.ANY) is MediaType.EVENTS) is wanted


async def test_a_query_of_urql_is_not_answered_with_events(site: Site) -> None:
    """Its Accept header has them last."""
    headers = {"Accept": URQL}
    async with site.session.post(site.anyone.url, json={"query": ME}, headers=headers) as response:
        assert response.content_type != ACCEPT
        assert await response.json() == {"data": {"me": None}}


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.__name__)
async def test_a_stream_ends_with_its_session(
    site: Site, monkeypatch: pytest.MonkeyPatch, cause: Callable[[Site, Person], Awaitable[None]]
) -> None:
    """In good order but without `complete`, so that its client reconnects with a new token."""
    monkeypatch.setattr(site.clock, "ahead", timedelta())
    person = await site.person()
    async with AsyncExitStack() as stack:
        events = await listening(site, stack, person)
        await rename(site, person, "Heard of")
        await events.next()

        await cause(site, person)

        assert "complete" not in await events.rest()


async def test_streams_and_sockets_are_counted_together(own_site: Site) -> None:
    """One more gets 429 with `Retry-After`; a stream that is closed makes room."""
    person = await own_site.person()
    own_site.services.watch._connections = 2
    headers = {**person.client.headers, "Accept": ACCEPT}
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(person.client.socket())
        events = await listening(own_site, stack, person)
        async with own_site.session.post(own_site.anyone.url, json={"query": ME}, headers=headers) as response:
            assert response.status == 429
            assert response.headers["Retry-After"] == "1"

        events.response.close()
        await rename(own_site, person, "One", "Two")

        async def there_is_room() -> bool:
            return len(own_site.services.watch._open[person.user.id]) == 1

        await eventually(there_is_room)


async def test_a_stream_is_a_503_while_a_database_is_away(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `Retry-After`: clients try again by themselves."""
    person = await site.person()

    async def away(*_: object) -> None:
        raise DatabaseUnavailable("gone")

    monkeypatch.setattr(Sessions, "find_with_hash", away)
    headers = {**person.client.headers, "Accept": ACCEPT}
    async with site.session.post(site.anyone.url, json={"query": CHANGES}, headers=headers) as response:
        assert response.status == 503
        assert response.headers["Retry-After"] == "1"
        assert (await answer_of(response)).codes == ["UNAVAILABLE"]


async def test_a_stream_without_events_has_keep_alive_comments(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """They reveal a client that is gone."""
    monkeypatch.setattr(sse, "KEEP_ALIVE_SECONDS", 0.05)
    person = await site.person()
    before = len(site.services.feed._subscribers)
    async with AsyncExitStack() as stack:
        events = await listening(site, stack, person)
        assert [await events.any(), await events.any()] == [Event("comment")] * 2
        connection = events.response.connection
        assert connection is not None
        assert connection.transport is not None
        connection.transport.abort()

        async def gone() -> bool:
            return len(site.services.feed._subscribers) == before

        await eventually(gone)


async def test_a_stop_ends_every_stream_so_that_clients_reconnect(own_site: Site) -> None:
    """At once, in good order, and without `complete`."""
    person = await own_site.person()
    async with AsyncExitStack() as stack:
        streams = [await listening(own_site, stack, person) for _ in range(3)]

        async with asyncio.timeout(PATIENCE_SECONDS):
            stopping = asyncio.create_task(own_site.server.close())
            assert [await events.rest() for events in streams] == [[]] * 3
            await stopping


async def test_a_client_that_reads_nothing_is_cut_off(own_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while in which it read nothing; it can resume."""
    monkeypatch.setattr(sse, "UNREAD_SECONDS", 0.3)
    person = await own_site.person(attributes={"note": "x" * 60_000})
    async with AsyncExitStack() as stack:
        events = await listening(own_site, stack, person)
        names = map("Name {}".format, count())

        async def cut() -> bool:
            # How much the system takes for a client that reads nothing is its own affair: more until it is full.
            await rename(own_site, person, *islice(names, 20))
            return not own_site.services.feed._subscribers

        await eventually(cut)
        with pytest.raises(ClientPayloadError):
            assert len(await events.rest()) == 0
