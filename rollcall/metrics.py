"""Metrics for Prometheus: counters of this process, its replicas, and the status of all views and webhooks.

Each process reads the status of views and webhooks from MySQL at each scrape. So the API's page shows a projector that
died, whose own page is gone. Labels are names of views, ids of webhooks, hosts of replicas, states, routes and error
types. No label value comes from a client, so none is personal, and their number is bounded.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from events.batch import Outcome
from events.database import Database
from events.errors import DatabaseRefused, DatabaseUnavailable
from graph.replicas import Replicas, ServerStatus
from projections.status import ProjectionStatus, State, read_status
from projections.webhooks.schedule import Attempted, Status
from projections.webhooks.status import WebhookStatus, read_webhooks

STATUS_SECONDS: Final = 2.0
LOOP_SECONDS: Final = 0.05
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Counters and histograms of this process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.append_seconds = Histogram(
            "rollcall_append_seconds",
            "Seconds from the call of an append to its COMMIT, including the wait for the batch before it.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.append_failures = Counter(
            "rollcall_append_failures",
            "Appends that were refused or failed, by error type.",
            ["error"],
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "rollcall_http_request_seconds",
            "Seconds to answer an HTTP request. Excludes WebSockets and event streams.",
            ["route", "status"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.loop_lag_seconds = Histogram(
            "rollcall_event_loop_lag_seconds",
            "Seconds by which the event loop ran a timer late, sampled 20 times a second.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.applied_events = Counter(
            "rollcall_projector_events", "Events applied by this process.", ["view"], registry=self.registry
        )
        self.batch_seconds = Histogram(
            "rollcall_projector_batch_seconds",
            "Seconds to apply one batch of events.",
            ["view"],
            buckets=SECONDS,
            registry=self.registry,
        )

        self.webhook_seconds = Histogram(
            "rollcall_webhook_attempt_seconds",
            "Seconds of an attempt to deliver a webhook, by its result: accepted, refused or unanswered.",
            ["result"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.webhook_dead = Counter(
            "rollcall_webhook_dead_deliveries",
            "Deliveries that failed at their last attempt. Their webhook is disabled.",
            registry=self.registry,
        )

    def attempted(self, attempted: Attempted) -> None:
        """Observe one attempt to deliver a webhook."""
        answer = attempted.answer
        result = "accepted" if answer.accepted else "unanswered" if answer.status is None else "refused"
        self.webhook_seconds.labels(result).observe(answer.seconds)
        if attempted.status is Status.DEAD:
            self.webhook_dead.inc()

    def appended(self, outcome: Outcome, seconds: float) -> None:
        """Count one append, or observe its duration if it succeeded."""
        if isinstance(outcome, Exception):
            self.append_failures.labels(type(outcome).__name__).inc()
        else:
            self.append_seconds.observe(seconds)

    def applied(self, view: str) -> Callable[[int, float], None]:
        """A callback that counts the batches of a view's projector."""
        events, seconds = self.applied_events.labels(view), self.batch_seconds.labels(view)

        def count(applied: int, took: float) -> None:
            events.inc(applied)
            seconds.observe(took)

        return count

    def follow(self, replicas: Sequence[Replicas[Any]]) -> None:
        """Show the servers of these views."""
        self.registry.register(ReplicasCollector(replicas))

    async def watch_loop(self) -> None:
        """Observe the lag of the event loop, until cancelled. Every request waits at least that long."""
        while True:
            due = time.monotonic() + LOOP_SECONDS
            await asyncio.sleep(LOOP_SECONDS)
            self.loop_lag_seconds.observe(max(0.0, time.monotonic() - due))

    def requests(self) -> Middleware:
        """A middleware that times HTTP requests by route. All unknown paths share the label `none`."""

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


Measured = TypeVar("Measured")
Gauges = Mapping[str, tuple[str, Callable[[Measured], float | None]]]
"""By name: the help text, and the value of one item; None if it has none."""


def _gauges(
    of: str, gauges: Gauges[Measured], labels: Sequence[str], items: Mapping[tuple[str, ...], Measured]
) -> Iterator[Metric]:
    """The gauges of some items, which are given by the values of their labels."""
    for name, (help_, value) in gauges.items():
        family = GaugeMetricFamily(f"rollcall_{of}_{name}", help_, labels=labels)
        for label_values, item in items.items():
            if (found := value(item)) is not None:
                family.add_metric(label_values, found)
        yield family


class ReplicasCollector(Collector):
    """Gauges of the replicas that this process asks, and the questions that each server has answered."""

    def __init__(self, replicas: Sequence[Replicas[Any]]) -> None:
        self._replicas = replicas

    def collect(self) -> Iterable[Metric]:
        """The gauges and the counter, for the registry."""
        found = [status for replicas in self._replicas for status in replicas.status()]
        yield from _gauges("replica", REPLICA_GAUGES, ["view", "host"], {(one.view, one.host): one for one in found})
        answers = CounterMetricFamily(
            "rollcall_replica_answers",
            "Questions to a view that a server has answered; the host is `primary` where no replica could.",
            labels=["view", "host"],
        )
        for one in found:
            answers.add_metric([one.view, one.host], one.answers)
        yield answers


REPLICA_GAUGES: Final[Gauges[ServerStatus]] = {
    "up": ("1 if queries are sent to the replica, 0 if it does not answer or lags.", lambda one: one.up),
    "lag_events": ("Events between the view on the replica and on the primary.", lambda one: one.lag_events),
}


class ViewsCollector(Collector):
    """Gauges of all views and webhooks; `statuses` is None while MySQL is away."""

    def __init__(self, statuses: Sequence[ProjectionStatus] | None, webhooks: Sequence[WebhookStatus] = ()) -> None:
        self._statuses = statuses
        self._webhooks = webhooks

    def collect(self) -> Iterable[Metric]:
        """The gauges, for the registry."""
        yield GaugeMetricFamily(
            "rollcall_log_up", "1 if MySQL answers, else 0.", value=float(self._statuses is not None)
        )
        for status in (self._statuses or ())[:1]:
            yield GaugeMetricFamily("rollcall_log_head", "Position of the newest event.", value=status.head)
        states = GaugeMetricFamily(
            "rollcall_view_state", "1 for the view's current state, 0 for the others.", labels=["view", "state"]
        )
        for status in self._statuses or ():
            for state in State:
                states.add_metric([status.name, state.value], float(status.state is state))
        yield states
        yield from _gauges("view", VIEW_GAUGES, ["view"], {(status.name,): status for status in self._statuses or ()})
        yield from _gauges("webhook", WEBHOOK_GAUGES, ["webhook"], {(str(one.id),): one for one in self._webhooks})


VIEW_GAUGES: Final[Gauges[ProjectionStatus]] = {
    "position": ("Position of the last applied event.", lambda status: status.position),
    "lag_events": ("Events between the view and the head of the log.", lambda status: status.lag),
    "lag_seconds": ("Age of the oldest event that is not applied.", lambda status: status.lag_seconds),
    "events_per_second": ("Events applied per second, over the last seconds.", lambda status: status.events_per_second),
    "heartbeat_age_seconds": (
        "Seconds since the last report of the active projector.",
        lambda status: status.silent_seconds,
    ),
    "progress_timestamp_seconds": (
        "Unix time at which the position last moved.",
        lambda status: status.progressed_at.timestamp() if status.progressed_at else None,
    ),
    "standbys": ("Projectors that stand by to take over the view.", lambda status: len(status.standbys)),
    "quarantined_users": ("Users in quarantine because an event cannot be applied.", lambda status: status.quarantined),
    "rebuild_progress": ("Progress of a running rebuild, from 0 to 1.", lambda status: status.rebuild_progress),
    "audit_differences": (
        "Users that differ from the log, according to the last audit.",
        lambda status: status.audit_differences,
    ),
    "audit_timestamp_seconds": (
        "Unix time of the last audit.",
        lambda status: status.audited_at.timestamp() if status.audited_at else None,
    ),
}

WEBHOOK_GAUGES: Final[Gauges[WebhookStatus]] = {
    "disabled": ("1 if the webhook was disabled by failures, else 0.", lambda one: float(not one.healthy)),
    "lag_events": ("Events since the oldest change that is not accepted.", lambda one: one.lag),
    "lag_seconds": ("Age of the oldest change that is not accepted.", lambda one: one.lag_seconds),
    "pending_deliveries": ("Deliveries that are queued or repeated.", lambda one: one.pending),
    "failed_deliveries": ("Deliveries of the last 30 days that failed for good.", lambda one: one.dead),
}


def metrics_app(metrics: Metrics, database: Database) -> web.Application:
    """The application with /metrics and /healthz, for a port that clients cannot reach."""

    async def page(_: web.Request) -> web.Response:
        views = CollectorRegistry()
        views.register(ViewsCollector(*await _statuses(database)))
        body = generate_latest(metrics.registry) + generate_latest(views)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    app = web.Application()
    app.router.add_get("/metrics", page)
    app.router.add_get("/healthz", healthz)
    return app


async def _statuses(database: Database) -> tuple[list[ProjectionStatus] | None, list[WebhookStatus]]:
    try:
        async with asyncio.timeout(STATUS_SECONDS):
            return await read_status(database), await read_webhooks(database)
    except (DatabaseUnavailable, DatabaseRefused, TimeoutError):
        return None, []
