"""Attackers beside the honest load: floods, lookalikes, bombs, replays, cut uploads and idle sockets.

`python -m tests.chaos.strangers KIND SEED SECONDS URL...` runs in a process of its own, so that its work does not slow
the honest clients of `tests.chaos.load`. Every attacker stays at one address of its own, as `X-Forwarded-For` says. The
process prints each answer that no stranger may get as a line of JSON, and at the end the number of answers by kind.

KIND `attack` attacks. `harmless` sends as many requests that do nothing: what they cost the honest clients is the cost
of any load on this machine.
"""

import asyncio
import itertools
import json
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec
import uvloop

PASSWORD: Final = "a stranger's own password"
NAME: Final = "stranger"
"""Usernames of attackers begin with it, so that the judge can tell their events."""
TIMEOUT: Final = aiohttp.ClientTimeout(total=20)
SENT_A_SECOND: Final = 40
"""Requests of one flood. Together the attackers send about ten times as many as the honest clients."""
HARMLESS_A_SECOND: Final = 18
"""Of each of eight: together as many answers and handshakes as the attackers get on two cores, about 145 a second."""
IDLE_SOCKETS: Final = 150
NEVER: Final = frozenset({"INTERNAL", "NO_CODE"})
"""Codes that mean an error of the server, whatever was sent."""

REGISTER: Final = (
    "mutation($input: RegisterInput!) { register(input: $input) "
    "{ user { id } session { accessToken refreshToken } errors { code } } }"
)
LOGIN: Final = "mutation($input: LoginInput!) { login(input: $input) { session { accessToken } errors { code } } }"
REFRESH: Final = (
    "mutation($token: String!) { refreshSession(refreshToken: $token) { session { refreshToken } errors { code } } }"
)
UPDATE: Final = "mutation($input: UpdateUserInput!) { updateUser(input: $input) { user { id } errors { code } } }"

HOSTILE_NAMES: Final = (
    "\u0430dmin",  # Cyrillic a
    "admin\uff20example.com",  # NFKC makes an @ of it
    "admin\u200b",
    "\u202enimda",
    "\u0958" * 64,  # NFC makes two characters of each
    "01a225e5-612d-73f3-b92e-12d18436388b",
    "e\u0301" * 40,
    "\u3164",
    "x" * 10_000,
    "\ud800",
)


@dataclass
class Attack:
    """The target, and the answers so far."""

    urls: Sequence[str]
    http: aiohttp.ClientSession
    answers: Counter[str] = field(default_factory=Counter)

    async def send(self, who: "Stranger", query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Send an operation; return its data, or nothing if it was refused."""
        headers = {"X-Forwarded-For": who.address}
        if who.bearer:
            headers["Authorization"] = f"Bearer {who.bearer}"
        body = json.dumps({"query": query, "variables": variables})  # escapes halves of surrogate pairs
        headers["Content-Type"] = "application/json"
        try:
            async with self.http.post(
                f"{who.chance.choice(self.urls)}/graphql", data=body, headers=headers, timeout=TIMEOUT
            ) as response:
                status, text = response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.answers[type(error).__name__] += 1
            return {}
        try:
            answered = msgspec.json.decode(text)
        except msgspec.DecodeError:
            answered = {}
        errors = answered.get("errors") or []
        code = errors[0].get("extensions", {}).get("code", "NO_CODE") if errors else f"status {status}"
        self.answers[f"{who.name}: {code}"] += 1
        if code in NEVER or status == 500:
            print(
                msgspec.json.encode(f"{who.name} got status {status} and {code}: {text[:300]!r}").decode(), flush=True
            )
        return answered.get("data") or {}


class Stranger:
    """One attacker at one address."""

    def __init__(self, attack: Attack, name: str, chance: random.Random) -> None:
        self.attack = attack
        self.name = name
        self.chance = chance
        self.address = f"172.16.{chance.randrange(256)}.{chance.randrange(1, 255)}"
        self.bearer: str | None = None
        self.refresh_token = ""
        self.user = ""
        self._numbers = itertools.count(1)

    def registration(self, **other: object) -> dict[str, object]:
        """A registration under a new name."""
        name = f"{NAME}-{self.name}-{self.chance.randrange(10**12)}-{next(self._numbers)}"
        return {"username": name, "email": f"{name}@example.com", "name": name, "password": PASSWORD, **other}

    async def arrive(self) -> None:
        """Register an account of one's own; wait as long as the server says no."""
        while not self.bearer:
            data = await self.attack.send(self, REGISTER, {"input": self.registration()})
            made = data.get("register") or {}
            if made.get("session"):
                self.bearer, self.refresh_token = made["session"]["accessToken"], made["session"]["refreshToken"]
                self.user = made["user"]["id"]
            await asyncio.sleep(0.5)


async def flood_of_registrations(stranger: Stranger) -> None:
    """New users without end."""
    async with paced() as start:
        while True:
            await start(stranger.attack.send(stranger, REGISTER, {"input": stranger.registration()}))


async def flood_of_guesses(stranger: Stranger) -> None:
    """Passwords of the administrator and of others."""
    async with paced() as start:
        for number in itertools.count():
            login = stranger.chance.choice(("admin", "ADMIN", "\uff41dmin", f"contended{number % 5}"))
            guess = {"login": login, "password": f"guess {number} of many"}
            await start(stranger.attack.send(stranger, LOGIN, {"input": guess}))


async def lookalikes(stranger: Stranger) -> None:
    """Names that look like others' names, or change when they are normalised."""
    async with paced(5) as start:
        for name in itertools.cycle(HOSTILE_NAMES):
            for fields in ({"username": name}, {"name": name}, {"email": f"{name}@example.com"}):
                wanted = stranger.registration(**fields)
                await start(stranger.attack.send(stranger, REGISTER, {"input": wanted}))


async def bombs(stranger: Stranger) -> None:
    """Attributes and documents that cost more than they weigh."""
    await stranger.arrive()
    deep: object = 1
    for _ in range(600):
        deep = {"a": deep}
    attributes: tuple[object, ...] = (
        {"k" * 20_000: {str(number): number for number in range(4_000)}},
        deep,
        {str(number): {"a": [number] * 3} for number in range(3_000)},
        {"x": "y" * 60_000},
    )
    aliases = " ".join(f'a{number}: user(id: "{stranger.user}", atPosition: "1") {{ id }}' for number in range(20))
    nested = "{ users " + "{ edges { node " * 40 + "{ id }" + " } }" * 40 + " }"
    async with paced(8) as start:
        for number in itertools.count():
            wanted = {"id": stranger.user, "attributes": attributes[number % len(attributes)]}
            if number % 3 == 0:
                wanted["idempotencyKey"] = f"bomb-{number}"
            await start(stranger.attack.send(stranger, UPDATE, {"input": wanted}))
            await start(stranger.attack.send(stranger, f"{{ {aliases} }}", {}))
            await start(stranger.attack.send(stranger, nested, {}))


async def large_writes(stranger: Stranger) -> None:
    """Large changes of the own record without end, and views of its past."""
    await stranger.arrive()
    past = "query($id: ID!, $at: Position) { user(id: $id, atPosition: $at) { version attributes } }"
    async with paced(20) as start:
        for number in itertools.count():
            wanted = {"id": stranger.user, "attributes": {"x": str(number % 10) * 50_000}}
            await start(stranger.attack.send(stranger, UPDATE, {"input": wanted}))
            if number % 4 == 0:
                await start(stranger.attack.send(stranger, past, {"id": stranger.user, "at": str(10**6)}))


async def replays(stranger: Stranger) -> None:
    """Used and invented refresh tokens, and a repeated registration with other passwords."""
    key = f"replay-{stranger.chance.randrange(10**9)}"
    fields = stranger.registration(idempotencyKey=key)
    await stranger.arrive()
    first = stranger.refresh_token
    async with paced(15) as start:
        for number in itertools.count():
            token = first if number % 2 else "A" * 43
            await start(stranger.attack.send(stranger, REFRESH, {"token": token}))
            again = {**fields, "password": f"{PASSWORD} {number % 50}"}
            await start(stranger.attack.send(stranger, REGISTER, {"input": again}))


async def cut_uploads(stranger: Stranger) -> None:
    """Requests that end in the middle of their bodies."""
    while True:
        url = urlsplit(stranger.chance.choice(stranger.attack.urls))
        with suppress(OSError):
            _, writer = await asyncio.open_connection(url.hostname, url.port)
            expects = "Expect: 100-continue\r\n" if stranger.chance.random() < 0.3 else ""
            writer.write(
                f"POST /graphql HTTP/1.1\r\nHost: x\r\n{expects}X-Forwarded-For: {stranger.address}\r\n"
                'Content-Type: application/json\r\nContent-Length: 9000\r\n\r\n{"query": "{ us'.encode()
            )
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.transport.abort()
        stranger.attack.answers[f"{stranger.name}: cut"] += 1
        await asyncio.sleep(0.05)


async def idle_sockets(stranger: Stranger) -> None:
    """WebSockets that never begin, renewed when the server closes them."""

    async def one() -> None:
        while True:
            with suppress(aiohttp.ClientError, OSError):
                async with stranger.attack.http.ws_connect(
                    f"{stranger.chance.choice(stranger.attack.urls)}/graphql",
                    protocols=["graphql-transport-ws"],
                    headers={"X-Forwarded-For": stranger.address},
                ) as socket:
                    message = await socket.receive()
                    stranger.attack.answers[f"{stranger.name}: closed with {message.data}"] += 1
            await asyncio.sleep(0.5)

    await asyncio.gather(*(one() for _ in range(IDLE_SOCKETS)))


ATTACKS: Final[tuple[Callable[[Stranger], Awaitable[None]], ...]] = (
    flood_of_registrations,
    flood_of_guesses,
    lookalikes,
    bombs,
    large_writes,
    replays,
    cut_uploads,
    idle_sockets,
)


async def harmless(stranger: Stranger) -> None:
    """Requests that read nothing."""
    async with paced(HARMLESS_A_SECOND) as start:
        while True:
            await start(stranger.attack.send(stranger, "{ __typename }", {}))


KINDS: Final = {"attack": ATTACKS, "harmless": (harmless,) * len(ATTACKS)}


@asynccontextmanager
async def paced(rate: float = SENT_A_SECOND) -> AsyncIterator[Callable[[Any], Awaitable[None]]]:
    """Start works at most `rate` times a second, a few seconds' worth at once."""
    tasks = set[asyncio.Task[Any]]()

    async def start(work: Any) -> None:
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        await asyncio.sleep(1 / rate)
        while len(tasks) > 5 * rate:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)

    try:
        yield start
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def attack(kind: str, seed: int, seconds: float, urls: Sequence[str]) -> Counter[str]:
    """Attack for some seconds; return how many answers of each kind came."""
    chance = random.Random(seed)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        attack = Attack(urls, http)
        strangers = []
        for one in KINDS[kind]:
            stranger = Stranger(attack, one.__name__.replace("_", "-"), random.Random(chance.random()))
            strangers.append(asyncio.ensure_future(one(stranger)))
        done, _ = await asyncio.wait(strangers, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for running in strangers:
            running.cancel()
        await asyncio.gather(*strangers, return_exceptions=True)
        for ended in done:
            if error := ended.exception():
                raise error
    return attack.answers


def main() -> None:
    """Attack as the arguments say."""
    kind, seed, seconds, *urls = sys.argv[1:]
    answers = uvloop.run(attack(kind, int(seed), float(seconds), urls))
    print(msgspec.json.encode(dict(answers.most_common())).decode())


if __name__ == "__main__":
    main()
