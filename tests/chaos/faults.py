"""Kinds of faults, and their schedule.

Each kind is one function: it picks a target that no other fault uses, injects the fault, reverts it and returns. It
reverts it completely: the fault that kills a process also restarts it.
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
"""Bursts grow as needed to keep this pace; 200 faults in ten minutes are required."""
BURST: Final = (4, 18)
"""A round has a single fault, so that its recovery can be measured, until this many are due; then they overlap."""
CALM_SECONDS: Final = 10.0
"""The longest wait of a round for the recovery of the system."""
LONG_RUNNING: Final = frozenset({"rotate"})
"""Kinds that run while other rounds continue."""
COMMAND_TRIES: Final = 8
STARTUP_SECONDS: Final = 20.0
"""The longest start of the interpreter on a busy machine, unless it has logged nothing; until then SIGTERM has no
handler."""
CHECKPOINT: Final = re.compile(rb"UPDATE users_checkpoint SET|update\x00.{4}checkpoints\x00", re.DOTALL)
"""An update of a checkpoint on the wire, in MySQL's text protocol and in MongoDB's BSON."""
CHECKPOINT_SECONDS: Final = 3.0
UNAVAILABLE: Final = 4
"""Exit code of a command without its database."""


@dataclass
class Fault:
    """One injected fault. Times are of the monotonic clock."""

    kind: str
    began: float
    target: str = ""
    ended: float = 0.0
    alone: bool = False
    """No other fault ran from its beginning until the system had recovered."""


class Skipped(Exception):
    """This kind of fault has no target now."""


@dataclass
class Context:
    """The system, the random choices and the results of one fault."""

    system: System
    watch: Watch
    chance: random.Random
    wrong: Callable[[str], None]
    fault: Fault = field(default_factory=lambda: Fault("", 0.0))

    async def hold(self, shortest: float, longest: float) -> None:
        """Keep the fault for a random time."""
        await asyncio.sleep(self.chance.uniform(shortest, longest))

    @asynccontextmanager
    async def program(self, programs: Sequence[Program]) -> AsyncIterator[Program]:
        """Pick one of these programs that no other fault uses."""
        free = [program for program in programs if not program.busy.locked()]
        if not free:
            raise Skipped
        program = self.chance.choice(free)
        self.fault.target = program.name
        async with program.busy:
            yield program

    @asynccontextmanager
    async def server(self, name: str) -> AsyncIterator[None]:
        """Reserve a server that no other fault uses."""
        if self.system.server_busy[name].locked() or (name == "kafka" and self.system.broker is None):
            raise Skipped
        self.fault.target = name
        async with self.system.server_busy[name]:
            yield

    def any_path(self) -> tuple[Proxy, str]:
        """Pick the network path between any two processes."""
        name, proxy, target = self.chance.choice(list(self.system.proxies()))
        self.fault.target = name
        return proxy, target


Act = Callable[[Context], Awaitable[None]]


def _kill(programs: Callable[[System], Sequence[Program]]) -> Act:
    async def kill(context: Context) -> None:
        async with context.program(programs(context.system)) as program:
            await program.end(signal.SIGKILL)
            await context.hold(0.0, 1.5)
            program.start()

    return kill


def _pause(programs: Callable[[System], Sequence[Program]], shortest: float, longest: float) -> Act:
    async def pause(context: Context) -> None:
        async with context.program(programs(context.system)) as program:
            program.send(signal.SIGSTOP)
            try:
                await context.hold(shortest, longest)
            finally:
                program.send(signal.SIGCONT)

    return pause


def _restart(programs: Callable[[System], Sequence[Program]]) -> Act:
    async def restart(context: Context) -> None:
        async with context.program(programs(context.system)) as program:
            await stop_in_order(context, program)
            program.start()

    return restart


async def stop_in_order(context: Context, program: Program) -> None:
    """Send SIGTERM; a program past its startup must end with exit code 0 in time."""
    starting = program.age < STARTUP_SECONDS or program.silent
    try:
        code = await program.end(signal.SIGTERM)
    except AssertionError:
        await program.end(signal.SIGABRT)  # faulthandler writes the stacks of its threads to the log
        context.wrong(f"{program.name} did not end within {STOP_SECONDS:g} s of SIGTERM; see {program.log.name}")
        return
    if code != 0 and not (starting and code == -signal.SIGTERM):
        context.wrong(f"{program.name} ended with exit code {code} after SIGTERM: {program.last_lines()}")


def _end_server(name: str, how: signal.Signals) -> Act:
    async def end(context: Context) -> None:
        async with context.server(name):
            server = context.system.server(name)
            await server.end(how)
            await context.hold(0.0, 1.5)
            await server.start()

    return end


def _pause_server(name: str) -> Act:
    async def pause(context: Context) -> None:
        async with context.server(name):
            server = context.system.server(name)
            server.pause()
            try:
                await context.hold(0.3, 4.0)
            finally:
                server.resume()

    return pause


async def cut(context: Context) -> None:
    """Abort all connections of one path and refuse new ones for a while."""
    proxy, target = context.any_path()
    proxy.cut()
    await context.hold(0.0, 4.0)
    proxy.connect(target)


async def drop(context: Context) -> None:
    """Abort all connections of one path and accept new ones at once."""
    context.any_path()[0].drop()


async def hang(context: Context) -> None:
    """Transmit nothing on one path, without breaking it."""
    proxy, _ = context.any_path()
    proxy.hang()
    try:
        await context.hold(0.5, 6.0)
    finally:
        proxy.flow()


async def delay(context: Context) -> None:
    """Slow one path."""
    await _slow(context, context.any_path()[0])


async def delay_projector(context: Context) -> None:
    """Slow a projector's path to its view's database, so that more faults hit it inside a batch."""
    projector = context.chance.choice(context.system.projectors)
    view = projector.arguments[1]
    context.fault.target = f"{projector.name}>{view}"
    await _slow(context, projector.proxies[view])


async def _slow(context: Context, proxy: Proxy) -> None:
    proxy.delay_seconds = context.chance.uniform(0.02, 0.3)
    try:
        await context.hold(2.0, 8.0)
    finally:
        proxy.delay_seconds = 0.0


async def late_writes(context: Context) -> None:
    """Kill a projector while its checkpoint is in transit; it arrives after the standby has taken over."""
    busy = {one.arguments for one in context.system.projectors if one.busy.locked()}
    async with context.program([one for one in context.system.projectors if one.arguments not in busy]) as projector:
        proxy = projector.proxies[projector.arguments[1]]
        if not await proxy.hang_at(CHECKPOINT, within=CHECKPOINT_SECONDS):
            raise Skipped  # a standby
        try:
            await projector.end(signal.SIGKILL)
            await context.hold(1.5, 5.0)
        finally:
            proxy.flow()
        projector.start()


async def rebuild(context: Context) -> None:
    """Rebuild and swap a view under load; some rebuilds are killed first and then resumed."""
    view = context.chance.choice(("mysql", "mongo"))
    if view in context.watch.rebuilding:
        raise Skipped
    context.fault.target = view
    context.watch.rebuilding.add(view)
    try:
        if context.chance.random() < 0.3:
            program = context.system.spawn("rebuild", view)
            await context.hold(0.5, 3.0)
            await program.end(signal.SIGKILL)
        await until_done(context, "rebuild", view)
    finally:
        context.watch.rebuilding.discard(view)


async def until_done(context: Context, *arguments: str) -> None:
    """Run a command, and retry it while a database is unavailable."""
    for _ in range(COMMAND_TRIES):
        code, output = await context.system.command(*arguments)
        if code == 0:
            return
        if code != UNAVAILABLE:
            context.wrong(f"rollcall {' '.join(arguments)} ended with exit code {code}: {output[-600:]}")
            return
        await context.hold(0.2, 2.0)


async def rotate(context: Context) -> None:
    """Rotate the master key as in docs/operations.md, with three restarts of every process."""
    system = context.system
    if system.keyring.other is not None:
        raise Skipped
    old, new = system.keyring.master, secrets.token_bytes(32)
    for keyring in (Keyring(old, new), Keyring(new, old)):
        system.keyring = keyring
        await _restart_all(context)
    await until_done(context, "rotate-master-key")
    system.previous_keys.append(old)
    system.keyring = Keyring(new)
    await _restart_all(context)


async def _restart_all(context: Context) -> None:
    for program in context.system.programs:
        async with program.busy:
            await stop_in_order(context, program)
            program.start()
        await context.hold(0.1, 0.5)


async def fill_disk(context: Context) -> None:
    """Fill MongoDB's file system for a while, and restart mongod afterwards if it has ended."""
    system, name = context.system, "mongo"
    if system.mongo_disk is None:
        raise Skipped
    async with context.server(name):
        balloon = system.mongo_disk / "balloon"
        try:
            await asyncio.to_thread(_fill, balloon, system.mongo_disk)
            await context.hold(1.0, 5.0)
        finally:
            balloon.unlink(missing_ok=True)
        if system.mongod.child.ended():
            await system.mongod.start()


def _fill(path: Path, directory: Path) -> None:
    """Allocate all free space of the file system."""
    with path.open("wb") as file:
        while free := shutil.disk_usage(directory).free:
            with suppress(OSError):  # mongod has allocated it in the meantime
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), free)


def _apis(system: System) -> Sequence[Program]:
    return system.apis


def _projectors(system: System) -> Sequence[Program]:
    return system.projectors


def _publishers(system: System) -> Sequence[Program]:
    return system.publishers


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
    "kill-publisher": (7, _kill(_publishers)),
    "pause-publisher": (6, _pause(_publishers, 0.5, 6.0)),
    "upgrade-publisher": (3, _restart(_publishers)),
    "kill-broker": (3, _end_server("kafka", signal.SIGKILL)),
    "pause-broker": (3, _pause_server("kafka")),
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
"""Every kind of fault: its relative frequency and its function."""


@dataclass
class Chaos:
    """Inject faults of some kinds until a moment, and record them."""

    system: System
    watch: Watch
    chance: random.Random
    kinds: Sequence[str]
    pace: float
    """Faults per minute."""
    on_fault: Callable[[Fault], None]
    faults: list[Fault] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    _background: set["asyncio.Task[Fault | None]"] = field(default_factory=set)
    _began: float = 0.0

    async def until(self, end: float) -> None:
        """Run rounds of a single fault or a burst, each followed by a wait for the recovery."""
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
            calm = await self._recovered()
            for fault in done:
                fault.alone = len(done) == 1 and calm and not self._background
        await asyncio.gather(*self._background)

    def _number(self) -> int:
        """The number of faults of the next round."""
        due = int((time.monotonic() - self._began) / 60 * self.pace) - len(self.faults)
        return 1 if due < self.chance.uniform(*BURST) else min(due, BURST[1])

    def _any(self) -> str:
        return self.chance.choices(self.kinds, [KINDS[kind][0] for kind in self.kinds])[0]

    def _begin(self, kind: str, tasks: list["asyncio.Task[Fault | None]"]) -> None:
        task = asyncio.create_task(self._do(kind))
        if kind in LONG_RUNNING:
            self._background.add(task)
            task.add_done_callback(self._background.discard)
        else:
            tasks.append(task)

    async def _do(self, kind: str) -> Fault | None:
        fault = Fault(kind, time.monotonic(), alone=False)
        context = Context(self.system, self.watch, self.chance, self._reporter(fault), fault)
        try:
            await KINDS[kind][1](context)
        except Skipped:
            return None
        except AssertionError as error:
            self.wrong.append(f"{kind} {fault.target}: {error}")
        fault.ended = time.monotonic()
        self.faults.append(fault)
        self.on_fault(fault)
        return fault

    def _reporter(self, fault: Fault) -> Callable[[str], None]:
        return lambda what: self.wrong.append(f"{fault.kind} {fault.target}: {what}")

    async def _recovered(self) -> bool:
        """Wait for the recovery; return False if it takes longer than `CALM_SECONDS`."""
        ended = time.monotonic()
        while time.monotonic() < ended + CALM_SECONDS:
            if self.watch.healthy_after(ended) is not None:
                return True
            await asyncio.sleep(0.1)
        return False
