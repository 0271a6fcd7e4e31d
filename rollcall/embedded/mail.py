"""The mail server of `rollcall dev`: it catches every mail and keeps it in a file, for `/dev/mail` to show.

It listens on loopback, on a port that it keeps for the next start. Nothing that it takes leaves the machine.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from rollcall.embedded.files import write_private

if TYPE_CHECKING:
    from aiosmtpd.smtp import SMTP, Envelope

KEPT_MAILS: Final = 200
"""The newest; older ones are deleted."""
LARGEST_BYTES: Final = 1024 * 1024


@asynccontextmanager
async def caught_mail(directory: Path) -> AsyncIterator[int]:
    """Catch mails into this directory while the block runs; the port of the server. Needs aiosmtpd."""
    from aiosmtpd.smtp import SMTP  # noqa: PLC0415 - of the extra `embedded`

    logging.getLogger("mail.log").setLevel(logging.WARNING)  # of aiosmtpd: a line for each command
    catcher = _Catcher(directory)
    loop = asyncio.get_running_loop()

    def protocol() -> SMTP:
        return SMTP(catcher, data_size_limit=LARGEST_BYTES, enable_SMTPUTF8=True, hostname="localhost")

    try:
        server = await loop.create_server(protocol, "127.0.0.1", catcher.kept_port())
    except OSError:  # another program has the port by now
        server = await loop.create_server(protocol, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    catcher.keep_port(port)
    try:
        yield port
    finally:
        server.close()


class _Catcher:
    """Writes each mail into a file of its own, whose name sorts by the instant."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = directory / "port"
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def kept_port(self) -> int:
        """The port of the last start; 0, any free one, at the first."""
        with suppress(OSError, ValueError):
            return int(self._port.read_text())
        return 0

    def keep_port(self, port: int) -> None:
        """Keep the port for the next start."""
        write_private(self._port, str(port))

    async def handle_DATA(self, _server: "SMTP", _session: object, envelope: "Envelope") -> str:  # noqa: N802
        content = envelope.content
        message = message_from_bytes(content if isinstance(content, bytes) else b"", policy=policy.default)
        text, html = (message.get_body((kind,)) for kind in ("plain", "html"))
        now = datetime.now(UTC)
        mail = {
            "to": ", ".join(envelope.rcpt_tos),
            "subject": str(message["Subject"] or ""),
            "text": str(text.get_content()).replace("\r\n", "\n") if text else "",
            "html": str(html.get_content()).replace("\r\n", "\n") if html else "",
            "messageId": str(message["Message-ID"] or ""),
            "receivedAt": now.isoformat(),
        }
        path = self._directory / f"{int(now.timestamp() * 1_000_000):017}.json"
        await asyncio.to_thread(self._write, path, msgspec.json.encode(mail).decode())
        return "250 OK"

    def _write(self, path: Path, text: str) -> None:
        write_private(path, text)
        for old in sorted(self._directory.glob("*.json"))[:-KEPT_MAILS]:
            old.unlink(missing_ok=True)
