"""Promises 1 to 6 together: whatever is sent, in whatever order, the log does what a plain model does.

Two processes share one log, each with connections, keys and an appender of its own. Commands come alone or at once,
with and without an expected version and a key, again, and with another command's key; connections are killed and
processes stopped at any statement of a batch. After each step the log says which commands took effect, in which
order; each of them must be one that the model accepts at that moment, and what every caller was told must be true at
some moment of the step. What a crash leaves open may have happened or not, and then happened wholly or not at all.
"""

import asyncio
import hashlib
import hmac
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar
from uuid import UUID

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from events.batch import Append
from events.chain import GENESIS, verify_log
from events.commands import CommandResult
from events.database import Address, Connection, Database
from events.errors import OutcomeUnknown, WrongExpectedVersion
from events.event_types import Forgotten, Origin, UserDeleted
from events.idempotency import Idempotency, Request
from events.statements import LOCK_HEAD
from events.user import Register, account_of
from tests.events.acts import Act, acts, emails, numbers, usernames
from tests.events.faults import Caller, Fault, fault_at, kill_connection, stop_process
from tests.events.model import Sent, World, check_answer, person_of
from tests.events.tampering import silently
from tests.log import NOBODY, Log, wire
from tests.waiting import PATIENCE_SECONDS

EXAMPLES = 20
STEPS = 25
STATEMENTS = 12
"""Approximate number of statements in a batch, from BEGIN to COMMIT."""
SETTINGS = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # to shrink a run on a real server takes minutes
    suppress_health_check=[HealthCheck.too_slow],
)
TABLES = ("user_keys", "credential_keys", "claims", "requests", "snapshots")
T = TypeVar("T")


@dataclass
class Stage:
    """One schema for all runs, emptied before each; and an event loop, since the machine is not asynchronous."""

    address: Address
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def process(self) -> Log:
        """A process of its own."""
        return wire(Database.at(self.address, size=8))

    async def clear(self, database: Database) -> None:
        """As if the log were new; TRUNCATE is not what the triggers refuse."""
        await database.execute("TRUNCATE TABLE events")
        for table in TABLES:
            await database.execute(f"DELETE FROM {table}")
        await database.execute("UPDATE log_head SET position = 0, hash = %s", (GENESIS,))


class StoreMachine(RuleBasedStateMachine):
    """The log and its model, side by side."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage
        self.processes = [stage.process(), stage.process()]
        self.world = World()
        self.sent: list[Sent] = []
        self.callers: list[Caller] = []
        """Who waits for an answer of the first process."""
        self.run(stage.clear(self.log.database))

    def run(self, work: Awaitable[T]) -> T:
        """Do it, on the stage's loop."""
        return self.stage.loop.run_until_complete(asyncio.wait_for(work, PATIENCE_SECONDS))

    @property
    def log(self) -> Log:
        """What the test itself looks through."""
        return self.processes[0]

    def teardown(self) -> None:
        for process in self.processes:
            self.run(process.database.close())

    @rule(act=acts)
    def one(self, act: Act) -> None:
        """A command alone."""
        self.run(self._all_of([act]))

    @rule(several=st.lists(acts, min_size=2, max_size=4))
    def several_at_once(self, several: list[Act]) -> None:
        """Commands that may conflict, from both processes."""
        self.run(self._all_of(several))

    @precondition(lambda self: self.sent)
    @rule(process=st.integers(0, 1), which=numbers, times=st.integers(1, 2))
    def again(self, process: int, which: int, times: int) -> None:
        """A command that was sent before, once or twice at once; without its key it is just another one."""
        earlier = self.sent[which % len(self.sent)]
        repeated = [self._next(earlier) for _ in range(times)]
        self.run(self._settled([(process ^ number % 2, sent) for number, sent in enumerate(repeated)]))

    @rule(several=st.lists(acts, min_size=1, max_size=3), which=numbers)
    def different_commands_with_one_key(self, several: list[Act], which: int) -> None:
        """What a careless client does, at once too; the key was used before, or is a fresh one."""
        keys = [*(sent.key for sent in self.sent if sent.key), f"key{len(self.sent)}"]
        key = keys[which % len(keys)]
        sent = [(act.process, self._next(replace(self._addressed(act), key=key))) for act in several]
        self.run(self._settled(sent))

    @precondition(lambda self: self.world.ids)
    @rule(process=st.integers(0, 1), whom=numbers, off=st.sampled_from([-1, 1]))
    def append_on_another_version(self, process: int, whom: int, off: int) -> None:
        """Past the commands, which would have looked: the log itself refuses, and says what it found."""
        user_id = self.world.ids[whom % len(self.world.ids)]
        found, log = self.world.version(user_id), self.processes[process]
        user, key = self.run(log.commands.account(user_id)).user, log.vault.new_key(user_id)
        append = Append(user_id, found + off, user, key, (UserDeleted(),), NOBODY)

        async def refused() -> tuple[int, int] | None:
            try:
                await log.appender.append(append)
            except WrongExpectedVersion as wrong:
                return wrong.expected, wrong.found
            return None

        assert self.run(refused()) == (found + off, found)

    @rule(
        several=st.lists(acts, max_size=3),
        fault=st.sampled_from([kill_connection, stop_process]),
        statement=st.none() | st.integers(0, STATEMENTS),
        before=st.booleans(),
    )
    def fault_in_a_batch(self, several: list[Act], fault: Fault, statement: int | None, before: bool) -> None:
        """One process's writer is struck at a statement, from BEGIN to COMMIT; who was stopped is started anew."""

        newcomer = f"new{len(self.sent)}"
        surely = Act(0, Register(username=newcomer, email=f"{newcomer}@x.org", name="N"), key=before)

        async def struck() -> None:
            strike = partial(self._strike, fault)
            with fault_at(self.processes[0], strike, statement, before=before):
                await self._all_of([surely, *several])

        self.run(struck())
        if fault is stop_process:
            self.restart(0)

    @rule(process=st.integers(0, 1))
    def restart(self, process: int) -> None:
        """A process remembers nothing that matters."""
        self.run(self.processes[process].database.close())
        self.processes[process] = self.stage.process()

    @rule(process=st.integers(0, 1), login=usernames | emails)
    def find(self, process: int, login: str) -> None:
        """A user is found by username and by email in any spelling."""
        kind = "email" if "@" in login else "username"
        found = self.run(self.processes[process].commands.find(login))

        assert (found.user.id if found and found.user else None) == self.world.claims().get((kind, login.lower()))

    @invariant()
    def the_log_is_dense_and_its_chain_holds(self) -> None:
        """Up to its head."""
        end = self.run(verify_log(self.log.database, self.log.keys.chain, silently))

        assert end.position == sum(map(self.world.version, self.world.ids))

    @invariant()
    def users_are_those_of_the_model(self) -> None:
        """Each with all of its versions; nothing can be read of those who are gone."""
        recorded = self.run(self.log.all())
        streams = {user_id: [one for one in recorded if one.stream_id == user_id] for user_id in self.world.ids}
        assert sum(map(len, streams.values())) == len(recorded)
        for user_id, events in streams.items():
            assert [one.version for one in events] == list(range(1, self.world.version(user_id) + 1))
            assert person_of(account_of(events).user) == self.world.people.get(user_id)
            if user_id in self.world.gone:
                assert [type(one.event) for one in events] == [Forgotten] * (len(events) - 1) + [UserDeleted]

    @invariant()
    def keys_of_hashes_are_those_of_the_living_who_have_a_password(self) -> None:
        """Each is that of the newest hash."""
        recorded = self.run(self.log.all())
        rows = self.run(self.log.database.fetch_all("SELECT user_id, version FROM credential_keys"))
        accounts = {
            user_id.bytes: account_of(one for one in recorded if one.stream_id == user_id)
            for user_id in self.world.people
        }

        assert dict(rows) == {
            user_id: account.password_version for user_id, account in accounts.items() if account.password_version
        }

    @invariant()
    def claims_requests_and_keys_are_those_of_the_model(self) -> None:
        """No more and no less: what was released is free, what was shredded is gone, what was refused left nothing."""
        fetch, keys = self.log.database.fetch_all, self.log.keys
        claims = {(kind, digest): UUID(bytes=owner) for kind, digest, owner in self.run(fetch("SELECT * FROM claims"))}
        requests = {row[0] for row in self.run(fetch("SELECT key_hash FROM requests"))}
        there = {row[0]: bool(row[1]) for row in self.run(fetch("SELECT user_id, wrapped IS NOT NULL FROM user_keys"))}

        expected = {(kind, hashed(keys.claims, kind, value)): u for (kind, value), u in self.world.claims().items()}
        assert claims == expected
        assert requests == {
            Request.of(keys.requests, Idempotency(None, one, b"")).key_hash for one in self.world.requests
        }
        assert there == {user_id.bytes: user_id in self.world.people for user_id in self.world.ids}

    def _next(self, sent: Sent) -> Sent:
        """The same command, with the next number."""
        self.sent.append(replace(sent, number=len(self.sent)))
        return self.sent[-1]

    def _addressed(self, act: Act) -> Sent:
        """The command with an address; to nobody while there is nobody."""
        number, ids = len(self.sent), self.world.ids
        key = f"key{number}" if act.key else None
        if isinstance(act.command, Register):
            return Sent(number, act.command, key=key)
        user_id = ids[act.whom % len(ids)] if ids else UUID(int=1)
        expected = None if act.expecting is None else act.expecting + (self.world.version(user_id) if ids else 0)
        return Sent(number, act.command, user_id, expected, key)

    async def _strike(self, fault: Fault, connection: Connection) -> None:
        await fault(self.log, connection, self.callers)

    async def _all_of(self, several: Sequence[Act]) -> None:
        sent = [(act.process, self._next(self._addressed(act))) for act in several]
        await self._settled(sent)

    async def _settled(self, sent: Sequence[tuple[int, Sent]]) -> None:
        """Send them at once, and see that the log and every answer agree with the model."""
        tasks = [asyncio.create_task(carry_out(self.processes[process], one)) for process, one in sent]
        self.callers = [task for task, (process, _) in zip(tasks, sent, strict=True) if process == 0]
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        worlds, places = await self._what_happened()
        for (_, one), answer in zip(sent, answers, strict=True):
            if not isinstance(answer, OutcomeUnknown | asyncio.CancelledError):
                check_answer(one, answer, worlds, places.get(one.number))
        self.world = worlds[-1]

    async def _what_happened(self) -> tuple[list[World], dict[int, int]]:
        """The worlds of this step, from event to event; and the position of each command that took effect."""
        async with self.processes[1].database.transaction() as connection:
            await connection.fetch_one(LOCK_HEAD)  # whatever a crash left behind has ended now
        recorded = await self.processes[1].all()
        times = Counter(one.origin.correlation for one in recorded)
        assert set(times.values()) <= {1}, f"a command took effect twice: {times}"
        worlds, places = [self.world], dict[int, int]()
        for one in recorded[sum(map(self.world.version, self.world.ids)) :]:
            assert one.origin.correlation is not None
            number = one.origin.correlation.int
            places[number] = one.position
            worlds.append(worlds[-1].after(self.sent[number], one.stream_id, one.position))
        return worlds, places


def hashed(secret: bytes, kind: str, value: str) -> bytes:
    """What the table keeps of a claim."""
    return hmac.digest(secret, f"{kind}\0{value}".encode(), hashlib.sha256)


async def carry_out(log: Log, sent: Sent) -> CommandResult:
    """Send a command to a process."""
    origin = Origin(correlation=UUID(int=sent.number))
    once = Idempotency(None, sent.key, sent.fingerprint) if sent.key else None
    if isinstance(sent.command, Register):
        return await log.commands.register(sent.command, origin, once)
    assert sent.user_id is not None
    return await log.commands.change(sent.user_id, sent.command, origin, sent.expected, once)


def test_the_log_does_what_a_plain_model_does(database: Database) -> None:
    """Whatever is sent, repeated, killed and started anew, in any order."""
    stage = Stage(database.address)

    class OnStage(StoreMachine):
        def __init__(self) -> None:
            super().__init__(stage)

    run_state_machine_as_test(OnStage, settings=SETTINGS)
    stage.loop.close()
