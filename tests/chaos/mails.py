"""The mail server, which the publishers of mails hand everything to, and the check that none is lost.

It is no perfect one: it refuses some mails once, for later. It writes a line into its ledger before it takes a mail.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email import message_from_bytes, policy
from typing import Final, cast

from aiosmtpd.smtp import SMTP, Envelope

from events.event_types import Recorded
from events.outbox import MailPurpose
from projections.mail.causes import mails_of
from projections.mail.messages import Messages
from projections.mail.recipients import Letter
from tests.chaos.ledger import Entry, Ledger, Mailed
from tests.chaos.load import World
from tests.chaos.system import MAIL_FROM

LATER_SHARE: Final = 0.02
"""Mails that are refused once. The next attempt comes after ten seconds."""
OF_REQUESTS: Final = frozenset({"Your account was deleted"})
"""Subjects of mails whose cause is a request of the load, which the log does not have."""


class MailServer:
    """Takes mails."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.taken: set[str] = set()
        """Message-IDs."""
        self.told: set[str] = set()
        """Addresses that have got word of a deletion."""
        self.position = 0
        """The publishers mail about events after it, where the first of them has begun."""
        self._ledger = Ledger(world.directory, "mail-server")
        self._chance = chance
        self._later: set[str] = set()

    async def handle_DATA(self, _server: SMTP, _session: object, envelope: Envelope) -> str:  # noqa: N802
        """Take a mail, or refuse it once."""
        mail = message_from_bytes(cast("bytes", envelope.content), policy=policy.default)
        id_ = str(mail["Message-ID"])
        if id_ not in self._later | self.taken and self._chance.random() < LATER_SHARE:
            self._later.add(id_)
            return "451 later"
        self._ledger.write(Mailed(id=id_, to=envelope.rcpt_tos[0], subject=str(mail["Subject"])))
        self.taken.add(id_)
        if mail["Subject"] in OF_REQUESTS:
            self.told.add(envelope.rcpt_tos[0])
        return "250 OK"


@asynccontextmanager
async def mail_server(world: World, port: int, chance: random.Random) -> AsyncIterator[MailServer]:
    """Serve during the block."""
    served = MailServer(world, chance)
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(served, hostname="localhost"), "127.0.0.1", port
    )
    try:
        yield served
    finally:
        server.close()


def required(log: Sequence[Recorded], mail_key: bytes, after: int = 0) -> dict[str, Recorded]:
    """The event of each mail that must arrive, by its Message-ID. A deleted user may get what was sent before."""
    deleted = {recorded.stream_id for recorded in log if recorded.type == "UserDeleted"}
    now = datetime.now(UTC)
    wanted = [
        (mail.purpose, recorded)
        for recorded in log
        if recorded.position > after and recorded.stream_id not in deleted
        for mail in mails_of(recorded, now)
    ]
    # A link for an email that has been replaced before it was sent is not sent: the one for the new email is.
    newest = {(purpose, recorded.stream_id): recorded for purpose, recorded in wanted}
    return {
        _id_of(purpose, recorded, mail_key): recorded
        for purpose, recorded in wanted
        if purpose is not MailPurpose.VERIFY_EMAIL or newest[purpose, recorded.stream_id] is recorded
    }


def deletions_in(log: Sequence[Recorded]) -> int:
    """The number of users who must get word of their deletion."""
    return sum(recorded.type == "UserDeleted" for recorded in log)


def mailed_once(entries: Sequence[Entry], log: Sequence[Recorded], mail_key: bytes, after: int = 0) -> Iterator[str]:
    """Each event's mail arrived; whatever arrived again had the Message-ID of the first; each deletion was told."""
    mails = [entry.line for entry in entries]
    known = {_id_of(purpose, recorded, mail_key) for recorded in log for purpose in MailPurpose}
    arrived = {mail.id for mail in mails}
    for id_, recorded in required(log, mail_key, after).items():
        if id_ not in arrived:
            yield f"position {recorded.position} ({recorded.type} of {recorded.stream_id}): its mail was lost"
    for entry in entries:
        if entry.line.id not in known and entry.line.subject not in OF_REQUESTS:
            yield f"{entry.place}: no event has caused the mail {entry.line.id}, {entry.line.subject}"
    for id_ in arrived:
        if len({(mail.to, mail.subject) for mail in mails if mail.id == id_}) > 1:
            yield f"the mails {id_} differ"
    told = {mail.to for mail in mails if mail.subject in OF_REQUESTS}
    if len(told) < deletions_in(log):
        yield f"{deletions_in(log)} users were deleted, and {len(told)} were told"


def _id_of(purpose: MailPurpose, recorded: Recorded, mail_key: bytes) -> str:
    return Messages(MAIL_FROM, mail_key).message_id(Letter(purpose, recorded.event_id, "", "", None))
