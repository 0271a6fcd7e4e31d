"""The doors that are open to strangers: how often, by whom, and at what price they may be used."""

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from itertools import count
from uuid import uuid4

import pytest
from aiohttp import ClientSession, TCPConnector

from auth.budgets import Budget, Purpose
from auth.password_hashing import WAITING_PASSWORDS, Lane
from auth.registration import OF_ALL_ADDRESSES, PACE_SECONDS, RegistrationMode
from auth.turns import PACED_WAITING
from events.event_types import Role
from rollcall.embedded import Addresses
from tests.graph.client import Answer, Json, answer_of, problems
from tests.graph.conftest import Complaints
from tests.graph.documents import CHANGE_PASSWORD, CREATE, INVITE, LOGIN, ME, REFRESH, REGISTER, REQUEST_RESET
from tests.graph.site import PASSWORD, Doors, Person, Site, running, somebody
from tests.waiting import PATIENCE_SECONDS, eventually

HERE, THERE = "203.0.113.7", "198.51.100.9"
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)

Opened = Callable[..., AbstractAsyncContextManager[Site]]


@pytest.fixture
def opened(addresses: Addresses, complaints: Complaints) -> Opened:
    """Runs an API of the test's own, whose time stands still, with these doors."""
    return lambda **doors: running(addresses, doors=Doors(**doors))


async def ask(
    site: Site, document: str, address: str = HERE, authorization: str | None = None, /, **variables: Json
) -> Answer:
    """The answer to an operation that comes from an address."""
    headers = {"X-Forwarded-For": address} | ({"Authorization": authorization} if authorization else {})
    body = {"query": document, "variables": variables}
    async with site.session.post(site.anyone.url, json=body, headers=headers) as response:
        return await answer_of(response)


async def register(site: Site, address: str = HERE, **fields: Json) -> Answer:
    return await ask(site, REGISTER, address, input=somebody(**fields))


def refusals(answer: Answer) -> list[tuple[str, list[str] | None]]:
    """The problems of a registration, which must have failed as data."""
    return problems(answer.body["data"]["register"])


async def a_registration(site: Site, _: Person, address: str) -> Answer:
    return await register(site, address)


async def a_sign_in(site: Site, person: Person, address: str) -> Answer:
    return await ask(site, LOGIN, address, input={"login": person.username, "password": PASSWORD})


async def a_refresh(site: Site, person: Person, address: str) -> Answer:
    """With a token of no session: the lookup is what costs."""
    return await ask(site, REFRESH, address, token="A" * 43)


async def a_change_of_the_password(site: Site, person: Person, address: str) -> Answer:
    passwords = {"currentPassword": PASSWORD, "newPassword": PASSWORD}
    return await ask(site, CHANGE_PASSWORD, address, person.client.authorization, input=passwords)


async def a_request_for_a_mail(site: Site, _person: Person, address: str) -> Answer:
    return await ask(site, REQUEST_RESET, address, login=uuid4().hex)


REQUESTS = {
    Purpose.MAIL: a_request_for_a_mail,
    Purpose.REGISTER: a_registration,
    Purpose.SIGN_IN: a_sign_in,
    Purpose.REFRESH: a_refresh,
    Purpose.CHANGE_PASSWORD: a_change_of_the_password,
}


@pytest.mark.parametrize("purpose", Purpose)
async def test_an_address_has_a_budget_for_each_purpose(opened: Opened, purpose: Purpose) -> None:
    """Four an hour: the fifth gets 429 and when to come back; no other address or purpose is concerned."""
    request: Callable[[Site, Person, str], Awaitable[Answer]] = REQUESTS[purpose]
    async with opened(per_hour={purpose: 4}) as site:
        site.clock.stop()
        person = await site.person()

        answers = [await request(site, person, HERE) for _ in range(6)]

        assert [answer.status for answer in answers] == [200] * 4 + [429] * 2
        refused = answers[-1]
        assert refused.codes == ["RATE_LIMITED"]
        assert refused.headers["Retry-After"] == "900"
        assert refused.body["errors"][0]["extensions"]["retryAfter"] == 900
        assert refused.message == f"too many requests to {purpose}: try again in 900 s"
        assert (await request(site, person, THERE)).status == 200
        for other, other_request in REQUESTS.items():
            if other is not purpose:
                assert (await other_request(site, person, HERE)).status == 200
        assert (await ask(site, ME, HERE, person.client.authorization)).codes == []


async def test_an_ipv6_address_counts_by_its_network(opened: Opened) -> None:
    """A customer has 2^64 addresses, the /64 that its provider assigns."""
    async with opened(per_hour={Purpose.REGISTER: 2}) as site:
        site.clock.stop()
        addresses = ["2001:db8:1:2::1", "2001:db8:1:2:ffff::7", "2001:db8:1:2::3", "2001:db8:1:3::1"]

        assert [(await register(site, address)).status for address in addresses] == [200, 200, 429, 200]


async def test_a_spent_budget_fills_with_time(opened: Opened) -> None:
    """One who waits as long as it was told is served."""
    async with opened(per_hour={Purpose.REGISTER: 2}) as site:
        site.clock.stop()
        answers = [await register(site) for _ in range(3)]
        site.clock.ahead += int(answers[-1].headers["Retry-After"]) * SECOND

        assert [(await register(site)).status for _ in range(2)] == [200, 429]


async def test_registrations_of_one_address_wait_for_each_other_and_others_do_not(opened: Opened) -> None:
    """A class may register at once; a flood that spends its budget costs others no more than a class."""
    async with opened(per_hour={Purpose.REGISTER: 100}) as site:
        site.clock.stop()
        ended, began = list[str](), time.monotonic()

        async def one(address: str) -> int:
            answer = await register(site, address)
            ended.append(address)
            return answer.status

        statuses = await asyncio.gather(*(one(HERE) for _ in range(10)), one(THERE))

        assert statuses == [200] * 11
        assert time.monotonic() - began >= 9 * PACE_SECONDS
        assert ended[-1] == HERE
        assert ended.index(THERE) < 9

        flood = await asyncio.gather(*(register(site, HERE) for _ in range(2 * PACED_WAITING)))

        refused = [answer for answer in flood if answer.status == 429]
        assert refused
        assert {answer.headers["Retry-After"] for answer in refused} == {str(round(PACED_WAITING * PACE_SECONDS))}
        registered = 10 + len(flood) - len(refused)
        spent = await site.services.registration.budgets.spent(Budget(Purpose.REGISTER, 100), HERE)
        assert spent == pytest.approx(registered / 100)  # those that were refused have paid nothing


async def test_a_flood_of_registrations_delays_a_sign_in_by_one_hash(own_site: Site) -> None:
    """Of 300 at once at most one is hashed before somebody else's sign-in, besides the two that were running."""
    person, passwords = await own_site.person(), own_site.passwords
    begun: list[str] = []
    gate = threading.Event()
    hashing = passwords._hasher.hash

    def hashed(password: str) -> str:
        begun.append("registration")
        gate.wait(PATIENCE_SECONDS)
        return hashing(password)

    def verified(*_: str) -> bool:
        begun.append("sign-in")
        return True

    class Hasher:
        """argon2's, which records what it begins."""

        hash = staticmethod(hashed)
        memory_cost = time_cost = salt_len = hash_len = 0

    passwords._hasher = Hasher()  # type: ignore[assignment]
    passwords._verifier = verified

    async def flood(session: ClientSession) -> int:
        body = {"query": REGISTER, "variables": {"input": somebody()}}
        async with session.post(own_site.anyone.url, json=body, headers={"X-Forwarded-For": HERE}) as response:
            return response.status

    async def wait(lane: Lane, jobs: int) -> None:
        async def waiting() -> bool:
            return len(passwords._lanes[lane]) == jobs

        await eventually(waiting)

    async with ClientSession(connector=TCPConnector(limit=0)) as session:
        registrations = [asyncio.create_task(flood(session)) for _ in range(300)]
        await wait(Lane.REGISTRATION, WAITING_PASSWORDS)
        signing_in = asyncio.create_task(a_sign_in(own_site, person, THERE))
        await wait(Lane.SIGN_IN, 1)
        gate.set()

        answer = await signing_in
        assert answer.body["data"]["login"]["errors"] == []
        assert begun.index("sign-in") <= 2 + 1
        assert set(await asyncio.gather(*registrations)) == {200, 503}


async def test_nobody_registers_at_a_closed_door(opened: Opened) -> None:
    """The code says so; an administrator still creates accounts."""
    async with opened(registration=RegistrationMode.CLOSED) as site:
        assert refusals(await register(site)) == [("REGISTRATION_CLOSED", None)]

        admin = await site.person(Role.ADMIN)
        created = await admin.client.field(CREATE, input=somebody(role="CUSTOMER"))
        assert created["errors"] == []


@pytest.fixture
async def by_invitation(opened: Opened) -> AsyncIterator[Site]:
    async with opened(registration=RegistrationMode.INVITATION) as site:
        yield site


def invitation_of(site: Site) -> str:
    """As `rollcall invite` makes it."""
    return site.services.registration.invitations.issue(7 * DAY).text


NOT_INVITED = [("INVALID_INVITATION", ["invitation"])]


async def test_an_invitation_admits_one_person(by_invitation: Site) -> None:
    """Without one, with a forged, an expired or a used one nobody registers, and neither with a challenge."""
    site = by_invitation
    invitation, expired = invitation_of(site), site.services.registration.invitations.issue(-SECOND).text
    challenge = site.services.registration.challenges.issue(7 * DAY).text

    for given in (None, "", "A" * 76, expired, challenge, invitation[:-1] + ("A" if invitation[-1] != "A" else "B")):
        assert refusals(await register(site, invitation=given)) == NOT_INVITED
    assert (await register(site, invitation=invitation)).body["data"]["register"]["errors"] == []
    assert refusals(await register(site, invitation=invitation)) == NOT_INVITED


async def test_an_administrator_invites(by_invitation: Site) -> None:
    """For as many days as it says, up to a year."""
    site = by_invitation
    admin = await site.person(Role.ADMIN)

    invited = await admin.client.field(INVITE, days=1)
    for days in (0, -1, 366, 2**31 - 1):
        assert problems(await admin.client.field(INVITE, days=days)) == [("INVALID", ["days"])]

    site.clock.ahead = DAY - 60 * SECOND
    assert (await register(site, invitation=invited["invitation"])).body["data"]["register"]["errors"] == []
    late = await (await site.signed_in(admin.user)).field(INVITE, days=1)
    site.clock.ahead += DAY
    assert refusals(await register(site, invitation=late["invitation"])) == NOT_INVITED


async def test_an_invitation_admits_one_of_many_at_once(by_invitation: Site) -> None:
    """Eight at the same moment with one invitation: one user."""
    invitation = invitation_of(by_invitation)

    answers = await asyncio.gather(*(register(by_invitation, invitation=invitation) for _ in range(8)))

    assert sorted(bool(answer.body["data"]["register"]["user"]) for answer in answers) == [False] * 7 + [True]


async def test_an_invitation_is_not_lost_by_a_refusal(by_invitation: Site) -> None:
    """A taken username does not use it up, and a repeated request gets its first answer."""
    site, invitation = by_invitation, invitation_of(by_invitation)
    taken = await site.person()
    assert refusals(await register(site, invitation=invitation, username=taken.username)) == [("TAKEN", ["username"])]

    same = somebody(invitation=invitation, idempotencyKey="the first")
    answers = [await ask(site, REGISTER, input=same) for _ in range(2)]

    first, second = [answer.body["data"]["register"]["user"] for answer in answers]
    assert first == second is not None


def solved(challenge: str, bits: int) -> str:
    """A proof of work, as a client makes it."""
    for number in count():
        proof = f"{challenge}.{number}"
        if int.from_bytes(hashlib.sha256(proof.encode()).digest()) >> (256 - bits) == 0:
            return proof
    raise AssertionError


async def test_under_load_each_registration_costs_work(opened: Opened) -> None:
    """Not before; then each proof works once, and with an idempotency key the request may be repeated with another."""
    async with opened(proof_bits=8) as site:
        site.clock.stop()
        assert (await register(site)).codes == []
        await site.services.registration.budgets.spend(OF_ALL_ADDRESSES, "", 500)

        def challenged(answer: Answer) -> str:
            assert answer.codes == ["PROOF_OF_WORK_REQUIRED"]
            extensions = answer.body["errors"][0]["extensions"]
            return solved(extensions["challenge"], extensions["bits"])

        given = somebody(idempotencyKey="the first")
        proof = challenged(await ask(site, REGISTER, input=given))
        first = await ask(site, REGISTER, input=given | {"proofOfWork": proof})
        assert first.body["data"]["register"]["errors"] == []
        another = challenged(await register(site, proofOfWork=proof))
        repeated = await ask(site, REGISTER, input=given | {"proofOfWork": another})
        assert repeated.body["data"]["register"]["user"] == first.body["data"]["register"]["user"]
        for wrong in ("", ".", f"{'A' * 76}.1", another + "x", another.partition(".")[0]):
            challenged(await register(site, proofOfWork=wrong))

        site.clock.ahead += 60 * 60 * SECOND
        assert (await register(site)).codes == []


async def test_a_refused_registration_costs_no_hash(opened: Opened) -> None:
    """Neither without a proof of work nor beyond the budget."""
    async with opened(proof_bits=8, per_hour={Purpose.REGISTER: 1}) as site:
        site.clock.stop()
        await register(site)
        site.passwords.close()

        assert (await register(site)).codes == ["RATE_LIMITED"]
        await site.services.registration.budgets.spend(OF_ALL_ADDRESSES, "", 600)
        assert (await register(site, THERE)).codes == ["PROOF_OF_WORK_REQUIRED"]
