"""The executor: a plan for each selection that a plan covers, graphql-core for the rest."""

from collections.abc import Callable, Hashable
from contextlib import suppress
from operator import attrgetter
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    is_leaf_type,
)
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.types.field import StrawberryField

from graph.execution.columns import (
    FieldPlan,
    Plan,
    Uncovered,
    leaf_plan,
    list_plan,
    nullable_plan,
    object_plan,
    unchanged_plan,
)
from graph.execution.selections import STRAWBERRY, directive_variables


class PlanCache:
    """The plans of one document, kept from one execution to the next."""

    def __init__(self) -> None:
        self.plans: dict[Hashable, Plan | None] = {}
        self.fields = 0
        """Fields of all plans: a measure of their memory."""

    @classmethod
    def of(cls, document: DocumentNode) -> "PlanCache | None":
        """An empty cache; None if what the document selects depends on variables, since plans then differ each time."""
        return None if directive_variables([document]) else cls()


class PlanExecutor(StrawberryGraphQLCoreExecutionContext):
    """Strawberry's executor with plans."""

    def __init__(self, *arguments: Any, plans: PlanCache | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._cache = plans or PlanCache()

    @classmethod
    def build(cls, *arguments: Any, **options: Any) -> Any:
        """Build without "did you mean" in errors about variables."""
        return super().build(*arguments, **{**options, "hide_suggestions": True})

    def complete_iterable_value(
        self, item_type: GraphQLOutputType, field_details_list: Any, info: Any, path: Any, items: Any, *rest: Any
    ) -> Any:
        """Complete a list, by a plan if one covers all of it."""
        if type(items) is list and self.get_stream_usage(field_details_list, path) is None:
            plan = self._plan(item_type, field_details_list)
            if plan is not None:
                with suppress(Uncovered):
                    return plan(items)
        return super().complete_iterable_value(item_type, field_details_list, info, path, items, *rest)

    def complete_object_value(
        self, return_type: GraphQLObjectType, field_details_list: Any, info: Any, path: Any, result: Any, *rest: Any
    ) -> Any:
        """Complete an object, by a plan if one covers all of it."""
        plan = self._object_plan(return_type, field_details_list)
        if plan is not None:
            with suppress(Uncovered):
                [completed] = plan([result])
                return completed
        return super().complete_object_value(return_type, field_details_list, info, path, result, *rest)

    def _plan(self, kind: GraphQLOutputType, field_details_list: Any) -> Plan | None:
        """The plan of values of a type under a selection; None if the type is not covered."""
        if isinstance(kind, GraphQLNonNull):
            return self._non_null_plan(kind.of_type, field_details_list)
        plan = self._non_null_plan(kind, field_details_list)
        return nullable_plan(plan) if plan is not None else None

    def _non_null_plan(self, kind: GraphQLOutputType, field_details_list: Any) -> Plan | None:
        if isinstance(kind, GraphQLList):
            items = self._plan(kind.of_type, field_details_list)
            return list_plan(items) if items is not None else None
        if isinstance(kind, GraphQLObjectType):
            return self._object_plan(kind, field_details_list)
        return leaf_plan(kind) if is_leaf_type(kind) else None

    def _object_plan(self, kind: GraphQLObjectType, field_details_list: Any) -> Plan | None:
        if self.middleware_manager is not None and self.middleware_manager.middlewares:
            return None  # it expects to see each field
        # The ids are unique as long as the cache lives, for the document that it belongs to keeps the nodes alive.
        key = (kind, *(id(details.node) for details in field_details_list))
        if key not in self._cache.plans:
            self._cache.plans[key] = self._make_object_plan(kind, field_details_list)
        return self._cache.plans[key]

    def _make_object_plan(self, kind: GraphQLObjectType, field_details_list: Any) -> Plan | None:
        fields, deferred, forbidden = self.collect_subfields(kind, field_details_list)
        cls = getattr(kind.extensions.get(STRAWBERRY), "origin", None)
        if cls is None or deferred or forbidden or not fields:
            return None
        self._cache.fields += len(fields)
        found = [self._field_plan(kind, key, details) for key, details in fields.items()]
        covered = [field for field in found if field is not None]
        return object_plan(getattr(cls, "shows", cls), covered) if len(covered) == len(found) else None

    def _field_plan(self, kind: GraphQLObjectType, key: str, details: Any) -> FieldPlan | None:
        name = details[0].node.name.value
        if name == "__typename":
            return FieldPlan(key, lambda _: kind.name, unchanged_plan)
        field = kind.fields.get(name)
        value = _getter(field.extensions.get(STRAWBERRY)) if field is not None and not field.args else None
        if field is None or value is None:
            return None
        plan = self._plan(field.type, details)
        return FieldPlan(key, value, plan) if plan is not None else None


def _getter(field: object) -> Callable[[Any], Any] | None:
    """The function from an object to the value of a field; None if it takes more than the object."""
    if not isinstance(field, StrawberryField) or field.extensions:
        return None
    resolver = field.base_resolver
    if resolver is None:
        return attrgetter(field.python_name)
    return resolver if list(resolver.signature.parameters) == ["root"] and not resolver.is_async else None
