"""`rollcall publish mail` as a real process: what the mail server gets when it is killed."""

import signal
from pathlib import Path

from events.database import Address, Database
from events.event_types import Origin, Role
from events.ids import new_id
from projections.mail.publisher import begin
from rollcall import exits
from tests.events.exports import opened
from tests.log import registration
from tests.mail.mailbox import Mailbox, mailbox
from tests.system.installation import Installation, own_servers
from tests.waiting import eventually

USERS = 12


async def life(installation: Installation, box: Mailbox, database: Database) -> str:
    """Run the publisher until it has sent everything, or three mails: then it is `killed` before the server answers."""
    async with installation.running("publish", "mail") as process:
        last = len(box.mails) + 2
        ended: list[str] = []

        def answer(_recipient: str) -> str:
            if len(box.mails) == last:
                process.popen.send_signal(signal.SIGKILL)
                ended.append("killed")
            return "250 OK"

        async def has_ended() -> bool:
            sent = {recipient for recipient, _ in box.mails}
            if len(sent) == USERS and await database.fetch_one("SELECT 1 FROM outbox") is None:
                ended.append("done")
            return bool(ended)

        box.answer = answer
        await eventually(has_ended)
        return ended[0]


async def test_a_publisher_that_is_killed_sends_the_same_mail_again(tmp_path: Path, urls: tuple[str, str]) -> None:
    """It is killed whenever the server has taken a mail and the publisher does not know it yet. No mail is lost, and a
    repeat has the same Message-ID and the same link.
    """
    made = own_servers(tmp_path, *urls)
    (tmp_path / "tls").mkdir()
    async with mailbox(tmp_path / "tls") as box:
        variables = {
            "ROLLCALL_PUBLIC_URL": "https://rollcall.example",
            "ROLLCALL_SMTP_URL": f"smtp://127.0.0.1:{box.port}",
            "ROLLCALL_SMTP_TLS_CA": str(box.ca),
            "ROLLCALL_MAIL_FROM": "rollcall@rollcall.example",
        }
        installation = Installation(made.directory, made.port, {**made.variables, **variables})
        assert (await installation.run("head")).code == exits.OK  # creates the tables
        database = Database.at(Address.parse(installation.variables["ROLLCALL_MYSQL_URL"]), size=4)
        log = await opened(database)
        await begin(database)
        for number in range(USERS):
            command = registration(f"user{number}", role=Role.CUSTOMER)
            await log.commands.register(command, Origin(correlation=new_id()))
        lives = [await life(installation, box, database)]
        while lives[-1] == "killed":
            lives.append(await life(installation, box, database))
        await database.close()

        by_recipient: dict[str, set[bytes]] = {}
        for recipient, mail in box.mails:
            by_recipient.setdefault(recipient, set()).add(mail.as_bytes())
        assert set(by_recipient) == {f"user{number}@example.com" for number in range(USERS)}
        assert all(len(mails) == 1 for mails in by_recipient.values())
        assert lives.count("killed") > 1
        assert len(box.mails) > USERS
