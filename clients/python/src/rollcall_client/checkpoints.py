"""Where a consumer of changes stores its place.

`user_changes(checkpoint=...)` begins after the place that the checkpoint loads, and stores the place after each change
once the consumer's loop asks for the next one. A consumer that ends in the middle of a change gets it again.

Exactly once needs one transaction for both, the consumer's own writes and the place. `SQLiteCheckpoint` commits them
together. Write the same for another database with its driver: two statements in the caller's open transaction.
"""

import os
import sqlite3
from collections.abc import Awaitable
from pathlib import Path
from typing import Protocol

from rollcall_client.errors import CheckpointMoved


class Checkpoint(Protocol):
    """A stored place in the log."""

    def load(self) -> str | None:
        """The place that was stored last; None for the beginning."""

    def store(self, cursor: str) -> None:
        """Store the place after a change, which the consumer is done with."""


class AsyncCheckpoint(Protocol):
    """A `Checkpoint` of `AsyncClient` whose methods wait. `AsyncClient` takes either."""

    def load(self) -> Awaitable[str | None]:
        """The place that was stored last; None for the beginning."""

    def store(self, cursor: str) -> Awaitable[None]:
        """Store the place after a change, which the consumer is done with."""


class FileCheckpoint:
    """A place in a file. Each change is processed at least once: the last one again after a crash."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    def load(self) -> str | None:
        """The place in the file."""
        try:
            return self._path.read_text(encoding="ascii")
        except FileNotFoundError:
            return None

    def store(self, cursor: str) -> None:
        """Replace the file, durably and in one step."""
        beside = self._path.with_name(f"{self._path.name}.new")
        with beside.open("w", encoding="ascii") as file:
            file.write(cursor)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


class SQLiteCheckpoint:
    """A place in the consumer's own SQLite database. Each change takes effect there exactly once.

    The consumer writes to the same connection and does not commit: `store` commits its writes together with the place.
    If the loop ends in between, the next `load` rolls them back, and the change comes again.

    Only one process can go on from a place. Another one that does so too gets `CheckpointMoved`, and its writes are
    rolled back.
    """

    def __init__(self, connection: sqlite3.Connection, name: str = "rollcall") -> None:
        if connection.isolation_level is None or getattr(connection, "autocommit", None) is True:
            raise ValueError("the connection commits each statement by itself: open it without autocommit")
        self._connection = connection
        self._name = name
        self._place: str | None = None

    def load(self) -> str | None:
        """The place in the database. Rolls back what an earlier loop has left open."""
        self._connection.rollback()
        self._connection.execute("CREATE TABLE IF NOT EXISTS checkpoints (name TEXT PRIMARY KEY, place TEXT NOT NULL)")
        found = self._connection.execute("SELECT place FROM checkpoints WHERE name = ?", (self._name,)).fetchone()
        self._connection.commit()
        self._place = None if found is None else str(found[0])
        return self._place

    def store(self, cursor: str) -> None:
        """Store the place and commit the open transaction.

        Raises:
            CheckpointMoved: the database no longer has the place that this process loaded or stored last.
        """
        # A compare-and-set: two processes that load one place would otherwise both apply the changes after it.
        if self._place is None:
            statement = "INSERT INTO checkpoints (place, name) VALUES (?, ?) ON CONFLICT (name) DO NOTHING"
            changed = self._connection.execute(statement, (cursor, self._name))
        else:
            statement = "UPDATE checkpoints SET place = ? WHERE name = ? AND place = ?"
            changed = self._connection.execute(statement, (cursor, self._name, self._place))
        if changed.rowcount != 1:
            self._connection.rollback()
            raise CheckpointMoved(f"checkpoint {self._name}: another process has stored its place; stop one of them")
        self._connection.commit()
        self._place = cursor

    def clear(self) -> None:
        """Remove the place and commit the open transaction, in which the consumer has removed what it keeps."""
        self._connection.execute("DELETE FROM checkpoints WHERE name = ?", (self._name,))
        self._connection.commit()
        self._place = None
