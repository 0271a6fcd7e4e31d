"""The private MySQL server: its program, its data directory, its options."""

import re
import secrets
import tempfile
from dataclasses import dataclass
from os import geteuid
from pathlib import Path

import asyncmy
from asyncmy.errors import MySQLError

from rollcall.embedded import apt
from rollcall.embedded.files import whole_directory, write_private
from rollcall.embedded.process import run
from rollcall.embedded.sources import CommandFailed, Report, ServersUnavailable, Sources

OLDEST = (8, 0, 29)
PASSWORD_FILE = "rollcall-password"  # noqa: S105 - inside the data directory, so that both move as one
INSTEAD = "Install MySQL 8.4 or 9 (mysqld on PATH), or set ROLLCALL_MYSQL_URL to the address of a server of your own."

NO_DEFAULTS = "--no-defaults"  # a my.cnf is for the machine's own server; must come first
ALWAYS = ("--mysqlx=OFF", "--secure-file-priv=NULL")
OPTIONS = (
    "--bind-address=127.0.0.1",
    "--socket=",  # none: the default is one path for all servers, and that of the data directory may be too long
    "--pid-file=mysqld.pid",
    "--skip-name-resolve",
    "--innodb-flush-log-at-trx-commit=1",
    "--sync-binlog=1",
    "--server-id=1",
    "--log-bin=binlog",
    "--binlog-expire-logs-seconds=3600",
    "--max-binlog-size=64M",
    "--character-set-server=utf8mb4",
    "--default-time-zone=+00:00",
    "--innodb-buffer-pool-size=256M",
    "--max-connections=500",
    "--table-open-cache=500",  # fits the usual limit of open files with 500 connections
    "--performance-schema=OFF",  # a third less time to start, and 100 MB less memory
)


@dataclass(frozen=True, slots=True)
class MySQLProgram:
    """A mysqld that runs: its command and its version."""

    command: tuple[str, ...]
    version: str

    @property
    def title(self) -> str:
        return f"MySQL {self.version}"

    def with_options(self, *options: str) -> list[str]:
        as_root = ("--user=root",) if geteuid() == 0 else ()
        return [*self.command, *ALWAYS, *as_root, *options]


@dataclass(frozen=True, slots=True)
class MySQLServer:
    """A private MySQL server whose data directory is complete."""

    program: MySQLProgram
    directory: Path
    log: Path
    password: str

    @property
    def title(self) -> str:
        return self.program.title

    def command(self, port: int) -> list[str]:
        return self.program.with_options(f"--datadir={self.directory}", f"--port={port}", *OPTIONS)

    def url(self, port: int) -> str:
        return f"mysql://root:{self.password}@127.0.0.1:{port}/rollcall"

    async def trouble(self, port: int) -> str | None:
        try:
            connection = await asyncmy.connect(
                host="127.0.0.1", port=port, user="root", password=self.password, connect_timeout=5
            )
        except MySQLError as error:
            return str(error)
        await connection.ensure_closed()
        return None


async def prepare(data_dir: Path, sources: Sources, report: Report) -> MySQLServer:
    """Find or fetch the program, and create the data directory if it is missing. Raises ServersUnavailable."""
    logs = data_dir / "logs"
    program = await _program(sources, logs, report)
    directory = data_dir / "mysql"
    if not directory.exists():
        report(f"initialising {program.title} ...")
        await _initialise(program, directory, logs / "mysqld-initialize.log")
    password = (directory / PASSWORD_FILE).read_text()
    return MySQLServer(program, directory, logs / "mysqld.log", password)


async def _program(sources: Sources, logs: Path, report: Report) -> MySQLProgram:
    refused = "there is no mysqld on PATH"
    if found := sources.which("mysqld"):
        program = await _checked((str(found), NO_DEFAULTS), logs)
        if isinstance(program, MySQLProgram):
            return program
        refused = f"{found} cannot be used ({program})"
    try:
        fetched = await apt.mysql(sources, report)
    except apt.CannotFetch as error:
        raise ServersUnavailable(f"MySQL: {refused}, and it cannot be fetched: {error}\n{INSTEAD}") from error
    program = await _checked(fetched, logs)
    if isinstance(program, MySQLProgram):
        return program
    raise ServersUnavailable(
        f"MySQL: {refused}, and the one in {sources.cache_dir} cannot be used either ({program})\n"
        f"Remove that directory to have it fetched again. {INSTEAD}"
    )


def _confined(mysqld: Path) -> bool:
    """Whether AppArmor enforces Ubuntu's profile for the system's server."""
    profile, kernel = Path("/etc/apparmor.d/usr.sbin.mysqld"), Path("/sys/kernel/security/apparmor")
    return mysqld.resolve() == Path("/usr/sbin/mysqld") and profile.exists() and kernel.exists()


async def _checked(command: tuple[str, ...], logs: Path) -> MySQLProgram | str:
    """The program of `command`, or why it cannot be used."""
    if _confined(Path(command[0])):
        return "AppArmor allows it no data directory but the system's"
    try:
        printed = await run([*command, "--version"], logs / "mysqld-version.log")
    except CommandFailed as error:
        return str(error)
    version = re.search(r"Ver (\d+)\.(\d+)\.(\d+)", printed)
    if version is None or "MariaDB" in printed or tuple(map(int, version.groups())) < OLDEST:
        return f"expected MySQL {'.'.join(map(str, OLDEST))} or later, found: {printed.strip()}"
    return MySQLProgram(command, ".".join(version.groups()))


async def _initialise(program: MySQLProgram, directory: Path, log: Path) -> None:
    password = secrets.token_urlsafe(24)
    with (
        whole_directory(directory) as made,
        tempfile.NamedTemporaryFile("w", suffix=".sql", dir=directory.parent) as statements,
    ):
        statements.write(_first_statements(password))
        statements.flush()
        options = ("--initialize-insecure", f"--init-file={statements.name}", f"--datadir={made}")
        try:
            await run(program.with_options(*options), log)
        except CommandFailed as error:
            raise ServersUnavailable(f"{program.title} cannot create its data directory: {error}") from error
        write_private(made / PASSWORD_FILE, password)


def _first_statements(password: str) -> str:
    """One statement a line, as an init file requires. Without name resolution 127.0.0.1 is not 'localhost'."""
    return (
        "RENAME USER 'root'@'localhost' TO 'root'@'127.0.0.1';\n"
        f"ALTER USER 'root'@'127.0.0.1' IDENTIFIED BY '{password}';\n"
        "CREATE DATABASE rollcall;\n"
    )
