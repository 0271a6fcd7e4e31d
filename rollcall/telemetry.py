"""OpenTelemetry: sends the spans of `events/tracing.py` by OTLP over HTTP, if the standard `OTEL_*` variables ask.

The SDK is an optional package (`pip install 'rollcall[otel]'`) and is imported only then. It reads its own variables:
endpoint, headers, sampler, resource and the limits of its queue. Its thread sends in batches; a receiver that is away
costs spans and never a request.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from events import tracing
from events.tracing import Attribute
from rollcall.settings import BadSettings
from rollcall.stopping import step

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, SpanContext, Tracer

TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
FLUSH_SECONDS: Final = 2.0
PROTOCOL: Final = "http/protobuf"


def wants_traces(environment: Mapping[str, str]) -> bool:
    """Whether the variables ask for traces: an endpoint is set, and nothing turns traces off.

    Raises:
        BadSettings: they ask for what there is not.
    """
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "otlp") or "otlp"
    endpoint = environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if exporter == "none" or not endpoint:
        return False
    if exporter != "otlp":
        raise BadSettings(f"OTEL_TRACES_EXPORTER: expected otlp or none, found {exporter}")
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if environment.get(name) not in (None, "", PROTOCOL):
            raise BadSettings(f"{name}: expected {PROTOCOL}, found {environment[name]}")
    return True


@asynccontextmanager
async def traced(process: str, environment: Mapping[str, str]) -> AsyncIterator[None]:
    """Record the spans of this process during the block, if the variables ask for it. At its end, send what is left.

    Raises:
        BadSettings: the variables ask for traces and the package is missing, or for what there is not.
    """
    if not wants_traces(environment):
        yield
        return
    try:
        provider = _provider(process)
    except ImportError as error:
        need = "OTEL_EXPORTER_OTLP_ENDPOINT requires OpenTelemetry: pip install 'rollcall[otel]'"
        raise BadSettings(f"{need} ({error.name} is missing)") from None
    tracing.install(_Recorder(provider.get_tracer("rollcall")))
    try:
        yield
    finally:
        tracing.install(None)
        await step("traces", asyncio.to_thread(provider.shutdown), FLUSH_SECONDS)


def _provider(process: str) -> "TracerProvider":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - optional
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    resource = Resource.create({"service.instance.id": process})
    if str(resource.attributes["service.name"]).startswith("unknown_service"):  # no variable names it
        resource = resource.merge(Resource({"service.name": "rollcall"}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class _Recorder:
    def __init__(self, tracer: "Tracer") -> None:
        self._tracer = tracer

    def start(self, name: str, parent: str | None, link: str | None, at: int | None = None) -> "_Recording":
        from opentelemetry import trace  # noqa: PLC0415 - optional
        from opentelemetry.context import Context  # noqa: PLC0415

        within = span_context(parent)
        context = trace.set_span_in_context(trace.NonRecordingSpan(within), Context()) if within else Context()
        linked = span_context(link)
        links = [trace.Link(linked)] if linked else None
        return _Recording(self._tracer.start_span(name, context, links=links, start_time=at))


class _Recording:
    def __init__(self, span: "Span") -> None:
        self._span = span

    @property
    def context(self) -> str | None:
        of = self._span.get_span_context()
        return f"00-{of.trace_id:032x}-{of.span_id:016x}-01" if of.trace_flags.sampled else None

    def end(self, attributes: dict[str, Attribute], error: BaseException | None, at: int | None = None) -> None:
        from opentelemetry.trace import StatusCode  # noqa: PLC0415 - optional

        self._span.set_attributes(attributes)
        if error is not None:
            self._span.set_attribute("error.type", type(error).__name__)
            self._span.set_status(StatusCode.ERROR)
        self._span.end(at)


def span_context(traceparent: str | None) -> "SpanContext | None":
    """The context that a `traceparent` names; None if it is none."""
    from opentelemetry.trace import SpanContext, TraceFlags  # noqa: PLC0415 - optional

    found = TRACEPARENT.fullmatch(traceparent or "")
    if found is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return context if context.is_valid else None
