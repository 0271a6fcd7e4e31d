"""The quarantine of the MongoDB view: a list in the checkpoint's document, compared and set together with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

import msgspec
from bson.errors import BSONError
from pymongo.errors import BulkWriteError, DocumentTooLarge, OperationFailure

from projections.document.client import REFUSED, TRANSIENT, Document, codes_of
from projections.errors import RefusedValue, ViewUnavailable
from projections.quarantine import Quarantine

PROBE: Final[Document] = {"_id": UUID(int=0)}


def quarantine_of(standing: Document) -> Quarantine:
    """What a checkpoint's document says of users that are set aside."""
    return msgspec.convert(standing.get("quarantine") or [], Quarantine)


def as_documents(quarantine: Quarantine) -> list[Document]:
    """The quarantine as the checkpoint's document holds it."""
    return [msgspec.to_builtins(one, builtin_types=(UUID,)) for one in quarantine]


@contextmanager
def refusals_told() -> Iterator[None]:
    """Tell what MongoDB, or its driver, does not take, by codes alone: messages quote values, which no log may show.

    Raises:
        RefusedValue: a write failed for another reason than that MongoDB is away or that a guard did not hold.
        ViewUnavailable: one of many writes failed because MongoDB is on its way out.
    """
    try:
        yield
    except BulkWriteError as error:
        if (codes := codes_of(error)) & TRANSIENT:
            raise ViewUnavailable(f"MongoDB: a write failed with error {codes}") from None
        raise RefusedValue(f"MongoDB refuses it with error {codes}") from None
    except OperationFailure as error:
        if error.code in TRANSIENT | REFUSED:
            raise
        raise RefusedValue(f"MongoDB refuses it with error {error.code}") from None
    except (BSONError, DocumentTooLarge, OverflowError) as error:
        raise RefusedValue(f"it is no document that MongoDB can hold ({type(error).__name__})") from None
