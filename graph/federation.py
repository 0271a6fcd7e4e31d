"""Rollcall as a subgraph of Apollo Federation 2: `_entities` and `_service`, and the SDL that a gateway composes.

A gateway resolves `User` and `DataObject` of other subgraphs by their ids. It sends representations, such as
`{"__typename": "User", "id": "0190..."}`, and gets an entity for each, in their order: null where there is none that
the viewer may read, and an error of its own where a representation is malformed. So a bad reference in another
subgraph's data costs that reference only. A batch is one statement for each type.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Final, NamedTuple
from uuid import UUID

import strawberry
from graphql import (
    DefinitionNode,
    FieldDefinitionNode,
    ObjectTypeDefinitionNode,
    TypeDefinitionNode,
    parse,
    print_ast,
)

from events.data_object import DataObject
from events.user import User
from graph.context import Info
from graph.data_queries import readable_data_of
from graph.data_types import DataObjectType
from graph.errors import ClientError, bad_input
from graph.limits import ENTITIES, MOST_REPRESENTATIONS, SERVICE
from graph.queries import readable_users_of
from graph.scalars import Representation, user_id_of
from graph.types import UserType

USER: Final = "User"
DATA_OBJECT: Final = "DataObject"
KEY: Final = {"__typename", "id"}
LINK: Final = 'extend schema @link(url: "https://specs.apollo.dev/federation/v2.0", import: ["@key", "@shareable"])'
DIRECTIVES: Final = {
    node.name.value: node.directives
    for node in parse(
        'type User @key(fields: "id") type DataObject @key(fields: "id") type PageInfo @shareable'
    ).definitions
    if isinstance(node, ObjectTypeDefinitionNode)
}
"""By type. `PageInfo` is in each subgraph that has Relay's connections."""


class Reference(NamedTuple):
    """What a representation refers to."""

    type: str
    id: UUID


def reference_of(index: int, given: Any) -> Reference | ClientError:
    """The reference of a representation, or what is wrong with it."""
    place = f"representations[{index}]"
    if not isinstance(given, dict):
        return bad_input(f'{place}: expected an object such as {{"__typename": "User", "id": "..."}}')
    kind, id_ = given.get("__typename"), given.get("id")
    if kind not in (USER, DATA_OBJECT):
        return bad_input(f"{place}.__typename: expected {USER} or {DATA_OBJECT}, found {kind!r:.80}")
    if foreign := sorted(given.keys() - KEY):
        return bad_input(f"{place}: the key of {kind} is id alone, found also {foreign[0]!r:.80}")
    entity_id = user_id_of(id_) if isinstance(id_, str) else None
    if entity_id is None:
        return bad_input(f"{place}.id: expected the id of a {kind}, found {id_!r:.80}")
    return Reference(kind, entity_id)


async def entities(
    info: Info,
    representations: Annotated[
        list[Representation], strawberry.argument(description="At most 1,000, each with __typename and id.")
    ],
) -> list[User | DataObject | ClientError | None]:
    viewer = await info.context.signed_in()
    if len(representations) > MOST_REPRESENTATIONS:
        raise bad_input(f"representations: at most {MOST_REPRESENTATIONS:,}, found {len(representations):,}")
    wanted = [reference_of(index, given) for index, given in enumerate(representations)]
    found: dict[Reference, User | DataObject | ClientError] = {}
    if user_ids := _ids(USER, wanted):
        users = await readable_users_of(info, viewer, user_ids)
        found |= {Reference(USER, user_id): user for user_id, user in users.items()}
    if data_ids := _ids(DATA_OBJECT, wanted):
        data = await readable_data_of(info, viewer, list(data_ids))
        found |= {Reference(DATA_OBJECT, data_id): one for data_id, one in data.items()}
    return [found.get(one) if isinstance(one, Reference) else one for one in wanted]


def _ids(kind: str, wanted: Sequence[Reference | ClientError]) -> set[UUID]:
    return {one.id for one in wanted if isinstance(one, Reference) and one.type == kind}


@strawberry.type(name="_Service", description="This subgraph, for a gateway that composes.")
class Service:
    sdl: str = strawberry.field(description="What `rollcall schema --federation` prints.")


def service(info: Info) -> Service:
    schema: Any = info.schema
    return Service(sdl=schema.subgraph)


Entity = Annotated[
    UserType | DataObjectType, strawberry.union("_Entity", description="What other subgraphs may refer to by its id.")
]


@strawberry.type(name="Query")
class EntityQuery:
    entities: list[User | DataObject | ClientError | None] = strawberry.field(
        name=ENTITIES,
        resolver=entities,
        graphql_type=list[Entity | None],
        description=(
            "Users and data objects for a gateway, in the order of their representations; null where there is none\n"
            "that you may read."
        ),
    )
    service: Service = strawberry.field(
        name=SERVICE, resolver=service, description="The schema for a gateway; refused where introspection is off."
    )


def subgraph_sdl(sdl: str) -> str:
    """The SDL of a subgraph, from that of the schema.

    What federation adds to each subgraph by itself is left out, as its specification wants: all names with an
    underscore in front.
    """
    definitions = [_of_subgraph(one) for one in parse(sdl).definitions if not _is_added(one)]
    return "\n\n".join([LINK, *map(print_ast, definitions)])


def _is_added(node: DefinitionNode | FieldDefinitionNode) -> bool:
    return isinstance(node, TypeDefinitionNode | FieldDefinitionNode) and node.name.value.startswith("_")


def _of_subgraph(definition: DefinitionNode) -> DefinitionNode:
    if not isinstance(definition, ObjectTypeDefinitionNode):
        return definition
    fields = tuple(field for field in definition.fields or () if not _is_added(field))
    return replace(definition, fields=fields, directives=DIRECTIVES.get(definition.name.value, definition.directives))
