"""`rollcall heads`: sign the head of the log every few seconds, for whoever cannot be reached with MySQL's password."""

import asyncio
import base64
import os
import stat
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Final

import aiohttp
import msgspec
import structlog
import typer

from events.errors import BrokenChain, DatabaseUnavailable
from events.retry import Backoff, retry
from events.signed_heads import HeadFollower, HeadKey, SignedHead
from rollcall import exits
from rollcall.console import note, run, say, settings_for
from rollcall.keys import head_key
from rollcall.settings import BadSettings, Settings
from rollcall.wiring import now, open_installation, prepare_log, when_available

app = typer.Typer(rich_markup_mode=None, add_completion=False)
log = structlog.get_logger(__name__)

REPEAT_SECONDS: Final = 60.0
"""A head that does not change is signed again after this time, which shows that the log stands still."""
POST_SECONDS: Final = 10.0
LAST_BYTES: Final = 4_096
"""The end of a file in which its last line is looked for; a line has about 350 bytes."""

Send = Callable[[bytes], Awaitable[None]]
"""Keeps one line; returns when it is safe.

Raises:
    NotKept: it could not be kept; a retry may succeed.
"""


class NotKept(Exception):
    """A signed head could not be written where ROLLCALL_HEADS says."""


@app.command()
def heads(
    public_key: Annotated[
        bool, typer.Option("--public-key", help="Print the public key for `rollcall verify --log --against`, and end.")
    ] = False,
) -> None:
    """Sign the head of the log every few seconds and write it to ROLLCALL_HEADS, until SIGINT or SIGTERM.

    ROLLCALL_HEADS is a file, to which lines are appended, a URL, to which they are posted, or - for standard output.
    Choose a place where the account of the database cannot write. Every event since the last signed head is verified
    before the next one is signed. Later, `rollcall verify --log --against FILE` proves that no signed head was
    rewritten or cut. Exit code 2: a setting is missing; 3: the log is broken, and nothing more is signed.
    """
    settings = settings_for("heads")
    try:
        key = HeadKey.from_seed(head_key(settings))
    except BadSettings as error:
        note(f"error: {error}")
        raise typer.Exit(exits.BAD_INPUT) from None
    if public_key:
        say(base64.b64encode(key.public).decode())
        raise typer.Exit
    run(sign_heads(settings, key), when_stopped=exits.OK)


async def sign_heads(settings: Settings, key: HeadKey) -> int:
    """Sign heads until cancelled.

    Raises:
        BadSettings: ROLLCALL_HEADS is missing or cannot be written.
        BrokenChain: the log is not what was written.
    """
    if settings.heads is None:
        raise BadSettings("ROLLCALL_HEADS: required; a file, a URL, or - for standard output")
    async with open_installation(settings, note) as installation, _opened(settings.heads) as (send, last):
        keys = await when_available(lambda: prepare_log(installation))
        if last is not None and last.log != keys.log_id:
            raise BadSettings(f"ROLLCALL_HEADS: {settings.heads} has heads of the log {last.log}, not of {keys.log_id}")
        follower = HeadFollower(installation.database, keys, last.head if last else None)
        written, repeat_at, backoff = None, 0.0, Backoff()

        async def sign() -> None:
            nonlocal written, repeat_at
            while True:
                head = await follower.next()
                if head != written or time.monotonic() >= repeat_at:
                    await send(key.sign(keys.log_id, head, now()).line)
                    written, repeat_at = head, time.monotonic() + REPEAT_SECONDS
                backoff.reset()
                await asyncio.sleep(settings.heads_seconds)

        def waiting(error: Exception, pause: float) -> None:
            log.warning("heads.waiting", error=str(error), retry_in=pause)

        try:
            await retry(sign, (DatabaseUnavailable, NotKept), backoff=backoff, waiting=waiting)
        except BrokenChain as broken:
            log.error("heads.broken", position=broken.position, reason=broken.reason)  # noqa: TRY400 - no traceback
            raise
    return exits.OK


@asynccontextmanager
async def _opened(target: str) -> AsyncIterator[tuple[Send, SignedHead | None]]:
    """What keeps lines at the target, and the last head that is there already, if it is a file."""
    if target.startswith(("http://", "https://")):
        timeout = aiohttp.ClientTimeout(total=POST_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session:
            yield _poster(session, target), None
    elif target == "-":
        yield _appender(sys.stdout.fileno()), None
    else:
        file, last = _opened_file(Path(target))
        try:
            yield _appender(file), last
        finally:
            os.close(file)


def _poster(session: aiohttp.ClientSession, url: str) -> Send:
    async def send(line: bytes) -> None:
        try:
            async with session.post(url, data=line, headers={"Content-Type": "application/json"}):
                return
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NotKept(f"the URL of ROLLCALL_HEADS does not take it: {type(error).__name__}") from error

    return send


def _appender(file: int) -> Send:
    def append(line: bytes) -> None:
        left = memoryview(line)
        while left:
            left = left[os.write(file, left) :]
        if stat.S_ISREG(os.fstat(file).st_mode):
            os.fsync(file)

    async def send(line: bytes) -> None:
        try:
            await asyncio.to_thread(append, line)
        except OSError as error:
            raise NotKept(f"ROLLCALL_HEADS cannot be written: {error.strerror}") from error

    return send


def _opened_file(path: Path) -> tuple[int, SignedHead | None]:
    """A file to append to, and its last head. A line that was cut off by a crash is removed.

    Raises:
        BadSettings: the file cannot be opened, or does not end with a signed head.
    """
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        raise BadSettings(f"ROLLCALL_HEADS: {path}: {error.strerror}") from error
    size = os.fstat(file).st_size
    end = os.pread(file, LAST_BYTES, max(0, size - LAST_BYTES))
    whole = end[: end.rfind(b"\n") + 1]
    os.ftruncate(file, size - len(end) + len(whole))
    if not whole:
        return file, None
    try:
        return file, msgspec.json.decode(whole.splitlines()[-1], type=SignedHead)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        os.close(file)
        raise BadSettings(f"ROLLCALL_HEADS: {path} does not end with a signed head: {error}") from error
