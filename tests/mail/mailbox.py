"""A mail server of tests, which keeps the mails that it takes."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast

from aiosmtpd.smtp import SMTP, Envelope

from tests.ports import free_port
from tests.system.certificates import HERE, Authority
from tests.waiting import eventually


@dataclass
class Mailbox:
    """The mails that the server has taken, in order."""

    port: int
    ca: Path
    mails: list[tuple[str, EmailMessage]] = field(default_factory=list)
    answer: Callable[[str], str] = lambda _: "250 OK"
    """The answer to a mail, by its recipient. Only a mail that is answered 250 is kept."""

    async def handle_DATA(self, _server: SMTP, _session: object, envelope: Envelope) -> str:  # noqa: N802
        recipient = envelope.rcpt_tos[0]
        answer = self.answer(recipient)
        if answer.startswith("250"):
            message = message_from_bytes(cast("bytes", envelope.content), policy=policy.default)
            self.mails.append((recipient, message))
        return answer

    def to(self, email: str, subject: str = "") -> list[EmailMessage]:
        """The mails to an address, with this beginning of the subject."""
        return [mail for to, mail in self.mails if to == email and mail["Subject"].startswith(subject)]

    async def next_to(self, email: str, subject: str = "", number: int = 1) -> EmailMessage:
        """The mail to an address, once it has come."""

        async def come() -> bool:
            return len(self.to(email, subject)) >= number

        await eventually(come)
        return self.to(email, subject)[number - 1]


def text_of(mail: EmailMessage) -> str:
    """The mail as text."""
    body = mail.get_body(("plain",))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


def html_of(mail: EmailMessage) -> str:
    """The mail as HTML."""
    body = mail.get_body(("html",))
    assert body is not None
    return str(body.get_content())


def token_of(mail: EmailMessage) -> str:
    """The token in the link of a mail, which is the same in text and HTML."""
    found = {match[1] for body in (text_of(mail), html_of(mail)) for match in re.finditer(r"#token=([\w-]+)", body)}
    (token,) = found
    return token


@asynccontextmanager
async def mailbox(directory: Path, *, starttls: bool = True, hosts: tuple[str, ...] = HERE) -> AsyncIterator[Mailbox]:
    """A server on loopback that requires STARTTLS, with a certificate of an authority of its own."""
    authority = Authority(directory, "mail-ca")
    certificate = authority.issue("mail", hosts)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.both)
    box = Mailbox(free_port(), authority.file)
    tls: dict[str, Any] = {"tls_context": context, "require_starttls": True} if starttls else {}

    def protocol() -> SMTP:
        return SMTP(box, enable_SMTPUTF8=True, hostname="localhost", **tls)

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", box.port)
    try:
        yield box
    finally:
        server.close()
