"""What operators do with the log itself: note where it ends, verify, export and restore it.

No key is needed to handle a log, so none is looked for, as `House.prepare_log` does.
"""

import asyncio
import os
import stat
import sys
from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing, closing
from pathlib import Path
from typing import BinaryIO, Final

from events.chain import Head, mark_at, read_head, verify_log
from events.errors import BadExport, BrokenChain, LogNotEmpty
from events.export import ExportPart, export_log
from events.restore import restore_log
from rollcall import exits
from rollcall.console import Advance, note, progress, say, say_json
from rollcall.settings import Settings
from rollcall.wiring import House, open_house

LINE_BYTES: Final = 32 * 1024 * 1024
"""The longest line of an export: an event whose personal data fills its column, in base64, and some."""


async def show_head(settings: Settings, *, as_json: bool) -> int:
    """`rollcall head`."""
    async with open_house(settings, note) as house:
        await house.make_tables()
        head = await read_head(house.database)
    _print(head, as_json=as_json)
    return exits.OK


async def verify_chain(settings: Settings, expected: Head | None, *, as_json: bool) -> int:
    """`rollcall verify --log`."""
    async with open_house(settings, note) as house:
        await house.make_tables()
        try:
            with progress("verifying the log", "events") as advance:
                head = await verify_log(house.database, advance, expected=expected)
        except BrokenChain as broken:
            return _tell_broken(broken, as_json=as_json)
    _print(head, as_json=as_json, whole=True)
    return exits.OK


async def export_to(settings: Settings, target: Path | None, after: int, *, with_keys: bool) -> int:
    """`rollcall export`; without a target to standard output."""
    async with open_house(settings, note) as house:
        await house.make_tables()
        begin = await mark_at(house.database, after)
        if begin is None:
            return _unusable(f"--after {after}: the log ends at position {await house.store.head()}")
        part = ExportPart(begin)
        try:
            with closing(_opened_to_write(target)) as file:
                await _export(house, part, file, with_keys=with_keys)
        except OSError as error:
            return _unusable(f"{target or 'standard output'} cannot be written: {error.strerror}")
    note(f"exported {part.trailer.events} events, up to {part.mark}")
    return exits.OK


async def restore_from(settings: Settings, source: Path | None, *, with_keys: bool) -> int:
    """`rollcall restore`; without a source from standard input."""
    try:
        file = source.open("rb") if source else sys.stdin.buffer
    except OSError as error:
        return _unusable(f"{source} cannot be read: {error.strerror}")
    async with open_house(settings, note) as house:
        await house.make_tables()
        try:
            with file:
                head = await _restore(house, file, with_keys=with_keys)
        except OSError as error:
            return _unusable(f"{source or 'standard input'} cannot be read: {error.strerror}")
        except (BadExport, LogNotEmpty) as error:
            return _unusable(f"{error}; nothing was restored")
    if not with_keys:
        note("warning: restored without keys, to be kept and verified: no program can read it, no name counts as taken")
    _print(head, as_json=False)
    return exits.OK


async def _export(house: House, part: ExportPart, file: BinaryIO, *, with_keys: bool) -> None:
    with progress("exporting", "events") as advance:
        async for lines in export_log(house.database, part, advance, with_keys=with_keys):
            left = memoryview(lines)
            while left:
                left = left[file.write(left) :]
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        os.fsync(file.fileno())


def _opened_to_write(target: Path | None) -> BinaryIO:
    """Unbuffered, so that nothing is left to be written when a reader has gone; a file is new, and its owner's only."""
    if target is None:
        return open(sys.stdout.fileno(), "wb", buffering=0, closefd=False)
    return open(target, "xb", buffering=0, opener=lambda path, flags: os.open(path, flags, mode=0o600))


async def _restore(house: House, file: BinaryIO, *, with_keys: bool) -> Head:
    with ExitStack() as stack:
        claims: Advance | None = None

        def take_claims(done: int, total: int) -> None:
            nonlocal claims
            claims = claims or stack.enter_context(progress("taking claims", "users"))  # the lines' bar has ended
            claims(done, total)

        async with aclosing(_lines(file)) as lines:
            return await restore_log(house.database, house.vault, lines, take_claims, with_keys=with_keys)


async def _lines(file: BinaryIO) -> AsyncGenerator[bytes, None]:
    """The lines of a file or a pipe; one that is too long is cut, so that it will be refused."""
    kind = os.fstat(file.fileno())
    if stat.S_ISFIFO(kind.st_mode) or stat.S_ISSOCK(kind.st_mode):
        async with aclosing(_piped_lines(file)) as lines:
            async for line in lines:
                yield line
        return
    with progress("restoring", "bytes") as advance:
        done = 0
        while line := file.readline(LINE_BYTES):
            yield line
            done += len(line)
            advance(done, kind.st_size)


async def _piped_lines(file: BinaryIO) -> AsyncGenerator[bytes, None]:
    """A pipe is waited for without blocking, so that a signal is heard while nothing comes."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(LINE_BYTES, loop)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader, loop=loop), file)
    with closing(transport):
        while line := await _line(reader):
            yield line


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as end:
        return end.partial
    except asyncio.LimitOverrunError:
        return await reader.read(LINE_BYTES)


def _unusable(message: str) -> int:
    note(f"error: {message}")
    return exits.BAD_INPUT


def _tell_broken(broken: BrokenChain, *, as_json: bool) -> int:
    if as_json:
        say_json({"whole": False, "position": broken.position, "reason": broken.reason})
    else:
        note(f"error: {broken}")
    return exits.FAULT


def _print(mark: Head, *, as_json: bool, **more: object) -> None:
    if as_json:
        say_json({**more, "position": mark.position, "hash": mark.hash.hex()})
    else:
        say(str(mark))
