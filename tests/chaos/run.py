"""One run: start the system, put it under load, inject faults, wait for the recovery and judge."""

import asyncio
import itertools
import random
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from events.database import Address, Database
from events.event_types import Recorded
from events.store import EventStore
from events.vault import Vault
from rollcall.embedded.kafka import cluster_at
from tests.chaos import forgeries, judge, leaks
from tests.chaos.consumers import (
    EVENT_TOPICS,
    Endpoint,
    KafkaReader,
    changes_in,
    delivered_and_in_order,
    endpoint,
    published_once_and_in_order,
)
from tests.chaos.data_load import DataAdministrator, DataOwner, DataSubscriber, data_clients
from tests.chaos.faults import FAULTS_A_MINUTE, Chaos, Fault
from tests.chaos.ledger import Done
from tests.chaos.load import Administrator, Client, Importer, Person, Reader, World, registration, world_of
from tests.chaos.mails import MailServer, deletions_in, mail_server, mailed_once, required
from tests.chaos.subscribers import SelfSubscriber, Subscriber
from tests.chaos.system import ADMIN_PASSWORD, ROOT, System, running
from tests.chaos.watch import Watch
from tests.waiting import eventually

READY_SECONDS: Final = 120.0
WARM_SECONDS: Final = 2.0
RECOVER_SECONDS: Final = 90.0
"""The limit for the recovery after the last fault."""
END_SECONDS: Final = 90.0
"""The limit for clients to finish, and for subscribers to receive the last change."""
SETTLE_SECONDS: Final = 3.0
CANCEL_SECONDS: Final = 5.0
REST_SECONDS: Final = 5
"""Without an event, the log is at rest."""
ENOUGH: Final = 500
"""The fewest answers whose 99th percentile says something: five are slower."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """The parameters of a run."""

    seed: int
    seconds: float
    kinds: Sequence[str]
    """Kinds of faults; empty for a soak."""
    pace: float = FAULTS_A_MINUTE
    strangers: str = ""
    """`attack` for attackers instead of faults, in the second half; `harmless` for as many requests of no effect."""
    persons: int = 12
    administrators: int = 3
    owners: int = 4
    """Clients with data objects."""

    @property
    def soak(self) -> bool:
        """Neither faults nor strangers."""
        return not self.kinds and not self.strangers


@dataclass(frozen=True)
class Attack:
    """What the strangers were answered."""

    answers: Mapping[str, int]
    wrong: Sequence[str]


@dataclass
class Outcome:
    """The results of a run."""

    plan: Plan
    wrongs: Mapping[str, list[str]]
    """Errors by check."""
    faults: list[Fault]
    world: World
    watch: Watch
    evidence: judge.Evidence
    subscribers: Sequence[Subscriber]
    began: float
    """The start of the faults, by the monotonic clock."""
    ended: float
    recovered: float | None
    """Seconds from the last fault until the recovery."""
    attacked: float | None
    """The start of the attack, if there was one."""
    answers_to_strangers: Mapping[str, int]
    series: Sequence[leaks.Series]
    growths: Sequence[leaks.Growth]
    """Growth of the series after a soak."""

    @property
    def green(self) -> bool:
        """Every check passed."""
        return not any(self.wrongs.values())


async def run(plan: Plan, directory: Path, say: Say) -> Outcome:
    """Run the plan and judge it."""
    say(f"seed {plan.seed}, {plan.seconds:.0f} s, in {directory}")
    directory.mkdir(parents=True, exist_ok=True)
    async with (
        running(directory, limited=bool(plan.strangers), publishing=not plan.strangers) as system,
        watched(system) as watch,
    ):
        if system.mongo_disk is None and "full-disk" in plan.kinds:
            say("full-disk is left out: only root may mount the file system that it fills")
        if system.broker is None and not plan.strangers:
            say("Kafka is left out: it needs java and mvn")
        await eventually(lambda: _healthy(watch), within=READY_SECONDS)
        say("the system is up: " + ", ".join(f"{program.name} {program.pid}" for program in system.programs))
        async with AsyncExitStack() as stack:
            world = await stack.enter_async_context(world_of(system.apis, directory / "ledgers", plan.seed))
            told = await _start_consumers(system, world, random.Random(plan.seed), stack)
            return await _run_under_load(plan, system, watch, world, told, say)


@dataclass(frozen=True)
class Consumers:
    """The other services that the publishers tell of changes."""

    endpoint: Endpoint | None = None
    reader: KafkaReader | None = None
    mails: MailServer | None = None

    def live(self) -> list[Coroutine[None, None, None]]:
        """What runs until cancelled."""
        return [self.reader.live()] if self.reader else []

    async def got_everything(self, log: Sequence[Recorded], mail_key: bytes) -> list[str]:
        """Wait for the last changes; return the services that did not get theirs."""
        mails = required(log, mail_key, self.mails.position).keys() if self.mails else set[str]()
        taken = self.mails.taken if self.mails else set[str]()
        wanted = {one.event_id for one in log if self.endpoint and one.position > self.endpoint.position}
        events = [topic for topic in self.reader.topics if topic in EVENT_TOPICS] if self.reader else []
        published = changes_in(events, log)

        def untold() -> int:  # a mail that was due before its deletion was done is sent ten seconds later
            return deletions_in(log) - len(self.mails.told) if self.mails else 0

        async def got() -> bool:
            delivered = self.endpoint is None or wanted <= self.endpoint.accepted
            mailed = mails <= taken and untold() <= 0
            return delivered and mailed and (self.reader is None or published <= self.reader.received)

        with suppress(AssertionError):
            await eventually(got, within=END_SECONDS)
            return []
        undelivered = len(wanted - self.endpoint.accepted) if self.endpoint else 0
        unread = len(published - self.reader.received) if self.reader else 0
        return [
            *([f"the webhook's endpoint lacks {undelivered} changes"] if undelivered else []),
            *([f"the reader of Kafka lacks {unread} messages"] if unread else []),
            *([f"the mail server lacks {len(mails - taken)} mails"] if mails - taken else []),
            *([f"{untold()} users were not told of their deletion"] if untold() > 0 else []),
        ]


async def _start_consumers(system: System, world: World, chance: random.Random, stack: AsyncExitStack) -> Consumers:
    if not system.publishers:
        return Consumers()
    served = await stack.enter_async_context(endpoint(world, chance))
    reader = KafkaReader(world, cluster_at(system.broker.url)) if system.broker else None
    assert system.mail_port is not None
    mails = await stack.enter_async_context(mail_server(world, system.mail_port, random.Random(chance.random())))
    mails.position = await _mails_begin(system)
    return Consumers(served, reader, mails)


async def _mails_begin(system: System) -> int:
    """Wait for the first publisher of mails; return a position after which it mails about every event."""
    database, found = Database.at(Address.parse(system.mysqld.url), size=1), list[int]()

    async def has_begun() -> bool:
        row = await database.fetch_one("SELECT position FROM mail_checkpoint")
        found[:] = [] if row is None else [int(row[0])]
        return bool(found)

    try:
        await eventually(has_begun, within=READY_SECONDS)
    finally:
        await database.close()
    return found[0]


async def _run_under_load(plan: Plan, system: System, watch: Watch, world: World, told: Consumers, say: Say) -> Outcome:
    chance = random.Random(plan.seed)
    subscribers, wrongs = await _make_subscribers(world, chance), list[str]()
    async with _in_background(*told.live(), *(subscriber.live() for subscriber in subscribers)) as subscribing:
        async with _in_background(_supervise(system, wrongs), _print_progress(world, watch, say)):
            clients = _clients(plan, world, chance)
            async with _in_background(*(client.live() for client in clients)) as living:
                await asyncio.sleep(WARM_SECONDS)
                began = time.monotonic()
                chaos = await _inject_faults(plan, system, watch, random.Random(chance.random()), say)
                attacked = time.monotonic() if plan.strangers else None
                attack = await _attack(plan, system, say) if plan.strangers else Attack({}, [])
                ended = time.monotonic()
                recovered = await _recovered(watch, ended)
                world.ending = True
                wrongs += await _all_done(living, clients)
            if plan.strangers:
                await _log_at_rest(system)
            evidence = await judge.gather(system, world.directory)
            wrongs += await _all_received(subscribers, evidence)
            wrongs += await told.got_everything(evidence.log, evidence.mail_key)
            wrongs += [repr(task.exception()) for task in subscribing if task.done()]
            await asyncio.sleep(SETTLE_SECONDS)
        say("judging")
        evidence = await judge.gather(system, world.directory)
        found = dict(await judge.judge(evidence, system, subscribers))
        if told.endpoint is not None:
            found["webhooks"] = list(delivered_and_in_order(evidence.delivered, evidence.log, told.endpoint.position))
        if told.reader is not None:
            found["kafka"] = list(published_once_and_in_order(evidence.published, evidence.log, told.reader.topics))
        if told.mails is not None:
            found["mails"] = list(mailed_once(evidence.mailed, evidence.log, evidence.mail_key, told.mails.position))
        found["leaks"] = list(leaks.held_at_rest(system, watch))
    ended_wrongly = list(watch.wrong)  # before rows are forged, whose users projectors are to quarantine
    if attacked is not None:
        found["strangers"] = [*attack.wrong, *slowed(world.latencies, began, attacked, ended)]
        found["forged rows"] = await forgeries.unnoticed(system)
    series = leaks.series_of(watch, world.latencies, began, ended)
    growths = [growth for growth in map(leaks.growth_of, series) if growth is not None] if plan.soak else []
    found["growth"] = [str(growth) for growth in growths if growth.wrong]
    late = [] if recovered is not None else [f"no recovery within {RECOVER_SECONDS:g} s after the last fault"]
    found["processes"] = [*wrongs, *chaos.wrong, *ended_wrongly, *late]
    return Outcome(
        plan,
        found,
        chaos.faults,
        world,
        watch,
        evidence,
        subscribers,
        began,
        ended,
        recovered,
        attacked,
        attack.answers,
        series,
        growths,
    )


async def _inject_faults(plan: Plan, system: System, watch: Watch, dice: random.Random, say: Say) -> Chaos:
    """Inject the planned faults, or idle for a soak, for the planned time."""
    began = time.monotonic()
    chaos = Chaos(system, watch, dice, plan.kinds, plan.pace, lambda fault: say(_line(fault, began)))
    if plan.kinds:
        await chaos.until(began + plan.seconds)
    else:
        await asyncio.sleep(plan.seconds / 2 if plan.strangers else plan.seconds)
    say("the faults are over" if plan.kinds else "the quiet time is over")
    return chaos


async def _attack(plan: Plan, system: System, say: Say) -> Attack:
    """Run the strangers for the second half of the time."""
    arguments = (plan.strangers, str(plan.seed), str(plan.seconds / 2), *(api.url for api in system.apis))
    say(f"strangers ({plan.strangers}) for {plan.seconds / 2:.0f} s")
    # Their clients would be on other machines: they take only the processor time that the system leaves.
    command = ("nice", "-n", "19", sys.executable, "-m", "tests.chaos.strangers", *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    found = [msgspec.json.decode(line) for line in output.splitlines()]
    wrong = [line for line in found if isinstance(line, str)]
    if process.returncode != 0:
        return Attack({}, [*wrong, f"the strangers ended with exit code {process.returncode}"])
    return Attack(found[-1], wrong)


def slowed(latencies: Sequence[tuple[float, str, float]], began: float, attacked: float, ended: float) -> Iterator[str]:
    """The honest clients' queries, or commands, if their 99th percentile doubled under the attack or is not known."""
    for what, of in (("queries", True), ("commands", False)):
        some = [(at, seconds) for at, kind, seconds in latencies if (kind == "query") is of]
        quiet = [seconds for at, seconds in some if began <= at < attacked]
        busy = [seconds for at, seconds in some if attacked <= at < ended]
        if len(quiet) < ENOUGH or len(busy) < ENOUGH:
            yield f"{what}: {len(quiet)} and {len(busy)} answers are too few to tell; set CHAOS_MINUTES=4"
            continue
        before, under = percentile99(quiet), percentile99(busy)
        if under > 2 * before:
            yield f"{what}: 99 % took up to {before * 1000:.0f} ms before the attack, {under * 1000:.0f} ms under it"


@asynccontextmanager
async def _in_background(*works: Coroutine[None, None, None]) -> AsyncIterator[list["asyncio.Task[None]"]]:
    """Run these during the block and cancel them at its end."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield tasks
    finally:
        # A cancellation is lost if it comes in the moment in which a time limit of aiohttp's ends a request.
        while any(not task.done() for task in tasks):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=CANCEL_SECONDS)
        await asyncio.gather(*tasks, return_exceptions=True)


async def _make_subscribers(world: World, chance: random.Random) -> list[Subscriber]:
    """Create three subscribers of the staff, for all types, some types and data objects, and two customers."""
    admin = Administrator(world, "founder", random.Random(chance.random()))
    admin.login, admin.password = "admin", ADMIN_PASSWORD
    staff = [
        Subscriber(world, "subscriber-all", random.Random(chance.random())),
        Subscriber(world, "subscriber-some", random.Random(chance.random()), types=["USER_REGISTERED", "USER_DELETED"]),
        DataSubscriber(world, "subscriber-data", random.Random(chance.random())),
    ]
    for subscriber in staff:
        for attempt in itertools.count(1):
            token = world.token()
            subscriber.login = f"{subscriber.name}-{world.seed}-{attempt}"
            fields = {**registration(subscriber.login, token), "role": "TECHNICAL_WORKER"}
            if isinstance(await admin.command("createUser", fields, token=token), Done):
                break  # not abandoned, as some commands are
    return [
        *staff,
        *(SelfSubscriber(world, f"self-subscriber-{number}", random.Random(chance.random())) for number in (1, 2)),
    ]


def _clients(
    plan: Plan, world: World, chance: random.Random
) -> list[Person | Administrator | Importer | Reader | DataOwner | DataAdministrator]:
    kinds: list[tuple[type[Person | Administrator | Importer | Reader], int]] = [
        (Person, plan.persons),
        (Administrator, plan.administrators),
        (Importer, 1),
        (Reader, 2),
    ]
    return [
        *(
            kind(world, f"{kind.__name__.lower()}-{number}", random.Random(chance.random()))
            for kind, count in kinds
            for number in range(1, count + 1)
        ),
        *data_clients(world, chance, plan.owners),
    ]


@asynccontextmanager
async def watched(system: System) -> AsyncIterator[Watch]:
    """Watch the system during the block."""
    watch = Watch(system)
    async with _in_background(watch.run()):
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
    """Record and restart processes that end by themselves."""
    while True:
        for program in system.programs:
            if program.pid is None and not program.busy.locked():
                code = program.popen.returncode if program.popen else None
                wrongs.append(f"{program.name} ended by itself with exit code {code}: {program.last_lines()[-1500:]}")
                program.start()
        await asyncio.sleep(0.2)


async def _print_progress(world: World, watch: Watch, say: Say) -> None:
    """Print progress every five seconds."""
    while True:
        await asyncio.sleep(5)
        well = "healthy" if watch.healthy and watch.healthy[-1][1] else "unhealthy"
        say(f"{len(world.acknowledged)} commands acknowledged, {len(world.answered)} queries answered; {well}")


def percentile99(values: Sequence[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


def _line(fault: Fault, began: float) -> str:
    return f"{fault.began - began:7.1f} s  {fault.kind} {fault.target} for {fault.ended - fault.began:.1f} s"


async def _all_done(living: Sequence["asyncio.Task[None]"], clients: Sequence[Client]) -> list[str]:
    """Wait for the clients; return those that hang or failed."""
    _, pending = await asyncio.wait(living, timeout=END_SECONDS)
    wrongs = [f"{client.name} hangs" for task, client in zip(living, clients, strict=True) if task in pending]
    return wrongs + [repr(task.exception()) for task in living if task.done() and task.exception() is not None]


async def _log_at_rest(system: System) -> None:
    """Wait until the log has not grown for a while: commands of strangers may still wait for their passwords' hashes,
    and what they append after the subscribers were looked at would seem to be missing there.
    """
    database = Database.at(Address.parse(system.mysqld.url), size=1)
    store, heads = EventStore(database, Vault(system.keyring.master, secrets.token_bytes)), list[int]()

    async def at_rest() -> bool:
        await asyncio.sleep(1.0)
        heads.append(await store.head())
        return len(heads) > REST_SECONDS and len(set(heads[-REST_SECONDS:])) == 1

    try:
        await eventually(at_rest, within=END_SECONDS)
    finally:
        await database.close()


async def _all_received(subscribers: Sequence[Subscriber], evidence: judge.Evidence) -> list[str]:
    """Wait for the subscribers; return those that did not receive the last change of their kind."""
    expected = {subscriber.name: judge.expected_by(subscriber, evidence.log) for subscriber in subscribers}
    last = {name: changes[-1][0] if changes else 0 for name, changes in expected.items()}

    async def received() -> bool:
        return all(subscriber.position >= last[subscriber.name] for subscriber in subscribers)

    with suppress(AssertionError):
        await eventually(received, within=END_SECONDS)
    return [
        f"{subscriber.name} has received up to {subscriber.position}, its last change is at {last[subscriber.name]}"
        for subscriber in subscribers
        if subscriber.position < last[subscriber.name]
    ]
