"""The requests of both Python clients against a real server: sign-in, retries, and reading one's own writes."""

import asyncio
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from auth.budgets import Budgets
from auth.write_quota import WriteQuota
from events.event_types import Role
from rollcall_client import (
    AsyncClient,
    Credentials,
    Forbidden,
    OperationFailed,
    Refused,
    Retry,
    Throttled,
    Tokens,
    TransportError,
    Unauthenticated,
    UserUpdate,
)
from tests.clients.python_clients import KINDS, calling, credentials, endpoint
from tests.graph.site import DEVELOPMENT, PASSWORD, Site, served
from tests.system.proxy import proxied
from tests.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]
PATIENT = Retry(seconds=PATIENCE_SECONDS)
ANSWER = re.compile(rb"^HTTP/1.1 200")
REFRESH = rb"refreshSession(refreshToken"
LATER = timedelta(minutes=16)
"""Longer than the life of an access token."""


@KINDS
async def test_callers_at_the_same_time_renew_an_expired_token_once(
    site: Site, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Twenty calls with an expired token succeed, after one refresh and without another sign-in."""
    person = await site.person()
    kept: list[Tokens | None] = []
    async with (
        proxied(endpoint(site)) as proxy,
        calling(
            kind, proxy.url(endpoint(site)), credentials=credentials(person), on_tokens=kept.append, retry=PATIENT
        ) as client,
    ):
        assert (await client.me()).username == person.username
        proxy.recorded = bytearray()
        monkeypatch.setattr(site.clock, "ahead", LATER)

        found = await asyncio.gather(*(client.me() for _ in range(20)))

        assert {user.id for user in found} == {person.id}
        assert proxy.recorded.count(REFRESH) == 1
        assert b"login(input" not in proxy.recorded
        assert len(kept) == 2


@KINDS
async def test_a_client_with_credentials_outlives_its_session(site: Site, kind: str) -> None:
    """It signs in again, once for all callers. One without them fails, and is not anonymous from then on."""
    person = await site.person()
    async with (
        calling(kind, endpoint(site), credentials=credentials(person)) as service,
        calling(kind, endpoint(site)) as app,
    ):
        assert (await service.me()).id == person.id
        assert (await app.log_in(person.username, PASSWORD)).id == person.id
        await person.client.field("mutation { logout(everywhere: true) { loggedOut } }")

        assert {user.id for user in await asyncio.gather(*(service.me() for _ in range(10)))} == {person.id}
        for _ in range(2):
            with pytest.raises(Unauthenticated, match="the session has ended"):
                await app.me()


@KINDS
async def test_a_mutation_whose_answer_is_lost_takes_effect_once(site: Site, kind: str) -> None:
    """The connection ends between the change and its answer; the client sends the change again and gets that answer."""
    admin = await site.person(Role.ADMIN)
    url = endpoint(site)
    async with (
        proxied(url) as proxy,
        calling(kind, proxy.url(url), credentials=credentials(admin), retry=PATIENT) as client,
    ):
        name = f"u{uuid4().hex[:12]}"
        await client.me()
        making = asyncio.ensure_future(
            client.create_user(name, f"{name}@example.com", "N", PASSWORD, "CUSTOMER", attributes={"n": 1})
        )
        assert await proxy.hang_at(ANSWER, PATIENCE_SECONDS)
        proxy.drop()
        proxy.flow()
        made = await making
        assert (made.username, made.version, made.attributes) == (name, 1, {"n": 1})

        changing = asyncio.ensure_future(
            client.update_users([UserUpdate(made.id, attributes={"n": 2}), UserUpdate(admin.id, username=name)])
        )
        assert await proxy.hang_at(ANSWER, PATIENCE_SECONDS)
        proxy.drop()
        proxy.flow()
        changed, refused = await changing
        assert (changed.version, changed.attributes) == (2, {"n": 2})
        assert [problem.code for problem in refused.problems] == ["TAKEN"]
        assert refused.problems[0].field == ("username",)


@KINDS
async def test_a_mutation_without_a_key_is_not_sent_twice(site: Site, kind: str) -> None:
    """Its answer is lost: the error says that the outcome is unknown."""
    person = await site.person()
    url = endpoint(site)
    async with (
        proxied(url) as proxy,
        calling(kind, proxy.url(url), credentials=credentials(person), retry=PATIENT) as client,
    ):
        await client.me()
        document = 'mutation($id: ID!) { updateUser(input: {id: $id, name: "Once"}) { position } }'
        changing = asyncio.ensure_future(client.execute(document, {"id": person.id}))
        assert await proxy.hang_at(ANSWER, PATIENCE_SECONDS)
        proxy.recorded = bytearray()
        proxy.drop()
        proxy.flow()

        with pytest.raises(TransportError) as caught:
            await changing

        assert caught.value.outcome_unknown
        assert b"updateUser(input" not in proxy.recorded
        assert (await client.me()).name == "Once"


@KINDS
async def test_queries_include_ones_own_writes(site: Site, kind: str) -> None:
    """Each query after a change shows it, in both views. So do those of another client that knows the position."""
    admin = await site.person(Role.ADMIN)
    async with (
        calling(kind, endpoint(site), credentials=credentials(admin)) as writer,
        calling(kind, endpoint(site), credentials=credentials(admin)) as reader,
    ):
        for number in range(10):
            changed = await writer.update_user(admin.id, attributes={"round": f"{admin.username}x{number}"})
            assert writer.position is not None
            assert writer.position >= changed.position
            found = await writer.search_users(where=[{"path": "round", "eq": f"{admin.username}x{number}"}])
            assert [user.id for user in found] == [admin.id]
            document = "mutation($id: ID!, $name: String) { updateUser(input: {id: $id, name: $name}) { position } }"
            await writer.execute(document, {"id": admin.id, "name": f"N{number}"})
            reader.include(writer.position)
            assert (await reader.get_user(admin.id)).name == f"N{number}"


@KINDS
async def test_a_throttled_client_waits_as_long_as_the_server_says(own_site: Site, kind: str) -> None:
    """It sends nothing before Retry-After has passed; if that is too long it fails at once and says how long."""
    quota = WriteQuota(
        Budgets(own_site.log.database, own_site.log.keys.throttle, own_site.clock.now), per_user=1_800, per_address=0
    )
    async with (
        served(replace(own_site, services=replace(own_site.services, write_quota=quota)), DEVELOPMENT) as site,
        proxied(endpoint(site)) as proxy,
    ):
        person = await site.person()
        await quota.spend(UUID(person.id), "", 1_800 * 4_096)  # one more write in 2 s
        options = {"credentials": credentials(person), "random": lambda: 0.0}
        async with (
            calling(kind, proxy.url(endpoint(site)), retry=Retry(seconds=1), **options) as hasty,
            calling(kind, proxy.url(endpoint(site)), retry=PATIENT, **options) as patient,
        ):
            with pytest.raises(Throttled) as caught:
                await hasty.update_user(person.id, attributes={"text": "x" * 40_000})
            assert caught.value.retry_after is not None
            assert caught.value.retry_after > 1
            assert not caught.value.outcome_unknown

            await patient.me()
            proxy.recorded = bytearray()
            assert (await patient.update_user(person.id, name="Patient")).name == "Patient"
            assert proxy.recorded.count(b"updateUser(input") <= 2


@KINDS
async def test_a_server_that_is_away_for_a_while_is_waited_for(site: Site, kind: str) -> None:
    """Calls succeed once it is back. If it stays away, they fail within their time and nothing was done."""
    admin = await site.person(Role.ADMIN)
    url = endpoint(site)
    async with (
        proxied(url) as proxy,
        calling(kind, proxy.url(url), credentials=credentials(admin), retry=PATIENT) as patient,
        calling(kind, proxy.url(url), credentials=credentials(admin), retry=Retry(0.2)) as hasty,
    ):
        await asyncio.gather(patient.me(), hasty.me())
        proxy.cut()
        waiting = asyncio.ensure_future(patient.update_user(admin.id, name="Back"))
        with pytest.raises(TransportError):
            await hasty.me()
        assert not waiting.done()
        proxy.connect(url)
        assert (await waiting).name == "Back"


async def test_a_cancelled_caller_leaves_the_renewal_to_the_others(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The task that began the renewal is cancelled in the middle; its answer still becomes the client's tokens.

    A later second use of the refresh token would end the session.
    """
    person = await site.person()
    url = endpoint(site)
    async with proxied(url) as proxy, AsyncClient(proxy.url(url), retry=PATIENT) as client:
        await client.log_in(person.username, PASSWORD)
        monkeypatch.setattr(site.clock, "ahead", LATER)
        first = asyncio.create_task(client.me())
        assert await proxy.hang_at(re.compile(rb'"refreshSession"'), PATIENCE_SECONDS)
        first.cancel()
        await asyncio.wait([first])
        assert first.cancelled()
        monkeypatch.setattr(site.clock, "ahead", LATER + timedelta(seconds=30))  # the server repeats no answer any more
        proxy.flow()
        second = await client.me()
        monkeypatch.setattr(site.clock, "ahead", LATER * 3)

        assert second is not None
        assert (await client.me()) == second


@KINDS
async def test_errors_say_what_the_server_said(site: Site, kind: str) -> None:
    """Refusals have codes and fields; rights, documents and sign-ins fail with errors of their own."""
    person = await site.person()
    async with (
        calling(kind, endpoint(site), credentials=credentials(person)) as client,
        calling(kind, endpoint(site), credentials=Credentials(person.username, "wrong password")) as wrong,
        calling(kind, endpoint(site)) as anonymous,
    ):
        with pytest.raises(Refused) as refused:
            await client.update_user(person.id, username="a b", email="nonsense")
        assert [(one.code, one.field) for one in refused.value.problems] == [
            ("INVALID", ("username",)),
            ("INVALID", ("email",)),
        ]
        with pytest.raises(Refused, match="STALE_VERSION expectedVersion"):
            await client.update_user(person.id, name="N", expected_version=7)
        with pytest.raises(Forbidden) as forbidden:
            await client.list_users()
        assert forbidden.value.code == "FORBIDDEN"
        with pytest.raises(OperationFailed, match="Cannot query field"):
            await client.execute("{ nothing }")
        with pytest.raises(Unauthenticated, match="WRONG_CREDENTIALS"):
            await wrong.me()
        with pytest.raises(Unauthenticated, match="sign in first"):
            await anonymous.list_users()
        assert await anonymous.me() is None
        with pytest.raises(Refused, match="WRONG_CREDENTIALS"):
            await anonymous.log_in(person.username, "wrong password")


@KINDS
async def test_the_usual_operations(site: Site, kind: str) -> None:
    """Each typed method does what its name says."""
    admin = await site.person(Role.ADMIN)
    async with (
        calling(kind, endpoint(site), credentials=credentials(admin)) as client,
        calling(kind, endpoint(site)) as other,
    ):
        names = sorted(f"many{uuid4().hex[:10]}" for _ in range(3))
        made = [
            await client.create_user(
                name, f"{name}@example.com", "Many", PASSWORD, "CUSTOMER", attributes={"of": names}
            )
            for name in names
        ]
        tests = {"username": {"in": names}}
        page = await client.list_users(filter=tests, order_by={"field": "USERNAME"}, first=2, count=True)
        assert [user.username for user in page] == names[:2]
        assert (page.total, page.has_next, page.has_previous) == (3, True, False)
        rest = await client.list_users(filter=tests, order_by={"field": "USERNAME"}, first=2, after=page.end)
        assert list(rest) == made[2:]
        assert rest.total is None
        assert {user.id for user in await client.search_users(names[0])} == {user.id for user in made}
        assert await client.users_by_ids([made[2].id, str(uuid4()), made[0].id]) == [made[2], None, made[0]]
        assert (await client.get_user(made[0].id, at_position=made[0].position)).username == names[0]
        assert (await client.change_role(made[0].id, "TECHNICAL_WORKER")).role == "TECHNICAL_WORKER"
        assert await client.delete_user(made[1].id) is None
        assert await client.get_user(made[1].id) is None
        head = (await client.projections())[0].head
        assert head >= (client.position or 0)

        registered = await other.register(f"new{names[0]}", f"new{names[0]}@example.com", "New", PASSWORD)
        assert (await other.me()) == registered
        assert (await other.change_password(PASSWORD, f"{PASSWORD} 2")).version == 2
        assert await other.log_out()
        with pytest.raises(Unauthenticated):
            await other.me()
        assert (await other.log_in(registered.username, f"{PASSWORD} 2")).id == registered.id


@KINDS
async def test_all_users_are_listed_over_page_boundaries(site: Site, kind: str) -> None:
    """`all_users` reads page after page."""
    admin = await site.person(Role.ADMIN)
    for _ in range(101):
        await site.person()
    async with calling(kind, endpoint(site), credentials=credentials(admin)) as client:
        await site.caught_up()
        count = (await client.list_users(first=0, count=True)).total
        found = [user.id async for user in client.all_users()]
        assert len(found) == len(set(found)) == count
        assert count > 100


@pytest.mark.parametrize("document", ["docs/python-client.md", "clients/python/README.md"])
async def test_the_code_of_the_guides_runs(own_site: Site, document: str) -> None:
    """In its order, against a server. What is quoted from the example is there word for word."""
    await own_site.person(Role.ADMIN, username="service")
    example = (ROOT / "examples" / "follow_users.py").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL)
    code = [block for block in blocks if block not in example]
    source = "\n".join(code).replace("https://users.example.com/graphql", endpoint(own_site))

    def run() -> None:
        names: dict[str, Any] = {}
        exec(compile(source, document, "exec"), names)  # noqa: S102
        names["client"].close()

    await asyncio.to_thread(run)
    assert code
    assert (len(blocks) > len(code)) == (document == "docs/python-client.md")
