"""Parses and validates each document once: that is most of the work of a small query, and clients repeat a few."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from cachetools import LRUCache
from graphql import (
    ASTValidationRule,
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    parse,
    specified_rules,
    validate,
)
from strawberry.extensions import SchemaExtension

from graph.errors import ClientError
from graph.execution import PlanCache
from graph.limits import LIMITS, PARSER, NoServiceDefinition, check_values, within_limits_of

CACHE_CHARACTERS: Final = 400_000
"""Characters of all cached documents together. A parsed document takes 135 to 165 bytes a character: 66 MB at most."""
ENTRY_CHARACTERS: Final = 25
"""Memory of the shortest document without its characters, measured as 2,800 bytes. Without it, sixty thousand documents
of seven characters would take three times the limit."""
PLAN_CHARACTERS: Final = 3
"""Memory of a field in a plan, measured as 370 bytes. A small document can have large plans: a fragment has one for
each place where it is spread."""
LONGEST_CACHED: Final = 10_000
"""Characters. So no document evicts many others."""
MOST_FAULTS: Final = 20
"""Reported of one document."""
WITHOUT_INTROSPECTION: Final = (*LIMITS, (NoSchemaIntrospectionCustomRule, NoServiceDefinition))


class CheckedDocument(NamedTuple):
    """A document that parses, and the faults that validation found."""

    document: DocumentNode
    faults: tuple[GraphQLError, ...]
    plans: PlanCache | None
    """None if its selections depend on variables, so that plans are made for each execution."""
    characters: int

    @property
    def weight(self) -> int:
        """Its memory, in characters."""
        fields = self.plans.fields if self.plans is not None else 0
        return self.characters + ENTRY_CHARACTERS + PLAN_CHARACTERS * fields


class DocumentCache:
    """The documents that a schema executed last."""

    def __init__(self, *, introspection: bool = True) -> None:
        self._limits = LIMITS if introspection else WITHOUT_INTROSPECTION
        self._cached: LRUCache[str, CheckedDocument] = LRUCache(CACHE_CHARACTERS, lambda checked: checked.weight)

    def checked(self, schema: GraphQLSchema, text: str) -> CheckedDocument:
        """The document in a text.

        Raises:
            GraphQLError: it does not parse, or is too long to be parsed.
        """
        found = self._cached.get(text)
        if found is not None:
            return found
        document = parse(text, **PARSER)
        faults = _validate(schema, document, (*self._limits, specified_rules))
        checked = CheckedDocument(document, faults, PlanCache.of(document), len(text))
        if len(text) <= LONGEST_CACHED:
            self._cached[text] = checked
        return checked

    def faults(self, schema: GraphQLSchema, text: str) -> tuple[GraphQLError, ...]:
        """The errors of a document; empty if it can be executed."""
        try:
            return self.checked(schema, text).faults
        except GraphQLError as error:
            return (error,)

    def weigh(self, text: str) -> None:
        """Weigh a document again, after an execution that has added to its plans."""
        checked = self._cached.get(text)
        if checked is not None:
            self._cached[text] = checked


def _validate(
    schema: GraphQLSchema, document: DocumentNode, steps: Sequence[Sequence[type[ASTValidationRule]]]
) -> tuple[GraphQLError, ...]:
    """The faults of the first step that finds any. The limits are first, for other rules are slow on large documents.

    Faults have no "did you mean": it reveals fields, and takes time.
    """
    for rules in steps:
        faults = validate(schema, document, rules, max_errors=MOST_FAULTS, hide_suggestions=True)
        if faults:
            return tuple(faults)
    return ()


def request_faults(
    schema: GraphQLSchema, document: DocumentNode, operation_name: str | None, variables: dict[str, Any] | None
) -> list[GraphQLError]:
    """The faults of a request for a valid document: its variables are too large, or no operation is named.

    One must be named if there are several (specification, 6.1). The document of a subgraph is measured again for a
    batch that is larger than it was measured for.
    """
    faults: list[GraphQLError] = []
    operations = sum(isinstance(node, OperationDefinitionNode) for node in document.definitions)
    if operation_name is None and operations > 1:
        faults.append(GraphQLError("operationName is required: the document has several operations"))
    try:
        check_values("variables", variables)
    except ClientError as error:
        faults.append(error)
    if not faults and "_Entity" in schema.type_map and (rule := within_limits_of(document, variables)):
        faults += validate(schema, document, [rule])
    return faults


class CheckedDocuments(SchemaExtension):
    """Gives Strawberry the checked document of a request, instead of parsing and validating it again."""

    def __init__(self, documents: DocumentCache) -> None:
        super().__init__()
        self._documents = documents
        self._faults: tuple[GraphQLError, ...] = ()

    def on_parse(self) -> Iterator[None]:
        """Parse, or leave a document that does not parse to Strawberry, which parses it again under the same limits.

        Strawberry reports what its parser raises, but not what an extension raises: a socket's operation would end
        silently.
        """
        context = self.execution_context
        context.parse_options.update(PARSER)  # type: ignore[typeddict-item]
        try:
            found = self._documents.checked(context.schema._schema, context.query or "")  # noqa: SLF001
        except GraphQLError:
            yield
            return
        context.graphql_document, self._faults = found.document, found.faults
        yield

    def on_validate(self) -> Iterator[None]:
        """Report the faults. Of several unnamed operations Strawberry would run the first."""
        context = self.execution_context
        document = context.graphql_document
        name, schema = context._provided_operation_name, context.schema._schema  # noqa: SLF001
        faults = request_faults(schema, document, name, context.variables) if document is not None else ()
        context.pre_execution_errors = [*self._faults, *faults]
        yield
