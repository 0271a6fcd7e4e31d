"""Lists of plain objects, completed by a plan instead of field by field.

The stock executor completes each field of each item by itself: path, resolver, checks, about nine microseconds. For a
page of users almost every field is an attribute of an object and a leaf of the answer, so what is to be done is the
same for all items. It is found out once per selection set and execution, and then done for each item in one go.

What a plan covers: an object of exactly the class that its GraphQL type is made from; fields that have no resolver of
their own; leaves, other such objects, and lists of them. Anything else, and anything that is not as it should be (a
null where none may be, a value that does not serialise), is left to the stock executor, which does that list or object
from the start: a plan changes nothing, so this is always possible. So the answer is the same, errors included, which
a test of generated queries compares.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from operator import attrgetter
from typing import Any, Final

from graphql import (
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    Undefined,
    is_leaf_type,
)
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.types.field import StrawberryField

Complete = Callable[[Any], Any]
"""From a value that a resolver returned to its place in the answer."""

FIELD: Final = "strawberry-definition"
"""Where Strawberry keeps its own description of a field or a type."""


class Uncovered(Exception):
    """A value is not what the plan is for; the stock executor knows what to do."""


class Executor(StrawberryGraphQLCoreExecutionContext):
    """Strawberry's executor, with plans for what is plain."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._plans: dict[tuple[GraphQLObjectType, int], Complete | None] = {}

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
            complete = _leaf(kind.coerce_output_value)
        return complete

    def _plan_of_object(self, kind: GraphQLObjectType, field_details_list: Any) -> Complete | None:
        # The executor keeps the list of field details alive for as long as it lives, so its id is nobody else's.
        key = (kind, id(field_details_list))
        if key not in self._plans:
            self._plans[key] = self._make_plan(kind, field_details_list)
        return self._plans[key]

    def _make_plan(self, kind: GraphQLObjectType, field_details_list: Any) -> Complete | None:
        fields, deferred, forbidden = self.collect_subfields(kind, field_details_list)
        origin = getattr(kind.extensions.get(FIELD), "origin", None)
        if origin is None or deferred or forbidden:
            return None
        parts = []
        for key, details in fields.items():
            part = self._part(kind, details)
            if part is None:
                return None
            parts.append((key, *part))
        return _object_of(origin, parts)

    def _part(self, kind: GraphQLObjectType, details: Any) -> tuple[Callable[[Any], Any], Complete] | None:
        """How to get a field of an object, and how to complete it."""
        name = details[0].node.name.value
        if name == "__typename":
            return (lambda _: kind.name), _same
        field = kind.fields.get(name)
        definition = field.extensions.get(FIELD) if field is not None else None
        if field is None or not isinstance(definition, StrawberryField) or not definition.is_basic_field or field.args:
            return None
        complete = _nullable(field.type, self._plan(field.type, details))
        return None if complete is None else (attrgetter(definition.python_name), complete)


def _covered(plan: Complete | None, value: Any) -> Any:
    if plan is None:
        raise Uncovered
    try:
        return plan(value)
    except AttributeError as error:
        raise Uncovered from error


def _nullable(kind: GraphQLOutputType, complete: Complete | None) -> Complete | None:
    """The plan of a place of this type, where null may stand or not."""
    if complete is None:
        return None
    if isinstance(kind, GraphQLNonNull):
        return complete

    def complete_or_null(value: Any) -> Any:
        return None if value is None else complete(value)

    return complete_or_null


def _list_of(complete: Complete | None) -> Complete | None:
    if complete is None:
        return None

    def complete_all(values: Any) -> list[Any]:
        if not isinstance(values, list):
            raise Uncovered
        return [complete(value) for value in values]

    return complete_all


def _object_of(origin: type, parts: Iterable[tuple[str, Callable[[Any], Any], Complete]]) -> Complete:
    planned = tuple(parts)

    def complete_object(value: Any) -> dict[str, Any]:
        if type(value) is not origin:
            raise Uncovered
        return {key: complete(get(value)) for key, get, complete in planned}

    return complete_object


def _leaf(serialize: Callable[[Any], Any]) -> Complete:
    def complete_leaf(value: Any) -> Any:
        try:
            served = None if value is None else serialize(value)
        except Exception as error:
            raise Uncovered from error
        if served is None or served is Undefined:
            raise Uncovered
        return served

    return complete_leaf


def _same(value: Any) -> Any:
    return value
