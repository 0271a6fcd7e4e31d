"""An executor for Strawberry that completes plain objects and lists by a plan instead of field by field.

The stock executor of graphql-core completes each field of each object by itself: path, resolver, checks, about nine
microseconds a field. In a page of users almost every field is an attribute of an object and a leaf of the answer, so
the work is the same for each of them. `PlanExecutor` finds out once what a selection needs (a *plan*) and then does it
a column at a time: one field of all objects, then the next. Most work of a column is a single call in C.

    schema = strawberry.Schema(Query, execution_context_class=PlanExecutor)

A plan covers

- objects whose class is the one that their GraphQL type was made from, or the one that this class names as `shows`;
- fields without arguments and extensions that have no resolver, or a synchronous one that takes only the object;
- leaves, and objects and lists of what is covered, nullable or not.

Everything else falls back to graphql-core: fields with arguments, abstract types, subclasses, awaitables, `@defer` and
`@stream`, schemas with field middleware. A list or an object also falls back when a plan meets a value out of order,
such as null for a non-null field or a value that does not serialize: graphql-core completes it from the start and
reports the errors. A plan has no effects, so that is always possible, and the answer is the same with a plan or
without. One difference is meant: errors in variables never suggest names ("did you mean").

What a schema must keep true:

- A resolver that takes only the object has no side effects, for it may run twice.
- A scalar whose `serialize` has a method `column` serializes a list with it: `column(values)` returns what `serialize`
  returns for each value, and raises if one of them raises.

Plans depend on the document and on the variables of its directives. `PlanCache.of(document)` keeps them from one
execution to the next (`execute(..., plans=cache)`) where no directive takes a variable.

`tests/graph/test_execution.py` compares both executors over generated queries, on values in order and out of order.
"""

from graph.execution.executor import PlanCache, PlanExecutor
from graph.execution.selections import depends_on_root_alone, directive_values

__all__ = ["PlanCache", "PlanExecutor", "depends_on_root_alone", "directive_values"]
