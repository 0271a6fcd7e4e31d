"""A file that is not what was exported is refused with the line, and nothing is restored."""

import base64
import secrets
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events import restore
from events.chain import next_hash
from events.database import Database
from events.errors import BadExport, WrongMasterKey
from events.export import EventLine, KeyLine, Trailer
from events.restore import ExportReader
from events.user import Delete
from events.vault import Vault
from tests.events.exports import exported, is_empty, read, restored, written
from tests.log import KEYS, MASTER_KEY, NOBODY, Log

Lines = list[bytes]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that small files have several."""
    monkeypatch.setattr(restore, "BATCH_LINES", 4)
    monkeypatch.setattr(restore, "PAGE_USERS", 2)


def without(text: Lines, number: int) -> Lines:
    """Lines less one; the first is number 1."""
    return [*text[: number - 1], *text[number:]]


def edited(text: Lines, number: int, old: bytes, new: bytes) -> Lines:
    """Lines with one altered."""
    assert old in text[number - 1]
    return [*text[: number - 1], text[number - 1].replace(old, new, 1), *text[number:]]


# The file of `lived`: a header, events in lines 2 to 10, users' keys in 11 to 15, those of passwords' hashes in 16 to
# 19, and the trailer in line 20.
FAULTS: dict[str, tuple[int, Callable[[Lines], Lines]]] = {
    "an edited role": (7, lambda text: edited(text, 7, b"ADMIN", b"CUSTOMER")),
    "an edited instant": (3, lambda text: edited(text, 3, b'"recorded_at":"2', b'"recorded_at":"3')),
    "an edited hash": (5, lambda text: edited(text, 5, b'"hash":"', b'"hash":"AA')),
    "an edited position": (5, lambda text: edited(text, 5, b'"position":4', b'"position":5')),
    "a version that is none": (5, lambda text: edited(text, 5, b'"version":1', b'"version":0')),
    "an instant without offset": (5, lambda text: edited(text, 5, b'Z","owner_id"', b'","owner_id"')),
    "a field more": (5, lambda text: edited(text, 5, b'{"line":"event"', b'{"line":"event","x":1')),
    "a field less": (5, lambda text: edited(text, 5, b'"position":4,', b"")),
    "bad JSON": (6, lambda text: edited(text, 6, b"}", b"")),
    "no JSON": (6, lambda text: [*text[:5], b"\xff\xfe\n", *text[5:]]),
    "an empty line": (6, lambda text: [*text[:5], b"\n", *text[5:]]),
    "a missing event": (4, lambda text: without(text, 4)),
    "a missing last event": (20 - 1, lambda text: without(text, 10)),
    "an event twice": (5, lambda text: [*text[:4], text[3], *text[4:]]),
    "two events swapped": (4, lambda text: [*text[:3], text[4], text[3], *text[5:]]),
    "an event among the keys": (12, lambda text: [*text[:11], text[9], *text[11:]]),
    "a missing key": (19, lambda text: without(text, 12)),
    "a missing key of a hash": (19, lambda text: without(text, 17)),
    "an edited version of a hash": (20, lambda text: edited(text, 16, b'"version":', b'"version":1')),
    "a key destroyed": (20, lambda text: edited(text, live_key(text), *destroying(text))),
    "no trailer": (19, lambda text: text[:-1]),
    "cut off after a line": (6, lambda text: text[:6]),
    "cut off in a line": (7, lambda text: [*text[:6], text[6][:40]]),
    "only a header": (1, lambda text: text[:1]),
    "nothing": (0, lambda text: []),
    "no header": (1, lambda text: text[1:]),
    "another format": (1, lambda text: edited(text, 1, b"rollcall log", b"other log")),
    "a newer version": (1, lambda text: edited(text, 1, b'"version":1', b'"version":2')),
    "a header that is no mark": (1, lambda text: edited(text, 1, b'"after":"0:', b'"after":"')),
    "a later part only": (1, lambda text: edited(text, 1, b'"after":"0:', b'"after":"4:')),
    "a trailer of fewer events": (20, lambda text: edited(text, 20, b'"events":9', b'"events":8')),
    "another digest": (20, lambda text: edited(text, 20, b'"sha256":"', b'"sha256":"0')),
    "another end": (20, lambda text: edited(text, 20, b'"head":"9:', b'"head":"9:0')),
    "something after the trailer": (21, lambda text: [*text, text[1]]),
    "a file that is none of ours": (1, lambda text: [b'{"username":"ada"}\n']),
}


def live_key(text: Lines) -> int:
    """The number of the first line with a key that is there."""
    return next(number for number, line in enumerate(text, 1) if b'"wrapped":"' in line)


def destroying(text: Lines) -> tuple[bytes, bytes]:
    """What to replace to make it one that is not."""
    line = read([text[live_key(text) - 1]])[0]
    assert isinstance(line, KeyLine)
    assert line.wrapped is not None
    return b'"' + base64.b64encode(line.wrapped) + b'"', b"null"


async def test_a_file_that_was_altered_or_cut_off_is_refused_with_the_line_and_nothing_is_restored(
    lived: Log, copy: Database
) -> None:
    """Whatever was done to it, by accident."""
    text = await exported(lived.database)
    assert len(text) == 20

    for fault, (line, make) in FAULTS.items():
        with pytest.raises(BadExport) as refusal:
            await restored(copy, make(text))
        assert (fault, refusal.value.line) == (fault, line)
        assert str(refusal.value).startswith(f"line {line}: ")
        assert await is_empty(copy), fault
    await restored(copy, text)


@pytest.mark.parametrize("with_keys", [True, False])
async def test_an_empty_file_is_refused_as_what_it_is(copy: Database, with_keys: bool) -> None:
    """As one is that `rollcall export > FILE` leaves on a full disk; an empty log is not what it stands for."""
    with pytest.raises(BadExport, match="line 0: the file is empty"):
        await restored(copy, [], with_keys=with_keys)
    assert await is_empty(copy)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 19), st.integers(0, 10_000), st.integers(0, 255))
async def test_a_file_of_which_any_byte_was_changed_is_refused(lived: Log, number: int, place: int, byte: int) -> None:
    """At its own line, or at the trailer where the line still means the same."""
    text = LINES.setdefault(lived.database.address.database, await exported(lived.database))
    line = bytearray(text[number])
    place %= len(line) - 1  # the line break
    line[place] = byte if byte != line[place] else byte ^ 1

    with pytest.raises((BadExport, WrongMasterKey)) as refusal:
        read_all([*text[:number], bytes(line), *text[number + 1 :]])

    if isinstance(refusal.value, BadExport):
        assert refusal.value.line in {number + 1, 20}


def read_all(text: Lines) -> None:
    """Read lines as a restore does."""
    reader = ExportReader(Vault(MASTER_KEY, secrets.token_bytes))
    for line in text:
        reader.read(line)


LINES: dict[str, Lines] = {}
"""Exports of logs that do not change any more, by schema."""


async def test_a_key_of_a_deleted_user_is_not_restored(lived: Log, copy: Database) -> None:
    """Not even if somebody puts an older export's key into a newer file."""
    ada = await lived.register("ada")
    older = {line.user_id: line for line in read(await exported(lived.database)) if isinstance(line, KeyLine)}
    await lived.commands.change(ada.user_id, Delete(), NOBODY)
    newer = read(await exported(lived.database))

    forged = [older[line.user_id] if isinstance(line, KeyLine) else line for line in newer]

    with pytest.raises(BadExport, match=f"{ada.user_id} was deleted here, yet its key is there"):
        await restored(copy, written(forged))
    assert await is_empty(copy)
    await restored(copy, written(newer))


async def test_a_missing_key_is_refused_even_when_the_trailer_fits(lived: Log, copy: Database) -> None:
    """A log whose user cannot be read would stop every reader."""
    lines = read(await exported(lived.database))
    lines.remove(next(line for line in lines if isinstance(line, KeyLine)))

    with pytest.raises(BadExport, match="the key of its user is lost"):
        await restored(copy, written(lines))
    assert await is_empty(copy)


async def test_an_altered_key_is_refused_even_when_the_trailer_fits(lived: Log, copy: Database) -> None:
    """The error blames the file and names the event."""
    lines = read(await exported(lived.database))
    place, key = next((n, one) for n, one in enumerate(lines) if isinstance(one, KeyLine) and one.wrapped is not None)
    assert key.wrapped is not None
    lines[place] = msgspec.structs.replace(key, wrapped=key.wrapped[:-1] + bytes([key.wrapped[-1] ^ 1]))

    with pytest.raises(
        BadExport,
        match=r"all lines were read, but event at position \d+ cannot be read: the key of its user was altered",
    ):
        await restored(copy, written(lines))
    assert await is_empty(copy)


async def test_two_users_with_one_name_are_refused(lived: Log, copy: Database) -> None:
    """However that came about: who signs in with it would be anybody's guess."""
    await lived.database.execute("DELETE FROM claims")
    await lived.register("user4", email="other@example.com")

    with pytest.raises(BadExport, match="Duplicate entry"):
        await restored(copy, await exported(lived.database))
    assert await is_empty(copy)


@pytest.mark.parametrize(
    "columns",
    [{"type": "x" * 65}, {"type": "Ü"}, {"version": 1}, {"stream_id": uuid4()}],
    ids=["long", "no ASCII", "twice", "unknown"],
)
async def test_what_mysql_or_the_program_cannot_hold_is_refused_though_the_chain_fits(
    lived: Log, copy: Database, columns: dict[str, Any]
) -> None:
    """As in a file that was made to do harm."""
    header, *lines, _ = read(await exported(lived.database, with_keys=False))
    events = [line for line in lines if isinstance(line, EventLine)]
    events[-1] = msgspec.structs.replace(events[-1], **columns)
    events[-1] = msgspec.structs.replace(events[-1], hash=next_hash(KEYS.chain, events[-2].hash, events[-1].link.row))
    keys = [line for line in read(await exported(lived.database)) if isinstance(line, KeyLine)]

    with pytest.raises(BadExport):
        await restored(
            copy, written([msgspec.structs.replace(header, keys=True), *events, *keys, Trailer(0, 0, "", "")])
        )
    assert await is_empty(copy)


async def test_parts_that_do_not_follow_one_another_are_refused(lived: Log, copy: Database) -> None:
    """In the wrong order, with one left out, twice, or of two logs; and when the last one has no keys."""
    first = await exported(lived.database)
    marks = [line.link.mark for line in read(first) if isinstance(line, EventLine)]
    second = await exported(lived.database, marks[3])
    third = await exported(lived.database, marks[6])
    begin = [first[0], *first[1:5]]

    for parts, line in [
        (second + begin, 1),
        (begin + third, 6),
        (begin + second + third, 5 + len(second) + 1),
        (first + first, 21),
        ([*begin, second[0].replace(b'"after":"4:', b'"after":"4:0')], 6),
    ]:
        with pytest.raises(BadExport) as refusal:
            await restored(copy, parts)
        assert refusal.value.line == line
    with pytest.raises(BadExport, match="the last part has no keys"):
        await restored(copy, first + await exported(lived.database, marks[-1], with_keys=False))
    assert await is_empty(copy)
