"""An export is a whole beginning of the log, and has no key of a user whose deletion it has."""

import asyncio
import secrets
from collections import Counter
from uuid import UUID

import pytest

from events import chain, export
from events.chain import START, Head, link_of
from events.errors import BrokenChain, UnreadableEvent
from events.export import EventLine, ExportPart, Header, KeyLine, Line, Trailer
from events.log_keys import open_log_secret
from events.rows import EVENT_COLUMNS
from events.user import Delete, Update
from tests.events.exports import exported, read, silently
from tests.log import NOBODY, Log, wire


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that small logs have several, with much going on between them."""
    monkeypatch.setattr(chain, "PAGE_EVENTS", 5)
    monkeypatch.setattr(export, "PAGE_KEYS", 3)


def events_of(lines: list[Line]) -> list[EventLine]:
    """The event lines."""
    return [line for line in lines if isinstance(line, EventLine)]


def live_keys_of_deleted(lines: list[Line]) -> set[UUID]:
    """Users whose deletion an export has, and whose keys it has too."""
    deleted = {line.stream_id for line in events_of(lines) if line.type == "UserDeleted"}
    return deleted & {line.user_id for line in lines if isinstance(line, KeyLine) and line.wrapped is not None}


async def test_an_export_has_every_column_of_every_event_and_says_where_it_ends(log: Log) -> None:
    """Header, events, keys, trailer; a destroyed key as destroyed."""
    ada = await log.register("ada", attributes={"text": "line\u2028break\n😀"})
    bob = await log.register("bob")
    await log.commands.change(bob.user_id, Delete(), NOBODY)
    rows = [
        link_of(row) for row in await log.database.fetch_all(f"SELECT {EVENT_COLUMNS} FROM events ORDER BY position")
    ]

    header, first, second, third, *keys, trailer = read(await exported(log.database))

    assert isinstance(header, Header)
    assert (header.after, header.keys) == (str(START), True)
    assert header.log_secret == await open_log_secret(log.database, log.vault)
    assert [EventLine.of(link) for link in rows] == [first, second, third]
    assert all(EventLine.of(link).link.mark == link.mark for link in rows)
    assert {key.user_id: key.wrapped is None for key in keys if isinstance(key, KeyLine)} == {
        ada.user_id: False,
        bob.user_id: True,
    }
    assert isinstance(trailer, Trailer)
    assert (trailer.events, trailer.keys, trailer.head) == (3, 2, str(rows[-1].mark))


async def test_without_keys_nothing_in_an_export_tells_about_a_person(log: Log) -> None:
    """Neither in clear, nor in what could open it."""
    await log.register("wilhelmina", name="Wilhelmina Orange", attributes={"city": "Apeldoorn"})

    text = b"".join(await exported(log.database, with_keys=False))

    assert not any(word in text.lower() for word in (b"wilhelmina", b"orange", b"apeldoorn", b"wrapped"))


async def test_an_export_goes_on_after_any_position(log: Log) -> None:
    """Its header says after which; at the end there is nothing more."""
    for number in range(12):
        await log.register(f"user{number}")
    whole = read(await exported(log.database, with_keys=False))

    for position in (0, 1, 5, 11, 12):
        after = Head(position, events_of(whole)[position - 1].hash) if position else START
        header, *events, trailer = read(await exported(log.database, after, with_keys=False))

        assert isinstance(header, Header)
        assert (header.after, header.keys) == (str(after), False)
        assert events == whole[1 + position : -1]
        assert isinstance(trailer, Trailer)
        assert (trailer.events, trailer.head) == (12 - position, whole[-1].head)  # type: ignore[union-attr]


async def test_a_later_part_has_the_keys_of_all_users(log: Log) -> None:
    """Of those too whose events are in an earlier part: keys change, and only the last part's are valid."""
    for number in range(4):
        await log.register(f"user{number}")
    end = Head(4, events_of(read(await exported(log.database)))[-1].hash)
    await log.register("late")

    later = read(await exported(log.database, end))

    assert Counter(type(line) for line in later) == {Header: 1, EventLine: 1, KeyLine: 5, Trailer: 1}


async def test_a_deletion_in_the_middle_of_an_export_leaves_either_the_event_or_the_key_out(log: Log) -> None:
    """At whatever moment it comes, no export has both."""
    users = [(await log.register(f"user{number}")).user_id for number in range(12)]
    part, text = ExportPart(START), b""

    async for lines in export.export_log(log.database, log.vault, part, silently, with_keys=True):
        text += lines
        if users:
            await log.commands.change(users.pop(), Delete(), NOBODY)

    found = read(text.splitlines())
    assert live_keys_of_deleted(found) == set()
    assert part.mark.position == 12
    destroyed = {line.user_id for line in found if isinstance(line, KeyLine) and line.wrapped is None}
    assert len(destroyed) > 3, "the deletions came in the middle"


async def test_exports_while_others_append_and_delete_are_beginnings_of_the_log(log: Log) -> None:
    """Dense, whole up to where they end, with the keys of just those users that are in them, less the deleted."""
    writers = [wire(log.database) for _ in range(4)]

    async def write(writer: int) -> None:
        commands = writers[writer % 4].commands
        for number in range(12):
            user_id = (await writers[writer % 4].register(f"user{writer}.{number}")).user_id
            await commands.change(user_id, Update(name=secrets.token_hex(4)), NOBODY)
            if number % 2:
                await commands.change(user_id, Delete(), NOBODY)

    writing = asyncio.gather(*(write(number) for number in range(8)))
    exports = []
    while not writing.done():
        exports.append(read(await exported(log.database)))
    await writing
    whole = events_of(read(await exported(log.database)))

    assert len({len(events_of(lines)) for lines in exports}) > 3
    assert any(line.wrapped is None for lines in exports for line in lines if isinstance(line, KeyLine))
    for lines in exports:
        events = events_of(lines)
        assert events == whole[: len(events)]
        assert live_keys_of_deleted(lines) == set()
        assert {line.user_id for line in lines if isinstance(line, KeyLine)} == {line.stream_id for line in events}


async def test_a_broken_log_is_not_exported_as_if_it_were_whole(log: Log) -> None:
    """The export ends without its trailer, where the log is broken."""
    for number in range(8):
        await log.register(f"user{number}")

    await log.database.execute("UPDATE log_head SET position = 5")
    with pytest.raises(BrokenChain, match="log_head"):
        await exported(log.database)
    await log.database.execute("DROP TRIGGER events_refuse_update")
    await log.database.execute("UPDATE events SET data = '{}' WHERE position = 7")
    with pytest.raises(BrokenChain, match="position 7"):
        await exported(log.database)


async def test_a_lost_key_is_told_when_keys_are_asked_for(log: Log) -> None:
    """A copy without it would pass for one of a log whose user was forgotten."""
    await log.register("ada")
    bob = await log.register("bob")
    await log.database.execute("DELETE FROM user_keys WHERE user_id = %s", (bob.user_id.bytes,))

    with pytest.raises(UnreadableEvent, match=f"position {bob.position}.*lost"):
        await exported(log.database)
    assert len(await exported(log.database, with_keys=False)) == 4
