"""The load: persons, administrators, readers, and the base class of all clients.

Clients send GraphQL to a random API with short timeouts, and repeat unanswered commands with their idempotency keys.
Their ledgers hold requests and answers.
"""

import asyncio
import itertools
import random
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final
from uuid import UUID

import aiohttp
import msgspec

from graph import inputs
from tests.chaos.ledger import Abandoned, Done, Imported, Importing, Ledger, Refused, Sent, Unanswered, Wrong
from tests.chaos.system import ADMIN_PASSWORD, Api

PASSWORD: Final = "long enough for all"
TIMEOUTS_SECONDS: Final = (0.7, 2.0, 5.0, 12.0)
"""Timeouts of requests; short ones leave more commands with an unknown outcome."""
ABANDONED_SHARE: Final = 0.02
RETRIABLE: Final = frozenset({"UNAVAILABLE", "OUTCOME_UNKNOWN", "PROJECTION_BEHIND", "DEADLINE_EXCEEDED", "NO_ANSWER"})
"""Error codes after which a client sends the request again. A path that hangs and a paused database together exceed the
deadline of a query."""
SIGNED_OUT: Final = frozenset({"UNAUTHENTICATED"})

USER = "user { id version } position errors { code field }"
DATA = "data { id version } position errors { code field }"
MUTATIONS: Final = {
    "register": "mutation($input: RegisterInput!) { register(input: $input) "
    "{ user { id version } session { accessToken } position errors { code field } } }",
    "createUser": f"mutation($input: CreateUserInput!) {{ createUser(input: $input) {{ {USER} }} }}",
    "updateUser": f"mutation($input: UpdateUserInput!) {{ updateUser(input: $input) {{ {USER} }} }}",
    "changeRole": f"mutation($input: ChangeRoleInput!) {{ changeRole(input: $input) {{ {USER} }} }}",
    "deleteUser": "mutation($input: DeleteUserInput!) { deleteUser(input: $input) "
    "{ deletedUserId position errors { code field } } }",
    "createData": f"mutation($input: CreateDataInput!) {{ createData(input: $input) {{ {DATA} }} }}",
    "updateData": f"mutation($input: UpdateDataInput!) {{ updateData(input: $input) {{ {DATA} }} }}",
    "transferData": f"mutation($input: TransferDataInput!) {{ transferData(input: $input) {{ {DATA} }} }}",
    "deleteData": "mutation($input: DeleteDataInput!) { deleteData(input: $input) "
    "{ deletedDataId position errors { code field } } }",
}
IMPORT: Final = (
    "mutation($input: ImportUsersInput!) { importUsers(input: $input) "
    "{ imported existing refused { line message } errors { code } } }"
)
LOGIN: Final = (
    "mutation($input: LoginInput!) { login(input: $input) { session { accessToken } user { id } errors { code } } }"
)
STAFF_QUERIES: Final = (
    "{ users(first: 20, orderBy: {field: UPDATED_AT, direction: DESC}) { edges { node { id username version } } } }",
    '{ searchUsers(text: "nym", first: 10) { edges { node { id name } } } }',
    "{ events(first: 50) { edges { node { position type } } } }",
    "{ projections { name state lag } }",
    "{ statistics { __typename } }",
)


class Answer(msgspec.Struct):
    """The answer to an operation: its data, or the code of its first error."""

    data: dict[str, Any] = {}
    code: str | None = None
    why: str = ""


@dataclass
class World:
    """The state that all clients share."""

    apis: Sequence[Api]
    http: aiohttp.ClientSession
    directory: Path
    seed: str
    ending: bool = False
    acknowledged: list[float] = field(default_factory=list)
    """Times of acknowledged commands, by the monotonic clock."""
    answered: list[float] = field(default_factory=list)
    """Times of answered queries."""
    latencies: list[tuple[float, str, float]] = field(default_factory=list)
    """Time, operation and seconds."""
    codes: Counter[str] = field(default_factory=Counter)
    living: deque[tuple[UUID, str]] = field(default_factory=lambda: deque(maxlen=200))
    """Users that administrators may change."""
    hot: list[UUID] = field(default_factory=list)
    """Users that many clients change concurrently."""
    _tokens: "itertools.count[int]" = field(default_factory=itertools.count)

    def token(self) -> str:
        """A new word, unique to the personal data of one command."""
        return f"cz{self.seed}x{next(self._tokens)}zc"


class Client:
    """A client with a ledger; sends the commands and queries of its user."""

    def __init__(self, world: World, name: str, chance: random.Random) -> None:
        self.world = world
        self.name = name
        self.chance = chance
        self.ledger = Ledger(world.directory, name)
        self.user: UUID | None = None
        self.login: str = ""
        self.password: str = PASSWORD
        self.bearer: str | None = None
        self._numbers = itertools.count(1)
        self._address = self._new_address()

    def _new_address(self) -> str:
        return f"10.{self.chance.randrange(256)}.{self.chance.randrange(256)}.{self.chance.randrange(1, 255)}"

    def wrong(self, why: str) -> None:
        """Record an impossible answer."""
        self.ledger.write(Wrong(why=why))

    async def send(
        self, query: str, variables: dict[str, Any], api: Api, kind: str, *, min_position: int | None = None
    ) -> Answer:
        """Send one operation once."""
        headers = {"X-Forwarded-For": self._address}
        if self.bearer is not None:
            headers["Authorization"] = f"Bearer {self.bearer}"
        if min_position is not None:
            headers["Min-Position"] = str(min_position)
        began = time.monotonic()
        try:
            async with self.world.http.post(
                f"{api.url}/graphql",
                json={"query": query, "variables": variables},
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=self.chance.choice(TIMEOUTS_SECONDS)),
            ) as response:
                body = await response.read()
                answer = _answer(response.status, body)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            answer = Answer(code="NO_ANSWER", why=type(error).__name__)
        if answer.code is None:
            self.world.latencies.append((began, kind, time.monotonic() - began))
        else:
            self.world.codes[answer.code] += 1
            if answer.code not in RETRIABLE | SIGNED_OUT | {"FORBIDDEN"}:
                self.wrong(f"{kind} at {api.name} was answered with {answer.code}: {answer.why}")
        return answer

    async def command(
        self, kind: str, fields: dict[str, Any], *, token: str | None = None, own_names: bool = False
    ) -> Done | Refused | None:
        """Send a command until its outcome is known; return None if it is abandoned.

        With `own_names` no other client uses its names, so they must not be refused.
        """
        number = next(self._numbers)
        name, key = f"{self.name}:{number}", f"{self.name}-{number}"
        user = UUID(fields["id"]) if "id" in fields else None
        if kind == "register":  # each new user has another address, since one address may register 100 users an hour
            self._address = self._new_address()
        for attempt in itertools.count(1):
            if kind != "register" and self.bearer is None and not await self.sign_in():
                break
            api = self.chance.choice(self.world.apis)
            self.ledger.write(
                Sent(
                    command=name,
                    attempt=attempt,
                    kind=kind,
                    key=key,
                    caller=None if kind == "register" else self.user,
                    key_owner=_key_owner(fields, key) if kind == "register" else self.user,
                    user=user,
                    token=token,
                    role=fields.get("role"),
                    to=api.name,
                )
            )
            answer = await self.send(MUTATIONS[kind], {"input": {**fields, "idempotencyKey": key}}, api, kind)
            if answer.code is None:
                return self._outcome(name, kind, answer.data[kind], user, own_names=own_names)
            self.ledger.write(Unanswered(command=name, why=f"{answer.code} {answer.why}".strip()))
            if answer.code in SIGNED_OUT:
                self.bearer = None
            elif answer.code not in RETRIABLE:
                break
            if self.chance.random() < ABANDONED_SHARE or (self.world.ending and attempt > 3):
                break
            await asyncio.sleep(min(2.0, 0.05 * 2**attempt) * self.chance.random())
        self.ledger.write(Abandoned(command=name))
        return None

    def _outcome(
        self, name: str, kind: str, payload: dict[str, Any], user: UUID | None, *, own_names: bool
    ) -> Done | Refused:
        if payload["errors"]:
            refused = Refused(command=name, codes=[error["code"] for error in payload["errors"]])
            self.ledger.write(refused)
            if own_names and "TAKEN" in refused.codes:
                self.wrong(f"{name} was refused a name that no other client has used")
            return refused
        if changed := payload.get("user") or payload.get("data"):
            user = UUID(changed["id"])
        assert user is not None or kind == "createData"  # the object may be deleted again by the time of the answer
        done = Done(command=name, position=int(payload["position"]), user=user)
        self.ledger.write(done)
        self.world.acknowledged.append(time.monotonic())
        if kind == "register":
            self.user, session = user, payload["session"]
            self.bearer = session["accessToken"] if session else None
        return done

    async def sign_in(self) -> bool:
        """Try to sign in until accepted or refused; return whether it was accepted."""
        for attempt in itertools.count(1):
            if self.world.ending and attempt > 20:
                return False
            api = self.chance.choice(self.world.apis)
            fields = {"login": self.login, "password": self.password}
            self.bearer = None
            answer = await self.send(LOGIN, {"input": fields}, api, "login")
            if answer.code is None:
                payload = answer.data["login"]
                if payload["errors"]:
                    return False
                self.bearer, self.user = payload["session"]["accessToken"], UUID(payload["user"]["id"])
                self.world.answered.append(time.monotonic())
                return True
            await asyncio.sleep(min(2.0, 0.05 * 2**attempt) * self.chance.random())
        return False

    async def query(self, query: str, variables: dict[str, Any], *, min_position: int | None = None) -> Answer | None:
        """Send a query until it is answered, at most five times."""
        for _ in range(5):
            answer = await self.send(
                query, variables, self.chance.choice(self.world.apis), "query", min_position=min_position
            )
            if answer.code is None:
                self.world.answered.append(time.monotonic())
                return answer
            if answer.code in SIGNED_OUT and not await self.sign_in():
                return None
            await asyncio.sleep(0.2 * self.chance.random())
        return None

    async def rest(self, seconds: float) -> None:
        """Pause for a random time with this mean."""
        await asyncio.sleep(self.chance.expovariate(1 / seconds))


class Person(Client):
    """Registers, changes and reads itself, perhaps deletes itself, and starts again as another user."""

    moved: UUID | None = None
    """The user that has changed its email."""

    async def live(self) -> None:
        """Run users one after the other until the end."""
        while not self.world.ending:
            self.user = self.bearer = None
            if await self._arrive():
                await self._stay()
            await self.rest(0.1)

    async def _arrive(self) -> bool:
        token = self.world.token()
        contended = self.chance.random() < 0.15
        self.login = f"contended{self.chance.randrange(5)}" if contended else token
        fields = registration(self.login, token)
        done = await self.command("register", fields, token=token, own_names=not contended)
        return isinstance(done, Done)

    async def _stay(self) -> None:
        assert self.user is not None
        self.world.living.append((self.user, self.login))
        for _ in range(self.chance.randrange(2, 10)):
            await self.rest(0.25)
            if self.world.ending or not await self._act():
                return
        if self.chance.random() < 0.5:
            await self.command("deleteUser", {"id": str(self.user)})

    async def _act(self) -> bool:
        """Do one random action; return whether the user still exists."""
        what = self.chance.random()
        if what < 0.1:
            return await self.sign_in()
        token = self.world.token()
        changed: dict[str, Any] = {"attributes": {"mark": token}}
        if what < 0.3 and self.moved != self.user:  # each attempt pays for a mail: five an hour
            changed |= {"email": f"{token}@example.com"}
            self.moved = self.user
        done = await self.command("updateUser", {"id": str(self.user), **changed}, token=token, own_names=True)
        if isinstance(done, Done) and what > 0.6:
            await self._read_own(done)
        return isinstance(done, Done)

    async def _read_own(self, done: Done) -> None:
        """A read with the position of the user's own write must show that write."""
        found = await self.query(
            "query($id: ID!) { user(id: $id) { version position } }", {"id": str(self.user)}, min_position=done.position
        )
        if found is not None and found.data["user"] and int(found.data["user"]["position"]) < done.position:
            self.wrong(f"read position {found.data['user']['position']} with Min-Position {done.position}")


class Staff(Client):
    """Signs in as the administrator, and acts again and again."""

    REST: ClassVar[float]
    """Seconds between two acts."""

    async def live(self) -> None:
        """Run until the end."""
        self.login, self.password = "admin", ADMIN_PASSWORD
        while not self.world.ending:
            await self.rest(self.REST)
            if self.bearer is None and not await self.sign_in():
                continue
            await self._act()

    async def _act(self) -> None:
        raise NotImplementedError


class Administrator(Staff):
    """Changes other users, the hot ones most."""

    REST = 0.15

    async def _act(self) -> None:
        what, token = self.chance.random(), self.world.token()
        if what < 0.5 and self.world.hot:
            hot = self.chance.choice(self.world.hot)
            await self.command("updateUser", {"id": str(hot), "attributes": {"mark": token}}, token=token)
        elif what < 0.6:
            role = self.chance.choice(("CUSTOMER", "TECHNICAL_WORKER"))
            await self.command("createUser", {**registration(token, token), "role": role}, token=token, own_names=True)
        elif self.world.living:
            user, _ = self.chance.choice(self.world.living)
            await self._change(user, token, what)

    async def _change(self, user: UUID, token: str, what: float) -> None:
        if what < 0.75:
            role = self.chance.choice(("CUSTOMER", "TECHNICAL_WORKER", "SENIOR_MANAGEMENT"))
            await self.command("changeRole", {"id": str(user), "role": role})
        elif what < 0.9:
            await self.command("updateUser", {"id": str(user), "attributes": {"mark": token}}, token=token)
        else:
            await self.command("deleteUser", {"id": str(user)})


class Reader(Staff):
    """Queries what staff query."""

    REST = 0.1

    async def _act(self) -> None:
        await self.query(self.chance.choice(STAFF_QUERIES), {})


class Importer(Staff):
    """Imports rows of new users, and sends them again until it has an answer."""

    REST = 0.5

    async def _act(self) -> None:
        names = [self.world.token() for _ in range(self.chance.randrange(1, 6))]
        rows = [{"username": name, "email": f"{name}@example.com", "name": f"Nym {name}"} for name in names]
        content = "\n".join(msgspec.json.encode(row).decode() for row in rows)
        self.ledger.write(Importing(usernames=names))
        for _ in range(20):
            api = self.chance.choice(self.world.apis)
            answer = await self.send(IMPORT, {"input": {"content": content}}, api, "importUsers")
            if answer.code is None:
                found = answer.data["importUsers"]
                if found["errors"] or found["refused"] or found["imported"] + found["existing"] != len(names):
                    self.wrong(f"the import of {len(names)} new users was answered with {found}")
                self.ledger.write(Imported(usernames=names))
                return
            if answer.code in SIGNED_OUT and not await self.sign_in():
                return
            await asyncio.sleep(0.5 * self.chance.random())


def registration(username: str, token: str) -> dict[str, Any]:
    """A registration with the token in all personal data except the username."""
    return {
        "username": username,
        "email": f"{token}@example.com",
        "name": f"Nym {token}",
        "password": PASSWORD,
        "attributes": {"mark": token},
    }


def _key_owner(fields: dict[str, Any], key: str) -> UUID | None:
    """Whose key a registration has."""
    found = inputs.idempotency_of(None, inputs.RegisterInput(**fields, idempotency_key=key))
    return found.caller if found else None


def _answer(status: int, body: bytes) -> Answer:
    try:
        answered = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return Answer(code="NO_ANSWER", why=f"status {status}, {body[:80]!r}")
    if errors := answered.get("errors"):
        code = errors[0].get("extensions", {}).get("code", "NO_CODE")
        return Answer(code=code, why=errors[0].get("message", ""))
    return Answer(data=answered["data"])


@asynccontextmanager
async def world_of(apis: Sequence[Api], directory: Path, seed: int) -> AsyncIterator[World]:
    """The shared state of clients, with their HTTP connections and ledgers."""
    directory.mkdir()
    connections = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connections) as http:
        yield World(apis, http, directory, f"{seed:x}")
