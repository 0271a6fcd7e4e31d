"""`rollcall dev`: a whole installation on one machine.

Private servers, the API, both projectors, the signing of heads, the publishers of webhooks and mails and, with --kafka,
that for Kafka run as child processes. A server in this process catches the mails. A child that ends is restarted; all
of them end with this process, even if it is killed.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from importlib.util import find_spec
from typing import Annotated, Final

import aiohttp
import structlog
import typer

from projections.mail import NAME as MAIL
from projections.mongo import NAME as MONGO_USERS
from projections.mysql import NAME as MYSQL_USERS
from projections.publications import KAFKA
from projections.status import State, read_status
from rollcall import exits
from rollcall.administrators import FIRST_ADMIN, ensure_first_admin, password_threads
from rollcall.children import keep_running, own_metrics_port
from rollcall.console import run, say, settings_for
from rollcall.embedded.files import write_private
from rollcall.embedded.mail import caught_mail
from rollcall.keys import kept_secret, signing_keys
from rollcall.publications import kafka_cluster
from rollcall.serving import authority, check_port
from rollcall.settings import BadSettings, Settings
from rollcall.wiring import Installation, open_installation, open_writer, prepare_views, when_available

app = typer.Typer(rich_markup_mode=None, add_completion=False)
log = structlog.get_logger(__name__)

READY_POLL_SECONDS: Final = 0.1
PROCESSES: Final = {
    "api": ("serve",),
    "mysql_users": ("projector", "mysql"),
    "mongo_users": ("projector", "mongo"),
    "heads": ("heads",),
    "webhooks": ("publish", "webhooks"),
}
"""The child processes: name and arguments. The name of a projector's is that of its status."""
PUBLISHER: Final = {KAFKA: ("publish", "kafka")}
"""With --kafka, one more."""
MAILER: Final = {MAIL: ("publish", "mail")}
"""One more, unless the package of the private mail server is missing."""


@app.command()
def dev(
    kafka: Annotated[
        bool, typer.Option("--kafka", help="Also run a private Kafka, and publish each change there.")
    ] = False,
) -> None:
    """Run private servers, the API, both projectors, webhooks, mail and signed heads on this machine, until Ctrl-C.

    Mails do not leave the machine: http://127.0.0.1:8000/dev/mail shows them, unless ROLLCALL_SMTP_URL is set.

    Prints a line that starts with `ready` when everything works. The data in ROLLCALL_DATA_DIR is kept for the next
    start. Needs no settings. Exit code 2: a setting is invalid; 4: this machine cannot run private servers.
    """
    run(run_everything(settings_for("dev"), kafka=kafka), when_stopped=exits.OK)


async def run_everything(settings: Settings, *, kafka: bool = False) -> int:
    """Run everything until cancelled. Prints a line that starts with `ready` when everything works.

    Raises:
        BadSettings: a setting is invalid.
        ServersUnavailable: this machine cannot run private servers.
    """
    signing_keys(settings)
    await check_port(settings.host, settings.port)  # or another program's API there would answer that it is ready
    report = partial(say, at_once=True)
    processes = PROCESSES | PUBLISHER if kafka else PROCESSES
    async with (
        _kafka(settings, report) if kafka else nullcontext(),
        _mail(settings, report) as mail,
        open_installation(settings, report) as installation,
        password_threads(settings) as passwords,
    ):
        writer = await when_available(lambda: open_writer(installation))
        given = settings.admin_password
        path = settings.data_dir / "keys" / "first-admin-password"
        password = given.get_secret_value() if given else kept_secret(path, lambda: secrets.token_urlsafe(12))
        await ensure_first_admin(installation.database, writer.commands, passwords, password)
        credential = await writer.commands.credential(FIRST_ADMIN)
        if credential.user_id is None or not await passwords.verify(credential.password_hash, password):
            shown = "the password that you set"
        else:
            shown = "the password in ROLLCALL_ADMIN_PASSWORD" if given else f"password {password}"
        await prepare_views(installation)
        running: dict[str, int] = {}
        async with asyncio.TaskGroup() as tasks:
            for name, arguments in (processes | MAILER if mail else processes).items():
                if name == "heads" and settings.own_servers and settings.head_key is None:
                    continue  # it would need a key that every process of the operator's knows
                variables = own_variables(settings, name) | mail
                tasks.create_task(_keep_running(name, arguments, variables, running), name=name)
            await _until_ready(installation, running, {MYSQL_USERS, MONGO_USERS, *(PUBLISHER if kafka else ())})
            pages = f"{url_of(settings)}  GraphQL at " if settings.pages else ""
            report(f"ready  {pages}{url_of(settings)}/graphql  sign in as {FIRST_ADMIN} with {shown}")
    return exits.OK


def own_variables(settings: Settings, name: str) -> dict[str, str]:
    """The variables of one child: its metrics port, what is on here, and a file for signed heads.

    What is set stays.
    """
    on_here = {"introspection", "webhook_private_addresses"} - settings.model_fields_set
    own = own_metrics_port(settings, list(PROCESSES | PUBLISHER | MAILER).index(name)) | {
        f"ROLLCALL_{one.upper()}": "true" for one in on_here
    }
    if settings.heads is None:
        own["ROLLCALL_HEADS"] = str(settings.data_dir / "heads.jsonl")
    return own


@asynccontextmanager
async def _kafka(settings: Settings, report: Callable[[str], None]) -> AsyncIterator[None]:
    """Keep the brokers running: the publisher finds them, and so do commands. Says where a reader finds them."""
    async with kafka_cluster(settings, report) as cluster:
        if settings.kafka_bootstrap is None:
            path = settings.data_dir / "keys" / "kafka.properties"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_private(path, cluster.properties())
            report(f"Kafka at {cluster.bootstrap}; {path} has what a client needs to sign in")
        yield


@asynccontextmanager
async def _mail(settings: Settings, report: Callable[[str], None]) -> AsyncIterator[dict[str, str]]:
    """Catch mails, unless ROLLCALL_SMTP_URL says where they go. Yields the variables that mail needs in each child;
    none if there is no mail."""
    given = {
        "ROLLCALL_PUBLIC_URL": settings.public_url or url_of(settings),
        "ROLLCALL_MAIL_FROM": settings.mail_from or "rollcall@localhost",
    }
    if settings.smtp_url is not None:
        yield given
        return
    if find_spec("aiosmtpd") is None:
        report("no mails: they need the extra `embedded` of this package, or ROLLCALL_SMTP_URL")
        yield {}
        return
    directory = settings.data_dir.absolute() / "mail"
    async with caught_mail(directory) as port:
        report(f"mails are caught: {url_of(settings)}/dev/mail shows them")
        server = {"ROLLCALL_SMTP_URL": f"smtp://127.0.0.1:{port}?starttls=off"}
        yield given | server | {"ROLLCALL_CAUGHT_MAIL": str(directory)}


async def _keep_running(
    name: str, arguments: Sequence[str], variables: dict[str, str], running: dict[str, int]
) -> None:
    """Keep one child running until it exits with `BAD_INPUT` or `FAULT`, which a restart does not repair."""

    def started(pid: int) -> None:
        running[name] = pid

    def ends_for_good(status: int, _seconds: float) -> bool:
        return status in (exits.BAD_INPUT, exits.FAULT)

    status = await keep_running(name, arguments, variables, given_up=ends_for_good, started=started)
    if status == exits.BAD_INPUT:
        raise BadSettings(f"the {name} process cannot start; its error is printed above")
    log.error("dev.faulted", part=name, status=status, hint="`rollcall status` says why")


async def _until_ready(installation: Installation, running: dict[str, int], names: set[str]) -> None:
    """Wait until the API answers and these followers are live, as reported by the children of this process."""

    async def answers() -> bool:
        try:
            async with client.get(f"{url_of(installation.settings)}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def live() -> bool:
        # If a projector of another process is active, the child stands by.
        statuses = [status for status in await read_status(installation.database) if status.name in names]
        return len(statuses) == len(names) and all(
            status.state is State.LIVE
            and any(process.endswith(f":{running.get(status.name)}") for process in (status.process, *status.standbys))
            for status in statuses
        )

    async with aiohttp.ClientSession() as client:
        while not (await answers() and await live()):  # noqa: ASYNC110 - other processes cannot set an Event
            await asyncio.sleep(READY_POLL_SECONDS)


def url_of(settings: Settings) -> str:
    """The URL at which this machine reaches the API."""
    # These two listen on every address of their version, so the loopback address of that version reaches them.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared, not bound
    return f"http://{authority(host, settings.port)}"
