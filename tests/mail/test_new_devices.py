"""A sign-in from a new device is told to its user: once, together with the session, and never as a flood."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from auth import known_devices
from auth.known_devices import KEPT, MAILS_A_DAY, KnownDevices
from auth.session_rows import SessionClient
from auth.sessions import Lifetimes, Sessions
from events.database import Database
from events.ids import new_id
from rollcall.embedded import Addresses
from tests import databases
from tests.graph.client import Json
from tests.graph.documents import DELETE, LOGIN, LOGOUT, REGISTER, RESET, VERIFY
from tests.graph.site import PASSWORD, Doors, running, somebody
from tests.log import NOBODY, registration
from tests.mail.conftest import Post
from tests.mail.mailbox import html_of, text_of, token_of
from tests.mail.test_links import NEW
from tests.mail.test_sending import nothing_waits

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
SUBJECT = "Your account was used on a new device"
COUNT = "SELECT COUNT(*) FROM outbox WHERE purpose = 'new_device'"


async def send(post: Post, document: str, agent: str, variables: Json, **headers: str) -> Json:
    """The answer to a mutation of a client that names itself."""
    body = {"query": document, "variables": variables}
    sent = {"User-Agent": agent, "X-Forwarded-For": "203.0.113.9"} | {
        k.replace("_", "-"): v for k, v in headers.items()
    }
    async with post.site.session.post(post.site.anyone.url, json=body, headers=sent) as response:
        (payload,) = (await response.json())["data"].values()
    assert payload["errors"] == []
    return payload


async def sign_in(post: Post, username: str, agent: str, **headers: str) -> Json:
    return await send(post, LOGIN, agent, {"input": {"login": username, "password": PASSWORD}}, **headers)


async def confirmed(post: Post, agent: str = "first/1.0", **fields: Json) -> Json:
    """The input of a user who has registered on a device and confirmed the email."""
    given = somebody(**fields)
    await send(post, REGISTER, agent, {"input": given})
    token = token_of(await post.box.next_to(given["email"]))
    assert (await post.site.anyone.field(VERIFY, token=token))["errors"] == []
    return given


async def test_a_sign_in_from_a_new_device_is_told_once(post: Post) -> None:
    """Not the first one after a registration, and not again for the same device, whatever its address."""
    person = await confirmed(post)
    before = post.site.clock.now().replace(microsecond=0)
    await sign_in(post, person["username"], FIREFOX)
    after = post.site.clock.now()
    for agent in ("first/1.0", FIREFOX, "first/2.0"):
        await sign_in(post, person["username"], agent, X_Forwarded_For="198.51.100.7")
    await nothing_waits(post)

    (mail,) = post.box.to(person["email"], SUBJECT)
    for body in (text_of(mail), html_of(mail)):
        assert "Firefox on Linux" in body
        assert "203.0.113.9" in body
        assert person["name"] in body
        assert "change your password" in body
        assert "http" not in body
        written = body.partition("Time: ")[2][:19]
        assert before <= datetime.fromisoformat(written).replace(tzinfo=UTC) <= after
        assert f"{written} UTC" in body


async def test_the_mail_is_in_the_language_of_the_sign_in(post: Post) -> None:
    """The locale of the user decides before it."""
    one, two = await confirmed(post), await confirmed(post, attributes={"locale": "en-GB"})

    for person in (one, two):
        await sign_in(post, person["username"], FIREFOX, Accept_Language="ms-MY,ms;q=0.9,en;q=0.5")

    mail = await post.box.next_to(one["email"], "Akaun anda digunakan pada peranti baharu")
    for body in (text_of(mail), html_of(mail)):
        assert "Peranti: Firefox on Linux" in body
        assert "Alamat: 203.0.113.9" in body
        assert "tukar kata laluan" in body
    await post.box.next_to(two["email"], SUBJECT)


async def test_a_session_that_has_ended_keeps_its_device_known(post: Post) -> None:
    """Its row is deleted, and the next sign-in is no news."""
    person = await confirmed(post)
    for _ in range(2):
        session = (await sign_in(post, person["username"], FIREFOX))["session"]
        assert await post.site.bearing(session["accessToken"]).field(LOGOUT, everywhere=True) == {"loggedOut": True}
    await nothing_waits(post)

    assert len(post.box.to(person["email"], SUBJECT)) == 1


async def test_a_new_password_by_a_mailed_link_is_a_sign_in_too(post: Post) -> None:
    """Who reads the mail of somebody else is seen."""
    person = await confirmed(post)
    await post.site.services.mails.password_reset(person["username"], "", None)
    token = token_of(await post.box.next_to(person["email"], "Set a new password"))

    await send(post, RESET, FIREFOX, {"token": token, "new": NEW})

    assert "Firefox on Linux" in text_of(await post.box.next_to(person["email"], SUBJECT))


async def test_of_concurrent_sign_ins_from_a_new_device_one_causes_a_mail(post: Post) -> None:
    """The row of the device is locked until the session is committed."""
    person = await confirmed(post)

    await asyncio.gather(*(sign_in(post, person["username"], FIREFOX) for _ in range(8)))
    await nothing_waits(post)

    assert len(post.box.to(person["email"], SUBJECT)) == 1


@pytest.mark.parametrize("version", ["4", "7"])
async def test_a_user_with_the_id_of_another_system_is_told_too(post: Post, version: str) -> None:
    """The id says nothing of the registration, or nothing that can be: an unknown account may have been there long."""
    given = somebody()
    command = registration(
        given["username"], email=given["email"], password_hash=await post.site.passwords.hash(PASSWORD)
    )
    id_ = UUID(f"ffffffff-ffff-{version}fff-bfff-ffffffffffff")
    await post.site.log.commands.register(msgspec.structs.replace(command, verified=True), NOBODY, user_id=id_)

    await sign_in(post, given["username"], FIREFOX)

    await post.box.next_to(given["email"], SUBJECT)


async def test_changing_names_of_devices_do_not_flood_a_mailbox(post: Post) -> None:
    """Five mails a day. The table keeps the devices that were seen last."""
    person = await confirmed(post)
    post.site.clock.stop()
    for number in range(known_devices.DEVICES + 5):
        post.site.clock.ahead += timedelta(seconds=1)
        await sign_in(post, person["username"], f"device{number}/1.0")
    await nothing_waits(post)
    assert len(post.box.to(person["email"], SUBJECT)) == MAILS_A_DAY
    rows = await post.site.log.database.fetch_one("SELECT COUNT(*) FROM known_devices")
    assert rows == (known_devices.DEVICES,)

    post.site.clock.ahead += timedelta(days=1)
    await sign_in(post, person["username"], "another/1.0")

    await post.box.next_to(person["email"], SUBJECT, MAILS_A_DAY + 1)


async def test_an_email_that_was_not_confirmed_learns_no_device(post: Post) -> None:
    """It may be a stranger's, who is not to learn an address, nor to read a text that somebody chose."""
    given = somebody()
    await send(post, REGISTER, "first/1.0", {"input": given})

    await sign_in(post, given["username"], "Read-evil.example/1.0")

    mail = await post.box.next_to(given["email"], SUBJECT)
    for body in (text_of(mail), html_of(mail)):
        assert "evil" not in body
        assert "203.0.113.9" not in body


async def test_there_is_no_session_without_its_mail(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are one transaction: a program that is killed between them leaves neither."""
    person = await confirmed(post)
    before = await post.site.log.database.fetch_one("SELECT COUNT(*) FROM sessions")
    monkeypatch.setattr(known_devices, "MAIL", "INSERT INTO outbox (cause) VALUES ({session})")  # refused

    body = {"query": LOGIN, "variables": {"input": {"login": person["username"], "password": PASSWORD}}}
    async with post.site.session.post(post.site.anyone.url, json=body) as response:
        assert (await response.json())["errors"]

    assert await post.site.log.database.fetch_one("SELECT COUNT(*) FROM sessions") == before
    monkeypatch.undo()
    await sign_in(post, person["username"], FIREFOX)
    await post.box.next_to(person["email"], SUBJECT)


async def test_the_database_names_no_device_and_a_deletion_forgets_it(post: Post) -> None:
    """What waits for the mail is sealed."""
    person = await confirmed(post)
    post.box.answer = lambda _: "451 later"
    session = (await sign_in(post, person["username"], FIREFOX))["session"]
    database = post.site.log.database

    for table in ("outbox", "known_devices"):
        rows = repr(await database.fetch_all(f"SELECT * FROM {table}"))
        assert "Firefox" not in rows
        assert "203.0.113.9" not in rows
    client = post.site.bearing(session["accessToken"])
    user_id = str(post.site.services.tokens.verify(session["accessToken"]).user_id)
    assert (await client.field(DELETE, input={"id": user_id}))["errors"] == []
    assert await database.fetch_all("SELECT * FROM known_devices") == []


async def test_without_mail_no_device_is_kept(addresses: Addresses) -> None:
    """It would serve nothing."""
    async with running(addresses, doors=Doors(mail=False), projected=False) as site:
        person = await site.person()
        await site.anyone.field(LOGIN, input={"login": person.username, "password": PASSWORD})

        assert await site.log.database.fetch_all("SELECT * FROM known_devices") == []
        assert await site.log.database.fetch_all("SELECT * FROM outbox") == []


class SignInAt(msgspec.Struct, frozen=True):
    """A sign-in, some days after the one before."""

    days: int
    device: str


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def table(addresses: Addresses) -> AsyncIterator[Database]:
    """A schema for all examples."""
    async with databases.schema(addresses, size=4) as database:
        yield database


def expected_mails(history: Sequence[SignInAt]) -> int:
    """By the words of the documentation."""
    day, seen, mailed, new = 0, dict[str, int](), 0, list[int]()
    for one in history:
        day += one.days
        if day - seen.get(one.device, -1_000) > KEPT.days and (seen or day > KEPT.days):
            new.append(day)
            mailed += sum(day - at < 1 for at in new) <= MAILS_A_DAY
        seen[one.device] = day
    return mailed


@settings(max_examples=60)
@given(
    st.lists(
        st.builds(SignInAt, days=st.sampled_from([0, 0, 0, 1, 40, 91]), device=st.sampled_from("abcdefgh")), max_size=12
    )
)
async def test_any_history_of_sign_ins_has_the_mails_that_the_documentation_promises(
    table: Database, history: list[SignInAt]
) -> None:
    """Also of an account that nobody has used for long, and of devices that come back."""
    start = datetime.now(UTC)
    now = start
    devices = KnownDevices(bytes(32), bytes(32), bytes)
    sessions = Sessions(table, bytes(32), Lifetimes(), lambda: now, new_id, devices=devices)
    user_id = UUID(int=(int(start.timestamp() * 1000) << 80) | new_id().int % 2**80)
    ((before,),) = await table.fetch_all(COUNT)

    for one in history:
        now += timedelta(days=one.days, milliseconds=1)
        await sessions.start(user_id, 1, SessionClient(one.device))
        if one.days == 91:
            await sessions.sweep()

    ((after,),) = await table.fetch_all(COUNT)
    assert after - before == expected_mails(history)
