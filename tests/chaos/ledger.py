"""The ledger of each client: an append-only file of JSON lines with requests and answers.

A client writes a line before it sends a command and another one when it learns the outcome, so the file holds all that
the client knew, even after a crash. The judge compares the files with the log.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec


class Line(msgspec.Struct, frozen=True, tag_field="what", omit_defaults=True, kw_only=True):
    """One line of a ledger."""

    at: float = 0.0
    """Unix time."""


class Sent(Line, frozen=True, tag="sent", kw_only=True):
    """A command is about to be sent."""

    command: str
    """The client's name and a number, the same for every attempt."""
    attempt: int
    kind: str
    """The name of the mutation."""
    key: str | None
    """The idempotency key."""
    caller: UUID | None
    """The signed-in user, or None."""
    key_owner: UUID | None = None
    """Whose idempotency key it is: the caller's, or the registration's own."""
    user: UUID | None
    """The user or data object to change; None for a new one."""
    token: str | None
    """A word that is unique to this command's personal data; None without such data."""
    role: str | None = None
    to: str
    """The API process."""


class Unanswered(Line, frozen=True, tag="unanswered", kw_only=True):
    """An attempt got no answer, or one that leaves the outcome unknown."""

    command: str
    why: str


class Done(Line, frozen=True, tag="done", kw_only=True):
    """The command was acknowledged."""

    command: str
    position: int
    user: UUID | None
    """The user or data object; None if it is deleted, and the answer does not say which it was."""


class Refused(Line, frozen=True, tag="refused", kw_only=True):
    """The command was refused with errors in its payload: it must not have taken effect."""

    command: str
    codes: list[str]


class Abandoned(Line, frozen=True, tag="abandoned", kw_only=True):
    """The client has stopped repeating the command without a known outcome."""

    command: str


class Subscribed(Line, frozen=True, tag="subscribed", kw_only=True):
    """A subscription started after a position."""

    after: int
    to: str


class Received(Line, frozen=True, tag="received", kw_only=True):
    """A subscriber received a change."""

    position: int
    type: str
    user: UUID
    version: int


class Delivered(Line, frozen=True, tag="delivered", kw_only=True):
    """The endpoint of a webhook is about to accept a message."""

    position: int
    event: UUID
    subject: UUID


class Published(Line, frozen=True, tag="published", kw_only=True):
    """A reader received a committed message from Kafka."""

    topic: str
    position: int
    subject: str


class Mailed(Line, frozen=True, tag="mailed", kw_only=True):
    """The mail server is about to take a mail."""

    id: str
    """Its Message-ID."""
    to: str
    subject: str


class Importing(Line, frozen=True, tag="importing", kw_only=True):
    """Rows are about to be imported."""

    usernames: list[str]


class Imported(Line, frozen=True, tag="imported", kw_only=True):
    """The rows with these usernames were imported, or had been by an earlier attempt."""

    usernames: list[str]


class Wrong(Line, frozen=True, tag="wrong", kw_only=True):
    """The client got an impossible answer."""

    why: str


AnyLine = (
    Sent
    | Unanswered
    | Done
    | Refused
    | Abandoned
    | Subscribed
    | Received
    | Delivered
    | Published
    | Mailed
    | Importing
    | Imported
    | Wrong
)


class Ledger:
    """The ledger of one client."""

    def __init__(self, directory: Path, client: str) -> None:
        self.path = directory / f"{client}.jsonl"
        self._file: BufferedWriter = self.path.open("ab")

    def write(self, line: AnyLine) -> None:
        """Append a line and flush it to the kernel."""
        self._file.write(msgspec.json.encode(msgspec.structs.replace(line, at=round(time.time(), 3))) + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass(frozen=True, slots=True)
class Entry:
    """A line and its place."""

    place: str
    """FILE:NUMBER."""
    line: Any


def read(directory: Path) -> Iterator[Entry]:
    """Read all lines of all ledgers; skip a line that a killed client left incomplete."""
    decoder = msgspec.json.Decoder(AnyLine)
    for path in sorted(directory.glob("*.jsonl")):
        for number, text in enumerate(path.read_bytes().splitlines(), start=1):
            with suppress(msgspec.DecodeError):
                yield Entry(f"{path.name}:{number}", decoder.decode(text))
