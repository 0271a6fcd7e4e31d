"""What is done to the system, and when.

Each kind of fault is one function: it picks a target that no other fault has, does its harm, undoes it, and returns.
What is undone is undone wholly: a process that was killed is started again by the fault that killed it.
"""

import asyncio
import os
import random
import re
import secrets
import shutil
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.chaos.system import STOP_SECONDS, Keyring, Program, System
from tests.chaos.watch import Watch
from tests.system.proxy import Proxy

FAULTS_A_MINUTE: Final = 23.0
"""Bursts are as large as it takes to keep to the pace; 200 in ten minutes are promised."""
BURST: Final = (4, 18)
"""A round has one fault only, whose recovery can be told from others', until so many are due; then it has these."""
CALM_SECONDS: Final = 10.0
"""How long a round waits at most until all is well again."""
BESIDE: Final = frozenset({"rotate"})
"""Kinds that take so long that other rounds go on meanwhile."""
COMMAND_TRIES: Final = 8
NEWBORN_SECONDS: Final = 20.0
"""So long the interpreter may take to begin the program, on a machine where much else is starting."""
CHECKPOINT: Final = re.compile(rb"UPDATE users_checkpoint SET|update\x00.{4}checkpoints\x00", re.DOTALL)
"""How moving a checkpoint looks on the wire: as MySQL's text protocol and as MongoDB's BSON have it."""
CHECKPOINT_SECONDS: Final = 3.0
UNAVAILABLE: Final = 4
"""Exit code of a command that met a database that was away."""


@dataclass
class Fault:
    """One thing that was done. Times are the monotonic clock's."""

    kind: str
    began: float
    target: str = ""
    ended: float = 0.0
    alone: bool = False
    """No other fault was there, from its beginning until all was well again."""


class Skipped(Exception):
    """There is nothing that this kind of fault could be done to now."""


@dataclass
class Hand:
    """What a fault works with."""

    system: System
    watch: Watch
    chance: random.Random
    wrong: Callable[[str], None]
    fault: Fault = field(default_factory=lambda: Fault("", 0.0))

    async def last(self, shortest: float, longest: float) -> None:
        """Let it be so for a while."""
        await asyncio.sleep(self.chance.uniform(shortest, longest))

    @asynccontextmanager
    async def program(self, programs: Sequence[Program]) -> AsyncIterator[Program]:
        """One of these that no other fault has."""
        free = [program for program in programs if not program.busy.locked()]
        if not free:
            raise Skipped
        program = self.chance.choice(free)
        self.fault.target = program.name
        async with program.busy:
            yield program

    @asynccontextmanager
    async def server(self, name: str) -> AsyncIterator[None]:
        """A database that no other fault has."""
        if self.system.server_busy[name].locked():
            raise Skipped
        self.fault.target = name
        async with self.system.server_busy[name]:
            yield

    def way(self) -> tuple[Proxy, str]:
        """Any connection between two processes."""
        name, proxy, target = self.chance.choice(list(self.system.proxies()))
        self.fault.target = name
        return proxy, target


Act = Callable[[Hand], Awaitable[None]]


def _kill(programs: Callable[[System], Sequence[Program]]) -> Act:
    async def kill(hand: Hand) -> None:
        async with hand.program(programs(hand.system)) as program:
            await program.end(signal.SIGKILL)
            await hand.last(0.0, 1.5)
            program.start()

    return kill


def _pause(programs: Callable[[System], Sequence[Program]], shortest: float, longest: float) -> Act:
    async def pause(hand: Hand) -> None:
        async with hand.program(programs(hand.system)) as program:
            program.send(signal.SIGSTOP)
            try:
                await hand.last(shortest, longest)
            finally:
                program.send(signal.SIGCONT)

    return pause


def _restart(programs: Callable[[System], Sequence[Program]]) -> Act:
    async def restart(hand: Hand) -> None:
        async with hand.program(programs(hand.system)) as program:
            await stop_in_order(hand, program)
            program.start()

    return restart


async def stop_in_order(hand: Hand, program: Program) -> None:
    """SIGTERM, which must be heeded with exit code 0 by whoever has had time to come to the point of heeding it."""
    newborn = program.age < NEWBORN_SECONDS
    try:
        code = await program.end(signal.SIGTERM)
    except AssertionError:
        await program.end(signal.SIGABRT)  # its log has the stacks of its threads then
        hand.wrong(f"{program.name} did not heed SIGTERM within {STOP_SECONDS:g} s; see {program.log.name}")
        return
    if code != 0 and not (newborn and code == -signal.SIGTERM):
        hand.wrong(f"{program.name} ended with exit code {code} when it was told to stop: {program.last_lines()}")


def _end_server(name: str, how: signal.Signals) -> Act:
    async def end(hand: Hand) -> None:
        async with hand.server(name):
            server = hand.system.server(name)
            await server.end(how)
            await hand.last(0.0, 1.5)
            await server.start()

    return end


def _pause_server(name: str) -> Act:
    async def pause(hand: Hand) -> None:
        async with hand.server(name):
            server = hand.system.server(name)
            server.pause()
            try:
                await hand.last(0.3, 4.0)
            finally:
                server.resume()

    return pause


async def cut(hand: Hand) -> None:
    """All connections of one way break, and no new ones come about for a while."""
    proxy, target = hand.way()
    proxy.cut()
    await hand.last(0.0, 4.0)
    proxy.connect(target)


async def drop(hand: Hand) -> None:
    """All connections of one way break, and new ones come about at once."""
    hand.way()[0].drop()


async def hang(hand: Hand) -> None:
    """Nothing comes through on one way, and nothing breaks."""
    proxy, _ = hand.way()
    proxy.hang()
    try:
        await hand.last(0.5, 6.0)
    finally:
        proxy.flow()


async def delay(hand: Hand) -> None:
    """One way is slow."""
    await _slow(hand, hand.way()[0])


async def delay_projector(hand: Hand) -> None:
    """A projector's way to its view's database is slow, so that more of what befalls it does so inside a batch."""
    projector = hand.chance.choice(hand.system.projectors)
    view = projector.arguments[1]
    hand.fault.target = f"{projector.name}>{view}"
    await _slow(hand, projector.proxies[view])


async def _slow(hand: Hand, proxy: Proxy) -> None:
    proxy.delay_seconds = hand.chance.uniform(0.02, 0.3)
    try:
        await hand.last(2.0, 8.0)
    finally:
        proxy.delay_seconds = 0.0


async def late_writes(hand: Hand) -> None:
    """A projector is killed when its checkpoint is on the way, which arrives when another one has taken over."""
    busy = {one.arguments for one in hand.system.projectors if one.busy.locked()}
    async with hand.program([one for one in hand.system.projectors if one.arguments not in busy]) as projector:
        proxy = projector.proxies[projector.arguments[1]]
        if not await proxy.hang_at(CHECKPOINT, within=CHECKPOINT_SECONDS):
            raise Skipped  # it stands by
        try:
            await projector.end(signal.SIGKILL)
            await hand.last(1.5, 5.0)
        finally:
            proxy.flow()
        projector.start()


async def rebuild(hand: Hand) -> None:
    """A view is made anew and swapped, while everything goes on; now and then the rebuild is killed in the middle."""
    view = hand.chance.choice(("mysql", "mongo"))
    if view in hand.watch.rebuilding:
        raise Skipped
    hand.fault.target = view
    hand.watch.rebuilding.add(view)
    try:
        if hand.chance.random() < 0.3:
            program = hand.system.spawn("rebuild", view)
            await hand.last(0.5, 3.0)
            await program.end(signal.SIGKILL)
        await until_done(hand, "rebuild", view)
    finally:
        hand.watch.rebuilding.discard(view)


async def until_done(hand: Hand, *arguments: str) -> None:
    """Run a command again and again for as long as a database is away."""
    for _ in range(COMMAND_TRIES):
        code, said = await hand.system.command(*arguments)
        if code == 0:
            return
        if code != UNAVAILABLE:
            hand.wrong(f"rollcall {' '.join(arguments)} ended with exit code {code}: {said[-600:]}")
            return
        await hand.last(0.2, 2.0)


async def rotate(hand: Hand) -> None:
    """The master key is rotated as docs/operations.md says, with every process restarted three times."""
    system = hand.system
    if system.keyring.other is not None:
        raise Skipped
    old, new = system.keyring.master, secrets.token_bytes(32)
    for keyring in (Keyring(old, new), Keyring(new, old)):
        system.keyring = keyring
        await _restart_all(hand)
    await until_done(hand, "rotate-master-key")
    system.former_keys.append(old)
    system.keyring = Keyring(new)
    await _restart_all(hand)


async def _restart_all(hand: Hand) -> None:
    for program in hand.system.programs:
        async with program.busy:
            await stop_in_order(hand, program)
            program.start()
        await hand.last(0.1, 0.5)


async def fill_disk(hand: Hand) -> None:
    """MongoDB's file system is full for a while. mongod may die of it; then it is started again once there is room."""
    system, name = hand.system, "mongo"
    if system.mongo_disk is None:
        raise Skipped
    async with hand.server(name):
        balloon = system.mongo_disk / "balloon"
        try:
            await asyncio.to_thread(_fill, balloon, system.mongo_disk)
            await hand.last(1.0, 5.0)
        finally:
            balloon.unlink(missing_ok=True)
        if system.mongod.child.ended():
            await system.mongod.start()


def _fill(path: Path, directory: Path) -> None:
    """Take all the room there is, down to the last page."""
    with path.open("wb") as file:
        while room := shutil.disk_usage(directory).free:
            with suppress(OSError):  # mongod was quicker to take it
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), room)


def _apis(system: System) -> Sequence[Program]:
    return system.apis


def _projectors(system: System) -> Sequence[Program]:
    return system.projectors


KINDS: Final[dict[str, tuple[float, Act]]] = {
    "kill-api": (8, _kill(_apis)),
    "kill-projector": (10, _kill(_projectors)),
    "pause-api": (6, _pause(_apis, 0.3, 5.0)),
    "pause-projector": (9, _pause(_projectors, 0.5, 6.0)),
    "restart-api": (4, _restart(_apis)),
    "upgrade-projector": (5, _restart(_projectors)),
    "kill-mysqld": (4, _end_server("mysql", signal.SIGKILL)),
    "restart-mysqld": (2, _end_server("mysql", signal.SIGTERM)),
    "pause-mysqld": (4, _pause_server("mysql")),
    "kill-mongod": (4, _end_server("mongo", signal.SIGKILL)),
    "restart-mongod": (2, _end_server("mongo", signal.SIGTERM)),
    "pause-mongod": (4, _pause_server("mongo")),
    "cut": (10, cut),
    "drop": (8, drop),
    "hang": (8, hang),
    "delay": (8, delay),
    "delay-projector": (4, delay_projector),
    "late-writes": (5, late_writes),
    "rebuild": (3, rebuild),
    "rotate": (0.6, rotate),
    "full-disk": (2, fill_disk),
}
"""Every kind of fault: how often it comes beside the others, and what it does."""


@dataclass
class Chaos:
    """Does faults of some kinds until a moment, and knows what it did."""

    system: System
    watch: Watch
    chance: random.Random
    kinds: Sequence[str]
    pace: float
    """Faults a minute."""
    told: Callable[[Fault], None]
    faults: list[Fault] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    _beside: set["asyncio.Task[Fault | None]"] = field(default_factory=set)
    _began: float = 0.0

    async def until(self, end: float) -> None:
        """Round after round: a fault alone, or a burst of them; then calm, until all is well again."""
        self._began = time.monotonic()
        each_once = list(self.kinds)
        self.chance.shuffle(each_once)
        while time.monotonic() < end:
            number = self._number()
            tasks: list[asyncio.Task[Fault | None]] = []
            for _ in range(number):
                kind = each_once.pop() if each_once else self._any()
                self._begin(kind, tasks)
                await asyncio.sleep(self.chance.uniform(0.1, 1.0) if number > 1 else 0)
            done = [fault for fault in await asyncio.gather(*tasks) if fault is not None]
            calm = await self._calm()
            for fault in done:
                fault.alone = len(done) == 1 and calm and not self._beside
        await asyncio.gather(*self._beside)

    def _number(self) -> int:
        """How many faults the next round has."""
        due = int((time.monotonic() - self._began) / 60 * self.pace) - len(self.faults)
        return 1 if due < self.chance.uniform(*BURST) else min(due, BURST[1])

    def _any(self) -> str:
        return self.chance.choices(self.kinds, [KINDS[kind][0] for kind in self.kinds])[0]

    def _begin(self, kind: str, tasks: list["asyncio.Task[Fault | None]"]) -> None:
        task = asyncio.create_task(self._do(kind))
        if kind in BESIDE:
            self._beside.add(task)
            task.add_done_callback(self._beside.discard)
        else:
            tasks.append(task)

    async def _do(self, kind: str) -> Fault | None:
        fault = Fault(kind, time.monotonic(), alone=False)
        hand = Hand(self.system, self.watch, self.chance, self._wrong_in(fault), fault)
        try:
            await KINDS[kind][1](hand)
        except Skipped:
            return None
        except AssertionError as error:
            self.wrong.append(f"{kind} {fault.target}: {error}")
        fault.ended = time.monotonic()
        self.faults.append(fault)
        self.told(fault)
        return fault

    def _wrong_in(self, fault: Fault) -> Callable[[str], None]:
        return lambda what: self.wrong.append(f"{fault.kind} {fault.target}: {what}")

    async def _calm(self) -> bool:
        """Whether all was well again soon."""
        ended = time.monotonic()
        while time.monotonic() < ended + CALM_SECONDS:
            if self.watch.healthy_after(ended) is not None:
                return True
            await asyncio.sleep(0.1)
        return False
