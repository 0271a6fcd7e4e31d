"""The publisher of mails: two loops in the one process that holds the lease.

    follow   reads the log from the checkpoint and makes rows of what calls for a mail, in the transaction that moves
             the checkpoint by compare-and-set. So each event's mails are queued exactly once.
    send     makes and sends the mails that are due, one after the other, and removes their rows.

A mail that was sent and whose row is still there after a crash is sent again: the same mail, by its Message-ID and its
link. The alternative, to remove the row first, would lose a mail instead.

One mail's trouble is its own: it waits longer after each attempt, and is given up at last. A server that is away holds
up every mail and counts as an attempt of none.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from events import outbox
from events.checkpoint import Checkpoint
from events.database import Database
from events.errors import DamagedEvent, LogChanged, UnusableKey
from events.ids import uuid_of
from events.outbox import Mail, MailPurpose
from events.retry import Backoff
from events.store import EventStore
from events.wakeup import Wakeup
from projections.errors import LeaseLost
from projections.leader import Leader, until_first_error
from projections.lease import Heartbeat
from projections.mail import NAME
from projections.mail.causes import mails_of
from projections.mail.messages import Messages, UnusableAddress
from projections.mail.recipients import NotYet, Recipients
from projections.mail.smtp import Outlet, Refused, ServerAway, SMTPServer, TryLater, connected
from projections.status import State

log = structlog.get_logger(__name__)

PAGE_EVENTS: Final = 500
MAILS: Final = 100
"""Mails that are sent by one connection."""
IDLE_SECONDS: Final = 1.0
POLL_SECONDS: Final = 0.25
"""Between two looks for mails that are due."""
LONGEST_PAUSE_SECONDS: Final = 30.0
"""Before the next attempt to reach a server that is away."""
FIRST_PAUSE: Final = timedelta(seconds=10)
LONGEST_PAUSE: Final = timedelta(hours=1)
GIVEN_UP_AFTER: Final = timedelta(days=1)
"""After which a mail is given up that cannot be sent, or that tells of a deletion that has not happened."""

BEGIN: Final = """
INSERT INTO mail_checkpoint (id, log_id, position, hash) SELECT 1, log_id, position, hash FROM log_head
ON DUPLICATE KEY UPDATE id = mail_checkpoint.id
"""
FIND: Final = "SELECT log_id, position, hash FROM mail_checkpoint WHERE id = 1"
MOVE: Final = """
UPDATE mail_checkpoint SET log_id = %s, position = %s, hash = %s WHERE id = 1 AND position = %s AND hash = %s
"""
BEGIN_AGAIN: Final = """
REPLACE INTO mail_checkpoint (id, log_id, position, hash) SELECT 1, log_id, position, hash FROM log_head
"""


async def begin(database: Database) -> None:
    """Let mails begin with the next event, unless they have begun. What happened before calls for none."""
    await database.execute(BEGIN)


@dataclass(frozen=True, slots=True)
class MailTools:
    """What the publisher works with."""

    store: EventStore
    database: Database
    wakeup: Wakeup
    recipients: Recipients
    has_room: Callable[[str], Awaitable[bool]]
    """Whether a mailbox may get one more mail that strangers may have caused. Counts it, if so."""
    messages: Messages
    server: SMTPServer
    tls: ssl.SSLContext
    sender: str
    now: Callable[[], datetime]


class MailPublisher:
    """Sends mails while it holds the lease."""

    def __init__(self, tools: MailTools, process: str, clock: Callable[[], float]) -> None:
        self._tools = tools
        self._leader = Leader(NAME, tools.database, process, clock)

    async def run(self) -> None:
        """Work until cancelled; retry while MySQL or the SMTP server is away."""
        await self._leader.run(lambda heartbeat: until_first_error(self._follow(heartbeat), self._send(heartbeat)))

    async def _follow(self, heartbeat: Heartbeat) -> None:
        tools = self._tools
        await begin(tools.database)
        place = await self._checkpoint()
        while True:
            heartbeat.check()
            try:
                page = await tools.store.read_past_damage(place, limit=PAGE_EVENTS)
            except LogChanged as error:
                # The events that it lost and their mails cannot be brought back. Mails of what is new must go on.
                log.error("mail.log_changed", error=str(error))  # noqa: TRY400 - the traceback says nothing
                await tools.database.execute(BEGIN_AGAIN)
                place = await self._checkpoint()
                continue
            if page.events:
                mails = [mail for event in page.events for mail in mails_of(event, tools.now())]
                await self._queue(mails, place, page.end)
                place = page.end
            self._leader.position = place.position
            self._leader.state = State.CATCHING_UP if page.more else State.LIVE
            if not page.more:
                await tools.wakeup.beyond(place, IDLE_SECONDS)

    async def _queue(self, mails: list[Mail], place: Checkpoint, end: Checkpoint) -> None:
        """Add mails and move the checkpoint.

        Raises:
            LeaseLost: another process has moved it.
        """
        async with self._tools.database.transaction() as transaction:
            after = (end.log_id.bytes, end.position, end.hash)
            if not await transaction.execute(MOVE, (*after, place.position, place.hash)):
                raise LeaseLost(NAME, 0.0)
            await outbox.add(transaction, mails)

    async def _checkpoint(self) -> Checkpoint:
        row = await self._tools.database.fetch_one(FIND)
        if row is None:
            raise LogChanged(0, "mail_checkpoint has lost its row")
        log_id, position, digest = row
        return Checkpoint(uuid_of(log_id), position, digest)

    async def _send(self, heartbeat: Heartbeat) -> None:
        tools, backoff = self._tools, Backoff(longest=LONGEST_PAUSE_SECONDS)
        while True:
            waiting = await outbox.due(tools.database, tools.now(), MAILS)
            if not waiting:
                await asyncio.sleep(POLL_SECONDS)
                continue
            try:
                async with connected(tools.server, tools.tls) as outlet:
                    for mail in waiting:
                        heartbeat.check()
                        await self._deliver(mail, outlet)
                        self._leader.last_error = None
                backoff.reset()
            except ServerAway as error:
                pause = backoff.next()
                if str(error) != self._leader.last_error:
                    log.warning("mail.waiting", error=str(error), retry_in=pause)
                self._leader.last_error = str(error)
                await asyncio.sleep(pause)

    async def _deliver(self, mail: Mail, outlet: Outlet) -> None:
        """Send one mail, or find that it is not to be sent.

        Raises:
            ServerAway: the connection broke.
        """
        tools = self._tools
        context = {"purpose": mail.purpose.value, "cause": str(mail.cause)}
        try:
            letter = await tools.recipients.letter(mail)
            if mail.purpose is MailPurpose.DELETED and not await outbox.has(tools.database, mail):
                return  # that of another request was sent
            if letter is not None:
                if letter.counted and not await tools.has_room(letter.email):
                    raise NotYet("the mailbox has had enough mails this hour")  # noqa: TRY301 - postponed below
                message = tools.messages.message(letter, mail.created_at)
                await outlet.send(message, tools.sender, message["To"].addresses[0].addr_spec)
                self._leader.rate.count(1)
                log.info("mail.sent", **context)
        except (Refused, UnusableAddress) as error:
            log.warning("mail.refused", error=str(error), **context)
        except (TryLater, NotYet, DamagedEvent, UnusableKey) as error:
            now = tools.now()
            if now - mail.created_at < GIVEN_UP_AFTER:
                pause = min(FIRST_PAUSE * 2 ** min(mail.attempts, 20), LONGEST_PAUSE)
                await outbox.postpone(tools.database, mail, now + pause)
                return
            log.warning("mail.given_up", error=str(error), **context)
        if mail.purpose is MailPurpose.DELETED:  # a user is deleted once, however many requests have asked for it
            await outbox.remove_all(tools.database, mail)
        await outbox.remove(tools.database, mail)
