"""Fixtures of the mails' tests."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from auth.budgets import Budgets
from auth.mail_requests import Mailboxes
from auth.mailed_links import MailedLinks
from events.snapshots import AccountReader, SnapshotWriter
from events.wakeup import HeadPoll
from projections.mail.messages import Messages
from projections.mail.publisher import MailPublisher, MailTools, begin
from projections.mail.recipients import Recipients
from projections.mail.smtp import SMTPServer
from rollcall.embedded import Addresses
from tests.graph.site import Doors, Site, running
from tests.mail.mailbox import Mailbox, mailbox

URL = "https://rollcall.example"
SENDER = "rollcall@rollcall.example"


@dataclass(frozen=True)
class Post:
    """An API, the publisher of mails, and the server that it hands them to."""

    site: Site
    box: Mailbox

    def publisher(self) -> MailPublisher:
        """One more publisher."""
        log, now = self.site.log, self.site.clock.now
        accounts = AccountReader(log.store, SnapshotWriter(log.database, log.vault))
        token = MailedLinks(log.database, log.keys.mail, now).token
        tools = MailTools(
            store=log.store,
            database=log.database,
            wakeup=HeadPoll(log.store),
            recipients=Recipients(log.database, accounts, log.keys.claims, log.keys.mail, URL, token),
            has_room=Mailboxes(Budgets(log.database, log.keys.throttle, now)).has_room,
            messages=Messages(SENDER, log.keys.mail),
            server=SMTPServer.parse(f"smtp://127.0.0.1:{self.box.port}"),
            tls=ssl.create_default_context(cafile=self.box.ca),
            sender=SENDER,
            now=now,
        )
        return MailPublisher(tools, "test", time.monotonic)


Posted = Callable[[Doors], AbstractAsyncContextManager[Post]]


@pytest.fixture
def posted(addresses: Addresses, tmp_path: Path) -> Posted:
    """An API with these doors, and mail."""

    @asynccontextmanager
    async def posted(doors: Doors) -> AsyncIterator[Post]:
        async with running(addresses, doors=doors, projected=False) as site, mailbox(tmp_path) as box:
            await begin(site.log.database)
            post = Post(site, box)
            working = asyncio.create_task(post.publisher().run())
            try:
                yield post
            finally:
                working.cancel()
                ended = await asyncio.gather(working, return_exceptions=True)
            assert isinstance(ended[0], asyncio.CancelledError), ended

    return posted


@pytest_asyncio.fixture(loop_scope="session")
async def post(posted: Posted) -> AsyncIterator[Post]:
    """An API with open doors, and mail."""
    async with posted(Doors()) as post:
        yield post
