"""Several MySQL hosts: one primary is chosen, followed, and never guessed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from asyncmy.errors import MySQLError
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from events import database as database_module
from events import primary as primary_module
from events.database import Address, Connection, Database
from events.errors import DatabaseRefused, DatabaseUnavailable
from events.primary import Found, Host, HostState, Member, NoPrimary, choose_primary
from tests.log import Log
from tests.system.proxy import Proxy, proxied
from tests.waiting import eventually

A, B, C = Host("a", 3306), Host("b", 3306), Host("c", 3306)
WRITABLE = HostState("a", read_only=False, offline=False, grouped=False)
READ_ONLY = HostState("b", read_only=True, offline=False, grouped=False)
AWAY = DatabaseUnavailable("it is away")


def in_group(own: str, primary: str, unreachable: str = "", state: str = "ONLINE") -> HostState:
    """What a member of the group a, b, c says: who is the primary, and whom it does not reach."""
    members = [
        Member(
            one,
            state if one == own else "UNREACHABLE" if one in unreachable else "ONLINE",
            "PRIMARY" if one == primary else "SECONDARY",
        )
        for one in "abc"
    ]
    return HostState(own, read_only=own != primary, offline=False, grouped=True, members=members)


@pytest.mark.parametrize(
    ("found", "primary"),
    [
        ({A: WRITABLE, B: READ_ONLY, C: AWAY}, A),
        ({A: AWAY, B: in_group("b", "b", "a"), C: in_group("c", "b", "a")}, B),
        # A is cut off and does not know that B has replaced it.
        ({A: in_group("a", "a", "bc"), B: in_group("b", "b", "a"), C: in_group("c", "b", "a")}, B),
    ],
)
def test_the_one_that_accepts_writes_is_the_primary(found: Found, primary: Host) -> None:
    assert choose_primary(found) == primary


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({A: AWAY, B: READ_ONLY}, "a:3306: it is away; b:3306: it is read-only"),
        ({A: WRITABLE, B: WRITABLE}, "a:3306 and b:3306 both accept writes; only one MySQL server may"),
        ({A: replace(WRITABLE, offline=True), B: AWAY}, "it is in offline mode"),
        ({A: in_group("a", "a", "bc"), B: AWAY}, "it reaches 1 of the 3 members of its group"),
        ({A: in_group("a", "a", state="RECOVERING"), B: AWAY}, "it is RECOVERING in its group"),
        ({A: replace(in_group("a", "a"), members=()), B: AWAY}, "it is not in its group"),
        ({A: replace(in_group("a", "b"), read_only=False), B: AWAY}, "it is SECONDARY in its group"),
        # A was started without its group: it would accept writes that the group never sees.
        ({A: WRITABLE, B: in_group("b", "c"), C: AWAY}, "it has no Group Replication, which other hosts have"),
    ],
)
def test_without_exactly_one_primary_there_is_none(found: Found, message: str) -> None:
    with pytest.raises(NoPrimary, match=message.replace("(", r"\(")):
        choose_primary(found)


def test_a_refused_sign_in_is_told_unless_another_host_is_the_primary() -> None:
    refused = DatabaseRefused("access denied")

    assert choose_primary({A: refused, B: WRITABLE}) == B
    with pytest.raises(DatabaseRefused):
        choose_primary({A: refused, B: READ_ONLY})


states = st.sampled_from(["ONLINE", "RECOVERING", "UNREACHABLE", "ERROR", "OFFLINE"])
views = st.dictionaries(st.sampled_from("abcde"), st.tuples(states, st.sampled_from(["PRIMARY", "SECONDARY"])))


@given(st.lists(st.tuples(views, st.booleans()), min_size=5, max_size=5))
def test_a_host_of_a_group_is_used_only_with_a_majority_and_never_beside_another(
    told: list[tuple[dict[str, tuple[str, str]], bool]],
) -> None:
    """Whatever five hosts say about their group."""
    found: dict[Host, HostState | Exception] = {}
    for own, (view, read_only) in zip("abcde", told, strict=True):
        members = [Member(name, *state) for name, state in view.items()]
        found[Host(own, 3306)] = HostState(own, read_only, offline=False, grouped=True, members=members)

    try:
        primary = choose_primary(found)
    except NoPrimary:
        return

    state = found[primary]
    assert isinstance(state, HostState)
    assert not state.read_only
    assert Member(state.server_id, "ONLINE", "PRIMARY") in state.members
    assert 2 * sum(one.state != "UNREACHABLE" for one in state.members) > len(state.members)
    others = [one for host, one in found.items() if host != primary]
    assert not any(isinstance(one, HostState) and one.obstacle() is None for one in others)


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ("a,b:3307", [A, Host("b", 3307)]),
        ("[::1]:3306,[::2]", [Host("::1", 3306), Host("::2", 3306)]),
        ("a", [A]),
    ],
)
def test_a_url_may_list_several_hosts(hosts: str, expected: list[Host]) -> None:
    address = Address.parse(f"mysql://root:p%40ss@{hosts}/users")

    assert list(address.hosts) == expected
    assert (address.user, address.password, address.database) == ("root", "p@ss", "users")


@pytest.mark.parametrize("hosts", ["a,", ",a", "a,a:3306", "a:x,b", "a:70000,b", "a?b,c"])
def test_a_list_of_hosts_with_a_mistake_is_refused(hosts: str) -> None:
    with pytest.raises(ValueError) as refused:
        Address.parse(f"mysql://root:secret@{hosts}/users")

    assert "secret" not in str(refused.value)


@dataclass
class Hosts:
    """Two hosts that are proxies of one server, of which each says what a test wants."""

    database: Database
    proxies: list[Proxy]
    read_only: set[int] = field(default_factory=set)
    """Ports of hosts that say that they are read-only."""


@asynccontextmanager
async def two_hosts(log: Log, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hosts]:
    monkeypatch.setattr(primary_module, "CHECK_SECONDS", 0.05)
    at = log.database.address
    url = f"mysql://{at.user}:x@{at.host}:{at.port}/{at.database}"
    async with proxied(url) as one, proxied(url) as two:
        address = replace(at, port=one.port, others=(Host(at.host, two.port),))
        hosts = Hosts(Database.at(address, size=4, acquire_timeout=1.0), [one, two], {two.port})
        ask = hosts.database._ask

        async def host_state(host: Host) -> HostState:
            return replace(await ask(host), read_only=host.port in hosts.read_only)

        assert hosts.database._watch is not None
        monkeypatch.setattr(hosts.database._watch, "_ask", host_state)
        try:
            yield hosts
        finally:
            await hosts.database.close()


def port_in_use(connection: Connection) -> int:
    """The port that a session was opened to."""
    port: int = connection._driver._port  # type: ignore[attr-defined]
    return port


async def test_every_session_follows_the_primary(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement at work and a session with a lock end with the old primary; new sessions are on the new one."""
    async with two_hosts(log, monkeypatch) as hosts:
        database, (one, two) = hosts.database, hosts.proxies
        async with database.connection() as connection:
            assert port_in_use(connection) == one.port
        working = asyncio.create_task(database.fetch_one("SELECT SLEEP(60)"))
        with pytest.raises(DatabaseUnavailable):  # noqa: PT012
            async with database.dedicated() as lock:
                assert await lock.fetch_one("SELECT GET_LOCK('primary', 0)") == (1,)
                hosts.read_only = {one.port}
                while True:
                    await lock.fetch_one("SELECT SLEEP(0.01)")

        with pytest.raises(DatabaseUnavailable):
            await working
        for opened in (database.connection, database.transaction, database.dedicated):
            async with opened() as connection:
                assert port_in_use(connection) == two.port


async def refused_with(database: Database, text: str) -> None:
    """Wait until callers are refused with this text: a busy machine may take longer than a caller waits."""

    async def refused() -> bool:
        try:
            await database.fetch_one("SELECT 1")
        except DatabaseUnavailable as error:
            return text in str(error)
        return False

    await eventually(refused)


async def served(database: Database) -> None:
    """Wait until a caller is served."""

    async def answered() -> bool:
        try:
            return await database.fetch_one("SELECT 1") == (1,)
        except DatabaseUnavailable:
            return False

    await eventually(answered)


async def test_without_a_primary_callers_are_refused_in_time_and_served_afterwards(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal says what each host says. The change is logged once each way, however often it is asked."""
    async with two_hosts(log, monkeypatch) as hosts:
        assert await hosts.database.fetch_one("SELECT 1") == (1,)
        with capture_logs() as logs:
            hosts.proxies[0].cut()
            await refused_with(hosts.database, f":{hosts.proxies[1].port}: it is read-only")
            hosts.read_only = set()
            await served(hosts.database)

    assert [one["event"] for one in logs if one["event"].startswith("mysql.")] == [
        "mysql.primary_missing",
        "mysql.primary_found",
    ]


async def test_a_host_with_an_error_that_is_not_known_is_not_the_primary(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watch goes on: MySQL 9.7 answers in offline mode with an error that earlier releases do not have."""
    async with two_hosts(log, monkeypatch) as hosts:
        watch = hosts.database._watch
        assert watch is not None
        ask = watch._ask

        async def unknown(host: Host) -> HostState:
            if host.port == hosts.proxies[0].port:
                raise MySQLError(9999, "an error of a newer release")
            return await ask(host)

        monkeypatch.setattr(watch, "_ask", unknown)
        await refused_with(hosts.database, "an error of a newer release")
        hosts.read_only = set()

        await served(hosts.database)


async def test_two_primaries_are_none(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    async with two_hosts(log, monkeypatch) as hosts:
        hosts.read_only = set()

        await refused_with(hosts.database, "both accept writes")


async def test_a_silent_primary_is_replaced_before_its_answers_are_overdue(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its statements do not wait for `ANSWER_SECONDS`, the limit for one server."""
    monkeypatch.setattr(primary_module, "PROBE_SECONDS", 0.2)
    assert database_module.ANSWER_SECONDS > 30
    async with two_hosts(log, monkeypatch) as hosts:
        assert await hosts.database.fetch_one("SELECT 1") == (1,)
        hosts.proxies[0].hang()
        waiting = asyncio.create_task(hosts.database.fetch_one("SELECT 1"))
        await asyncio.sleep(0)
        hosts.read_only = set()

        async with asyncio.timeout(database_module.ANSWER_SECONDS / 2):
            with pytest.raises(DatabaseUnavailable):
                await waiting
            await served(hosts.database)


async def test_every_table_can_be_replicated_by_a_group(log: Log) -> None:
    """Group Replication requires InnoDB and a primary key, and no cascading foreign keys."""
    unfit = """
    SELECT t.table_name FROM information_schema.tables t WHERE t.table_schema = DATABASE() AND (
        t.engine <> 'InnoDB' OR NOT EXISTS (
            SELECT 1 FROM information_schema.table_constraints c WHERE c.table_schema = t.table_schema
            AND c.table_name = t.table_name AND c.constraint_type = 'PRIMARY KEY'
        )
    )
    UNION SELECT table_name FROM information_schema.referential_constraints WHERE constraint_schema = DATABASE()
    """
    assert await log.database.fetch_all(unfit) == []
