"""Whatever happens to those who write a view, in whatever order, it ends as a plain fold of the log.

Hypothesis makes up histories of users and lets projectors of every kind at them: diligent ones, ones that are cancelled
in the middle, ones whose connection breaks, ones that repeat themselves or come with a batch from elsewhere, two at
once. Users are set aside, released and given up meanwhile. The view's database is real; the log is a list.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from events.checkpoint import Checkpoint
from events.data_object import (
    CreateData,
    DataCommand,
    DataObject,
    DeleteData,
    TransferData,
    UpdateData,
    decide_data,
    evolve_data,
)
from events.database import Address, Database
from events.errors import EventsError, Rejected
from events.event_types import DataCreated, DataDeleted, Forgotten, Origin, Recorded, UserDeleted
from events.streams import State, evolve_stream
from events.user import Account, Command, Delete, Register, Update, decide, evolve_account
from projections.errors import CheckpointMoved, NotQuarantined, ProjectionError
from projections.mongo.client import MongoClient, MongoDatabase
from projections.quarantine import Quarantined
from rollcall.embedded import Addresses
from tests.events.test_user import commands, names
from tests.projections.views import Bench, mongo_view, mysql_view
from tests.system.proxy import Proxy, proxied
from tests.waiting import PATIENCE_SECONDS

T = TypeVar("T")
START = datetime(2026, 1, 1, tzinfo=UTC)
data_commands = st.one_of(
    st.builds(UpdateData, name=st.sampled_from(["Notes", "Plans"]), content=st.just({"a": 1})),
    st.just(TransferData(UUID(int=0))),
    st.just(TransferData(UUID(int=0))),
    st.just(DeleteData()),
)
SLOTS = 4
"""Users that live at the same time; the fewer, the more often a batch has several events of one."""


class MadeUpLog:
    """Positions, streams and what deletion does to them, without a database."""

    def __init__(self) -> None:
        self.events: list[Recorded] = []
        self._accounts: dict[UUID, Account] = {}
        self._living: dict[int, UUID] = {}
        self._objects: dict[int, DataObject] = {}

    def carry_out(self, slot: int, command: Command) -> None:
        """The command on the user in a slot; registers one if it is empty. Refused commands change nothing."""
        if slot not in self._living:
            self._living[slot] = UUID(int=(len(self.events) + 1) << 64)
            command = Register(
                username=f"user{len(self.events)}", email=f"user{len(self.events)}@example.com", name="N"
            )
        user_id = self._living[slot]
        account = self._accounts.get(user_id, Account())
        with suppress(Rejected):
            for event in decide(account, command):
                account = self._append(user_id, account, event)
        if isinstance(command, Delete):
            self._forget(user_id)
            del self._living[slot]

    def carry_out_on_data(self, slot: int, owner: int, command: DataCommand) -> None:
        """The command on the data object in a slot; creates one if it is empty, and hands it to the user in a slot."""
        owner_id = self._living.get(owner)
        data = self._objects.get(slot)
        if owner_id is None:
            return
        if data is None:
            command = CreateData(f"Object {slot}", {"n": slot})
        elif isinstance(command, TransferData):
            command = TransferData(owner_id)
        else:
            owner_id = data.owner_id
        data_id = data.id if data else UUID(int=(len(self.events) + 1) << 64)
        for event in decide_data(data, command):
            data = evolve_data(data, self._append_event(data_id, (data.version if data else 0) + 1, event, owner_id))
        if data is None:
            del self._objects[slot]
        else:
            self._objects[slot] = data

    def read(self, after: int, limit: int) -> list[Recorded]:
        """The next events."""
        return self.events[after : after + limit]

    def at(self, position: int) -> Checkpoint:
        """The checkpoint at a position."""
        return Checkpoint(UUID(int=1), position, position.to_bytes(32))

    async def history(self, user_id: UUID, up_to: Checkpoint) -> list[Recorded]:
        """One user's events."""
        return [recorded for recorded in self.events[: up_to.position] if recorded.stream_id == user_id]

    def _append(self, user_id: UUID, account: Account, event: Any) -> Account:
        recorded = self._append_event(user_id, account.version + 1, event)
        self._accounts[user_id] = account = evolve_account(account, recorded)
        return account

    def _append_event(self, stream_id: UUID, version: int, event: Any, owner_id: UUID | None = None) -> Recorded:
        position = len(self.events) + 1
        recorded = Recorded(
            position=position,
            stream_id=stream_id,
            version=version,
            event_id=UUID(int=position),
            type=type(event).__name__,
            event=event,
            fields=event.changed_fields(),
            origin=Origin(),
            recorded_at=START + timedelta(seconds=position),
            hash=position.to_bytes(32),
            owner_id=owner_id,
            number=position if isinstance(event, DataCreated) else None,
        )
        self.events.append(recorded)
        return recorded

    def _forget(self, user_id: UUID) -> None:
        """The key is destroyed with the deletion: what it has sealed can no longer be read."""
        self.events = [
            msgspec.structs.replace(recorded, event=Forgotten())
            if recorded.user_id == user_id and not isinstance(recorded.event, UserDeleted | DataDeleted)
            else recorded
            for recorded in self.events
        ]
        self._objects = {slot: data for slot, data in self._objects.items() if data.owner_id != user_id}


class Stage:
    """One view, reached by way of a proxy that can be cut, and the event loop that it lives on."""

    def __init__(self, bench: Bench, proxy: Proxy, reconnect: Callable[[], None]) -> None:
        self.bench = bench
        self.proxy = proxy
        self.reconnect = reconnect
        self.loop = asyncio.get_running_loop()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it on the loop, from the machine's thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE_SECONDS)


class ViewMachine(RuleBasedStateMachine):
    """What can happen to a view."""

    stage: Stage

    def __init__(self) -> None:
        super().__init__()
        self.log = MadeUpLog()
        self.view = self.stage.bench.view
        self.stage.run(self._begin())

    async def _begin(self) -> None:
        with suppress(Exception):
            await self.stage.bench.drop()
        await self.view.prepare()

    @rule(slot=st.integers(0, SLOTS - 1), command=commands)
    def something_happens(self, slot: int, command: Command) -> None:
        self.log.carry_out(slot, command)

    @rule(slot=st.integers(0, SLOTS - 1), name=names, times=st.integers(1, 5))
    def one_user_is_busy(self, slot: int, name: str, times: int) -> None:
        for number in range(times):
            self.log.carry_out(slot, Update(name=f"{name}{number}"))

    @rule(slot=st.integers(0, SLOTS - 1), owner=st.integers(0, SLOTS - 1), command=data_commands)
    def something_happens_to_an_object(self, slot: int, owner: int, command: DataCommand) -> None:
        self.log.carry_out_on_data(slot, owner, command)

    @rule(size=st.integers(1, 9))
    def a_projector_works(self, size: int) -> None:
        self.stage.run(self._round(size))

    @rule(size=st.integers(1, 9))
    def a_projector_repeats_its_batch(self, size: int) -> None:
        self.stage.run(self._repeat(size))

    @rule(after=st.integers(0, 30), size=st.integers(1, 9))
    def a_projector_comes_from_elsewhere(self, after: int, size: int) -> None:
        self.stage.run(self._from_elsewhere(after, size))

    @rule(size=st.integers(1, 9), seconds=st.floats(0, 0.012))
    def a_projector_is_cancelled(self, size: int, seconds: float) -> None:
        self.stage.run(self._cancelled(size, seconds))

    @rule(size=st.integers(1, 9), seconds=st.floats(0, 0.012))
    def a_connection_breaks(self, size: int, seconds: float) -> None:
        self.stage.run(self._broken(size, seconds))

    @rule(sizes=st.lists(st.integers(1, 5), min_size=2, max_size=3))
    def projectors_compete(self, sizes: list[int]) -> None:
        self.stage.run(self._compete(sizes))

    @rule()
    def an_event_is_broken(self) -> None:
        self.stage.run(self._set_aside())

    @rule(chance=st.randoms(use_true_random=False), size=st.integers(1, 5))
    def a_user_is_released_while_a_projector_works(self, chance: random.Random, size: int) -> None:
        self.stage.run(self._release(chance, size))

    @precondition(lambda self: self.log.events)
    @rule()
    def all_is_as_the_log_says(self) -> None:
        self.stage.run(self._compare())

    def teardown(self) -> None:
        """However it went: once a projector has worked in peace, the view is right."""
        self.stage.run(self._compare())

    async def _project(self, size: int, rounds: int) -> None:
        for _ in range(rounds):
            position = (await self.view.checkpoint()).position
            if events := self.log.read(position, size):
                await self.view.apply(events, after=self.log.at(position))

    async def _round(self, size: int) -> None:
        """One, which a late write of a cancelled projector may come before."""
        with suppress(CheckpointMoved):
            await self._project(size, rounds=1)

    async def _repeat(self, size: int) -> None:
        position = (await self.view.checkpoint()).position
        if events := self.log.read(position, size):
            with suppress(CheckpointMoved):
                await self.view.apply(events, after=self.log.at(position))
            with pytest.raises(CheckpointMoved):
                await self.view.apply(events, after=self.log.at(position))

    async def _from_elsewhere(self, after: int, size: int) -> None:
        events, before = self.log.read(after, size), (await self.view.checkpoint()).position
        if events and after != before:
            with suppress(CheckpointMoved):
                await self.view.apply(events, after=self.log.at(after))
                assert after > before  # which a late write has come to meanwhile

    async def _cancelled(self, size: int, seconds: float) -> None:
        work = asyncio.create_task(self._project(size, rounds=3))
        await asyncio.wait({work}, timeout=seconds)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    async def _broken(self, size: int, seconds: float) -> None:
        work = asyncio.create_task(self._project(size, rounds=3))
        await asyncio.wait({work}, timeout=seconds)
        self.stage.proxy.cut()
        self.stage.reconnect()
        [outcome] = await asyncio.gather(work, return_exceptions=True)
        assert outcome is None or isinstance(outcome, EventsError | ProjectionError), outcome
        await self._in_peace(self.view.checkpoint)

    async def _compete(self, sizes: list[int]) -> None:
        async def project(size: int) -> None:
            for _ in range(6):
                await self._round(size)

        await asyncio.gather(*map(project, sizes))

    async def _set_aside(self) -> None:
        position = (await self.view.checkpoint()).position
        for recorded in self.log.read(position, 1):
            held = {one.user_id for one in await self.view.quarantine()}
            if recorded.stream_id not in held and not isinstance(recorded.event, Forgotten | UserDeleted | DataDeleted):
                one = Quarantined(
                    user_id=recorded.stream_id, position=position + 1, type=recorded.type, reason="made up"
                )
                with suppress(CheckpointMoved):
                    await self.view.quarantine_user(one, event=recorded, after=self.log.at(position))

    async def _release(self, chance: random.Random, size: int) -> None:
        quarantine = await self.view.quarantine()
        if quarantine:
            user_id = chance.choice(quarantine).user_id
            with suppress(NotQuarantined):
                await asyncio.gather(self.view.release_user(user_id, self.log.history), self._compete([size]))

    async def _compare(self) -> None:
        """Late writes of cancelled projectors may still come in: the view is asked until it holds still."""
        while (await self._in_peace(self.view.checkpoint)).position < len(self.log.events):
            await self._round(50)
        aside = {one.user_id: one.position for one in await self.view.quarantine()}
        states, users = lives(self.log.events), await self.stage.bench.users()
        differ = {
            user_id
            for user_id, life in states.items()
            if users.get(user_id) not in (life[-1:] if user_id not in aside else possible(life, aside[user_id]))
        }
        assert not differ, f"in the view {[users.get(one) for one in differ]}, of {[states[one] for one in differ]}"
        assert set(users) <= set(states)

    async def _in_peace(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The answer, once what was cut off has come back."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    return await ask()
                except (EventsError, ProjectionError):
                    await asyncio.sleep(0.01)


def lives(events: list[Recorded]) -> dict[UUID, list[State | None]]:
    """Each user and data object as it was after each of its events, by a plain fold of the log."""
    states: dict[UUID, list[State | None]] = {}
    for recorded in events:
        life = states.setdefault(recorded.stream_id, [])
        life.append(evolve_stream(life[-1] if life else None, recorded))
    return states


def possible(life: list[State | None], broken_at: int) -> list[State | None]:
    """What a view may hold of a quarantined user: what was before the broken event, or anything since.

    The events here are not really broken. So the late write of a projector that was cancelled may still apply one that
    has been set aside meanwhile; what it may not do is to take the user back.
    """
    before: list[State | None] = [user for user in life if user is not None and user.position < broken_at]
    since = [user for user in life if user is None or user.position >= broken_at]
    return [*(before[-1:] or [None]), *since]


@asynccontextmanager
async def mysql_stage(database: Database) -> AsyncIterator[Stage]:
    """The MySQL view, by way of a proxy."""
    address = database.address
    url = f"mysql://{address.user}:{address.password}@{address.host}:{address.port}/{address.database}"
    async with proxied(url) as proxy:
        reached = Database.at(Address.parse(proxy.url(url)), size=10)
        yield Stage(watched(mysql_view(reached), mysql_view(database)), proxy, lambda: proxy.connect(url))
        await reached.close()


@asynccontextmanager
async def mongo_stage(documents: MongoDatabase, url: str) -> AsyncIterator[Stage]:
    """The MongoDB view, by way of a proxy."""
    async with proxied(url) as proxy:
        client = MongoClient(proxy.url(url))
        reached = client.documents.client[documents.name]
        yield Stage(watched(mongo_view(reached), mongo_view(documents)), proxy, lambda: proxy.connect(url))
        client.close()


def watched(reached: Bench, directly: Bench) -> Bench:
    """A bench whose view goes through the proxy and whose reads bypass it."""
    return replace(directly, view=reached.view)


@pytest.mark.parametrize("view", ["mysql", "mongo"])
async def test_a_view_ends_as_the_fold_of_the_log_whatever_befalls_its_projectors(
    view: str, database: Database, documents: MongoDatabase, addresses: Addresses
) -> None:
    """Random histories, crashes, repeats, rivals and quarantines; the machine runs on a thread, the view here."""
    staging = mysql_stage(database) if view == "mysql" else mongo_stage(documents, addresses.mongo_url)
    async with staging as stage:
        machine = type("Machine", (ViewMachine,), {"stage": stage})
        bounds = settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            phases=[Phase.generate],  # races do not shrink: the first history that fails is as good as any
            suppress_health_check=list(HealthCheck),
        )
        await asyncio.to_thread(run_state_machine_as_test, machine, settings=bounds)
