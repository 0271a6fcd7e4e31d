"""Traces by OTLP: from the HTTP request to both views, without a value of the request, and only if asked for."""

import asyncio
import gzip
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from events.database import Address, Database
from rollcall.settings import BadSettings
from rollcall.telemetry import span_context, wants_traces
from tests.system.installation import Installation, own_servers
from tests.waiting import eventually

log = logging.getLogger(__name__)

UPDATE = "mutation($i: UpdateUserInput!) { updateUser(input: $i) { position errors { message } } }"
SECRET = "Xanthippe"
CLIENTS_TRACE = "deadbeefdeadbeefdeadbeefdeadbeef"


@dataclass
class Receiver:
    """An OTLP receiver that keeps every span."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)
    services: set[str] = field(default_factory=set)
    bodies: bytes = b""

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.bodies += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.services |= {
                one.value.string_value for one in resource.resource.attributes if one.key == "service.name"
            }
            for scope in resource.scope_spans:
                self.spans += scope.spans
        return web.Response(content_type="application/x-protobuf")

    def trace_of(self, name: str) -> list[Span]:
        """The spans of the trace that has a span of this name."""
        [trace_id] = {span.trace_id for span in self.spans if span.name == name}
        return [span for span in self.spans if span.trace_id == trace_id]


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/v1/traces", receiver.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield receiver
    finally:
        await runner.cleanup()


def traced(installation: Installation, receiver: Receiver, **variables: str) -> Installation:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "100", **variables}
    return replace(installation, variables={**installation.variables, **variables})


async def rename(installation: Installation, token: str, **headers: str) -> Any:
    """Change the administrator's name by `updateUser`."""
    me = (await installation.ask("{ me { id } }", token))["me"]["id"]
    body = {"query": UPDATE, "variables": {"i": {"id": me, "name": SECRET}}}
    answer = await installation.post(body, token, headers)
    assert answer["data"]["updateUser"]["errors"] == []


async def test_a_request_is_one_trace_from_http_to_both_views(urls: tuple[str, str], tmp_path: Path) -> None:
    """The projectors, other processes, add their spans by the context that the event carries."""
    async with receiving() as receiver:
        installation = traced(own_servers(tmp_path, *urls), receiver)
        async with (
            installation.running("serve"),
            installation.running("projector", "mysql"),
            installation.running("projector", "mongo"),
        ):
            await eventually(installation.ready)
            token = await installation.sign_in("admin", "correct horse battery")
            await rename(installation, token, traceparent=f"00-{CLIENTS_TRACE}-00f067aa0ba902b7-01")

            async def complete() -> bool:
                named = [span.trace_id for span in receiver.spans if span.name == "decide Update"]
                names = {span.name for span in receiver.spans if span.trace_id in named}
                return {"POST /graphql", "apply mysql_users", "apply mongo_users"} <= names

            await eventually(complete)

    spans = receiver.trace_of("decide Update")
    root = next(span for span in spans if not span.parent_span_id)
    by_id = {span.span_id: span for span in spans}
    parents = {span.name: by_id[span.parent_span_id].name for span in spans if span.parent_span_id}
    assert root.name == "POST /graphql"
    assert parents == {
        "graphql mutation": "POST /graphql",
        "fold": "graphql mutation",
        "decide Update": "graphql mutation",
        "append.queue": "graphql mutation",
        "append.batch": "graphql mutation",
        "append.commit": "graphql mutation",
        "apply mysql_users": "graphql mutation",
        "apply mongo_users": "graphql mutation",
    }
    assert all(root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano for span in spans)
    assert receiver.services == {"rollcall"}
    # The client's trace is linked, and not continued: its ids would be kept in the log for ever.
    assert [link.trace_id.hex() for link in root.links] == [CLIENTS_TRACE]
    log.info("the trace, in milliseconds:\n%s", drawn(spans))
    for said in (SECRET, "correct horse", token, "admin"):
        assert said.encode() not in receiver.bodies


def drawn(spans: list[Span]) -> str:
    """The trace as docs/operations.md shows it: `pytest --log-cli-level=info` prints it."""
    began = min(span.start_time_unix_nano for span in spans)
    children = {span.span_id: [one for one in spans if one.parent_span_id == span.span_id] for span in spans}

    def lines(span: Span, depth: int) -> list[str]:
        from_, to = ((at - began) / 1e6 for at in (span.start_time_unix_nano, span.end_time_unix_nano))
        below = sorted(children[span.span_id], key=lambda one: one.start_time_unix_nano)
        own = f"{from_:8.1f} {to:8.1f}  {'  ' * depth}{span.name}"
        return [own, *(line for one in below for line in lines(one, depth + 1))]

    return "\n".join(lines(next(span for span in spans if not span.parent_span_id), 0))


async def test_log_lines_of_a_traced_request_carry_its_ids(urls: tuple[str, str], tmp_path: Path) -> None:
    """As the ids of the request do, so that a line leads to the trace and back."""
    async with receiving() as receiver:
        installation = traced(own_servers(tmp_path, *urls), receiver)
        async with installation.running("serve") as process:
            await eventually(installation.ready)
            token = await installation.sign_in("admin", "correct horse battery")
            await installation.ask('mutation { rebuildProjection(name: "mysql_users") { __typename } }', token)

            async def logged() -> bool:
                return any('"rebuild.asked"' in line for line in process.err)

            await eventually(logged)
        [line] = [msgspec.json.decode(line) for line in process.err if '"rebuild.asked"' in line]
    [traced_by] = {span.trace_id.hex() for span in receiver.spans if span.span_id.hex() == line["span_id"]}
    assert line["trace_id"] == traced_by
    assert "correlation" in line


async def test_a_process_without_traces_does_not_import_opentelemetry() -> None:
    """So an installed package costs what a missing one does."""
    program = "import sys, rollcall.commands.serve, rollcall.commands.projector; print('opentelemetry' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    printed, _ = await process.communicate()
    assert printed == b"False\n"


async def test_without_the_variables_nothing_is_traced_or_stored(urls: tuple[str, str], tmp_path: Path) -> None:
    """Events hold no context, the SDK is not loaded, and a sampler that samples nothing has the same effect."""
    async with receiving() as receiver:
        plain = own_servers(tmp_path, *urls)
        unsampled = traced(plain, receiver, OTEL_TRACES_SAMPLER="always_off")
        for installation in (plain, unsampled):
            async with installation.running("serve"):
                await eventually(installation.ready)
                await rename(installation, await installation.sign_in("admin", "correct horse battery"))
    database = Database.at(Address.parse(urls[0]), size=1)
    metadata = await database.fetch_all("SELECT metadata FROM events")
    await database.close()

    assert receiver.spans == []
    assert len(metadata) >= 2
    assert all("trace" not in msgspec.json.decode(text) for (text,) in metadata)


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, False),
    ],
)
def test_the_standard_variables_ask_for_traces(variables: dict[str, str], wanted: bool) -> None:
    assert wants_traces(variables) is wanted


@pytest.mark.parametrize(
    ("name", "value"), [("OTEL_TRACES_EXPORTER", "zipkin"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]
)
def test_what_cannot_be_had_is_named(name: str, value: str) -> None:
    with pytest.raises(BadSettings, match=f"{name}: expected .*, found {value}"):
        wants_traces({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", name: value})


@given(st.text() | st.from_regex(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", fullmatch=True))
def test_any_text_is_a_context_or_none(text: str) -> None:
    """A header of a client and the metadata of a damaged event are read by the same rule."""
    context = span_context(text)

    assert context is None or f"{context.trace_id:032x}" in text
