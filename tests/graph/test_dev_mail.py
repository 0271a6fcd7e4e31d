"""`/dev/mail` shows caught mails to this machine, and is off unless `rollcall dev` turns it on."""

import dataclasses
import json
from pathlib import Path

import pytest

from tests.graph.site import DEVELOPMENT, Site, served

MAIL = {
    "to": "<b>@example.com",
    "subject": "<script>alert(1)</script>",
    "text": "Hello, <b>\n\nhttp://127.0.0.1:8000/verify-email#token=a_B-c\n\nhttp://127.0.0.1/?a=1&b=<i>",
    "html": "<p>Hello</p>",
    "messageId": "<1@example.com>",
    "receivedAt": "2026-01-01T00:00:00+00:00",
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Two caught mails, and the file with the port."""
    for name, mail in (("00000000000000001", MAIL | {"subject": "first"}), ("00000000000000002", MAIL)):
        (tmp_path / f"{name}.json").write_text(json.dumps(mail))
    (tmp_path / "port").write_text("1")
    return tmp_path


async def get(site: Site, path: str, host: str | None = None) -> tuple[int, str, str]:
    headers = {"Host": host} if host else {}
    async with site.session.get(site.server.make_url(path), headers=headers) as answer:
        return answer.status, answer.content_type, await answer.text()


async def test_caught_mails_are_shown_newest_first(site: Site, directory: Path) -> None:
    """As JSON for tests, as a list, and one with links that can be followed; what is in them shows as text."""
    async with served(site, dataclasses.replace(DEVELOPMENT, caught_mail=directory)) as dev:
        status, _, text = await get(dev, "/dev/mail.json")
        assert (status, json.loads(text)) == (200, [MAIL, MAIL | {"subject": "first"}])
        status, kind, page = await get(dev, "/dev/mail")
        assert (status, kind) == (200, "text/html")
        assert "<script" not in page
        assert page.index("&lt;script&gt;") < page.index(">first<")
        status, kind, text = await get(dev, "/dev/mail/00000000000000002")
        assert (status, kind) == (200, "text/html")
        assert "Hello, &lt;b&gt;" in text
        assert '<a href="http://127.0.0.1:8000/verify-email#token=a_B-c">' in text
        assert '<a href="http://127.0.0.1/?a=1&amp;b=' in text
        assert "<i>" not in text
        assert "<script" not in text
        for unknown in ("00000000000000003", "port", "..%2Fport", "%2e%2e"):
            assert (await get(dev, f"/dev/mail/{unknown}"))[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "192.0.2.1", "[2001:db8::1]"])
async def test_a_name_that_leads_to_this_machine_shows_no_mail(site: Site, directory: Path, host: str) -> None:
    """A page of another site could otherwise read the mails by a name of its own that resolves to loopback."""
    async with served(site, dataclasses.replace(DEVELOPMENT, caught_mail=directory)) as dev:
        for path in ("/dev/mail", "/dev/mail.json", "/dev/mail/00000000000000002"):
            assert (await get(dev, path, host))[0] == 403


async def test_no_mail_is_shown_unless_it_is_turned_on(site: Site) -> None:
    """Introspection alone does not."""
    assert [(await get(site, path))[0] for path in ("/dev/mail", "/dev/mail.json", "/dev/mail/1")] == [404] * 3
