"""An open socket ends with the right to it, within a second, and with the code after which a client connects again."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from aiohttp import WSCloseCode

from events.event_types import Origin, Role
from events.user import ChangePassword
from tests.graph.client import close_code
from tests.graph.documents import CHANGE_PASSWORD, CHANGE_ROLE, CHANGES, DELETE, LOGOUT, ME, REFRESH
from tests.graph.site import PASSWORD, Person, Site
from tests.graph.test_sockets import stalled
from tests.waiting import PATIENCE_SECONDS, eventually


async def expire(site: Site, person: Person) -> None:
    site.clock.ahead = timedelta(minutes=15)


async def log_out(site: Site, person: Person) -> None:
    await person.client.field(LOGOUT)


async def log_out_elsewhere(site: Site, person: Person) -> None:
    elsewhere = await site.signed_in(person.user)
    await elsewhere.field(LOGOUT, everywhere=True)


async def change_role(site: Site, person: Person) -> None:
    admin = await site.person(Role.ADMIN)
    await admin.client.field(CHANGE_ROLE, input={"id": person.id, "role": "TECHNICAL_WORKER"})


async def change_password_elsewhere(site: Site, person: Person) -> None:
    elsewhere = await site.signed_in(person.user)
    passwords = {"currentPassword": PASSWORD, "newPassword": "a password that is new"}
    assert (await elsewhere.field(CHANGE_PASSWORD, input=passwords))["errors"] == []


async def set_password_by_command(site: Site, person: Person) -> None:
    """As `rollcall set-password` does, in a process that knows nothing of sessions."""
    account = await site.log.commands.account(person.user.id)
    command = ChangePassword(password_hash="other", replaces=account.password_version)
    await site.log.commands.change(person.user.id, command, Origin())


async def delete(site: Site, person: Person) -> None:
    await person.client.field(DELETE, input={"id": person.id})


CAUSES = [expire, log_out, log_out_elsewhere, change_role, change_password_elsewhere, set_password_by_command, delete]


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.__name__)
async def test_a_socket_ends_with_its_session(
    site: Site, monkeypatch: pytest.MonkeyPatch, cause: Callable[[Site, Person], Awaitable[None]]
) -> None:
    """4403 for one that listens and for one that is only connected; another user's socket stays open."""
    monkeypatch.setattr(site.clock, "ahead", timedelta())
    person = await site.person()
    other = await site.person() if cause is not expire else None
    async with AsyncExitStack() as stack:
        listening, idle = [await stack.enter_async_context(person.client.socket()) for _ in range(2)]
        await site.listen(listening, CHANGES, userId=person.id)
        unconcerned = await stack.enter_async_context((other.client if other else site.anyone).socket())

        await cause(site, person)

        async with asyncio.timeout(PATIENCE_SECONDS):
            assert set(await asyncio.gather(close_code(listening.raw), close_code(idle.raw))) == {4403}
        me = await unconcerned.next(await unconcerned.subscribe(ME))
        assert me == ({"me": None} if other is None else {"me": me["me"]})


async def test_a_stolen_refresh_token_ends_the_socket_of_its_session(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second use ends the session, and with it what is open in it."""
    person = await site.person()
    granted = await site.services.sessions.start(person.user.id, person.user.version)
    signed_in = await site.services.sign_in.refresh(granted.token.text, "")
    async with site.bearing(signed_in.token.token).socket() as socket:
        monkeypatch.setattr(site.clock, "ahead", timedelta(seconds=11))
        payload = await site.anyone.field(REFRESH, token=granted.token.text)
        assert [error["code"] for error in payload["errors"]] == ["INVALID_TOKEN"]

        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await close_code(socket.raw) == 4403


async def test_the_socket_of_the_session_that_changed_the_password_stays_open(site: Site) -> None:
    """Only the others end."""
    person = await site.person()
    elsewhere = await site.signed_in(person.user)
    passwords = {"currentPassword": PASSWORD, "newPassword": "a password that is new"}
    async with person.client.socket() as here, elsewhere.socket() as other:
        await person.client.field(CHANGE_PASSWORD, input=passwords)

        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await close_code(other.raw) == 4403
        assert (await here.next(await here.subscribe(ME)))["me"]["id"] == person.id


async def test_a_session_that_ends_while_its_socket_begins_is_noticed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is watched before it is checked: what ends it right after the check is found in the next round."""
    person = await site.person()
    claims = site.services.tokens.verify((person.client.authorization or "").removeprefix("Bearer "))
    find = type(site.services.sessions).find_with_hash

    async def end_after_check(*_: object) -> object:
        found = await find(site.services.sessions, claims.session_id, claims.user_id)
        await site.services.sessions.end(claims.session_id)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(type(site.services.sessions), "find_with_hash", end_after_check)
        async with person.client.socket() as socket, asyncio.timeout(PATIENCE_SECONDS):
            assert await close_code(socket.raw) == 4403


async def test_a_client_that_does_not_read_is_cut_off_too(own_site: Site) -> None:
    """It cannot be notified, but it gets nothing any more, and delays the close of no other socket."""
    person = await own_site.person(attributes={"note": "x" * 60_000})
    large = "{" + " ".join(f"m{number}: me {{ attributes }}" for number in range(20)) + "}"
    async with person.client.socket() as deaf, person.client.socket() as reading:
        for _ in range(20):
            await deaf.subscribe(large)
        await stalled(own_site)

        await person.client.field(LOGOUT)

        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await close_code(reading.raw) == 4403

        runner = own_site.server.runner
        assert runner is not None
        assert runner.server is not None
        server = runner.server

        async def cut() -> bool:
            return not any(c.transport.get_write_buffer_size() for c in server.connections if c.transport)

        await eventually(cut)


async def test_one_has_so_many_sockets_and_no_more(own_site: Site) -> None:
    """One more is closed with 1013; when another one closes there is room again; other callers are not affected."""
    person, other = await own_site.person(), await own_site.person()
    own_site.services.watch._connections = 3
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(person.client.socket()) for _ in range(3)]
        async with person.client.raw_socket() as raw:
            payload = {"authorization": person.client.authorization}
            await raw.send_json({"type": "connection_init", "payload": payload})
            assert await close_code(raw) == WSCloseCode.TRY_AGAIN_LATER
        await stack.enter_async_context(other.client.socket())
        await stack.enter_async_context(own_site.anyone.socket())

        await sockets[0].raw.close()

        async def there_is_room() -> bool:
            return len(own_site.services.watch._open[person.user.id]) == 2

        await eventually(there_is_room)
        await stack.enter_async_context(person.client.socket())


async def test_a_socket_that_closes_is_watched_no_more(own_site: Site) -> None:
    """Closed connections leave nothing behind."""
    person = await own_site.person()
    for _ in range(5):
        async with person.client.socket():
            pass
        async with own_site.anyone.socket():
            pass

    async def nobody() -> bool:
        return not own_site.services.watch._open

    await eventually(nobody)


async def test_an_operation_too_many_ends_by_itself(site: Site) -> None:
    """A socket carries a hundred operations at once; one more gets an error, and the others go on."""
    person = await site.person()
    async with person.client.socket() as socket:
        for _ in range(100):
            await socket.subscribe(CHANGES, types=["USER_DELETED"])
        id_ = await socket.subscribe(CHANGES, types=["USER_DELETED"])
        message = await socket.receive()

        assert (message["type"], message["id"]) == ("error", id_)
        await socket.send({"type": "complete", "id": "1"})
        assert (await socket.next(await socket.subscribe(ME)))["me"]["id"] == person.id
