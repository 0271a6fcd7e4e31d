"""What each client sent and what it was told: JSON lines on disk, added to and never changed.

A client writes a line before it sends a command and another one when it is told the outcome, so the file holds what a
client could know whatever happens to it. The judge reads the files and compares them with the log.
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
    """The same for every attempt: the client's name and a number."""
    attempt: int
    kind: str
    """Name of the mutation."""
    key: str | None
    """The idempotency key that it carries."""
    caller: UUID | None
    """Who is signed in; None for nobody."""
    user: UUID | None
    """Whom it is to change; None for somebody new."""
    token: str | None
    """What tells this command's personal data from all others'; None if it has none."""
    role: str | None = None
    to: str
    """The API process."""


class Unanswered(Line, frozen=True, tag="unanswered", kw_only=True):
    """An attempt led to no answer, or to one that leaves open what became of it."""

    command: str
    why: str


class Done(Line, frozen=True, tag="done", kw_only=True):
    """The command was acknowledged."""

    command: str
    position: int
    user: UUID


class Refused(Line, frozen=True, tag="refused", kw_only=True):
    """The command was refused, as data: it must not have taken effect."""

    command: str
    codes: list[str]


class GivenUp(Line, frozen=True, tag="given_up", kw_only=True):
    """The client will never know what became of the command."""

    command: str


class Subscribed(Line, frozen=True, tag="subscribed", kw_only=True):
    """A subscription was begun after a position."""

    after: int
    to: str


class Heard(Line, frozen=True, tag="heard", kw_only=True):
    """A change was pushed."""

    position: int
    type: str
    user: UUID
    version: int


class Wrong(Line, frozen=True, tag="wrong", kw_only=True):
    """The client was told something that cannot be right."""

    why: str


AnyLine = Sent | Unanswered | Done | Refused | GivenUp | Subscribed | Heard | Wrong


class Ledger:
    """One client's."""

    def __init__(self, directory: Path, client: str) -> None:
        self.path = directory / f"{client}.jsonl"
        self._file: BufferedWriter = self.path.open("ab")

    def write(self, line: AnyLine) -> None:
        """Add a line; it is with the kernel when this returns."""
        self._file.write(msgspec.json.encode(msgspec.structs.replace(line, at=round(time.time(), 3))) + b"\n")
        self._file.flush()

    def close(self) -> None:
        """No more is written."""
        self._file.close()


@dataclass(frozen=True, slots=True)
class Entry:
    """A line and where it stands."""

    place: str
    """FILE:NUMBER."""
    line: Any


def read(directory: Path) -> Iterator[Entry]:
    """All lines of all ledgers; what a killed client left half written is passed over."""
    decoder = msgspec.json.Decoder(AnyLine)
    for path in sorted(directory.glob("*.jsonl")):
        for number, text in enumerate(path.read_bytes().splitlines(), start=1):
            with suppress(msgspec.DecodeError):
                yield Entry(f"{path.name}:{number}", decoder.decode(text))
