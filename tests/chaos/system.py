"""The whole system as real processes: two APIs, two projectors of each view, two publishers of each kind, own servers.

Each process reaches each database through its own proxy, and clients reach each API through one, so any single path
can be cut, stalled or slowed without the others.
"""

import asyncio
import base64
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rollcall.embedded import tether
from rollcall.embedded.files import write_private
from rollcall.embedded.kafka import cluster_at
from rollcall.embedded.process import until
from tests.ports import free_port
from tests.publications.brokers import own_kafka
from tests.system.proxy import Proxy, proxied
from tests.system.servers import OwnServer, own_mongod, own_mysqld
from tests.waiting import eventually

ROOT: Final = Path(__file__).parent.parent.parent
STOP_SECONDS: Final = 20.0
"""The limit for a process to end after SIGTERM, on a busy machine without its databases."""
ADMIN_PASSWORD: Final = "correct horse battery"
MAIL_FROM: Final = "rollcall@rollcall.example"
LAST_LINES: Final = 4
KAFKA_PROPERTIES: Final = "kafka.properties"
NO_LIMITS: Final = dict.fromkeys(
    (
        "ROLLCALL_WRITES_PER_HOUR",
        "ROLLCALL_ADDRESS_WRITES_PER_HOUR",
        "ROLLCALL_REGISTRATIONS_PER_HOUR",
        "ROLLCALL_SIGN_INS_PER_HOUR",
        "ROLLCALL_REFRESHES_PER_HOUR",
        "ROLLCALL_PASSWORD_CHANGES_PER_HOUR",
        "ROLLCALL_MAILS_PER_HOUR",
    ),
    "0",
)
"""In half an hour a client of the load does what a person does in years."""
TETHERED: Final = (sys.executable, "-I", "-S", tether.__file__)


@dataclass(frozen=True, slots=True)
class Keyring:
    """The master keys of a process."""

    master: bytes = field(repr=False)
    other: bytes | None = field(default=None, repr=False)

    def variables(self) -> dict[str, str]:
        """The keys as settings."""
        other = {"ROLLCALL_OTHER_MASTER_KEY": _text(self.other)} if self.other else {}
        return {"ROLLCALL_MASTER_KEY": _text(self.master), **other}


@dataclass
class Program:
    """One `rollcall` process across restarts."""

    name: str
    arguments: tuple[str, ...]
    variables: Callable[[], Mapping[str, str]]
    log: Path
    proxies: dict[str, Proxy]
    """Proxies by the name of their database."""
    popen: subprocess.Popen[bytes] | None = None
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the fault that uses this process, so that two faults do not revert each other."""
    started: float = 0.0
    """The last start, by the monotonic clock."""
    logged_before: int = 0
    """Bytes of the log at the last start."""

    @property
    def pid(self) -> int | None:
        """The process id, or None if it does not run."""
        return self.popen.pid if self.popen is not None and self.popen.poll() is None else None

    @property
    def age(self) -> float:
        """Seconds since the last start."""
        return time.monotonic() - self.started

    def start(self) -> None:
        """Start the process."""
        self.started = time.monotonic()
        self.logged_before = self.log.stat().st_size if self.log.exists() else 0
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ROLLCALL_")}
        with self.log.open("ab") as output:
            self.popen = subprocess.Popen(
                [*TETHERED, str(os.getpid()), sys.executable, "-m", "rollcall", *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self.log.parent,
                env={**inherited, **self.variables(), "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1"},
            )

    @property
    def silent(self) -> bool:
        """Whether it has logged nothing since its last start."""
        return not self.log.exists() or self.log.stat().st_size <= self.logged_before

    def send(self, how: signal.Signals) -> None:
        """Send a signal if the process was started."""
        if self.popen is not None:
            self.popen.send_signal(how)

    async def end(self, how: signal.Signals) -> int:
        """Send a signal, wait for the end and return the exit code.

        Raises:
            AssertionError: the process did not end in time.
        """
        self.send(how)

        async def ended() -> bool:
            return self.pid is None

        await eventually(ended, within=STOP_SECONDS)
        return self.popen.returncode if self.popen is not None else 0

    def last_lines(self) -> str:
        """The last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LAST_LINES:])


@dataclass
class Api(Program):
    """An API process and the proxy between it and clients."""

    port: int = 0
    client_proxy: Proxy = field(default_factory=Proxy)

    @property
    def url(self) -> str:
        """The URL for clients, through the proxy."""
        return f"http://127.0.0.1:{self.client_proxy.port}"

    @property
    def direct_url(self) -> str:
        """The URL without the proxy."""
        return f"http://127.0.0.1:{self.port}"


@dataclass
class System:
    """All processes, servers and keys."""

    directory: Path
    mysqld: OwnServer
    mongod: OwnServer
    keyring: Keyring
    signing_key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    apis: list[Api] = field(default_factory=list)
    projectors: list[Program] = field(default_factory=list)
    publishers: list[Program] = field(default_factory=list)
    broker: OwnServer | None = None
    """Kafka, if this machine can run it."""
    server_busy: dict[str, asyncio.Lock] = field(
        default_factory=lambda: {name: asyncio.Lock() for name in ("mysql", "mongo", "kafka")}
    )
    mail_port: int | None = None
    """Of the mail server; None without publishers."""
    limited: bool = False
    """With the default limits of what one caller may do in an hour, or with none."""
    mongo_disk: Path | None = None
    """The file system of MongoDB's data, if it is separate and can be filled."""
    previous_keys: list[bytes] = field(default_factory=list, repr=False)

    @property
    def programs(self) -> list[Program]:
        """All APIs, projectors and publishers."""
        return [*self.apis, *self.projectors, *self.publishers]

    def server(self, name: str) -> OwnServer:
        """The server of a database, or the broker."""
        servers = {"mysql": self.mysqld, "mongo": self.mongod, "kafka": self.broker}
        server = servers[name]
        assert server is not None, f"there is no {name}"
        return server

    def proxies(self) -> Iterator[tuple[str, Proxy, str]]:
        """Yield name, proxy and target URL of every path."""
        for program in self.programs:
            for name, proxy in program.proxies.items():
                yield f"{program.name}>{name}", proxy, self.server(name).url
        for api in self.apis:
            yield f"clients>{api.name}", api.client_proxy, api.direct_url

    def variables(self, port: int | None, proxies: Mapping[str, Proxy]) -> dict[str, str]:
        """The current settings of one process."""
        urls = {name: self.server(name).url for name in ("mysql", "mongo")}
        proxied_urls = {name: proxies[name].url(url) if name in proxies else url for name, url in urls.items()}
        return {
            "ROLLCALL_MYSQL_URL": proxied_urls["mysql"],
            "ROLLCALL_MONGO_URL": proxied_urls["mongo"],
            **self.keyring.variables(),
            "ROLLCALL_SIGNING_KEY": _text(self.signing_key),
            "ROLLCALL_ADMIN_PASSWORD": ADMIN_PASSWORD,
            "ROLLCALL_PASSWORD_PROFILE": "weak-for-tests",
            "ROLLCALL_TRUSTED_PROXIES": "127.0.0.1/32",
            **({} if self.limited else NO_LIMITS),
            "ROLLCALL_WEBHOOK_PRIVATE_ADDRESSES": "true",
            **({} if self.broker is None else self._kafka(self.broker)),
            **({} if self.mail_port is None else _mail(self.mail_port)),
            "ROLLCALL_LOG_FORMAT": "json",
            **({"ROLLCALL_PORT": str(port)} if port is not None else {}),
        }

    def _kafka(self, broker: OwnServer) -> dict[str, str]:
        return {
            "ROLLCALL_KAFKA_BOOTSTRAP": f"127.0.0.1:{broker.port}",
            "ROLLCALL_KAFKA_CONFIG": str(self.directory / KAFKA_PROPERTIES),
            "ROLLCALL_KAFKA_PARTITIONS": "3",
        }

    async def command(self, *arguments: str, log: Path | None = None) -> tuple[int, str]:
        """Run a `rollcall` command to its end; return its exit code and output."""
        program = self.spawn(*arguments, log=log)
        assert program.popen is not None
        await until(lambda: program.pid is None)
        return program.popen.returncode, program.log.read_text(errors="replace")

    def spawn(self, *arguments: str, log: Path | None = None) -> Program:
        """Start a `rollcall` command with direct connections to the databases."""
        log = log or self.directory / f"command-{'-'.join(arguments[:2])}-{secrets.token_hex(3)}.log"
        program = Program(arguments[0], arguments, lambda: self.variables(None, {}), log, {})
        program.start()
        return program


@asynccontextmanager
async def running(directory: Path, *, limited: bool = False, publishing: bool = True) -> AsyncIterator[System]:
    """Start the system, with publishers if wanted; end all of its processes when the block ends."""
    async with AsyncExitStack() as stack:
        mongo_disk = _own_file_system(directory / "mongo-server", stack)
        mysqld, mongod = await asyncio.gather(own_mysqld(directory), own_mongod(mongo_disk or directory))
        stack.callback(_end_server, mysqld)
        stack.callback(_end_server, mongod)
        system = System(
            directory, mysqld, mongod, Keyring(secrets.token_bytes(32)), limited=limited, mongo_disk=mongo_disk
        )
        if publishing and all(shutil.which(program) for program in ("java", "mvn")):
            system.broker = await own_kafka(directory / "broker")
            stack.callback(lambda: _end_server(system.server("kafka")))
            options = cluster_at(system.broker.url).properties().partition("\n")[2]
            write_private(directory / KAFKA_PROPERTIES, options)
        system.mail_port = free_port() if publishing else None
        for number in (1, 2):
            await _add_api(system, f"api-{number}", stack)
            for view in ("mysql", "mongo"):
                await _add_projector(system, f"projector-{view}-{number}", view, stack)
            for target in ("webhooks", "mail", *(("kafka",) if system.broker else ())) if publishing else ():
                await _add_publisher(system, f"{target}-{number}", target, stack)
        for program in system.programs:
            program.start()
            stack.callback(_end, program)
        yield system


async def _add_api(system: System, name: str, stack: AsyncExitStack) -> None:
    proxies, port = await _proxies(system, stack), free_port()
    client_proxy = await stack.enter_async_context(proxied(f"http://127.0.0.1:{port}"))
    system.apis.append(
        Api(
            name,
            ("serve",),
            lambda: system.variables(port, proxies),
            _log(system, name),
            proxies,
            port=port,
            client_proxy=client_proxy,
        )
    )


async def _add_projector(system: System, name: str, view: str, stack: AsyncExitStack) -> None:
    proxies = await _proxies(system, stack)
    system.projectors.append(
        Program(name, ("projector", view), lambda: system.variables(None, proxies), _log(system, name), proxies)
    )


async def _add_publisher(system: System, name: str, target: str, stack: AsyncExitStack) -> None:
    """A publisher; brokers tell clients their own address, so there is no proxy to them."""
    proxies = await _proxies(system, stack)
    system.publishers.append(
        Program(name, ("publish", target), lambda: system.variables(None, proxies), _log(system, name), proxies)
    )


async def _proxies(system: System, stack: AsyncExitStack) -> dict[str, Proxy]:
    return {name: await stack.enter_async_context(proxied(system.server(name).url)) for name in ("mysql", "mongo")}


def _log(system: System, name: str) -> Path:
    return system.directory / f"{name}.log"


def _own_file_system(directory: Path, stack: AsyncExitStack) -> Path | None:
    """Mount a small file system in memory; return None without the permission."""
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=800m", "none", str(directory)], capture_output=True, check=False
    )
    if mounted.returncode:
        return None
    stack.callback(subprocess.run, ["umount", str(directory)], check=False)
    return directory


def _end(program: Program) -> None:
    with suppress(ProcessLookupError):
        program.send(signal.SIGCONT)
        program.send(signal.SIGKILL)
    if program.popen is not None:
        program.popen.wait()


def _end_server(server: OwnServer) -> None:
    server.child.popen.send_signal(signal.SIGCONT)
    server.child.popen.kill()
    server.child.popen.wait()


def _mail(port: int) -> dict[str, str]:
    return {
        "ROLLCALL_PUBLIC_URL": "https://rollcall.example",
        "ROLLCALL_SMTP_URL": f"smtp://127.0.0.1:{port}?starttls=off",
        "ROLLCALL_MAIL_FROM": MAIL_FROM,
    }


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()
