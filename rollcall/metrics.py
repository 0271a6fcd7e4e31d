"""Metrics for Prometheus: what this process has done, and how all views are doing.

The views' part is read from the reports at each scrape, by whichever process is asked. So a projector that died is seen
on the API's page, where its own would be silent. Labels are names of views, states, routes and kinds of errors: nothing
that comes from a client, so nothing personal, and never more than a few.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from events.batch import Outcome
from events.database import Database
from events.errors import DatabaseRefused, DatabaseUnavailable
from projections.status import ProjectionStatus, State, read_status

STATUS_SECONDS: Final = 2.0
LOOP_SECONDS: Final = 0.05
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """What this process counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.append_seconds = Histogram(
            "rollcall_append_seconds",
            "From the call of an append to its COMMIT, the wait for others included.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.append_failures = Counter(
            "rollcall_append_failures", "Appends that were refused or failed.", ["error"], registry=self.registry
        )
        self.request_seconds = Histogram(
            "rollcall_http_request_seconds",
            "HTTP requests, sockets excepted.",
            ["route", "status"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.loop_lag_seconds = Histogram(
            "rollcall_event_loop_lag_seconds",
            "How late the event loop came to what was due, looked at 20 times a second.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.applied_events = Counter(
            "rollcall_projector_events", "Events that this process has applied.", ["view"], registry=self.registry
        )
        self.batch_seconds = Histogram(
            "rollcall_projector_batch_seconds",
            "Applying one batch of events.",
            ["view"],
            buckets=SECONDS,
            registry=self.registry,
        )

    def appended(self, outcome: Outcome, seconds: float) -> None:
        """Count one append, which took so many seconds if it succeeded."""
        if isinstance(outcome, Exception):
            self.append_failures.labels(type(outcome).__name__).inc()
        else:
            self.append_seconds.observe(seconds)

    def applied(self, view: str) -> Callable[[int, float], None]:
        """What counts the batches of a view's projector."""
        events, seconds = self.applied_events.labels(view), self.batch_seconds.labels(view)

        def count(applied: int, took: float) -> None:
            events.inc(applied)
            seconds.observe(took)

        return count

    async def watch_loop(self) -> None:
        """Time how late the event loop is, until cancelled: everybody whom this process answers waits for it."""
        while True:
            due = time.monotonic() + LOOP_SECONDS
            await asyncio.sleep(LOOP_SECONDS)
            self.loop_lag_seconds.observe(max(0.0, time.monotonic() - due))

    def requests(self) -> Middleware:
        """What times HTTP requests, by route: a path that is none has no label of its own."""

        @web.middleware
        async def timed(request: web.Request, handler: Handler) -> web.StreamResponse:
            began, status, lasting = time.perf_counter(), 500, False
            try:
                response = await handler(request)
                status, lasting = response.status, response.content_type == "text/event-stream"
            except web.HTTPException as error:
                status = error.status
                raise
            finally:
                if status != HTTPStatus.SWITCHING_PROTOCOLS and not lasting:
                    resource = request.match_info.route.resource
                    route = resource.canonical if resource else "none"
                    self.request_seconds.labels(route, str(status)).observe(time.perf_counter() - began)
            return response

        return timed


class ViewsCollector(Collector):
    """The views' part of the page; no statuses are known while MySQL is away."""

    def __init__(self, statuses: Sequence[ProjectionStatus] | None) -> None:
        self._statuses = statuses

    def collect(self) -> Iterable[Metric]:
        """As Prometheus asks for them."""
        yield GaugeMetricFamily("rollcall_log_up", "Whether MySQL answers.", value=float(self._statuses is not None))
        for status in (self._statuses or ())[:1]:
            yield GaugeMetricFamily("rollcall_log_head", "Position of the newest event.", value=status.head)
        states = GaugeMetricFamily(
            "rollcall_view_state", "1 for the state that the view is in.", labels=["view", "state"]
        )
        for status in self._statuses or ():
            for state in State:
                states.add_metric([status.name, state.value], float(status.state is state))
        yield states
        for name, (help_, value) in VIEW_GAUGES.items():
            family = GaugeMetricFamily(f"rollcall_view_{name}", help_, labels=["view"])
            for status in self._statuses or ():
                if (found := value(status)) is not None:
                    family.add_metric([status.name], found)
            yield family


VIEW_GAUGES: Final[dict[str, tuple[str, Callable[[ProjectionStatus], float | None]]]] = {
    "position": ("The last event in the view.", lambda status: status.position),
    "lag_events": ("Events behind the head of the log.", lambda status: status.lag),
    "lag_seconds": ("Age of the oldest event that the view lacks.", lambda status: status.lag_seconds),
    "events_per_second": ("Applied over the last seconds.", lambda status: status.events_per_second),
    "heartbeat_age_seconds": ("Since the active projector reported.", lambda status: status.silent_seconds),
    "progress_timestamp_seconds": (
        "When the position last moved.",
        lambda status: status.progressed_at.timestamp() if status.progressed_at else None,
    ),
    "standbys": ("Projectors that wait for their turn.", lambda status: len(status.standbys)),
    "quarantined_users": ("Users set aside for events that cannot be applied.", lambda status: status.quarantined),
    "rebuild_progress": ("Between 0 and 1 while a rebuild runs.", lambda status: status.rebuild_progress),
    "audit_differences": (
        "Users that differ from the log, by the last audit.",
        lambda status: status.audit_differences,
    ),
    "audit_timestamp_seconds": (
        "When that was.",
        lambda status: status.audited_at.timestamp() if status.audited_at else None,
    ),
}


def metrics_app(metrics: Metrics, database: Database) -> web.Application:
    """/metrics and /healthz, for a port that clients do not reach."""

    async def page(_: web.Request) -> web.Response:
        views = CollectorRegistry()
        views.register(ViewsCollector(await _statuses(database)))
        body = generate_latest(metrics.registry) + generate_latest(views)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    app = web.Application()
    app.router.add_get("/metrics", page)
    app.router.add_get("/healthz", healthz)
    return app


async def _statuses(database: Database) -> list[ProjectionStatus] | None:
    try:
        async with asyncio.timeout(STATUS_SECONDS):
            return await read_status(database)
    except (DatabaseUnavailable, DatabaseRefused, TimeoutError):
        return None
