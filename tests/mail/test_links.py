"""Mailed links: each works once, for a short time, and only while what it was made for is still so."""

import asyncio
from datetime import timedelta

from auth.mailed_links import LIFETIMES
from events import outbox
from events.event_types import Role
from tests.graph.client import Client, Json
from tests.graph.documents import CHANGE_PASSWORD, LOGIN, ME, REGISTER, UPDATE
from tests.graph.site import PASSWORD, Doors, Person, somebody
from tests.mail.conftest import Post, Posted
from tests.mail.mailbox import text_of, token_of
from tests.waiting import eventually

REQUEST_RESET = (
    "mutation($login: String!) { requestPasswordReset(login: $login) { accepted errors { code message field } } }"
)
RESET = """
mutation($token: String!, $new: String!) { resetPassword(token: $token, newPassword: $new) {
  session { accessToken } user { id username emailVerified } errors { code message field } } }
"""
VERIFY = "mutation($token: String!) { verifyEmail(token: $token) { user { id version } errors { code field } } }"
REQUEST_VERIFICATION = "mutation { requestEmailVerification { accepted errors { code message } } }"
INVITE = """
mutation($input: InviteUserInput!) { inviteUser(input: $input) { user { id role } position errors { code message } } }
"""
VERIFIED = "{ me { emailVerified } }"
NEW = "another horse battery staple"
DEAD = [{"code": "INVALID_TOKEN", "field": ["token"]}]


async def request_reset(post: Post, person: Person, number: int = 1) -> str:
    """The token of the mail that a request for a new password causes."""
    assert await post.site.anyone.field(REQUEST_RESET, login=person.username) == {"accepted": True, "errors": []}
    return token_of(await post.box.next_to(person.user.email, "Set a new password", number))


async def reset(post: Post, token: str, new: str = NEW) -> Json:
    payload = await post.site.anyone.field(RESET, token=token, new=new)
    for error in payload["errors"]:
        del error["message"]
    return payload


async def signs_in(post: Post, login: str, password: str) -> bool:
    payload = await post.site.anyone.field(LOGIN, input={"login": login, "password": password})
    return not payload["errors"]


async def test_a_mailed_link_sets_the_password_and_signs_in(post: Post) -> None:
    """It ends all other sessions, and the email counts as confirmed: the link came by it."""
    person = await post.site.person()
    token = await request_reset(post, person)

    payload = await reset(post, token)

    assert payload["errors"] == []
    assert payload["user"]["username"] == person.username
    inside = post.site.bearing(payload["session"]["accessToken"])
    assert await inside.field(VERIFIED) == {"emailVerified": True}
    assert await person.client.refused(ME) == ["UNAUTHENTICATED"]
    assert await signs_in(post, person.username, NEW)
    assert not await signs_in(post, person.username, PASSWORD)
    told = await post.box.next_to(person.user.email, "Your password was changed")
    assert "token" not in text_of(told)


async def test_a_link_works_once(post: Post) -> None:
    """A second use is refused like an unknown token."""
    person = await post.site.person()
    token = await request_reset(post, person)
    await reset(post, token)

    again = await reset(post, token, "yet another horse battery")

    assert again["errors"] == DEAD
    assert (await reset(post, "A" * 43))["errors"] == DEAD
    assert (await reset(post, "\0ä"))["errors"] == DEAD
    assert await signs_in(post, person.username, NEW)


async def test_of_concurrent_uses_of_a_link_one_succeeds(post: Post) -> None:
    """The log decides, so it does not matter which process each one reaches."""
    person = await post.site.person()
    token = await request_reset(post, person)
    passwords = [f"{NEW} {number}" for number in range(8)]

    payloads = await asyncio.gather(*(reset(post, token, password) for password in passwords))

    won = [password for password, payload in zip(passwords, payloads, strict=True) if not payload["errors"]]
    assert len(won) == 1
    assert all(payload["errors"] in ([], DEAD) for payload in payloads)
    assert await signs_in(post, person.username, won[0])


async def test_a_weak_password_leaves_the_link_as_it_was(post: Post) -> None:
    """The person tries again with the same link."""
    person = await post.site.person()
    token = await request_reset(post, person)

    weak = await reset(post, token, "password")

    assert weak["errors"] == [{"code": "WEAK_PASSWORD", "field": ["newPassword"]}]
    assert (await reset(post, token))["errors"] == []


async def test_a_link_dies_with_the_password_or_the_email_that_it_was_made_for(post: Post) -> None:
    """What was mailed before the change gives nothing after it."""
    changed, moved = await post.site.person(), await post.site.person()
    tokens = [await request_reset(post, changed), await request_reset(post, moved)]
    passwords = {"currentPassword": PASSWORD, "newPassword": NEW}
    assert (await changed.client.field(CHANGE_PASSWORD, input=passwords))["errors"] == []
    assert (await moved.client.field(UPDATE, input={"id": moved.id, "email": "new@example.com"}))["errors"] == []

    payloads = [await reset(post, token, "yet another horse battery") for token in tokens]

    assert [payload["errors"] for payload in payloads] == [DEAD, DEAD]


async def test_a_link_expires(post: Post) -> None:
    """After half an hour by the server's clock."""
    person = await post.site.person()
    token = await request_reset(post, person)

    post.site.clock.ahead += LIFETIMES[outbox.MailPurpose.PASSWORD_RESET]

    assert (await reset(post, token))["errors"] == DEAD


async def test_a_link_of_one_purpose_has_no_other(post: Post) -> None:
    """A link that confirms an email sets no password, and the other way round."""
    person = await post.site.person()
    assert (await person.client.field(REQUEST_VERIFICATION))["accepted"]
    verifying = token_of(await post.box.next_to(person.user.email, "Confirm"))
    setting = await request_reset(post, person)

    assert (await reset(post, verifying))["errors"] == DEAD
    assert (await post.site.anyone.field(VERIFY, token=setting))["errors"] == DEAD


async def test_who_writes_to_the_table_can_neither_prolong_a_link_nor_turn_it_to_another_user(post: Post) -> None:
    """The row is bound to both by a MAC."""
    thief, victim = await post.site.person(), await post.site.person()
    token = await request_reset(post, thief)

    await post.site.log.database.execute("UPDATE mailed_links SET user_id = %s", (victim.user.id.bytes,))

    assert (await reset(post, token))["errors"] == DEAD
    await post.site.log.database.execute(
        "UPDATE mailed_links SET user_id = %s, expires_at = '2100-01-01'", (thief.user.id.bytes,)
    )
    assert (await reset(post, token))["errors"] == DEAD


async def test_a_new_user_confirms_the_email_by_a_link(post: Post) -> None:
    """The event is in the log, a new email is unconfirmed again, and both addresses get a mail about the change."""
    given = somebody()
    payload = await post.site.anyone.field(REGISTER, input=given)
    client = post.site.bearing(payload["session"]["accessToken"])
    token = token_of(await post.box.next_to(given["email"], "Confirm"))
    assert await client.field(VERIFIED) == {"emailVerified": False}

    verified = await post.site.anyone.field(VERIFY, token=token)

    assert verified["errors"] == []
    assert verified["user"] == {"id": payload["user"]["id"], "version": 2}
    assert await client.field(VERIFIED) == {"emailVerified": True}
    assert (await post.site.anyone.field(VERIFY, token=token))["errors"] == DEAD
    assert (await client.field(REQUEST_VERIFICATION))["accepted"] is False
    new = f"new.{given['email']}"
    assert (await client.field(UPDATE, input={"id": payload["user"]["id"], "email": new}))["errors"] == []
    assert await client.field(VERIFIED) == {"emailVerified": False}
    await post.box.next_to(given["email"], "Your email was changed")
    token = token_of(await post.box.next_to(new, "Confirm"))
    assert (await post.site.anyone.field(VERIFY, token=token))["errors"] == []


async def test_an_invited_user_chooses_a_password_and_is_signed_in(post: Post) -> None:
    """The link works for three days, the role is the one that the ADMIN chose, and the mail about a changed password is
    not sent: there was none."""
    admin = await post.site.person(Role.ADMIN)
    given = {key: value for key, value in somebody().items() if key != "password"} | {"role": "TECHNICAL_WORKER"}
    invited = await admin.client.field(INVITE, input=given)
    token = token_of(await post.box.next_to(given["email"], "You are invited"))
    post.site.clock.ahead += timedelta(days=2)

    payload = await reset(post, token)

    assert payload["errors"] == []
    assert payload["user"]["id"] == invited["user"]["id"]
    assert invited["user"]["role"] == "TECHNICAL_WORKER"
    assert await signs_in(post, given["email"], NEW)
    customer = await post.site.person()
    assert await customer.client.refused(INVITE, input=given) == ["FORBIDDEN"]
    await request_reset(post, customer)  # a later mail has come, so one about the password would have
    assert post.box.to(given["email"], "Your password") == []


async def test_a_request_is_answered_the_same_whether_the_account_exists_or_not(post: Post) -> None:
    """The same answer, the same statements and the same row; only the recipient sees a difference."""
    person = await post.site.person()
    logins = [person.username, person.user.email, "nobody.here", "nobody@example.com"]

    answers = [await post.site.anyone.ask(REQUEST_RESET, login=login) for login in logins]

    assert {str(answer.body) for answer in answers} == {str(answers[0].body)}
    assert answers[0].body["data"]["requestPasswordReset"] == {"accepted": True, "errors": []}
    await post.box.next_to(person.user.email, "Set a new password", number=2)

    async def sent() -> bool:
        return await post.site.log.database.fetch_one("SELECT 1 FROM outbox") is None

    await eventually(sent)
    assert {to for to, _ in post.box.mails} == {person.user.email}


async def test_requests_are_throttled_by_login(post: Post) -> None:
    """A login that nobody has is throttled like one that somebody has."""
    post.site.clock.stop()
    person = await post.site.person()

    async def codes(login: str) -> list[str | None]:
        return (await post.site.anyone.ask(REQUEST_RESET, login=login)).codes

    for login in (person.username, person.user.email, "nobody.here"):
        assert [await codes(login) for _ in range(6)] == [[]] * 5 + [["RATE_LIMITED"]]


async def test_where_mail_is_off_people_are_told(posted: Posted) -> None:
    """Nothing is queued that nobody sends."""
    async with posted(Doors(mail=False)) as post:
        person, admin = await post.site.person(), await post.site.person(Role.ADMIN)
        given = {key: value for key, value in somebody().items() if key != "password"} | {"role": "CUSTOMER"}

        refused = await post.site.anyone.field(REQUEST_RESET, login=person.username)
        invited = await admin.client.field(INVITE, input=given)

        assert refused["accepted"] is False
        assert [error["code"] for error in refused["errors"]] == ["INVALID"]
        assert [error["code"] for error in invited["errors"]] == ["INVALID"]
        assert await post.site.log.database.fetch_one("SELECT 1 FROM outbox") is None


async def test_who_may_know_whether_an_email_is_confirmed(post: Post) -> None:
    """Oneself and staff."""
    person, other = await post.site.person(), await post.site.person()
    worker = await post.site.person(Role.TECHNICAL_WORKER)
    document = "query($id: ID!, $at: Position!) { user(id: $id, atPosition: $at) { emailVerified } }"

    async def known_to(client: Client) -> Json:
        return await client.field(document, id=person.id, at=str(person.user.position))

    assert await known_to(person.client) == {"emailVerified": False}
    assert await known_to(worker.client) == {"emailVerified": False}
    assert await known_to(other.client) is None
