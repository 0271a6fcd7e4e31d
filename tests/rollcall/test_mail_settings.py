"""Settings of mail that are wrong or incomplete are refused at the start, with the variable's name and what to do."""

import pytest

from rollcall.commands.publish_mail import publish_mail
from rollcall.environment import load_settings
from rollcall.settings import BadSettings, Settings


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("SMTP_URL", "mail:secret", "expected smtp://USER:PASSWORD@HOST:PORT"),
        ("SMTP_URL", "smtp://me:secret@mail:port", "Port could not be cast"),
        ("SMTP_URL", "smtp://me:secret@mail?starttls=off", "on loopback only"),
        ("SMTP_URL", "smtp://me:secret@mail", "requires ROLLCALL_PUBLIC_URL"),
        ("REQUIRE_VERIFIED_EMAIL", "true", "requires ROLLCALL_PUBLIC_URL"),
        ("PUBLIC_URL", "users.example.com", "expected https://HOST"),
        ("PUBLIC_URL", "https://users.example.com/#x", "expected https://HOST"),
        ("MAIL_FROM", "rollcall", "expected an address"),
        ("MAIL_FROM", "a@example.com\nBcc: b@example.com", "expected an address"),
        ("MAILS_PER_HOUR", "-1", "greater than or equal to 0"),
    ],
)
def test_an_invalid_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str) -> None:
    """The message says what was expected, and repeats no password."""
    monkeypatch.setenv(f"ROLLCALL_{name}", value)

    with pytest.raises(BadSettings) as raised:
        load_settings()

    assert told in str(raised.value)
    assert f"ROLLCALL_{name}" in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("lacking", ["SMTP_URL", "PUBLIC_URL", "MAIL_FROM"])
async def test_the_publisher_of_mails_says_what_it_lacks(lacking: str) -> None:
    """Before it connects to anything."""
    given = {
        "smtp_url": "smtp://localhost",
        "public_url": "https://users.example.com",
        "mail_from": "rollcall@example.com",
    }
    settings = Settings().model_copy(update={name: value for name, value in given.items() if name != lacking.lower()})

    with pytest.raises(BadSettings, match=f"^ROLLCALL_{lacking}: required to send mails"):
        await publish_mail(settings)
