"""Users that one test file searches among, invisible to the others."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import uuid4

from events.event_types import Role
from tests.graph.client import Client, Json
from tests.graph.documents import SEARCH
from tests.graph.site import Person, Site


@dataclass(frozen=True, slots=True)
class Crowd:
    """Users that share a unique word in their attributes, and a viewer who may search."""

    mark: str
    people: dict[str, Person]
    staff: Client

    @property
    def marked(self) -> Json:
        """The test on attributes that only they pass."""
        return {"path": "mark", "eq": self.mark}

    async def found(self, **search: Json) -> str:
        """The initials of the users found, in alphabetical order; all of them must be of the crowd."""
        page = await self.staff.field(SEARCH, **search, first=100)
        assert page["totalCount"] == len(page["edges"])
        names = {person.id: name for name, person in self.people.items()}
        return "".join(sorted(names[edge["node"]["id"]][0] for edge in page["edges"]))


async def gather(site: Site, people: Mapping[str, Json]) -> Crowd:
    """Register them, each with its own fields."""
    mark = f"mark{uuid4().hex[:12]}"
    there = {
        name: await site.person(**given | {"attributes": given["attributes"] | {"mark": mark}})
        for name, given in people.items()
    }
    staff = await site.person(Role.TECHNICAL_WORKER)
    await site.caught_up()
    return Crowd(mark, there, staff.client)
