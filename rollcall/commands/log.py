"""`rollcall head`, `export`, `restore` and `rotate-master-key`: commands on the log."""

import asyncio
import os
import stat
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, Final
from uuid import UUID

import msgspec
import typer

from events.chain import Head, mark_at, read_head, verify_log
from events.consistency import Inconsistency, repair_claims, verify_users
from events.errors import BadExport, BadHeads, BrokenChain, LogNotEmpty
from events.export import ExportPart, export_log
from events.log_keys import LogKeys
from events.restore import restore_log
from events.rotation import rotate_master_key
from events.signed_heads import KeptHeads, read_signed_heads
from rollcall import exits
from rollcall.console import Advance, Json, note, progress, run, say, say_json, settings_for
from rollcall.settings import Settings
from rollcall.wiring import Installation, create_tables, open_installation, prepare_log

LINE_BYTES: Final = 32 * 1024 * 1024
"""Longest line of an export: an event whose personal data fills its column, in base64, and its other columns."""
HEAD_BYTES: Final = 4_096
"""Longest line of signed heads; a longer one is cut, and so refused."""
STANDARD: Final = Path("-")
"""Standard input or output."""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def head(as_json: Json = False) -> None:
    """Print the head of the log as POSITION:HASH.

    Keep it outside this machine. Later, `rollcall verify --log --expect POSITION:HASH` checks that the log up to that
    position is unchanged. Needs no keys.
    """
    run(show_head(settings_for("head"), as_json=as_json))


async def show_head(settings: Settings, *, as_json: bool) -> int:
    async with _opened(settings) as installation:
        head = await read_head(installation.database)
    _print(head, as_json=as_json)
    return exits.OK


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Installation]:
    """An installation with its tables created. The log's secret is not opened: a restore replaces it."""
    async with open_installation(settings, note) as installation:
        await create_tables(installation.database)
        yield installation


@dataclass(frozen=True, slots=True)
class SignedHeadsFile:
    """A file of signed heads, and the public keys that verify it."""

    path: Path
    public_keys: Sequence[bytes]

    def heads(self, file: BinaryIO, log_id: UUID) -> KeptHeads:
        """The heads that are in the file now, to compare. A last line that is being written is left out."""
        whole = os.fstat(file.fileno()).st_size

        def lines() -> Iterator[bytes]:
            done = 0
            while (line := file.readline(HEAD_BYTES)) and (done := done + len(line)) <= whole:
                if line.endswith(b"\n") or done < whole:
                    yield line

        return KeptHeads(read_signed_heads(lines(), log_id, self.public_keys))


async def verify_chain(
    settings: Settings,
    expected: Head | None,
    *,
    as_json: bool,
    with_keys: bool = True,
    against: SignedHeadsFile | None = None,
    repair: bool = False,
) -> int:
    """Verify the log, that it holds the head `expected` and all signed heads, and users' keys and claims; the work of
    `rollcall verify --log`. With `repair`, make the claims what the log adds up to, if the log is whole."""
    async with open_installation(settings, note) as installation:
        keys = await prepare_log(installation)
        try:
            with _opened_heads(against) as file, progress("verifying the log", "events") as advance:
                # The file first: every head in it is then one of the log.
                kept = against.heads(file, keys.log_id) if against and file else KeptHeads(iter(()))
                head = await verify_log(
                    installation.database, keys.chain, advance, expected=expected, passed=kept.passes
                )
                kept.finish(head)
        except OSError as error:
            return _unusable(f"--against {error.filename} cannot be read: {error.strerror}")
        except (BrokenChain, BadHeads) as broken:
            if as_json:
                place = {"line": broken.line} if isinstance(broken, BadHeads) else {"position": broken.position}
                say_json({"whole": False, **place, "reason": broken.reason})
            else:
                note(f"error: {broken}")
            return exits.FAULT
        if against is not None:
            note(f"the log holds all {kept.compared} signed heads")
        left = await _verify_users(installation, keys, as_json=as_json, repair=repair) if with_keys else []
    _print(head, as_json=as_json, whole=not left)
    return exits.FAULT if left else exits.OK


async def _verify_users(
    installation: Installation, keys: LogKeys, *, as_json: bool, repair: bool
) -> list[Inconsistency]:
    """Print each difference; return those that are there at the end."""
    database, vault = installation.database, installation.vault
    differences: list[Inconsistency] = []

    def found(inconsistency: Inconsistency) -> None:
        differences.append(inconsistency)
        if as_json:
            say_json(msgspec.to_builtins(inconsistency))
        else:
            say(str(inconsistency))

    with progress("verifying keys and claims", "users") as advance:
        await verify_users(database, vault, keys, found, advance)
    if not (repair and differences):
        return differences
    left: list[Inconsistency] = []
    with progress("repairing claims", "users") as advance:
        await repair_claims(database, vault, keys, advance)
    with progress("verifying again", "users") as advance:
        await verify_users(database, vault, keys, left.append, advance)
    for inconsistency in left:
        note(f"not repaired: {inconsistency}")
    note(f"{len(differences)} differences, {len(differences) - len(left)} repaired")
    return left


@contextmanager
def _opened_heads(against: SignedHeadsFile | None) -> Iterator[BinaryIO | None]:
    if against is None:
        yield None
    else:
        with against.path.open("rb") as file:
            yield file


@app.command("export")
def export_(
    file: Annotated[Path, typer.Argument(help="File to create; - is standard output.")] = STANDARD,
    after: Annotated[int, typer.Option(min=0, metavar="POSITION", help="Start after this position.")] = 0,
    with_keys: Annotated[
        bool, typer.Option("--with-keys", help="Include the user keys, wrapped by the master key.")
    ] = False,
) -> None:
    """Write the log up to its current head as JSON lines. All processes may keep running.

    Without --with-keys the personal data in the file stays sealed, and the restored log cannot be read. With it, the
    file and the master key give access to personal data, even that of users who are deleted later. Delete such files
    when your retention period ends.

    Consecutive exports are restored together: `cat first second | rollcall restore -`. Only the last one needs keys.
    Exit code 2: the file exists or cannot be written, or the log ends before POSITION.
    """
    run(export_to(settings_for("export"), None if file == STANDARD else file, after, with_keys=with_keys))


async def export_to(settings: Settings, target: Path | None, after: int, *, with_keys: bool) -> int:
    async with _opened(settings) as installation:
        begin = await mark_at(installation.database, after)
        if begin is None:
            return _unusable(f"--after {after}: the log ends at position {await installation.store.head()}")
        part = ExportPart(begin)
        try:
            with closing(_opened_to_write(target)) as file, progress("exporting", "events") as advance:
                database, vault = installation.database, installation.vault
                async for lines in export_log(database, vault, part, advance, with_keys=with_keys):
                    left = memoryview(lines)
                    while left:
                        left = left[file.write(left) :]
                if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    os.fsync(file.fileno())
        except OSError as error:
            return _unusable(f"{target or 'standard output'} cannot be written: {error.strerror}")
    note(f"exported {part.trailer.events} events, up to {part.mark}")
    return exits.OK


def _opened_to_write(target: Path | None) -> BinaryIO:
    """Open the target unbuffered, so that a closed pipe leaves no data to flush. A file must be new and is private."""
    if target is None:
        return open(sys.stdout.fileno(), "wb", buffering=0, closefd=False)
    return open(target, "xb", buffering=0, opener=lambda path, flags: os.open(path, flags, mode=0o600))


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="Output of `rollcall export --with-keys`; - is standard input.")],
    without_keys: Annotated[
        bool, typer.Option("--without-keys", help="Restore a log that can only be kept and verified, not read.")
    ] = False,
) -> None:
    """Restore an export into an empty log, completely or not at all. An altered or truncated file is refused.

    Restore before you start an API. Set the master key that wrapped the exported keys as ROLLCALL_MASTER_KEY or
    ROLLCALL_OTHER_MASTER_KEY. Projectors fill empty views; run `rollcall rebuild` for the others. Exit code 2: the log
    is not empty, or the file is damaged.
    """
    run(restore_from(settings_for("restore"), None if file == STANDARD else file, with_keys=not without_keys))


async def restore_from(settings: Settings, source: Path | None, *, with_keys: bool) -> int:
    try:
        file = source.open("rb") if source else sys.stdin.buffer
    except OSError as error:
        return _unusable(f"{source} cannot be read: {error.strerror}")
    async with _opened(settings) as installation:
        try:
            with file:
                head = await _restore_lines(installation, file, with_keys=with_keys)
        except OSError as error:
            return _unusable(f"{source or 'standard input'} cannot be read: {error.strerror}")
        except (BadExport, LogNotEmpty) as error:
            return _unusable(f"{error}; nothing was restored")
    if not with_keys:
        note("warning: restored without keys: the log can be kept and verified, but not read, and no username is taken")
    _print(head, as_json=False)
    return exits.OK


async def _restore_lines(installation: Installation, file: BinaryIO, *, with_keys: bool) -> Head:
    with ExitStack() as stack:
        claims: Advance | None = None

        def take_claims(done: int, total: int) -> None:
            nonlocal claims
            # Begins here, when the progress of the lines has ended.
            claims = claims or stack.enter_context(progress("taking claims", "users"))
            claims(done, total)

        async with aclosing(_lines(file)) as lines:
            return await restore_log(installation.database, installation.vault, lines, take_claims, with_keys=with_keys)


async def _lines(file: BinaryIO) -> AsyncGenerator[bytes, None]:
    """The lines of a file or a pipe. A line that is too long is truncated, and so refused by the restore."""
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
    """The lines of a pipe, read without blocking, so that signals are handled while the pipe is silent."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(LINE_BYTES, loop)

    async def next_line() -> bytes:
        try:
            return await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError as end:
            return end.partial
        except asyncio.LimitOverrunError:
            return await reader.read(LINE_BYTES)

    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader, loop=loop), file)
    with closing(transport):
        while line := await next_line():
            yield line


@app.command("rotate-master-key")
def rotate_master_key_() -> None:
    """Wrap the keys of all users with a new master key, while all processes keep running.

    1. Restart every process with the new key in ROLLCALL_OTHER_MASTER_KEY. 2. Restart every process with the new key in
    ROLLCALL_MASTER_KEY and the old one in ROLLCALL_OTHER_MASTER_KEY. 3. Run this command with the same two keys. 4.
    Restart every process without the old key.

    An interrupted run can be repeated. Exit code 2: ROLLCALL_OTHER_MASTER_KEY is not set; 3: a key is wrong, or that of
    a user was altered, and all others are done.
    """
    run(_rotate_master_key(settings_for("rotate-master-key")))


async def _rotate_master_key(settings: Settings) -> int:
    if settings.other_master_key is None:
        return _unusable(
            "ROLLCALL_OTHER_MASTER_KEY: required; set it to the old master key, and ROLLCALL_MASTER_KEY to the new one"
        )
    async with open_installation(settings, note) as installation:
        await prepare_log(installation)
        with progress("rewrapping", "keys") as advance:
            done = await rotate_master_key(installation.database, installation.vault, advance)
    key_id = installation.vault.master_key_id.hex()
    say(f"{done} keys were rewrapped; all are wrapped with the master key {key_id} now")
    return exits.OK


def _unusable(message: str) -> int:
    note(f"error: {message}")
    return exits.BAD_INPUT


def _print(head: Head, *, as_json: bool, **more: object) -> None:
    if as_json:
        say_json({**more, "position": head.position, "hash": head.hash.hex()})
    else:
        say(str(head))
