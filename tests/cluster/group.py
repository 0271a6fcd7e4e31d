"""A replication group of three real servers with a single primary, and what a test does to them."""

import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from asyncmy.errors import MySQLError

from events.database import Address, Database, Row
from events.errors import EventsError
from tests.ports import free_port
from tests.system.servers import OwnServer, own_mysqld_at
from tests.waiting import eventually

MEMBERS: Final = 3
NAME: Final = "6f0a1d5e-54c0-4b7a-8f0b-5d1d3f6f9a11"
USER, PASSWORD = "rollcall", "secret"
RIGHTS: Final = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, TRIGGER, LOCK TABLES"

# A member that is cut off leaves after five seconds, rolls back what waits for the group, and ends clients' sessions.
OPTIONS: Final = (
    "--performance-schema=ON",
    "--gtid-mode=ON",
    "--enforce-gtid-consistency=ON",
    "--log-bin-trust-function-creators=ON",
    "--plugin-load-add=group_replication.so",
    "--report-host=127.0.0.1",
    f"--loose-group-replication-group-name={NAME}",
    "--loose-group-replication-start-on-boot=OFF",
    "--loose-group-replication-communication-stack=MYSQL",
    "--loose-group-replication-single-primary-mode=ON",
    "--loose-group-replication-recovery-get-public-key=ON",
    "--loose-group-replication-member-expel-timeout=0",
    "--loose-group-replication-unreachable-majority-timeout=5",
    "--loose-group-replication-autorejoin-tries=0",
    "--loose-group-replication-exit-state-action=OFFLINE_MODE",
)
RECOVERY: Final = """
CHANGE REPLICATION SOURCE TO SOURCE_USER = 'member', SOURCE_PASSWORD = 'secret' FOR CHANNEL 'group_replication_recovery'
"""
# Not in the binary log: each member has these users by itself.
USERS: Final = (
    "SET SQL_LOG_BIN = 0",
    "CREATE USER 'member'@'%' IDENTIFIED BY 'secret'",
    "GRANT REPLICATION SLAVE, CONNECTION_ADMIN, BACKUP_ADMIN, GROUP_REPLICATION_STREAM ON *.* TO 'member'@'%'",
    f"CREATE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}'",
    f"GRANT {RIGHTS} ON rollcall.* TO '{USER}'@'%'",
    f"GRANT SELECT ON performance_schema.replication_group_members TO '{USER}'@'%'",
    "SET SQL_LOG_BIN = 1",
    "RESET BINARY LOGS AND GTIDS",
    RECOVERY,
)
BOOTSTRAP: Final = (
    "SET GLOBAL group_replication_bootstrap_group = ON",
    "START GROUP_REPLICATION",
    "SET GLOBAL group_replication_bootstrap_group = OFF",
)
REJOIN: Final = ("STOP GROUP_REPLICATION", "SET GLOBAL offline_mode = OFF", "START GROUP_REPLICATION")
ONLINE: Final = """
SELECT member_port, member_role FROM performance_schema.replication_group_members WHERE member_state = 'ONLINE'
"""


OUTSIDE: Final = """
SELECT 1 FROM performance_schema.replication_group_members
WHERE member_id IN (@@server_uuid, '') AND member_state IN ('OFFLINE', 'ERROR')
"""


@dataclass
class Group:
    """The members, by port, in the order in which they are preferred as primary."""

    members: Sequence[OwnServer]

    @property
    def url(self) -> str:
        """The URL that lists all members, of a user with the rights that docs/operations.md names."""
        hosts = ",".join(f"127.0.0.1:{member.port}" for member in self.members)
        return f"mysql://{USER}:{PASSWORD}@{hosts}/rollcall"

    def url_of(self, port: int) -> str:
        """The URL of one member, or of a router."""
        return f"mysql://{USER}:{PASSWORD}@127.0.0.1:{port}/rollcall"

    def others(self, member: OwnServer) -> list[OwnServer]:
        """All members but one."""
        return [other for other in self.members if other is not member]

    async def primary(self, asked: Sequence[OwnServer] | None = None) -> OwnServer:
        """The primary, as soon as all that are asked name the same one among all of them."""
        asked = asked or self.members
        named: set[int] = set()

        async def agreed() -> bool:
            nonlocal named
            named = set()
            for member in asked:
                rows = await answer(member, ONLINE)
                if {port for port, _ in rows} != {one.port for one in asked}:
                    return False
                named |= {port for port, role in rows if role == "PRIMARY"}
            return len(named) == 1

        await eventually(agreed)
        [port] = named
        return next(member for member in asked if member.port == port)

    async def rejoin(self) -> None:
        """Let every member that was restarted or expelled join again, until all are online.

        On a busy machine a member that was stopped may be expelled as well, after it goes on.
        """

        async def online() -> bool:
            for member in self.members:
                if await answer(member, OUTSIDE):
                    with suppress(EventsError, MySQLError):  # it is still leaving
                        await statements(member, *REJOIN)
            return all([len(await answer(member, ONLINE)) == len(self.members) for member in self.members])

        await eventually(online)

    async def restart(self, member: OwnServer, how: signal.Signals = signal.SIGTERM) -> None:
        """End a member, start it and let it join again."""
        if not member.child.ended():
            await member.end(how)
        await self.primary(self.others(member))
        await member.start()
        await self.rejoin()


async def statements(member: OwnServer, *all_of_them: str) -> None:
    """Run statements in one session, as the member's administrator."""
    database = Database.at(Address.parse(member.url), size=1, acquire_timeout=60)
    try:
        async with database.connection() as connection:
            for statement in all_of_them:
                await connection.execute(statement)
    finally:
        await database.close()


async def answer(member: OwnServer, sql: str) -> list[Row]:
    """The rows of a query on a member; none if it cannot answer now."""
    database = Database.at(Address.parse(member.url), size=1)
    try:
        return await database.fetch_all(sql)
    except (EventsError, MySQLError):
        return []
    finally:
        await database.close()


@asynccontextmanager
async def group_of(directory: Path) -> AsyncIterator[Group]:
    """A group of three servers until the block ends."""
    ports = [free_port() for _ in range(MEMBERS)]
    seeds = ",".join(f"127.0.0.1:{port}" for port in ports)
    group = Group([])
    try:
        for number, port in enumerate(ports):
            own = (
                f"--server-id={number + 1}",
                f"--report-port={port}",
                f"--loose-group-replication-local-address=127.0.0.1:{port}",
                f"--loose-group-replication-group-seeds={seeds}",
                f"--loose-group-replication-member-weight={90 - 10 * number}",
            )
            member = await own_mysqld_at(port, directory / f"member{number}", *OPTIONS, *own)
            group.members = [*group.members, member]
            await statements(member, *USERS)
            await statements(member, *(BOOTSTRAP if number == 0 else ("START GROUP_REPLICATION",)))
        await group.primary()
        yield group
    finally:
        for member in group.members:
            if not member.child.ended():
                member.resume()
                await member.end(signal.SIGKILL)
