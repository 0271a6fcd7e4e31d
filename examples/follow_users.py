"""A service that follows users: it keeps what it needs of them in a database of its own, each change exactly once.

    FOLLOW_LOGIN=mailer FOLLOW_PASSWORD=... python examples/follow_users.py https://users.example.com/graphql people.db

It may be killed at any time, as may the server. docs/python-client.md explains why nothing is lost or counted twice.
"""

import os
import signal
import sqlite3
import sys
from contextlib import closing

from rollcall_client import ChangeType, Client, Credentials, LogChanged, SQLiteCheckpoint, UserChange

SCHEMA = """
CREATE TABLE IF NOT EXISTS people (
    id TEXT PRIMARY KEY, username TEXT NOT NULL, email TEXT NOT NULL, name TEXT NOT NULL, role TEXT NOT NULL,
    version INTEGER NOT NULL,
    changes INTEGER NOT NULL -- counted here, one by one
);
CREATE TABLE IF NOT EXISTS totals (type TEXT PRIMARY KEY, changes INTEGER NOT NULL);
"""
PUT = """
INSERT INTO people VALUES (?, ?, ?, ?, ?, ?, 1)
ON CONFLICT (id) DO UPDATE SET
    username = excluded.username, email = excluded.email, name = excluded.name, role = excluded.role,
    version = excluded.version, changes = changes + 1
"""
COUNT = "INSERT INTO totals VALUES (?, 1) ON CONFLICT (type) DO UPDATE SET changes = changes + 1"


def apply(database: sqlite3.Connection, change: UserChange) -> None:
    """Write what follows from one change. The checkpoint commits it, together with the place after the change."""
    user = change.user
    if user is not None:
        database.execute(PUT, (user.id, user.username, user.email, user.name, user.role, change.version))
    elif not change.damaged:  # deleted by this change, or by a later one
        database.execute("DELETE FROM people WHERE id = ?", (change.user_id,))
    database.execute(COUNT, (change.type,))
    if change.type == ChangeType.USER_REGISTERED:
        print(f"{change.position}: welcome, {change.user_id}", flush=True)


def follow(client: Client, database: sqlite3.Connection) -> None:
    """Apply all changes, from the first one of the log on."""
    checkpoint = SQLiteCheckpoint(database)
    while True:
        try:
            for change in client.user_changes(checkpoint=checkpoint):
                apply(database, change)
        except LogChanged:
            # The server was restored from a backup and may have other changes at the places that we know.
            database.execute("DELETE FROM people")
            database.execute("DELETE FROM totals")
            checkpoint.clear()


def main(url: str, path: str) -> None:
    """Follow until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    credentials = Credentials(os.environ["FOLLOW_LOGIN"], os.environ["FOLLOW_PASSWORD"])
    with closing(sqlite3.connect(path)) as database, Client(url, credentials=credentials) as client:
        database.execute("PRAGMA journal_mode = WAL")  # others may read while this process writes
        database.executescript(SCHEMA)
        follow(client, database)


if __name__ == "__main__":
    main(*sys.argv[1:])
