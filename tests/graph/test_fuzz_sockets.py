"""Nothing that can be sent over a WebSocket breaks it: each ends with a close frame that says why, none with 1006."""

import asyncio
import json
import struct
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from events.event_types import Role
from tests.graph import documents, frames, hostile
from tests.graph.client import Json
from tests.graph.frames import Frame, RawSocket, dialled
from tests.graph.hostile import SMALL, TEXTS, VALUES, bounded, encoded
from tests.graph.site import Person, Site

Result = TypeVar("Result")

FRAMES = st.builds(
    Frame,
    st.sampled_from([*range(16), frames.TEXT, frames.TEXT, frames.CONTINUATION]),
    st.one_of(
        st.binary(max_size=130),
        st.sampled_from([1000, 1005, 1006, 999, 0, 4400, 5000, 65535]).map(lambda code: struct.pack("!H", code)),
        st.sampled_from([b'{"type": "ping"}', b'{"type": "connection_init"}', b"\xff\xfe", bytes(70_000)]),
    ),
    final=st.sampled_from([True, True, False]),
    reserved=st.sampled_from([0] * 6 + [1, 2, 4, 7]),
    masked=st.sampled_from([True] * 6 + [False]),
)
TYPES = ["connection_init", "subscribe", "complete", "ping", "pong", "next", "error", "connection_ack", "start", "stop"]
PAYLOADS = st.one_of(
    VALUES,
    st.fixed_dictionaries(
        {"query": st.one_of(hostile.spoilt([documents.ME, documents.LIST, documents.CHANGES]), SMALL)},
        optional={"variables": VALUES, "operationName": SMALL, "extensions": VALUES},
    ),
    st.fixed_dictionaries({}, optional={"authorization": SMALL, "minPosition": SMALL}),
)
MESSAGES = st.fixed_dictionaries(
    {}, optional={"type": st.one_of(st.sampled_from(TYPES), SMALL), "id": st.one_of(st.sampled_from("ab"), SMALL)}
).flatmap(lambda said: st.one_of(st.just(said), PAYLOADS.map(lambda payload: {**said, "payload": payload})))
OWN_CODES = {4400, 4401, 4403, 4409, 4429}
RFC_CODES = {1000, 1002, 1003, 1007, 1009}


async def check_alive(site: Site) -> None:
    """The server takes another socket and answers on it."""
    async with site.anyone.socket() as socket:
        assert await socket.next(await socket.subscribe("{ __typename }")) == {"__typename": "Query"}


@bounded(150)
@given(sent=st.lists(FRAMES, min_size=1, max_size=6))
async def test_any_frames(site: Site, sent: list[Frame]) -> None:
    """Wrong opcodes, stray fragments, reserved bits, unknown close codes, invalid UTF-8."""
    async with dialled(site) as socket:
        socket.send(*sent, Frame(frames.CLOSE, struct.pack("!H", 1000)))

        assert await socket.close_code() in OWN_CODES | RFC_CODES


@bounded(200)
@given(acknowledged=st.booleans(), sent=st.lists(MESSAGES, min_size=1, max_size=6))
async def test_any_messages(site: Site, acknowledged: bool, sent: list[Json]) -> None:
    """Messages of any form in any order, before the acknowledgement and after it."""
    async with dialled(site) as socket:
        if acknowledged:
            socket.send(frames.text({"type": "connection_init"}))
        socket.send(*map(frames.text, sent), Frame(frames.CLOSE, struct.pack("!H", 1000)))

        assert await socket.close_code() in OWN_CODES | RFC_CODES
    await check_alive(site)


@bounded(100)
@given(
    sent=st.one_of(encoded(VALUES), encoded(MESSAGES), hostile.nested(), hostile.repeated()), parts=st.integers(1, 5)
)
async def test_any_text_in_any_fragments(site: Site, sent: bytes, parts: int) -> None:
    """JSON and near-JSON, in any encoding and cut anywhere, with pings between the parts."""
    size = max(1, len(sent) // parts)
    pieces = [sent[start : start + size] for start in range(0, len(sent), size)] or [b""]
    async with dialled(site) as socket:
        for number, piece in enumerate(pieces):
            final = number == len(pieces) - 1
            socket.send(Frame(frames.TEXT if number == 0 else frames.CONTINUATION, piece, final=final))
            socket.send(Frame(frames.PING, b"between"))
        socket.send(Frame(frames.CLOSE, struct.pack("!H", 1000)))

        assert await socket.close_code() in OWN_CODES | RFC_CODES


@pytest.mark.parametrize("cut", [1, 2, 5, 20], ids=str)
async def test_a_socket_that_is_cut_off_in_the_middle_of_a_frame_is_no_error(site: Site, cut: int) -> None:
    """The server drops it without an error in the log."""
    async with dialled(site) as socket:
        socket.writer.write(frames.text({"type": "connection_init", "payload": {}}).encoded()[:cut])
        await socket.writer.drain()

    await check_alive(site)


@pytest.mark.parametrize(
    "protocols", ["graphql-ws", "GRAPHQL-TRANSPORT-WS", "graphql-transport-ws\u00e4", ", ,", "a" * 5_000]
)
async def test_any_other_subprotocol_is_closed_with_4406(site: Site, protocols: str) -> None:
    """However it is written."""
    async with dialled(site, protocols) as socket:
        assert await socket.close_code() == 4406


FAULTY = [b"", b"nonsense", b"[]", b"{}", b'{"type": 1}', b'{"type": "start"}', b'{"type": "subscribe", "id": "a"}']
WRONG = ["{ nothing }", "{ me {", "{ users { totalCount } } { me { id } }", "mutation { register }"]


class Conversation(RuleBasedStateMachine):
    """A client that says anything at any time, and knows what the protocol answers to it."""

    def __init__(self, site: Site, person: Person, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.site, self.person, self.loop = site, person, loop

    def wait(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """The result of what runs in the test's own loop; Hypothesis has this thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def send(self, message: Json | Frame) -> None:
        frame = message if isinstance(message, Frame) else frames.text(message)
        self.loop.call_soon_threadsafe(self.socket.send, frame)

    def says(self, **expected: Json) -> Json:
        message = self.wait(self.socket.message())
        assert {name: message.get(name) for name in expected} == expected, message
        return message

    def closes(self, code: int) -> None:
        assert self.wait(self.socket.close_code()) == code
        self.closed = True

    @initialize()
    def dial(self) -> None:
        self.opened = dialled(self.site)
        self.socket: RawSocket = self.wait(self.opened.__aenter__())
        self.closed = self.acknowledged = self.signed_in = False
        self.running: set[str] = set()

    def hang_up(self) -> None:
        self.wait(self.opened.__aexit__(None, None, None))

    @precondition(lambda self: not self.closed)
    @rule(payload=st.sampled_from([None, {}, {"minPosition": "0"}, {"authorization": "own"}, {"authorization": None}]))
    def init(self, payload: Json) -> None:
        if payload == {"authorization": "own"}:
            payload = {"authorization": self.person.client.authorization}
        self.send({"type": "connection_init"} if payload is None else {"type": "connection_init", "payload": payload})
        if self.acknowledged:
            self.closes(4429)
        else:
            self.says(type="connection_ack")
            self.acknowledged = True
            self.signed_in = bool(payload and payload.get("authorization"))

    @precondition(lambda self: not self.closed and not self.acknowledged)
    @rule(authorization=st.one_of(st.sampled_from(["Bearer x", 1, [], {}, ""]), TEXTS))
    def init_with_a_bad_token(self, authorization: Json) -> None:
        self.send({"type": "connection_init", "payload": {"authorization": authorization}})
        self.closes(4400 if "\\ud" in json.dumps(authorization) and not _is_unicode(authorization) else 4403)

    @precondition(lambda self: not self.closed)
    @rule(payload=st.sampled_from([[], "x", 1, {"minPosition": -1}, {"minPosition": 5}]))
    def init_with_a_bad_payload(self, payload: Json) -> None:
        self.send({"type": "connection_init", "payload": payload})
        self.closes(4400)

    @precondition(lambda self: not self.closed)
    @rule(payload=st.sampled_from([None, {}, {"a": [1, {}]}, "x"]))
    def ping(self, payload: Json) -> None:
        self.send({"type": "ping", "payload": payload})
        self.says(type="pong")

    @precondition(lambda self: not self.closed)
    @rule(payload=st.sampled_from([None, {}, 1]))
    def pong(self, payload: Json) -> None:
        self.send({"type": "pong", "payload": payload})

    @precondition(lambda self: not self.closed)
    @rule(id_=st.sampled_from("abc"), document=st.sampled_from([documents.ME, "{ __typename }", *WRONG]))
    def ask(self, id_: str, document: str) -> None:
        self.send({"type": "subscribe", "id": id_, "payload": {"query": document}})
        if not self.acknowledged:
            self.closes(4401)
        elif id_ in self.running:
            self.closes(4409)
        elif document in WRONG:
            self.says(type="error", id=id_)
        else:
            self.says(type="next", id=id_)
            self.says(type="complete", id=id_)

    @precondition(lambda self: not self.closed)
    @rule(id_=st.sampled_from("abc"))
    def listen(self, id_: str) -> None:
        document = "subscription { userChanges(types: []) { version } }"
        self.send({"type": "subscribe", "id": id_, "payload": {"query": document, "extensions": {"minPosition": "0"}}})
        if not self.acknowledged:
            self.closes(4401)
        elif id_ in self.running:
            self.closes(4409)
        else:
            self.send({"type": "ping"})
            self._hears_of(id_)

    def _hears_of(self, id_: str) -> None:
        """An unauthenticated client gets its error before or after the pong; the others wait."""
        if not self.signed_in:
            heard: set[str] = set()
            while "pong" not in heard or not heard & {"complete", "error"}:
                heard.add(self.wait(self.socket.message())["type"])
            assert heard in ({"next", "complete", "pong"}, {"error", "pong"}), heard
        else:
            self.says(type="pong")
            self.running.add(id_)

    @precondition(lambda self: not self.closed)
    @rule(id_=st.one_of(st.sampled_from("abc"), st.text(max_size=5)))
    def complete(self, id_: str) -> None:
        self.send({"type": "complete", "id": id_})
        self.running.discard(id_)

    @precondition(lambda self: not self.closed)
    @rule(said=st.sampled_from(FAULTY), opcode=st.sampled_from([frames.TEXT, frames.TEXT, frames.BINARY]))
    def say_something_else(self, said: bytes, opcode: int) -> None:
        self.send(Frame(opcode, said))
        self.closes(4400)

    @precondition(lambda self: self.closed)
    @rule()
    def connect_again(self) -> None:
        self.hang_up()
        self.dial()

    def teardown(self) -> None:
        try:
            if not self.closed:
                self.send(Frame(frames.CLOSE, struct.pack("!H", 1000)))
                self.closes(1000)
        finally:
            self.hang_up()


def _is_unicode(text: Json) -> bool:
    try:
        return bool(str(text).encode() or True)
    except UnicodeEncodeError:
        return False


async def test_a_conversation_in_any_order(site: Site) -> None:
    """Each message at each time gets the protocol's answer, or closes the socket with the protocol's code."""
    person, loop = await site.person(Role.ADMIN), asyncio.get_running_loop()

    def machine() -> RuleBasedStateMachine:
        return Conversation(site, person, loop)

    await asyncio.to_thread(run_state_machine_as_test, cast("Any", machine), settings=bounded(50))
    await check_alive(site)
