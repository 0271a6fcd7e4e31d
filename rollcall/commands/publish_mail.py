"""`rollcall publish mail`: send mails to users."""

import time

from auth.budgets import Budgets
from auth.mail_requests import Mailboxes
from auth.mailed_links import MailedLinks
from events.log_keys import LogKeys
from events.snapshots import AccountReader, SnapshotWriter
from events.wakeup import HeadPoll
from projections.lease import LEASE_SECONDS
from projections.mail.messages import Messages
from projections.mail.publisher import MailPublisher, MailTools
from projections.mail.recipients import Recipients
from projections.mail.smtp import SMTPServer
from rollcall import exits
from rollcall.console import run, settings_for
from rollcall.metrics import Metrics
from rollcall.serving import measured, report
from rollcall.settings import BadSettings, Settings
from rollcall.stopping import Background
from rollcall.tls import smtp_tls
from rollcall.wiring import Installation, now, open_installation, prepare_log, process_name, when_available


def mail() -> None:
    """Send mails to users: links for a new password, invitations, and news of their account.

    Reads the log for events that call for a mail, and sends what is queued to the SMTP server of ROLLCALL_SMTP_URL. A
    mail that the server does not take now is repeated for a day. You may run several of this process: one is active and
    the others stand by.
    """
    run(publish_mail(settings_for("mail")), when_stopped=exits.OK)


async def publish_mail(settings: Settings) -> int:
    """Send mails until cancelled.

    Raises:
        BadSettings: a variable is invalid or missing.
        WrongMasterKey, MigrationError: the log belongs to another key or another release.
    """
    for name in ("smtp_url", "public_url", "mail_from"):
        if getattr(settings, name) is None:
            raise BadSettings(f"ROLLCALL_{name.upper()}: required to send mails; docs/operations.md has an example")
    metrics = Metrics()
    async with (
        open_installation(settings, report, idle_seconds=LEASE_SECONDS) as installation,
        measured(installation, metrics),
    ):
        keys = await when_available(lambda: prepare_log(installation))
        async with Background("mail", 4.0) as working:
            working.start("mail", mail_publisher(installation, keys).run())
            await working.ended()
    return exits.OK


def mail_publisher(installation: Installation, keys: LogKeys) -> MailPublisher:
    """The publisher of mails."""
    settings, database, store = installation.settings, installation.database, installation.store
    server = SMTPServer.parse(settings.smtp_url.get_secret_value() if settings.smtp_url else "")
    sender, public_url = settings.mail_from or "", settings.public_url or ""
    accounts = AccountReader(store, SnapshotWriter(database, installation.vault))
    token = MailedLinks(database, keys.mail, now).token
    tools = MailTools(
        store=store,
        database=database,
        wakeup=HeadPoll(store),
        recipients=Recipients(database, accounts, keys.claims, keys.mail, public_url, token),
        has_room=Mailboxes(Budgets(database, keys.throttle, now)).has_room,
        messages=Messages(sender, keys.mail),
        server=server,
        tls=smtp_tls(settings),
        sender=sender,
        now=now,
    )
    return MailPublisher(tools, process_name(), time.monotonic)
