"""The load on data objects: owners, an administrator who hands objects over, a subscriber to their changes."""

import random
from collections import deque
from typing import Any, Final
from uuid import UUID

from events.event_types import DATA_TYPES
from tests.chaos.ledger import Done
from tests.chaos.load import Client, Staff, World, registration
from tests.chaos.subscribers import Subscriber

SEARCHED: Final = '{ searchData(text: "object", first: 5) { edges { node { id number owner { id } } } } }'
LISTED: Final = "{ dataObjects(first: 10, orderBy: {field: UPDATED_AT, direction: DESC}) { edges { node { id } } } }"


class Objects:
    """The data objects and owners that the clients of this load share."""

    def __init__(self) -> None:
        self.objects: deque[UUID] = deque(maxlen=200)
        self.owners: deque[UUID] = deque(maxlen=50)


class DataOwner(Client):
    """Registers, keeps data objects, perhaps leaves with all of them, and starts again as another user."""

    def __init__(self, world: World, name: str, chance: random.Random, shared: Objects) -> None:
        super().__init__(world, name, chance)
        self._shared = shared
        self._own: list[UUID] = []

    async def live(self) -> None:
        """Run users one after the other until the end."""
        while not self.world.ending:
            self.user, self.bearer, self._own = None, None, []
            token = self.world.token()
            self.login = token
            if isinstance(await self.command("register", registration(token, token), token=token), Done):
                await self._stay()
            await self.rest(0.1)

    async def _stay(self) -> None:
        assert self.user is not None
        self._shared.owners.append(self.user)
        for _ in range(self.chance.randrange(4, 16)):
            await self.rest(0.2)
            if self.world.ending:
                return
            await self._act()
        if self.chance.random() < 0.5:
            await self.command("deleteUser", {"id": str(self.user)})

    async def _act(self) -> None:
        """Do one random action. An administrator may have taken the object away, so a refusal is possible."""
        what, token = self.chance.random(), self.world.token()
        if what < 0.35 or not self._own:
            done = await self.command("createData", {"name": f"Object {token}", "content": marked(token)}, token=token)
            if isinstance(done, Done) and done.user is not None:
                self._own.append(done.user)
                self._shared.objects.append(done.user)
            return
        data = self.chance.choice(self._own)
        if what < 0.9:
            fields = {"id": str(data), "content": marked(token)}
            done = await self.command("updateData", fields, token=token)
            if isinstance(done, Done) and what > 0.6:
                await self._read_own(data, done)
        else:
            self._own.remove(data)
            await self.command("deleteData", {"id": str(data)})

    async def _read_own(self, data: UUID, done: Done) -> None:
        """A read with the position of the own write shows that write, or nothing if the object has left."""
        query = "query($id: ID!) { data(id: $id) { version position } }"
        found = await self.query(query, {"id": str(data)}, min_position=done.position)
        if found is not None and found.data["data"] and int(found.data["data"]["position"]) < done.position:
            self.wrong(f"read position {found.data['data']['position']} with Min-Position {done.position}")


class DataAdministrator(Staff):
    """Changes anyone's objects, hands them over, and queries both views."""

    REST = 0.2

    def __init__(self, world: World, name: str, chance: random.Random, shared: Objects) -> None:
        super().__init__(world, name, chance)
        self._shared = shared

    async def _act(self) -> None:
        if not self._shared.objects or not self._shared.owners:
            return
        data, owner = self.chance.choice(self._shared.objects), self.chance.choice(self._shared.owners)
        what, token = self.chance.random(), self.world.token()
        if what < 0.4:
            await self.command("transferData", {"id": str(data), "ownerId": str(owner)})
        elif what < 0.6:
            await self.command("updateData", {"id": str(data), "content": marked(token)}, token=token)
        elif what < 0.7:
            await self.command("deleteData", {"id": str(data)})
        elif what < 0.8:
            fields = {"ownerId": str(owner), "name": f"Object {token}", "content": marked(token)}
            await self.command("createData", fields, token=token)
        else:
            await self.query(self.chance.choice((SEARCHED, LISTED)), {})


class DataSubscriber(Subscriber):
    """A member of the staff who follows all data objects."""

    CHANGES = "subscription($after: Position) { dataChanges(after: $after) { position type dataId version } }"
    FIELD = "dataChanges"
    ID = "dataId"
    OF = DATA_TYPES

    def variables(self) -> dict[str, Any]:
        return {"after": str(self.position)}


def marked(token: str) -> dict[str, Any]:
    """Content with the token."""
    return {"mark": token, "pages": {"first": token}}


def data_clients(world: World, chance: random.Random, owners: int) -> list[DataOwner | DataAdministrator]:
    """All clients of this load."""
    shared = Objects()
    return [
        *(
            DataOwner(world, f"owner-{number}", random.Random(chance.random()), shared)
            for number in range(1, owners + 1)
        ),
        DataAdministrator(world, "data-administrator", random.Random(chance.random()), shared),
    ]
