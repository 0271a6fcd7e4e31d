"""`rollcall dev` catches mails: a forgotten password is set on a machine without a mail server."""

import re
from pathlib import Path
from typing import Any

import aiohttp

from tests.graph.documents import REQUEST_RESET, RESET
from tests.system.installation import Installation, own_servers
from tests.waiting import eventually

REGISTER = "mutation($input: RegisterInput!) { register(input: $input) { errors { code } } }"
FIELDS = {"username": "zoe", "email": "zoe@example.com", "name": "Zoë", "password": "a long password"}


async def caught(installation: Installation) -> list[dict[str, Any]]:
    """The mails, newest first."""
    async with aiohttp.ClientSession() as client, client.get(f"{installation.url}/dev/mail.json") as answer:
        assert answer.status == 200
        mails: list[dict[str, Any]] = await answer.json()
        return mails


async def newest(installation: Installation, subject: str) -> dict[str, Any]:
    """The mail with this subject, once it is the newest."""

    async def come() -> bool:
        return [mail["subject"] for mail in (await caught(installation))[:1]] == [subject]

    await eventually(come)
    return (await caught(installation))[0]


async def test_mails_are_caught_and_shown(urls: tuple[str, str], tmp_path: Path) -> None:
    """A new user gets a link, sets another password by the next one, and the mails are there after a restart."""
    installation = own_servers(tmp_path, *urls)
    async with installation.running("dev") as dev:
        await dev.line("ready")
        await installation.ask(REGISTER, input=FIELDS)
        mail = await newest(installation, "Confirm your email")
        assert mail["to"] == "zoe@example.com"
        assert f"{installation.url}/verify-email#token=" in mail["text"]
        await installation.ask(REQUEST_RESET, login="ZOE")
        mail = await newest(installation, "Set a new password")
        [token] = re.findall(r"/reset-password#token=([\w-]+)$", mail["text"], re.MULTILINE)
        values = {"token": token, "new": "a longer password"}
        reset = await installation.post({"query": RESET, "variables": values})
        assert reset["data"]["resetPassword"]["errors"] == []
        assert await installation.sign_in("zoe", "a longer password")
        await newest(installation, "Your password was changed")
    async with installation.running("dev") as dev:
        await dev.line("ready")
        assert len(await caught(installation)) == 3
