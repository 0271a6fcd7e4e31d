"""The WebSocket: whatever comes in, it is answered or closed with the code that says why, never cut in silence."""

import asyncio
import json

import pytest
from aiohttp import ClientWebSocketResponse, WSCloseCode, WSServerHandshakeError

from auth.sessions import Sessions
from events.errors import DatabaseUnavailable
from tests.graph.client import SUBPROTOCOL, Client, Json, Socket, close_code
from tests.graph.conftest import Complaints
from tests.graph.documents import CHANGES, ME
from tests.graph.site import Site
from tests.waiting import PATIENCE_SECONDS, eventually

TOO_LARGE = "x" * (300 * 1024)
SUBSCRIBE = {"type": "subscribe", "id": "1"}

MALFORMED: list[object] = [
    "",
    "nonsense",
    "{",
    "[]",
    "1",
    "null",
    '"connection_init"',
    "{}",
    '{"type": 1}',
    '{"type": null}',
    '{"type": ["subscribe"]}',
    '{"type": "start"}',
    '{"type": "ka\\ud83d\\ude00' + "x" * 500 + '"}',
    '{"type": "ping", "payload": "\\ud800"}',
    '{"type": "ping", "payload": NaN}',
    '{"type": "ping", "payload": ' + "1" * 5_000 + "}",
    '{"type": "ping", "payload": ' + "[" * 100_000,
    b"\x00\x01",
    json.dumps({"type": "ping"}).encode(),
    SUBSCRIBE,
    SUBSCRIBE | {"payload": None},
    SUBSCRIBE | {"payload": [ME]},
    SUBSCRIBE | {"payload": {"query": 1}},
    SUBSCRIBE | {"payload": {"query": None}},
    SUBSCRIBE | {"payload": {"query": ME, "variables": []}},
    SUBSCRIBE | {"payload": {"query": ME, "variables": "{}"}},
    SUBSCRIBE | {"payload": {"query": ME, "operationName": 3}},
    SUBSCRIBE | {"payload": {"documentId": 1}},
    SUBSCRIBE | {"payload": {"documentId": None, "extensions": {"persistedQuery": None}}},
    {"type": "subscribe", "payload": {"query": ME}},
    {"type": "subscribe", "id": 1, "payload": {"query": ME}},
    {"type": "subscribe", "id": None, "payload": {"query": ME}},
    {"type": "complete"},
    {"type": "complete", "id": 1},
    {"type": "connection_init", "payload": []},
    {"type": "connection_init", "payload": "Bearer x"},
]


async def send(raw: ClientWebSocketResponse, frame: object) -> None:
    """One frame: bytes as binary, text as it is, everything else as JSON."""
    if isinstance(frame, bytes):
        await raw.send_bytes(frame)
    else:
        await raw.send_str(frame if isinstance(frame, str) else json.dumps(frame))


@pytest.mark.parametrize("acknowledged", [True, False], ids=["acknowledged", "new"])
@pytest.mark.parametrize("frame", MALFORMED, ids=lambda frame: ascii(frame)[:60])
async def test_a_malformed_message_closes_the_socket_with_4400(site: Site, frame: object, acknowledged: bool) -> None:
    """At any time, with a reason, and without an error in the log."""
    async with site.anyone.raw_socket() as raw:
        if acknowledged:
            await send(raw, {"type": "connection_init"})
            await raw.receive_json()

        await send(raw, frame)

        assert await close_code(raw) == 4400


async def test_a_message_that_is_too_large_closes_the_socket_with_1009(site: Site) -> None:
    """Instead of filling the server's memory."""
    async with site.anyone.raw_socket() as raw:
        await send(raw, TOO_LARGE)

        assert await close_code(raw) == WSCloseCode.MESSAGE_TOO_BIG


@pytest.mark.parametrize("authorization", ["", "nonsense", "Bearer ", "Bearer x.y.z", 1, True, ["Bearer x"], {"a": 1}])
async def test_a_bad_token_closes_the_socket_with_4403(site: Site, authorization: Json) -> None:
    """In `connection_init` as in the header."""
    async with site.anyone.raw_socket() as raw:
        await send(raw, {"type": "connection_init", "payload": {"authorization": authorization}})

        assert await close_code(raw) == 4403


async def test_a_token_travels_in_connection_init_or_in_the_header(site: Site) -> None:
    """A browser cannot set the header, other clients can; `connection_init` takes precedence."""
    person, other = await site.person(), await site.person()
    header = {"Authorization": person.client.authorization or ""}

    async def viewer(**payload: Json) -> str:
        async with site.session.ws_connect(site.anyone.url, protocols=[SUBPROTOCOL], headers=header) as raw:
            socket = Socket(raw)
            await socket.send({"type": "connection_init", "payload": payload})
            assert await socket.receive() == {"type": "connection_ack"}
            return str((await socket.next(await socket.subscribe(ME)))["me"]["id"])

    assert await viewer() == person.id
    assert await viewer(authorization=other.client.authorization) == other.id
    assert await viewer(Authorization=other.client.authorization) == other.id
    assert await viewer(AUTHORIZATION=other.client.authorization) == other.id


async def test_two_tokens_in_one_connection_init_are_refused(site: Site) -> None:
    """Spelled in two ways: which one is meant is not guessed."""
    one, other = await site.person(), await site.person()
    payload = {"authorization": one.client.authorization, "Authorization": other.client.authorization}
    async with site.anyone.raw_socket() as raw:
        await send(raw, {"type": "connection_init", "payload": payload})

        assert await close_code(raw) == 4403


@pytest.mark.parametrize("message", [{}, {"payload": None}, {"payload": {}}], ids=["absent", "null", "empty"])
async def test_connection_init_needs_no_payload(site: Site, message: Json) -> None:
    """The protocol allows null; the token of the header counts."""
    person = await site.person()
    headers = person.client.headers
    async with site.session.ws_connect(site.anyone.url, protocols=[SUBPROTOCOL], headers=headers) as raw:
        socket = Socket(raw)
        await socket.send({"type": "connection_init", **message})

        assert await socket.receive() == {"type": "connection_ack"}
        assert (await socket.next(await socket.subscribe(ME)))["me"]["id"] == person.id


async def test_the_protocols_own_rules_have_their_own_codes(site: Site) -> None:
    """Subscribing before the acknowledgement, a second `connection_init`, an id that is in use."""
    person = await site.person()
    operation = {"type": "subscribe", "id": "1", "payload": {"query": CHANGES}}

    async with site.anyone.raw_socket() as raw:
        await send(raw, operation)
        assert await close_code(raw) == 4401
    async with person.client.socket() as socket:
        await socket.send({"type": "connection_init"})
        assert await close_code(socket.raw) == 4429
    async with person.client.socket() as socket:
        await socket.send(operation)
        await socket.send(operation)
        assert await close_code(socket.raw) == 4409


@pytest.mark.parametrize("protocols", [(), ("graphql-ws",), ("soap",)])
async def test_another_subprotocol_is_refused(site: Site, protocols: tuple[str, ...]) -> None:
    """With 4406, the protocol's code."""
    async with site.session.ws_connect(site.anyone.url, protocols=protocols) as raw:
        assert await close_code(raw) == 4406


async def test_a_page_of_another_origin_may_not_open_a_socket(site: Site) -> None:
    """A browser names the page's origin; another one gets a 403 before anything else happens."""
    headers = {"Origin": "http://elsewhere.example"}

    with pytest.raises(WSServerHandshakeError) as refused:
        await site.session.ws_connect(site.anyone.url, protocols=[SUBPROTOCOL], headers=headers)

    assert refused.value.status == 403


async def test_pings_are_answered_at_any_time(site: Site) -> None:
    """Before the acknowledgement and after it, with a payload or without."""
    async with site.anyone.raw_socket() as raw:
        socket = Socket(raw)
        for message in ({"type": "ping"}, {"type": "connection_init"}, {"type": "ping", "payload": {"n": 1}}):
            await socket.send(message)
        await socket.send({"type": "pong"})

        assert [(await socket.receive())["type"] for _ in range(3)] == ["pong", "connection_ack", "pong"]


WRONG_DOCUMENTS = {
    "{ me {": "Syntax Error: Expected Name, found <EOF>.",
    "": 'Request data is missing a "query" value',
    "{ nothing }": "Cannot query field 'nothing' on type 'Query'.",
    "fragment A on User { id }": "Can't get GraphQL operation type",
    "query A { me { id } } query B { me { id } }": "operationName is required",
    "{ me " * 500: "Syntax Error: Document is nested too deeply.",
    "{ me(a: " + "[" * 500: "Syntax Error: Document is nested too deeply.",
    "subscription { userChanges(types: [NOTHING]) { version } }": "Value 'NOTHING' does not exist",
}


@pytest.mark.parametrize(("document", "message"), WRONG_DOCUMENTS.items(), ids=lambda text: text[:40])
async def test_a_document_that_is_wrong_ends_its_own_operation_only(site: Site, document: str, message: str) -> None:
    """It gets an `error` that says what is wrong, and the socket goes on."""
    async with site.anyone.socket() as socket:
        wrong = await socket.subscribe(document)
        answer = await socket.receive()
        assert (answer["type"], answer["id"]) == ("error", wrong)
        assert answer["payload"][0]["message"].startswith(message)

        assert await socket.next(await socket.subscribe(ME)) == {"me": None}


async def test_an_unknown_operation_name_is_an_error(site: Site) -> None:
    """As over HTTP."""
    async with site.anyone.socket() as socket:
        await socket.send({"type": "subscribe", "id": "1", "payload": {"query": ME, "operationName": "Nothing"}})

        assert (await socket.receive())["payload"][0]["message"] == 'Unknown operation named "Nothing".'


async def init(client: Client) -> ClientWebSocketResponse:
    raw = await client.session.ws_connect(client.url, protocols=[SUBPROTOCOL])
    await send(raw, {"type": "connection_init", "payload": {"authorization": client.authorization}})
    return raw


async def test_a_database_that_is_away_closes_the_socket_with_1013(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again later: clients of this protocol do so by themselves."""
    person = await site.person()

    async def away(*_: object) -> None:
        raise DatabaseUnavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(Sessions, "find_with_hash", away)
        raw = await init(person.client)
        assert await close_code(raw) == WSCloseCode.TRY_AGAIN_LATER

    async with person.client.socket() as socket:
        assert (await socket.next(await socket.subscribe(ME)))["me"]["id"] == person.id


async def test_an_unexpected_failure_closes_the_socket_with_1011_and_is_logged(
    site: Site, monkeypatch: pytest.MonkeyPatch, complaints: Complaints
) -> None:
    """The reason has the correlation id of the log and no details."""
    person = await site.person()

    async def broken(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(Sessions, "find_with_hash", broken)
    raw = await init(person.client)
    message = await raw.receive()

    assert message.data == WSCloseCode.INTERNAL_ERROR
    (logged,) = complaints.take()
    assert message.extra == f"something went wrong on the server: {logged['correlation']}"


async def test_a_stop_closes_every_socket_with_1001(own_site: Site) -> None:
    """Clients reconnect to another server, also those that have no operation."""
    person = await own_site.person()
    async with person.client.socket() as first, person.client.socket() as second, own_site.anyone.raw_socket() as third:
        await own_site.listen(first, CHANGES)

        stopping = asyncio.create_task(own_site.server.close())
        codes = await asyncio.gather(*(close_code(raw) for raw in (first.raw, second.raw, third)))
        await stopping

    assert codes == [WSCloseCode.GOING_AWAY] * 3


async def test_a_client_that_does_not_read_cannot_hold_up_the_stop(own_site: Site) -> None:
    """A hundred large answers wait for a client that does not read; the server stops all the same."""
    person = await own_site.person(attributes={"note": "x" * 60_000})
    large = "{" + " ".join(f"m{number}: me {{ attributes }}" for number in range(20)) + "}"
    async with person.client.socket() as socket:
        for _ in range(100):
            await socket.subscribe(large)
        await stalled(own_site)

        async with asyncio.timeout(PATIENCE_SECONDS):  # aiohttp itself would give up after sixty
            await own_site.server.close()


async def stalled(site: Site) -> None:
    """Wait until the server has long had something to write to one of its clients, and could not."""
    runner = site.server.runner
    assert runner is not None
    assert runner.server is not None
    connections = runner.server.connections
    unwritten: list[int] = []

    async def is_stuck() -> bool:
        unwritten.append(sum(c.transport.get_write_buffer_size() for c in connections if c.transport))
        return unwritten[-1] > 0 and len(unwritten) > 20 and len(set(unwritten[-20:])) == 1

    await eventually(is_stuck)


async def test_a_client_that_vanishes_during_the_handshake_is_no_error(own_site: Site) -> None:
    """With a reset, at all moments of the handshake: nothing is logged as an error, and the server goes on."""
    url = own_site.server.make_url("/graphql")
    opening = (
        f"GET /graphql HTTP/1.1\r\nHost: {url.host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}==\r\n"
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
    )
    for number in range(100):
        _, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(opening.encode())
        for _ in range(number % 6):
            await asyncio.sleep(0)
        writer.transport.abort()

    person = await own_site.person()
    assert (await person.client.field("{ me { id } }"))["id"] == person.id
