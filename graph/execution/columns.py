"""Plans: functions that complete a column, the values of one field of one object after the other."""

from collections.abc import Callable, Sequence
from functools import lru_cache
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
    GraphQLString,
    Undefined,
)

from graph.execution.selections import STRAWBERRY

Column = list[Any]
Plan = Callable[[Column], Column]
"""From a column of values, as resolvers return them, to a column of the answer."""

UNCHANGED: Final[dict[object, type]] = {GraphQLString: str, GraphQLID: str, GraphQLBoolean: bool, GraphQLInt: int}
"""Leaf types, and the class of the values that need no conversion; integers only within 32 bits."""
NULLS: Final = frozenset({type(None), type(Undefined)})


class Uncovered(Exception):
    """A value is not what the plan was made for; the stock executor completes it."""


class FieldPlan(NamedTuple):
    """One field of an object: its key in the answer, its value of an object, and the plan of a column of values."""

    key: str
    value: Callable[[Any], Any]
    plan: Plan


def object_plan(cls: type, fields: Sequence[FieldPlan]) -> Plan:
    """The plan of objects of exactly this class."""
    keys = [field.key for field in fields]
    columns = [(field.value, field.plan) for field in fields]

    def complete(objects: Column) -> Column:
        _only(cls, objects)
        completed = [plan(_values(value, objects)) for value, plan in columns]
        if len(keys) == 1:  # usual for the edges of a connection
            return [{keys[0]: value} for value in completed[0]]
        return [dict(zip(keys, values, strict=False)) for values in zip(*completed, strict=False)]  # equally long

    return complete


def _values(value: Callable[[Any], Any], objects: Column) -> Column:
    try:
        return list(map(value, objects))
    except Exception as error:  # the stock executor meets it again, and reports it
        raise Uncovered from error


def list_plan(items: Plan) -> Plan:
    """The plan of lists, by the plan of their items."""

    def complete(lists: Column) -> Column:
        _only(list, lists)
        return [items(values) for values in lists]

    return complete


def nullable_plan(plan: Plan) -> Plan:
    """The plan of values among which null may stand."""

    def complete(column: Column) -> Column:
        if NULLS.isdisjoint(map(type, column)):
            return plan(column)
        completed = iter(plan([value for value in column if value is not None]))
        return [None if value is None else next(completed) for value in column]

    return complete


@lru_cache(maxsize=256)
def leaf_plan(kind: GraphQLLeafType) -> Plan:
    """The plan of scalars or of members of an enum."""
    unchanged = UNCHANGED.get(kind)
    enum = getattr(kind.extensions.get(STRAWBERRY), "wrapped_cls", None) if isinstance(kind, GraphQLEnumType) else None
    members = _member_names(kind, enum) if isinstance(kind, GraphQLEnumType) and enum is not None else {}
    serialize = getattr(getattr(kind.extensions.get(STRAWBERRY), "serialize", None), "column", None)

    def complete(column: Column) -> Column:
        classes = set(map(type, column))
        if classes == {unchanged} and (unchanged is not int or _is_32_bits(column)):
            return column
        if kind is GraphQLID and classes == {UUID}:
            texts: Column = msgspec.to_builtins(column)
            return texts
        if not NULLS.isdisjoint(classes) or any(map(_is_no_value, classes)):
            raise Uncovered
        try:
            if classes == {enum}:
                served = [members[value] for value in column]
            else:
                served = serialize(column) if serialize is not None else list(map(kind.coerce_output_value, column))
        except Exception as error:
            raise Uncovered from error
        if not NULLS.isdisjoint(map(type, served)):
            raise Uncovered
        return served

    return complete


def unchanged_plan(column: Column) -> Column:
    """The plan of what stands in the answer already."""
    return column


def _member_names(kind: GraphQLEnumType, enum: Any) -> dict[Any, str]:
    """An enum's members with their names in the answer. Strawberry searches all of them for each value."""
    names = {value.value: name for name, value in kind.values.items()}
    return {member: names[member.value] for member in enum if member.value in names}


def _is_no_value(cls: type) -> bool:
    """An exception in the place of a value is an error of the field; an awaitable is no value yet."""
    return issubclass(cls, Exception) or hasattr(cls, "__await__")


def _is_32_bits(column: Column) -> bool:
    return bool(min(column) >= GRAPHQL_MIN_INT and max(column) <= GRAPHQL_MAX_INT)


def _only(cls: type, column: Column) -> None:
    if set(map(type, column)) - {cls}:
        raise Uncovered
