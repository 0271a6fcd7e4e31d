"""Plain objects and lists of them, completed by a plan instead of field by field.

The stock executor completes each field of each object by itself: path, resolver, checks, about nine microseconds. For a
page of users almost every field is an attribute of an object and a leaf of the answer, so what is to be done is the
same for all of them. It is found out once, and then done for one field of all objects after the other, in columns: what
takes several calls for each value otherwise is mostly one call for a column of them.

What a plan covers: objects of exactly the class that their GraphQL type is made from, or says that it `shows`; fields
that have no resolver of their own, or one that is given nothing but the object; leaves, other such objects, and lists
of them. Anything else, and anything that is not as it should be (a null where none may be, a value that does not
serialise), is left to the stock executor, which does that list or object from the start: a plan changes nothing, so
this is always possible. So the answer is the same, errors included, which a test of generated queries compares.
"""

from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from graphql import (
    GRAPHQL_MAX_INT,
    GRAPHQL_MIN_INT,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLID,
    GraphQLInt,
    GraphQLLeafType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLString,
    Undefined,
    is_leaf_type,
)
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.types.field import StrawberryField

Column = list[Any]
"""The values of one field, of one object after the other."""
Complete = Callable[[Column], Column]
"""From what resolvers returned to its places in the answer."""

FIELD: Final = "strawberry-definition"
"""Where Strawberry keeps its own description of a field or a type."""

AS_THEY_ARE: Final[dict[object, type]] = {GraphQLString: str, GraphQLID: str, GraphQLBoolean: bool, GraphQLInt: int}
"""Types whose values of the class beside are in the answer what they are; of integers, those of 32 bits."""

NOTHING: Final = frozenset({type(None), type(Undefined)})


class PlanCache:
    """Those of one document. They may be kept for as long as it is, if no directive in it depends on a variable."""

    def __init__(self) -> None:
        self.made: dict[Hashable, Complete | None] = {}
        self.fields = 0
        """Of all of them together, which is what they take in memory."""


class Uncovered(Exception):
    """A value is not what the plan is for; the stock executor knows what to do."""


class PlanExecutor(StrawberryGraphQLCoreExecutionContext):
    """Strawberry's executor, with plans for what is plain."""

    def __init__(self, *arguments: Any, plans: PlanCache | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._plans = plans or PlanCache()

    @classmethod
    def build(cls, *arguments: Any, **options: Any) -> Any:
        """Without "did you mean" for the values of variables too."""
        return super().build(*arguments, **{**options, "hide_suggestions": True})

    def complete_iterable_value(
        self, item_type: GraphQLOutputType, field_details_list: Any, info: Any, path: Any, items: Any, *rest: Any
    ) -> Any:
        """Complete a list: by a plan if all of it is covered."""
        if self.get_stream_usage(field_details_list, path) is None:
            plan = _list_of(_nullable(item_type, self._plan(item_type, field_details_list)))
            with suppress(Uncovered):
                return _covered(plan, items)
        return super().complete_iterable_value(item_type, field_details_list, info, path, items, *rest)

    def complete_object_value(
        self, return_type: GraphQLObjectType, field_details_list: Any, info: Any, path: Any, result: Any, *rest: Any
    ) -> Any:
        """Complete an object: by a plan if all of it is covered."""
        with suppress(Uncovered):
            return _covered(self._plan(return_type, field_details_list), result)
        return super().complete_object_value(return_type, field_details_list, info, path, result, *rest)

    def _plan(self, kind: GraphQLOutputType, field_details_list: Any) -> Complete | None:
        """How values of a type are completed under a selection; None if that is for the stock executor."""
        if self.middleware_manager is not None and self.middleware_manager.middlewares:
            return None  # somebody wants to see each field
        if isinstance(kind, GraphQLNonNull):
            return self._plan(kind.of_type, field_details_list)
        complete: Complete | None = None
        if isinstance(kind, GraphQLList):
            complete = _list_of(_nullable(kind.of_type, self._plan(kind.of_type, field_details_list)))
        elif isinstance(kind, GraphQLObjectType):
            complete = self._plan_of_object(kind, field_details_list)
        elif is_leaf_type(kind):
            complete = _leaf(kind)
        return complete

    def _plan_of_object(self, kind: GraphQLObjectType, field_details_list: Any) -> Complete | None:
        # The document keeps its nodes alive for as long as its plans are, so the id of each is nobody else's.
        key = (kind, *(id(details.node) for details in field_details_list))
        if key not in self._plans.made:
            self._plans.made[key] = self._make_plan(kind, field_details_list)
        return self._plans.made[key]

    def _make_plan(self, kind: GraphQLObjectType, field_details_list: Any) -> Complete | None:
        fields, deferred, forbidden = self.collect_subfields(kind, field_details_list)
        origin = getattr(kind.extensions.get(FIELD), "origin", None)
        if origin is None or deferred or forbidden or not fields:
            return None
        self._plans.fields += len(fields)
        parts = [self._part(kind, key, details) for key, details in fields.items()]
        covered = [part for part in parts if part is not None]
        return _object_of(getattr(origin, "shows", origin), covered) if len(covered) == len(parts) else None

    def _part(self, kind: GraphQLObjectType, key: str, details: Any) -> "Part | None":
        name = details[0].node.name.value
        if name == "__typename":
            return Part(key, lambda _: kind.name, _same)
        field = kind.fields.get(name)
        get = _getter(field.extensions.get(FIELD)) if field is not None and not field.args else None
        if field is None or get is None:
            return None
        complete = _nullable(field.type, self._plan(field.type, details))
        return None if complete is None else Part(key, get, complete)


class Part(NamedTuple):
    """One field of an object: its name in the answer, how to get its value, how to complete a column of them."""

    key: str
    get: Callable[[Any], Any]
    complete: Complete


def _getter(field: object) -> Callable[[Any], Any] | None:
    """What returns a field of an object; None if it takes more than the object."""
    if not isinstance(field, StrawberryField) or field.extensions:
        return None
    resolver = field.base_resolver
    if resolver is None:
        return attrgetter(field.python_name)
    wants_the_object_alone = list(resolver.signature.parameters) == ["root"] and not resolver.is_async
    return resolver if wants_the_object_alone else None


def _covered(plan: Complete | None, value: Any) -> Any:
    if plan is None:
        raise Uncovered
    [completed] = plan([value])
    return completed


def _nullable(kind: GraphQLOutputType, complete: Complete | None) -> Complete | None:
    """The plan of a place of this type, where null may stand or not."""
    if complete is None or isinstance(kind, GraphQLNonNull):
        return complete

    def complete_or_null(column: Column) -> Column:
        if NOTHING.isdisjoint(map(type, column)):
            return complete(column)
        completed = iter(complete([value for value in column if value is not None]))
        return [None if value is None else next(completed) for value in column]

    return complete_or_null


def _list_of(complete: Complete | None) -> Complete | None:
    if complete is None:
        return None

    def complete_all(column: Column) -> Column:
        _only(list, column)
        return [complete(values) for values in column]

    return complete_all


def _object_of(origin: type, parts: Sequence[Part]) -> Complete:
    keys, planned = [part.key for part in parts], [(part.get, part.complete) for part in parts]

    def complete_objects(column: Column) -> Column:
        _only(origin, column)
        completed = [complete(_got(get, column)) for get, complete in planned]
        if len(keys) == 1:  # as of the edges of a list, mostly
            return [{keys[0]: value} for value in completed[0]]
        return [
            dict(zip(keys, values, strict=False)) for values in zip(*completed, strict=False)
        ]  # as long as each other

    return complete_objects


def _got(get: Callable[[Any], Any], column: Column) -> Column:
    """A field of each object. Whatever is raised, the stock executor will meet it again, and knows what to do."""
    try:
        return list(map(get, column))
    except Exception as error:
        raise Uncovered from error


@lru_cache(maxsize=256)
def _leaf(kind: GraphQLLeafType) -> Complete:
    """A leaf says of each value what it is in the answer, and refuses what it is not made for."""
    same, members, serve = AS_THEY_ARE.get(kind), _members_of(kind), _serving(kind)

    def complete_leaves(column: Column) -> Column:
        kinds = set(map(type, column))
        if kinds == {same} and (same is not int or _fits(column)):
            return column
        if kind is GraphQLID and kinds == {UUID}:
            texts: Column = msgspec.to_builtins(column)
            return texts
        if not NOTHING.isdisjoint(kinds) or any(map(_is_for_the_executor, kinds)):
            raise Uncovered
        try:
            served = [members.names[value] for value in column] if kinds == {members.kind} else serve(column)
        except Exception as error:
            raise Uncovered from error
        if not NOTHING.isdisjoint(map(type, served)):
            raise Uncovered
        return served

    return complete_leaves


def _serving(kind: GraphQLLeafType) -> Complete:
    """What writes a column of leaves: what the scalar has for that, or else what it has for one value."""
    column = getattr(getattr(kind.extensions.get(FIELD), "serialize", None), "column", None)
    return column if column is not None else lambda values: list(map(kind.coerce_output_value, values))


def _is_for_the_executor(kind: type) -> bool:
    """An error in the place of a value is an error of the field; what can be waited for is not there yet."""
    return issubclass(kind, Exception) or hasattr(kind, "__await__")


def _fits(column: Column) -> bool:
    return bool(min(column) >= GRAPHQL_MIN_INT and max(column) <= GRAPHQL_MAX_INT)


class Members(NamedTuple):
    """An enum, and what its members are called in the answer. Of other leaves: no class, and no names."""

    kind: type | None
    names: dict[Any, str]


def _members_of(kind: GraphQLLeafType) -> Members:
    origin = getattr(kind.extensions.get(FIELD), "wrapped_cls", None)
    if origin is None or not isinstance(kind, GraphQLEnumType):
        return Members(None, {})
    # Strawberry looks for the name by going through them all, for each value anew.
    names = {value.value: name for name, value in kind.values.items()}
    return Members(origin, {one: names[one.value] for one in origin if one.value in names})


def _only(kind: type, column: Column) -> None:
    if set(map(type, column)) - {kind}:
        raise Uncovered


def _same(column: Column) -> Column:
    return column
