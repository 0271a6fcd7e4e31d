"""The connection to MongoDB. Only this module imports the driver's client.

Motor runs each call on a thread, and cancelling the call does not stop it. A cancelled write may still happen, so every
write must be harmless when repeated.
"""

import ssl
from collections.abc import Iterator, Mapping
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

from projections.errors import ViewRefused, ViewTlsRefused, ViewUnavailable
from projections.mongo.transport import MongoTls, TransportListener, finding

Document = dict[str, Any]
Collection = AsyncIOMotorCollection[Document]
MongoDatabase = AsyncIOMotorDatabase[Document]

# Shutting down, not the primary (a failover), interrupted, out of time.
TRANSIENT: Final = frozenset({89, 91, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436, 50})
REFUSED: Final = {
    13: "give the user the role readWrite on the database that ROLLCALL_MONGO_URL names",
    18: "check user, password and authSource in ROLLCALL_MONGO_URL",
}
"""Unauthorized, AuthenticationFailed: refusals of access, each with what to do."""
DUPLICATE_KEY: Final = 11000

FROM_A_REPLICA: Final[Mapping[str, Any]] = {
    "directConnection": True,
    "retryReads": False,
    # A replica that stops is noticed within two seconds. The driver then ends the calls that wait for it; each occupies
    # one of the few threads until then.
    "heartbeatFrequencyMS": 500,
    "connectTimeoutMS": 1_000,
    "serverSelectionTimeoutMS": 1_000,
    "socketTimeoutMS": 15_000,
}
"""Options of a client that reads from one member of a replica set, primary or not."""


class MongoClient:
    """Connections to the database that a `mongodb://` address names."""

    def __init__(self, url: str, tls: MongoTls | None = None, *, replica: bool = False) -> None:
        """Without `tls` the address says whether connections are encrypted. `replica`: only read from its one host."""
        options = {
            "uuidRepresentation": "standard",
            "serverSelectionTimeoutMS": 3_000,
            "connectTimeoutMS": 3_000,
            "socketTimeoutMS": 60_000,
            "w": "majority",
            "journal": True,
            # A write is guarded by what was read, so a read that a failover takes back would guard nothing.
            "readConcernLevel": "majority",
            "tz_aware": True,
            "event_listeners": [TransportListener(tls=tls is not None)],
            **(tls.options if tls else {}),
            **(FROM_A_REPLICA if replica else {}),
        }
        self._client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(url, **options)

    @property
    def documents(self) -> MongoDatabase:
        """The database that the address names.

        Raises:
            ConfigurationError: the address names no database.
        """
        return self._client.get_default_database()

    async def ping(self) -> None:
        """Reach the primary.

        Raises:
            ViewUnavailable: the primary does not answer.
        """
        with translated():
            await self._client.admin.command("ping")

    def close(self) -> None:
        self._client.close()


def url_of_each_host(url: str) -> dict[str, str]:
    """The addresses of the single hosts that an address lists, by host.

    Raises:
        ValueError: the address is of another form.
    """
    scheme, _, rest = url.partition("://")
    signed_in, at, location = rest.rpartition("@")
    hosts, slash, path = location.partition("/")
    if scheme != "mongodb" or not all(hosts.split(",")) or not path.partition("?")[0]:
        raise ValueError("expected mongodb://HOST:PORT,HOST:PORT/DATABASE")
    return {host: f"{scheme}://{signed_in}{at}{host}{slash}{path}" for host in hosts.split(",")}


@contextmanager
def translated() -> Iterator[None]:
    """Raise `ViewUnavailable` if MongoDB cannot be reached and `ViewRefused` if it refuses access.

    Raises:
        ViewTlsRefused: it is there, and the two sides do not agree on TLS.
    """
    try:
        yield
    except ssl.SSLCertVerificationError as error:  # the driver lets this one pass
        raise ViewTlsRefused(f"MongoDB: {error.verify_message}") from error
    except (ConnectionFailure, ServerSelectionTimeoutError) as error:
        if found := finding(error):
            server, tls = found
            refused = ViewTlsRefused if tls.certain else ViewUnavailable
            raise refused(f"MongoDB at {server}: {tls.reason}") from error
        raise ViewUnavailable(f"MongoDB: {_short(error)}") from error
    except InvalidOperation as error:
        if "after close" not in str(error):  # the driver has no error of its own for a closed client
            raise
        raise ViewUnavailable("MongoDB: the program is stopping") from error
    except OperationFailure as error:
        if codes_of(error) & TRANSIENT:
            raise ViewUnavailable(f"MongoDB: {_short(error)}") from error
        if error.code in REFUSED:
            raise ViewRefused(f"MongoDB: {_short(error)}; {REFUSED[error.code]}") from error
        raise


def codes_of(error: OperationFailure) -> set[int]:
    """The error's codes; of a bulk write, those of its failed writes and of unconfirmed ones."""
    details = error.details or {}
    failures = [*details.get("writeErrors", ()), *details.get("writeConcernErrors", ())]
    return {int(failure["code"]) for failure in failures} or {error.code or 0}


def only_duplicates(error: BulkWriteError) -> bool:
    """The only failed writes are inserts of ids that exist already, and all other writes are confirmed."""
    return codes_of(error) == {DUPLICATE_KEY}


def _short(error: PyMongoError) -> str:
    # The driver appends descriptions of all servers, over many lines.
    return str(error).split(", Timeout:")[0].split(", full error:")[0]
