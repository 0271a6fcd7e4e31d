"""Documents, parsed and validated once each: that costs most of a small query, and clients send the same few again."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from graphql import DocumentNode, GraphQLError, OperationDefinitionNode
from strawberry.extensions import ParserCache, ValidationCache

CACHED_DOCUMENTS = 1_000


class Parsing(ParserCache):
    """Remembers the documents that parse.

    Others are left to Strawberry, which parses them once more: it reports what its own parser raises, but not what
    an extension does, and a socket's operation would end without a word.
    """

    def on_parse(self) -> Iterator[None]:
        context = self.execution_context
        with suppress(GraphQLError):
            context.graphql_document = self.cached_parse_document(context.query, **context.parse_options)
        yield


class Validating(ValidationCache):
    """Remembers what validation found; and of several operations, one must be named (specification, 6.1)."""

    def on_validate(self) -> Iterator[None]:
        context = self.execution_context
        for step in super().on_validate():
            document = context.graphql_document
            if document is not None and _is_ambiguous(document, context._provided_operation_name):  # noqa: SLF001
                unnamed = GraphQLError("operationName is required: the document has several operations")
                context.pre_execution_errors = [*(context.pre_execution_errors or ()), unnamed]
            yield step


def _is_ambiguous(document: DocumentNode, name: str | None) -> bool:
    return name is None and sum(isinstance(node, OperationDefinitionNode) for node in document.definitions) > 1


def caching() -> list[Any]:
    """The extensions for a schema. One instance a request, as Strawberry asks for; the caches are shared."""
    return [lambda: Parsing(maxsize=CACHED_DOCUMENTS), lambda: Validating(maxsize=CACHED_DOCUMENTS)]
