"""`rollcall publish`: send changes of users to other services. Those for Kafka are in `publish_kafka.py`,
that for mails in `publish_mail.py`."""

import random
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
import typer

from events.ids import new_id
from events.log_keys import LogKeys
from events.snapshots import AccountReader, SnapshotWriter
from events.wakeup import HeadPoll
from projections.lease import LEASE_SECONDS
from projections.webhooks.changes import LogPages
from projections.webhooks.deliveries import Deliveries
from projections.webhooks.endpoints import Endpoints
from projections.webhooks.publisher import WebhookPublisher
from projections.webhooks.schedule import Attempted
from projections.webhooks.sender import Sender, http_client
from projections.webhooks.worker import WebhookTools
from rollcall import exits
from rollcall.commands.publish_kafka import forget, kafka
from rollcall.commands.publish_mail import mail
from rollcall.console import run, settings_for
from rollcall.metrics import Metrics
from rollcall.serving import measured, report
from rollcall.settings import Settings
from rollcall.stopping import Background
from rollcall.wiring import Installation, now, open_installation, prepare_log, process_name, when_available

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Send changes of users to other services, until SIGINT or SIGTERM.",
)
app.command()(kafka)
app.command()(mail)
app.command()(forget)
log = structlog.get_logger(__name__)


@app.callback()
def publish() -> None:
    """Send changes of users to other services, until SIGINT or SIGTERM."""


@app.command()
def webhooks() -> None:
    """Send changes to the webhooks that administrators have created.

    Each request is signed as Standard Webhooks 1.0 defines it, and repeated for about three days until it is answered
    with a status of 200 to 299. The changes of one user arrive in order; another user or another webhook never waits
    for them. You may run several of this process: one is active and the others stand by.

    ROLLCALL_WEBHOOK_CONTENT says what is sent. `rollcall status` shows how far all webhooks have come, the query
    webhookDeliveries what became of each request.
    """
    run(publish_webhooks(settings_for("webhooks")), when_stopped=exits.OK)


async def publish_webhooks(settings: Settings) -> int:
    """Send webhooks until cancelled.

    Raises:
        BadSettings: a variable is invalid.
        WrongMasterKey, MigrationError: the log belongs to another key or another release.
    """
    metrics = Metrics()
    async with (
        open_installation(settings, report, idle_seconds=LEASE_SECONDS) as installation,
        measured(installation, metrics),
    ):
        keys = await when_available(lambda: prepare_log(installation))
        async with (
            webhooks_publisher(installation, keys, metrics.attempted) as publisher,
            Background("webhooks", 4.0) as working,
        ):
            working.start("webhooks", publisher.run())
            await working.ended()
    return exits.OK


@asynccontextmanager
async def webhooks_publisher(
    installation: Installation, keys: LogKeys, attempted: Callable[[Attempted], None]
) -> AsyncIterator[WebhookPublisher]:
    """The publisher of webhooks. `attempted` is called with each attempt of a delivery."""
    settings, database, store = installation.settings, installation.database, installation.store
    private = settings.webhook_private_addresses
    async with http_client(private=private) as http:
        tools = WebhookTools(
            database=database,
            pages=LogPages(store, database, HeadPoll(store)),
            accounts=AccountReader(store, SnapshotWriter(database, installation.vault)),
            endpoints=Endpoints(database, keys.webhooks, now, new_id, secrets.token_bytes),
            deliveries=Deliveries(database),
            sender=Sender(http, now, private=private),
            clock=now,
            random=random.random,
            attempted=attempted,
            full=settings.webhook_content == "full",
        )
        yield WebhookPublisher(
            store=store, database=database, tools=tools, process=process_name(), clock=time.monotonic
        )
