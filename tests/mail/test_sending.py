"""How mails leave: each once and whole, encrypted, and none for what happened before or was imported."""

import asyncio
import ssl
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth.mail_requests import TO_ONE_MAILBOX
from events import outbox
from events.event_types import Role
from events.ids import new_id
from events.outbox import MailPurpose
from events.user import ChangePassword
from projections.mail.messages import Messages, UnusableAddress
from projections.mail.recipients import Letter
from projections.mail.smtp import ServerAway, SMTPServer, connected
from tests.graph.documents import CHANGE_PASSWORD, DELETE, IMPORT, REGISTER, REQUEST_RESET, UPDATE
from tests.graph.site import PASSWORD, somebody
from tests.log import NOBODY, present, registration
from tests.mail.conftest import SENDER, Post
from tests.mail.mailbox import html_of, mailbox, text_of, token_of
from tests.waiting import eventually

KEY = bytes(32)


async def nothing_waits(post: Post) -> None:
    """Wait until the follower has read the log and sent everything."""
    head = await post.site.log.store.head()

    async def sent() -> bool:
        row = await post.site.log.database.fetch_one("SELECT position FROM mail_checkpoint")
        waiting = await post.site.log.database.fetch_one("SELECT 1 FROM outbox")
        return row is not None and row[0] >= head and waiting is None

    await eventually(sent)


async def test_each_event_has_its_mails_once(post: Post) -> None:
    """A second publisher stands by, and takes over where the first one stopped."""
    people = [somebody() for _ in range(20)]
    second = asyncio.create_task(post.publisher().run())
    for person in people:
        await post.site.anyone.field(REGISTER, input=person)
    await nothing_waits(post)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)

    recipients = [recipient for recipient, _ in post.box.mails]
    assert sorted(recipients) == sorted(person["email"] for person in people)
    assert len({mail["Message-ID"] for _, mail in post.box.mails}) == 20


async def test_imports_and_rehashed_passwords_cause_no_mail(post: Post) -> None:
    """Nobody did them who should be told."""
    imported = await post.site.log.commands.register(registration("imported", password_hash="hash"), NOBODY)
    person = await post.site.person()
    command = ChangePassword(password_hash="stronger", replaces=1, rehashed=True)
    await post.site.log.commands.change(person.user.id, command, NOBODY)
    await nothing_waits(post)

    assert imported.user is not None
    assert post.box.mails == []


async def test_an_import_through_the_api_causes_no_mail(post: Post) -> None:
    """As one by the command: nobody is invited because of it."""
    admin = await post.site.person(Role.ADMIN)
    rows = '{"username": "ada", "email": "ada@example.com"}\n{"username": "bob", "email": "bob@example.com"}'

    assert (await admin.client.field(IMPORT, input={"content": rows}))["imported"] == 2
    await nothing_waits(post)

    assert post.box.mails == []


async def test_a_changed_email_is_announced_to_the_former_one_and_confirmed_at_the_new_one(post: Post) -> None:
    """The former address gets no link."""
    person = await post.site.person()
    await person.client.field(UPDATE, input={"id": person.id, "email": "new@example.com"})
    await nothing_waits(post)

    former, new = (post.box.to(email) for email in (person.user.email, "new@example.com"))
    assert [mail["Subject"] for mail in former] == ["Your email was changed"]
    assert "http" not in text_of(former[0])
    assert [mail["Subject"] for mail in new] == ["Confirm your email"]


async def test_a_deletion_is_told_to_the_one_who_was_deleted(post: Post) -> None:
    """The address was sealed meanwhile, and nothing of it stays."""
    person = await post.site.person()
    assert (await person.client.field(DELETE, input={"id": person.id}))["errors"] == []

    mail = await post.box.next_to(person.user.email, "Your account was deleted")

    assert person.user.name in text_of(mail)
    await nothing_waits(post)


async def test_a_deletion_that_is_repeated_is_told_once_and_in_the_language_of_the_request(post: Post) -> None:
    """A client that gets no answer sends the request again, also while the first one is under way."""
    person = await post.site.person()
    body = {"query": DELETE, "variables": {"input": {"id": person.id, "idempotencyKey": "once"}}}
    headers = person.client.headers | {"Accept-Language": "ms-MY"}

    async def delete() -> None:
        async with post.site.session.post(person.client.url, json=body, headers=headers) as response:
            assert response.status == HTTPStatus.OK

    await asyncio.gather(*(delete() for _ in range(6)))
    await nothing_waits(post)

    assert [mail["Subject"] for mail in post.box.to(person.user.email)] == ["Akaun anda telah dipadamkan"]


async def test_a_mailbox_is_not_flooded_by_strangers(post: Post) -> None:
    """By changes of email, new passwords and labels behind a `+`. What warns an owner goes out all the same."""
    post.site.clock.stop()
    victim = await post.site.person(verified=True, email="victim@example.com")
    stranger = await post.site.person()
    codes = [
        (await stranger.client.ask(UPDATE, input={"id": stranger.id, "email": f"victim+{n}@example.com"})).codes
        for n in range(7)
    ]
    assert codes == [[]] * 5 + [["RATE_LIMITED"]] * 2
    for number in range(30):
        await post.site.anyone.field(REGISTER, input=somebody(email=f"Victim+a{number}@example.com"))
    await victim.client.field(
        CHANGE_PASSWORD, input={"currentPassword": PASSWORD, "newPassword": "another horse battery staple"}
    )

    await post.box.next_to(victim.user.email, "Your password was changed")

    async def the_others_wait() -> bool:
        row = await post.site.log.database.fetch_one("SELECT COUNT(*), MIN(attempts) FROM outbox")
        return row is not None and row[0] > 0 and row[1] > 0

    await eventually(the_others_wait)
    assert len([to for to, _ in post.box.mails if to.lower().startswith("victim+")]) == TO_ONE_MAILBOX.per_hour
    post.site.clock.ahead += timedelta(hours=1)
    await post.box.next_to("Victim+a29@example.com")


async def test_a_refused_deletion_causes_no_mail(post: Post) -> None:
    """And one that did not happen although its mail was queued neither."""
    person = await post.site.person()
    refused = await person.client.field(DELETE, input={"id": person.id, "expectedVersion": 7})
    assert refused["errors"] != []
    assert await post.site.log.database.fetch_one("SELECT 1 FROM outbox") is None
    await post.site.services.mails.deletion(person.user, None)

    post.site.clock.ahead += timedelta(days=2)
    await nothing_waits(post)

    assert post.box.mails == []


async def test_a_mail_that_the_server_does_not_take_now_is_sent_later_and_holds_up_no_other(post: Post) -> None:
    """One that it refuses for good is removed."""
    later, never, other = [await post.site.person() for _ in range(3)]
    answers = {later.user.email: "451 later", never.user.email: "550 never"}
    post.box.answer = lambda recipient: answers.get(recipient, "250 OK")
    for person in (later, never, other):
        await post.site.anyone.field(REQUEST_RESET, login=person.username)
    await post.box.next_to(other.user.email)

    async def one_waits() -> bool:
        found = await post.site.log.database.fetch_all("SELECT attempts FROM outbox")
        return found == [(1,)]

    await eventually(one_waits)
    answers.clear()
    post.site.clock.ahead += timedelta(minutes=10)

    await post.box.next_to(later.user.email)
    await nothing_waits(post)
    assert post.box.to(never.user.email) == []


async def test_a_link_is_as_young_as_its_mail(post: Post) -> None:
    """A mail that waited for its server an hour has a link that works."""
    person = await post.site.person()
    post.box.answer = lambda _: "451 later"
    await post.site.anyone.field(REQUEST_RESET, login=person.username)

    async def refused() -> bool:
        return await post.site.log.database.fetch_one("SELECT 1 FROM outbox WHERE attempts > 0") is not None

    await eventually(refused)
    post.site.clock.ahead += timedelta(hours=1)
    post.box.answer = lambda _: "250 OK"
    token = token_of(await post.box.next_to(person.user.email))

    link = await post.site.services.links.read(token, [MailPurpose.PASSWORD_RESET])

    assert link.expires_at > post.site.clock.now() + timedelta(minutes=29)


async def test_a_mail_that_is_sent_again_is_the_same_mail_and_revives_no_used_link(post: Post) -> None:
    """As after a crash between the sending and the removal of its row."""
    person = await post.site.person()
    await post.site.anyone.field(REQUEST_RESET, login=person.username)
    first = await post.box.next_to(person.user.email)
    await nothing_waits(post)
    cause, now = new_id(), post.site.clock.now()
    mail = outbox.Mail(
        cause=cause, purpose=MailPurpose.PASSWORD_RESET, user_id=person.user.id, created_at=now, next_attempt_at=now
    )
    for _ in range(2):
        await outbox.add(post.site.log.database, [mail])
        await nothing_waits(post)
    second, third = post.box.to(person.user.email)[1:]
    assert second.as_bytes() == third.as_bytes()
    assert token_of(second) != token_of(first)
    link = await post.site.services.links.read(token_of(second), [MailPurpose.PASSWORD_RESET])
    assert await post.site.services.links.used(link)

    await outbox.add(post.site.log.database, [mail])
    await nothing_waits(post)

    assert len(post.box.to(person.user.email)) == 3


@pytest.mark.parametrize("problem", ["no STARTTLS", "a foreign certificate", "another host"])
async def test_no_mail_leaves_in_clear_or_to_a_stranger(tmp_path: Path, problem: str) -> None:
    """A server that does not offer STARTTLS, or cannot prove to be the one that the URL names, gets none."""
    async with mailbox(tmp_path, starttls=problem != "no STARTTLS", hosts=("elsewhere",)) as box:
        context = ssl.create_default_context(cafile=None if problem == "a foreign certificate" else box.ca)

        with pytest.raises(ServerAway):
            async with connected(SMTPServer.parse(f"smtp://127.0.0.1:{box.port}"), context):
                pytest.fail("connected")


BAD_URLS = [
    "http://mail",
    "smtp://",
    "smtp://mail/path",
    "smtp://mail?starttls=off",
    "smtps://localhost?starttls=off",
    "smtp://localhost?starttls=on",
    "smtp://localhost?other=1",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_url_that_would_send_in_clear_is_refused(url: str) -> None:
    """The way out is for loopback only."""
    with pytest.raises(ValueError, match=r"smtp|starttls"):
        SMTPServer.parse(url)


@given(
    name=st.text(max_size=50) | st.sampled_from(["<script>alert(1)</script>", "a\r\nBcc: x@example.com\r\n\r\nb"]),
    purpose=st.sampled_from(list(MailPurpose)),
    language=st.none() | st.sampled_from(["en", "ms", "ms-MY", "fr, ms;q=0.5"]) | st.text(max_size=10),
)
def test_nothing_of_a_name_becomes_a_header_or_html(name: str, purpose: MailPurpose, language: str | None) -> None:
    """Of any name that the log could hold."""
    letter = Letter(purpose, new_id(), "somebody@example.com", name, language, "https://rollcall.example/x#token=y")
    plain = Letter(purpose, letter.cause, letter.email, "", language, letter.link)
    messages = Messages(SENDER, KEY)

    if any("\ud800" <= character <= "\udfff" for character in name):
        return
    message, expected = (messages.message(one, present().replace(microsecond=0)) for one in (letter, plain))

    assert {k: v for k, v in message.items() if k != "Date"} == {k: v for k, v in expected.items() if k != "Date"}
    assert html_of(message).count("<") == html_of(expected).count("<")
    assert message["To"] == "somebody@example.com"
    assert message.as_bytes()


INJECTIONS = (
    "=?us-ascii?q?a=0d=0aSubject=3a_Owned=0d=0a=0d=0aCall_0900?=@example.com",
    "=?utf-8?q?somebody?=.else@example.com",
    "a=?utf-8?b?Yg==?=@example.com",
)


@pytest.mark.parametrize("email", INJECTIONS)
async def test_no_email_is_decoded_into_a_header_or_another_address(post: Post, email: str) -> None:
    """An encoded word is refused, and no mail is made for one that is stored."""
    refused = await post.site.anyone.field(REGISTER, input=somebody(email=email))

    assert [(error["code"], error["field"]) for error in refused["errors"]] == [("INVALID", ["email"])]
    letter = Letter(MailPurpose.VERIFY_EMAIL, new_id(), email, "", None, "https://rollcall.example/x#token=y")
    with pytest.raises(UnusableAddress):
        Messages(SENDER, KEY).message(letter, present())


def test_a_mail_is_in_the_language_of_its_recipient() -> None:
    """Malay where the locale or the request asks for it, English otherwise."""
    messages = Messages(SENDER, KEY)

    def subject(language: str | None) -> str:
        letter = Letter(MailPurpose.PASSWORD_RESET, new_id(), "a@example.com", "A", language, "https://x/#token=y")
        return str(messages.message(letter, present())["Subject"])

    assert [subject(one) for one in ("ms", "ms-MY", "ms_MY", "fr, ms;q=0.5")] == ["Tetapkan kata laluan baharu"] * 4
    assert [subject(one) for one in (None, "en", "fr", "x" * 300)] == ["Set a new password"] * 4


async def test_the_locale_of_a_user_decides_before_the_request(post: Post) -> None:
    """And a name goes only to an address that was confirmed."""
    person = await post.site.person(attributes={"locale": "ms-MY"})
    await post.site.anyone.field(REQUEST_RESET, login=person.username)

    mail = await post.box.next_to(person.user.email)

    assert mail["Subject"] == "Tetapkan kata laluan baharu"
    assert person.user.name not in text_of(mail)
    assert mail["Auto-Submitted"] == "auto-generated"


async def test_a_changed_password_is_told(post: Post) -> None:
    """Without a link: a mail that asks for a click trains people for phishing."""
    person = await post.site.person()
    passwords = {"currentPassword": PASSWORD, "newPassword": "another horse battery staple"}
    assert (await person.client.field(CHANGE_PASSWORD, input=passwords))["errors"] == []

    mail = await post.box.next_to(person.user.email, "Your password was changed")

    assert "http" not in text_of(mail)
