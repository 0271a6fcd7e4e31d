"""The way to MongoDB. The only file that imports the driver's client, so that another could replace it here.

Motor runs each call on a thread; cancelling the call does not stop it. A cancelled write may therefore still happen,
and everything that writes through this must be harmless when repeated.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection, AsyncIOMotorDatabase
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    InvalidOperation,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from projections.errors import ViewRefused, ViewUnavailable

Document = dict[str, Any]
Collection = AsyncIOMotorCollection[Document]
MongoDatabase = AsyncIOMotorDatabase[Document]

# Not now: shutting down, not the primary (a failover), interrupted, out of time.
TRANSIENT = frozenset({89, 91, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436, 50})
# How the driver says that the client was closed while somebody still used it.
CLOSED = "after close"
# Unauthorized, AuthenticationFailed.
REFUSED = frozenset({13, 18})


DUPLICATE_KEY: Final = 11000


class MongoClient:
    """A pool of connections to the database that a `mongodb://` address names."""

    def __init__(self, url: str) -> None:
        self._client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
            url,
            uuidRepresentation="standard",
            serverSelectionTimeoutMS=3_000,
            connectTimeoutMS=3_000,
            socketTimeoutMS=60_000,
            w="majority",
            journal=True,
            tz_aware=True,
        )

    @property
    def documents(self) -> MongoDatabase:
        """The database that the address names.

        Raises:
            ConfigurationError: it names none.
        """
        return self._client.get_default_database()

    async def ping(self) -> None:
        """Reach the primary.

        Raises:
            ViewUnavailable: it does not answer.
        """
        with translated():
            await self._client.admin.command("ping")

    def close(self) -> None:
        """Close every connection."""
        self._client.close()


@contextmanager
def translated() -> Iterator[None]:
    """Turn every way of losing MongoDB into `ViewUnavailable`; let all else through."""
    try:
        yield
    except (ConnectionFailure, ServerSelectionTimeoutError) as error:
        raise ViewUnavailable(f"MongoDB: {_short(error)}") from error
    except InvalidOperation as error:
        if CLOSED not in str(error):
            raise
        raise ViewUnavailable("MongoDB: the program is stopping") from error
    except OperationFailure as error:
        if codes_of(error) & TRANSIENT:
            raise ViewUnavailable(f"MongoDB: {_short(error)}") from error
        if error.code in REFUSED:
            raise ViewRefused(f"MongoDB: {_short(error)}") from error
        raise


def codes_of(error: OperationFailure) -> set[int]:
    """Why it failed: of a bulk write its parts' reasons, and those why what was written was not confirmed."""
    details = error.details or {}
    failures = [*details.get("writeErrors", ()), *details.get("writeConcernErrors", ())]
    return {int(failure["code"]) for failure in failures} or {error.code or 0}


def is_in_the_way(error: BulkWriteError) -> bool:
    """Whether nothing was refused but for documents that are there already, and all that was written is confirmed."""
    return codes_of(error) == {DUPLICATE_KEY}


def _short(error: PyMongoError) -> str:
    """The driver appends a description of every server that it knows, over many lines."""
    return str(error).split(", Timeout:")[0].split(", full error:")[0]
