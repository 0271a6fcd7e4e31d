"""The quota of writes as clients meet it: RATE_LIMITED with the time to wait; reads, staff and deletion are free."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

from auth.budgets import Budgets
from auth.write_quota import WriteQuota
from events.event_types import Role
from tests.graph.client import Answer, Client, answer_of
from tests.graph.documents import DELETE, ME, UPDATE
from tests.graph.site import DEVELOPMENT, Person, Site, served

HERE, THERE = "203.0.113.7", "198.51.100.9"


@asynccontextmanager
async def limited(site: Site, *, user: int = 0, address: int = 0) -> AsyncIterator[Site]:
    """Another process of the same installation, with these quotas."""
    site.clock.stop()
    budgets = Budgets(site.log.database, site.log.keys.throttle, site.clock.now)
    quota = WriteQuota(budgets, per_user=user, per_address=address)
    async with served(replace(site, services=replace(site.services, write_quota=quota)), DEVELOPMENT) as limited:
        yield limited


async def write(client: Client, person: Person, number: int, *, size: int = 1, address: str = HERE) -> Answer:
    given = {"id": person.id, "attributes": {"n": number, "text": "x" * size}}
    body = {"query": UPDATE, "variables": {"input": given}}
    headers = {**client.headers, "X-Forwarded-For": address}
    async with client.session.post(client.url, json=body, headers=headers) as response:
        return await answer_of(response)


async def test_a_user_who_writes_too_much_is_told_when_to_go_on(own_site: Site) -> None:
    """429 with `Retry-After` and `retryAfter`; nothing is written, and after that time the next one is."""
    async with limited(own_site, user=60) as site:
        person = await site.person()
        answers = [await write(person.client, person, n) for n in range(62)]

        assert [answer.status for answer in answers] == [200] * 60 + [429] * 2
        refused = answers[-1]
        assert refused.codes == ["RATE_LIMITED"]
        assert refused.message == "too many requests to change a user: try again in 60 s"
        assert refused.headers["Retry-After"] == "60"
        assert refused.body["errors"][0]["extensions"] == {"code": "RATE_LIMITED", "retryAfter": 60}
        assert (await person.client.field(ME))["version"] == 61
        async with person.client.socket() as socket:
            id_ = await socket.subscribe(UPDATE, input={"id": person.id, "name": "Other"})
            assert await socket.codes(id_) == ["RATE_LIMITED"]
        site.clock.ahead += timedelta(seconds=60)
        assert (await write(person.client, person, 100)).status == 200
        assert (await write(person.client, person, 101)).status == 429


async def test_bytes_count(own_site: Site) -> None:
    """A patch of 40 kB costs ten of the smallest ones."""
    async with limited(own_site, user=60) as site:
        person = await site.person()

        answers = [await write(person.client, person, n, size=40_000) for n in range(8)]

        assert [answer.status for answer in answers] == [200] * 6 + [429] * 2
        assert (await person.client.field(ME))["version"] == 7


async def test_concurrent_writes_through_two_processes_share_the_quota(own_site: Site) -> None:
    """Not one more than the quota takes effect, and not one less."""
    async with limited(own_site, user=50) as one, limited(own_site, user=50) as other:
        person = await own_site.person()
        clients = [replace(at.anyone, authorization=person.client.authorization) for at in (one, other)]

        answers = await asyncio.gather(*(write(clients[n % 2], person, n) for n in range(80)))

        assert sorted(answer.status for answer in answers) == [200] * 50 + [429] * 30
        assert (await person.client.field(ME))["version"] == 51


async def test_users_behind_one_address_share_its_quota(own_site: Site) -> None:
    """From another address the same users go on."""
    async with limited(own_site, address=20) as site:
        ann, bob = await site.person(), await site.person()

        answers = [await write(one.client, one, n) for n in range(11) for one in (ann, bob)]
        assert [answer.status for answer in answers] == [200] * 20 + [429] * 2
        assert (await write(ann.client, ann, 100, address=THERE)).status == 200


async def test_who_has_written_too_much_can_still_read_and_go(own_site: Site) -> None:
    """Nobody has to stay because of a quota."""
    async with limited(own_site, user=1, address=1) as site:
        person = await site.person()
        assert (await write(person.client, person, 1)).status == 200
        assert (await write(person.client, person, 2)).status == 429

        assert (await person.client.field(ME))["version"] == 2
        assert (await person.client.field(DELETE, input={"id": person.id}))["errors"] == []


async def test_staff_have_no_quota(own_site: Site) -> None:
    """Whatever they change, and wherever from."""
    async with limited(own_site, user=1, address=1) as site:
        person = await site.person()
        for role in (Role.ADMIN, Role.TECHNICAL_WORKER, Role.SENIOR_MANAGEMENT):
            staff = await site.person(role)
            assert [(await write(staff.client, staff, n)).status for n in range(5)] == [200] * 5
            if role is Role.ADMIN:
                assert [(await write(staff.client, person, n)).status for n in range(5)] == [200] * 5
