"""Export the log: as JSON lines, in the form of `events/transfer.py`.

What is read when. Appends and deletions go on meanwhile, and no transaction stays open, so not everything is read at
one moment. The end is fixed first: the head as it stands at the start. Then come the events up to it, which can never
change; and the keys only after them. A deletion destroys the key in the transaction of its event, and positions are
commit-ordered: so a key that is still there when keys are read belongs to a user whose deletion, if there is one, is
not in the export. The other way round, keys first, an export could hold a deleted user's event and key.

A user who is deleted after the end was fixed may already be without a key. Restored from such an export, the user is
forgotten although the event that says so is missing: what was asked for, a little early.

Without keys the personal data in an export stays sealed. With keys it is as good as open for whoever has the master
key, and an export does not forget: users who are deleted later can be read in it for as long as it exists. The keys
are therefore left out unless asked for, and each part that has keys has all of them, so that of a row of parts only
the newest needs any.

The claims and their key are not exported. They say nothing that the events do not, and are made anew from them.

Each event is checked to follow the one before it while it is read: what was exported can be restored.
"""

from collections.abc import AsyncIterator, Iterable
from typing import Final
from uuid import UUID

from events.database import Database
from events.errors import UnreadableEvent
from events.transfer import ENCODER, EventLine, Header, KeyLine, Line, Part
from events.verification import Progress, check_end, read_end, walk

PAGE_KEYS: Final = 1_000

READ_KEYS = """
SELECT e.stream_id, e.position, k.user_id IS NOT NULL, k.wrapped, k.master_key_id
FROM events AS e
LEFT JOIN user_keys AS k ON k.user_id = e.stream_id
WHERE e.stream_id > %s AND e.version = 1 AND e.position <= %s
ORDER BY e.stream_id
LIMIT %s
"""


async def export_log(database: Database, part: Part, progress: Progress, *, with_keys: bool) -> AsyncIterator[bytes]:
    """The log from where the part begins up to where it ends now: the lines of the part, many at a time.

    Raises:
        BrokenChain: the log is not what was written; what has been exported by then has no trailer.
        UnreadableEvent: a key was asked for that is lost.
    """
    after = part.mark.position
    head, end = await read_end(database)
    yield _written(part, [Header(str(part.mark), with_keys)])
    async for page in walk(database, part.mark, end):
        yield _written(part, map(EventLine.of, page))
        progress(part.mark.position - after, end - after)
    check_end(head, part.mark)
    if with_keys:
        async for keys in _keys(database, end):
            yield _written(part, keys)
    yield _text(part.trailer)


async def _keys(database: Database, up_to: int) -> AsyncIterator[list[KeyLine]]:
    """The keys of all users that the log has up to a position."""
    last = b""
    while rows := await database.fetch_all(READ_KEYS, (last, up_to, PAGE_KEYS)):
        for _, position, is_there, *_ in rows:
            if not is_there:
                raise UnreadableEvent(position, "the key of its user is lost; restore user_keys from a backup")
        yield [KeyLine(UUID(bytes=user_id), wrapped, master_key_id) for user_id, _, _, wrapped, master_key_id in rows]
        last = rows[-1][0]


def _written(part: Part, lines: Iterable[Line]) -> bytes:
    texts = []
    for line in lines:
        text = _text(line)
        part.count(line, text)
        texts.append(text)
    return b"".join(texts)


def _text(line: Line) -> bytes:
    return ENCODER.encode(line) + b"\n"
