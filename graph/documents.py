"""Documents, parsed and checked once each: that costs most of a small query, and clients send the same few again."""

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

from graph.choices import choices
from graph.execution import PlanCache
from graph.limits import LIMITS, PARSER

REMEMBERED_CHARACTERS: Final = 400_000
"""Of all remembered documents together. Parsed, a document takes 135 to 165 bytes a character: 66 MB at most."""
ENTRY_CHARACTERS: Final = 25
"""What the shortest document takes beside its characters, measured as 2,800 bytes. Sixty thousand of seven characters
would be three times as large as they look.
"""
PLANNED_CHARACTERS: Final = 3
"""What a field in a plan takes, measured as 370 bytes. Small documents can have large plans: of one fragment in many
places, one for each.
"""
LONGEST_REMEMBERED: Final = 10_000
"""So that no one document drives out many."""
MOST_FAULTS: Final = 20
"""Faults of a document that are told; finding out more would only cost time."""
WITHOUT_INTROSPECTION: Final = (*LIMITS, (NoSchemaIntrospectionCustomRule,))
"""Made once: rules that are made for each request would be other ones each time, and nothing could be remembered."""


class Checked(NamedTuple):
    """A document that parses, and what is wrong with it."""

    document: DocumentNode
    faults: tuple[GraphQLError, ...]
    plans: PlanCache | None
    """How its selections are completed; None if that depends on variables, and is found out for each execution."""
    characters: int
    """In its text."""

    @property
    def weight(self) -> int:
        """What it takes in memory, in characters."""
        fields = self.plans.fields if self.plans is not None else 0
        return self.characters + ENTRY_CHARACTERS + PLANNED_CHARACTERS * fields


class DocumentCache:
    """The documents that a schema was asked last."""

    def __init__(self, *, introspection: bool = True) -> None:
        self._limits = LIMITS if introspection else WITHOUT_INTROSPECTION
        self._remembered: LRUCache[str, Checked] = LRUCache(REMEMBERED_CHARACTERS, lambda checked: checked.weight)

    def checked(self, schema: GraphQLSchema, text: str) -> Checked:
        """The document in a text, and its faults.

        Raises:
            GraphQLError: it does not parse, or is too long to.
        """
        found = self._remembered.get(text)
        if found is not None:
            return found
        document = parse(text, **PARSER)
        plans = None if choices([document]) else PlanCache()
        checked = Checked(document, tuple(_faults(schema, document, self._limits)), plans, len(text))
        if len(text) <= LONGEST_REMEMBERED:
            self._remembered[text] = checked
        return checked

    def faults(self, schema: GraphQLSchema, text: str) -> tuple[GraphQLError, ...]:
        """What is wrong with the document in a text; nothing if it could be carried out."""
        try:
            return self.checked(schema, text).faults
        except GraphQLError as error:
            return (error,)

    def weigh(self, text: str) -> None:
        """Count what a document has grown by, now that it was carried out."""
        checked = self._remembered.get(text)
        if checked is not None:
            self._remembered[text] = checked


class Checking(SchemaExtension):
    """Gives Strawberry the checked document of a request, instead of parsing and validating it again."""

    def __init__(self, documents: DocumentCache) -> None:
        super().__init__()
        self._documents = documents
        self._faults: tuple[GraphQLError, ...] = ()

    def on_parse(self) -> Iterator[None]:
        """A document that does not parse is left to Strawberry, which parses it once more under the same limits: it
        reports what its own parser raises, but not what an extension does, and a socket's operation would end without
        a word.
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
        """Of several operations, one must be named (specification, 6.1); Strawberry would run the first."""
        context = self.execution_context
        document = context.graphql_document
        name = context._provided_operation_name  # noqa: SLF001
        context.pre_execution_errors = [*self._faults, *(unnamed(document, name) if document is not None else ())]
        yield


def _faults(
    schema: GraphQLSchema, document: DocumentNode, limits: Sequence[Sequence[type[ASTValidationRule]]]
) -> list[GraphQLError]:
    """What is wrong with a document. The limits come first, since some of the other rules take long over large ones.

    Without "did you mean": it tells of fields that one was not told of, and takes time.
    """
    for rules in (*limits, specified_rules):
        faults = validate(schema, document, rules, max_errors=MOST_FAULTS, hide_suggestions=True)
        if faults:
            return faults
    return []


def unnamed(document: DocumentNode, name: str | None) -> list[GraphQLError]:
    """What is wrong with naming no operation of this document."""
    if name is not None or sum(isinstance(node, OperationDefinitionNode) for node in document.definitions) <= 1:
        return []
    return [GraphQLError("operationName is required: the document has several operations")]


def checking(documents: DocumentCache) -> Any:
    """The extension for a schema. One instance a request, as Strawberry asks for; what is remembered is shared."""
    return lambda: Checking(documents)
