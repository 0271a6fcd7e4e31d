"""One run: start the system, load it, hurt it, let it recover, judge it."""

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.chaos import judge, leaks
from tests.chaos.faults import FAULTS_A_MINUTE, Chaos, Fault
from tests.chaos.ledger import Done
from tests.chaos.listeners import Diarist, Listener
from tests.chaos.load import Administrator, Client, Person, Reader, World, registration, world_of
from tests.chaos.system import ADMIN_PASSWORD, System, running
from tests.chaos.watch import Watch
from tests.waiting import eventually

READY_SECONDS: Final = 120.0
WARM_SECONDS: Final = 2.0
RECOVER_SECONDS: Final = 90.0
"""After the last fault all must be well within so long."""
END_SECONDS: Final = 90.0
"""For the clients to end what they are at, and for the subscribers to hear the last of it."""
SETTLE_SECONDS: Final = 3.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What is to be done."""

    seed: int
    seconds: float
    kinds: Sequence[str]
    """Of faults; none for a soak."""
    pace: float = FAULTS_A_MINUTE
    persons: int = 12
    administrators: int = 3


@dataclass
class Outcome:
    """What was found."""

    plan: Plan
    wrongs: Mapping[str, list[str]]
    """By check."""
    faults: list[Fault]
    world: World
    watch: Watch
    evidence: judge.Evidence
    listeners: Sequence[Listener]
    began: float
    """When the load was on, by the monotonic clock."""
    ended: float
    recovered: float | None
    """Seconds from the last fault until all was well."""
    series: Sequence[leaks.Series]
    growths: Sequence[leaks.Growth]
    """Of a soak."""

    @property
    def green(self) -> bool:
        """Whether every check passed."""
        return not any(self.wrongs.values())


async def run(plan: Plan, directory: Path, say: Say) -> Outcome:
    """Do it, and judge."""
    say(f"seed {plan.seed}, {plan.seconds:.0f} s, in {directory}")
    directory.mkdir(parents=True, exist_ok=True)
    async with running(directory) as system, watched(system) as watch:
        if system.mongo_disk is None and "full-disk" in plan.kinds:
            say("full-disk is left out: only root may mount the small file system that is to be filled")
        await eventually(lambda: _healthy(watch), within=READY_SECONDS)
        say("the system is up: " + ", ".join(f"{program.name} {program.pid}" for program in system.programs))
        async with world_of(system.apis, directory / "ledgers", plan.seed) as world:
            return await _loaded(plan, system, watch, world, say)


async def _loaded(plan: Plan, system: System, watch: Watch, world: World, say: Say) -> Outcome:
    chance = random.Random(plan.seed)
    listeners, wrongs = await _listeners(world, chance), list[str]()
    async with _beside(*(listener.live() for listener in listeners)) as listening:
        async with _beside(_supervise(system, wrongs), _tell(world, watch, say)):
            clients = _clients(plan, world, chance)
            async with _beside(*(client.live() for client in clients)) as living:
                await asyncio.sleep(WARM_SECONDS)
                began = time.monotonic()
                chaos = await _hurt(plan, system, watch, random.Random(chance.random()), say)
                ended = time.monotonic()
                recovered = await _recovered(watch, ended)
                world.ending = True
                wrongs += await _all_done(living, clients)
            wrongs += await _all_heard(listeners, await judge.gather(system, world.directory))
            wrongs += [repr(task.exception()) for task in listening if task.done()]
            await asyncio.sleep(SETTLE_SECONDS)
        say("judging")
        evidence = await judge.gather(system, world.directory)
        found = dict(await judge.judge(evidence, system, listeners))
        found["leaks"] = list(leaks.held_at_rest(system, watch))
    series = leaks.series_of(watch, world.latencies, began, ended)
    growths = [growth for growth in map(leaks.growth_of, series) if growth is not None] if not plan.kinds else []
    found["growth"] = [str(growth) for growth in growths if growth.wrong]
    late = [] if recovered is not None else [f"not all was well within {RECOVER_SECONDS:g} s after the last fault"]
    found["processes"] = [*wrongs, *chaos.wrong, *watch.wrong, *late]
    return Outcome(
        plan, found, chaos.faults, world, watch, evidence, listeners, began, ended, recovered, series, growths
    )


async def _hurt(plan: Plan, system: System, watch: Watch, dice: random.Random, say: Say) -> Chaos:
    """Do what is planned, for as long as is planned."""
    began = time.monotonic()
    chaos = Chaos(system, watch, dice, plan.kinds, plan.pace, lambda fault: say(_line(fault, began)))
    if plan.kinds:
        await chaos.until(began + plan.seconds)
    else:
        await asyncio.sleep(plan.seconds)
    say("the faults are over")
    return chaos


@asynccontextmanager
async def _beside(*works: Coroutine[None, None, None]) -> AsyncIterator[list["asyncio.Task[None]"]]:
    """While these go on; whatever of them is left at the end is cancelled."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _listeners(world: World, chance: random.Random) -> list[Listener]:
    """Two of the staff, one of whom wants some kinds only, and two customers."""
    admin = Administrator(world, "founder", random.Random(chance.random()))
    admin.login, admin.password = "admin", ADMIN_PASSWORD
    staff = [
        Listener(world, "listener-all", random.Random(chance.random())),
        Listener(world, "listener-some", random.Random(chance.random()), types=["USER_REGISTERED", "USER_DELETED"]),
    ]
    for listener in staff:
        for attempt in itertools.count(1):
            token = world.token()
            listener.login = f"{listener.name}-{world.seed}-{attempt}"
            fields = {**registration(listener.login, token), "role": "TECHNICAL_WORKER"}
            if isinstance(await admin.command("createUser", fields, token=token), Done):
                break  # and not given up, as a command is now and then
    return [*staff, *(Diarist(world, f"diarist-{number}", random.Random(chance.random())) for number in (1, 2))]


def _clients(plan: Plan, world: World, chance: random.Random) -> list[Person | Administrator | Reader]:
    kinds: list[tuple[type[Person | Administrator | Reader], int]] = [
        (Person, plan.persons),
        (Administrator, plan.administrators),
        (Reader, 2),
    ]
    return [
        kind(world, f"{kind.__name__.lower()}-{number}", random.Random(chance.random()))
        for kind, count in kinds
        for number in range(1, count + 1)
    ]


@asynccontextmanager
async def watched(system: System) -> AsyncIterator[Watch]:
    """With somebody looking all the while."""
    watch = Watch(system)
    async with _beside(watch.run()):
        yield watch


async def _healthy(watch: Watch) -> bool:
    return bool(watch.healthy) and watch.healthy[-1][1]


async def _recovered(watch: Watch, since: float) -> float | None:
    async def well() -> bool:
        return watch.healthy_after(since) is not None

    with suppress(AssertionError):
        await eventually(well, within=RECOVER_SECONDS)
    return watch.healthy_after(since)


async def _supervise(system: System, wrongs: list[str]) -> None:
    """No process ends by itself, whatever is done to the others; one that does is started again."""
    while True:
        for program in system.programs:
            if program.pid is None and not program.busy.locked():
                code = program.popen.returncode if program.popen else None
                wrongs.append(f"{program.name} ended by itself with exit code {code}: {program.last_lines()[-1500:]}")
                program.start()
        await asyncio.sleep(0.2)


async def _tell(world: World, watch: Watch, say: Say) -> None:
    """Progress, every five seconds."""
    while True:
        await asyncio.sleep(5)
        well = "all is well" if watch.healthy and watch.healthy[-1][1] else "not well"
        say(f"{len(world.acknowledged)} commands acknowledged, {len(world.answered)} queries answered; {well}")


def _line(fault: Fault, began: float) -> str:
    return f"{fault.began - began:7.1f} s  {fault.kind} {fault.target} for {fault.ended - fault.began:.1f} s"


async def _all_done(living: Sequence["asyncio.Task[None]"], clients: Sequence[Client]) -> list[str]:
    """Clients that did not come to an end, or failed."""
    _, pending = await asyncio.wait(living, timeout=END_SECONDS)
    wrongs = [f"{client.name} hangs" for task, client in zip(living, clients, strict=True) if task in pending]
    return wrongs + [repr(task.exception()) for task in living if task.done() and task.exception() is not None]


async def _all_heard(listeners: Sequence[Listener], evidence: judge.Evidence) -> list[str]:
    """Subscribers that did not hear the last change of their kind."""
    wanted = {listener.name: judge.wanted_by(listener, evidence.log) for listener in listeners}
    last = {name: changes[-1][0] if changes else 0 for name, changes in wanted.items()}

    async def heard() -> bool:
        return all(listener.position >= last[listener.name] for listener in listeners)

    with suppress(AssertionError):
        await eventually(heard, within=END_SECONDS)
    return [
        f"{listener.name} has heard up to {listener.position}, the last change of its kind is at {last[listener.name]}"
        for listener in listeners
        if listener.position < last[listener.name]
    ]
