"""The mail itself: text and HTML from templates.

A user chooses its name, so nothing of it may become a header or HTML. Headers have the address and constants only,
templates of HTML escape what they are given, and line breaks in a name are spaces.
"""

import hashlib
import hmac
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from events.rules import ENCODED_WORD
from projections.mail.recipients import Letter

LANGUAGES: Final = ("en", "ms")
"""Languages that there are templates for; the first is the default."""


class UnusableAddress(Exception):
    """No mail can be addressed to it. The text has no address."""


def language_tag(wanted: str | None) -> str:
    """The first known language of a locale such as `ms-MY`, or of the list of an Accept-Language header."""
    for part in (wanted or "")[:200].split(","):
        tag = part.partition(";")[0].strip().replace("_", "-").lower().partition("-")[0]
        if tag in LANGUAGES:
            return tag
    return LANGUAGES[0]


class Messages:
    """Makes mails of letters."""

    def __init__(self, sender: str, key: bytes) -> None:
        """
        Args:
            sender: The address in From.
            key: Makes Message-IDs, the same ones on every process.
        """
        self._sender = sender
        self._domain = ascii_address(sender).rpartition("@")[2]
        self._key = key
        self._templates = Environment(
            loader=PackageLoader("projections.mail"),
            autoescape=select_autoescape(("html",)),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def message(self, letter: Letter, date: datetime) -> EmailMessage:
        """The mail that says this; the same one for the same letter and date.

        Raises:
            UnusableAddress: no mail can be addressed to the email.
        """
        language = language_tag(letter.language)
        name = " ".join(letter.name.split())
        values = {
            "greeted": f" {name}" if name else "",
            "link": letter.link,
            "language": language,
            "news": letter.news,
            "at": f"{letter.news.at:%Y-%m-%d %H:%M:%S} UTC" if letter.news else "",
        }
        template = f"{language}/{letter.purpose.value}"
        subject, _, text = self._templates.get_template(f"{template}.txt").render(values).partition("\n")
        message = EmailMessage(policy=SMTP)
        message["From"] = self._sender
        message["To"] = _header(ascii_address(letter.email))
        message["Subject"] = subject.strip()
        message["Date"] = format_datetime(date)
        message["Message-ID"] = self.message_id(letter)
        message["Auto-Submitted"] = "auto-generated"
        message["Content-Language"] = language
        message.set_content(text.strip() + "\n")
        html = self._templates.get_template(f"{template}.html").render(values | {"subject": subject.strip()})
        message.add_alternative(html, subtype="html")
        message.set_boundary(f"=_{self._mac(letter, b'boundary')}")
        return message

    def message_id(self, letter: Letter) -> str:
        """The Message-ID: that of the cause, which says nothing about it."""
        return f"<{self._mac(letter, b'message-id')}@{self._domain}>"

    def _mac(self, letter: Letter, use: bytes) -> str:
        named = b"\0".join((b"rollcall mail v1", use, letter.purpose.value.encode(), letter.cause.bytes))
        return hmac.digest(self._key, named, hashlib.sha256)[:20].hex()


def ascii_address(email: str) -> str:
    """The address with its domain in ASCII; as it is if only its local part has other letters.

    Raises:
        UnusableAddress: it is no address.
    """
    local, _, domain = email.rpartition("@")
    # No new email has an encoded word (`events/rules.py`). `email.headerregistry` would decode it into the header.
    if not local or not domain or not email.isprintable() or " " in email or ENCODED_WORD.search(email):
        raise UnusableAddress("the email is no address that mail can be sent to")
    labels = (label if label.isascii() else f"xn--{label.encode('punycode').decode()}" for label in domain.split("."))
    return f"{local}@{'.'.join(labels)}"


def _header(address: str) -> Address:
    local, _, domain = address.rpartition("@")
    return Address(username=local, domain=domain)
