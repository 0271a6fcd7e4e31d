"""The npm package keeps its promises, in Node.js, Deno and Chromium, against a real server under faults.

Access tokens of this file expire after eight seconds, so sessions are renewed all the time. Node.js 20 has no
WebSocket: there the client uses server-sent events.
"""

import asyncio
import re
import signal
from pathlib import Path
from typing import Any, Final

import pytest

from tests.clients.hosts import Host, PageHost, Refused
from tests.clients.site import ORIGIN, connected, host_of, rename
from tests.pages.door import door
from tests.pages.stack import ADMIN, Person, Stack
from tests.system.proxy import Proxy, proxied
from tests.waiting import PATIENCE_SECONDS, eventually

VARIABLES: Final = {
    "ROLLCALL_ACCESS_TOKEN_SECONDS": "8",
    "ROLLCALL_ALLOWED_ORIGINS": ORIGIN,
    "ROLLCALL_SIGN_INS_PER_HOUR": "0",
    "ROLLCALL_WRITES_PER_HOUR": "60",
}
KINDS = pytest.mark.parametrize("kind", ["node", "deno", "page"])

START = """
  state.refreshes = 0;
  state.tries = 0;
  const counted = (url, init) => {
    if (init.body?.includes("refreshSession(")) state.refreshes += 1;
    if (init.body?.includes("mutation CreateData")) state.tries += 1;
    return fetch(url, init);
  };
  const session = given.stored ? library.inStorage(localStorage) : undefined;
  state.client = library.createClient({ url: given.url, fetch: counted, session });
  if (!given.login) return;
  const { login, password } = given;
  const outcome = await state.client.mutate(library.LoginDocument, { input: { login, password } });
  if (!outcome.ok) throw new Error(JSON.stringify(outcome.errors));
"""
FOLLOW = """
  state.changes = [];
  state.ended = null;
  (async () => {
    try {
      for await (const { userChanges } of state.client.subscribe(library.UserChangesDocument, given.variables)) {
        state.changes.push(Number(userChanges.position));
      }
      state.ended = "done";
    } catch (error) {
      state.ended = error.name;
    }
  })();
"""
NAME = """
  const outcome = await state.client.mutate(library.UpdateUserDocument, { input: given });
  return outcome.ok ? outcome.user : outcome;
"""
READ = "return (await state.client.query(library.UserDocument, { id: given.id })).data.user.name"


async def sign_in(host: Host, url: str, login: str = ADMIN[0], password: str = ADMIN[1], **given: Any) -> None:
    """Make a client in the host and sign in."""
    await host.run(START, url=f"{url}/graphql", login=login, password=password, **given)


async def received(host: Host, positions: list[int]) -> None:
    """Wait for the last of these changes; the host must have received these, once and in order."""

    async def has_last() -> bool:
        return positions[-1] in await host.run("return state.changes")

    await eventually(has_last)
    assert await host.run("return state.changes") == positions
    assert await host.run("return state.ended") is None


@KINDS
async def test_a_subscription_misses_and_repeats_nothing(stack: Stack, bundle: Path, origin: str, kind: str) -> None:
    """The network is cut before the first change and after it, the server is killed, and the token expires."""
    person = await stack.person()
    async with proxied(stack.url) as proxy, host_of(kind, stack, bundle) as host:
        await sign_in(host, proxy.url(stack.url))
        await host.run(FOLLOW, variables={"userId": person.id})
        await connected(host)
        proxy.cut()
        positions = await rename(stack, person, "Before the first")
        proxy.connect(stack.url)
        await received(host, positions)

        proxy.cut()
        positions += await rename(stack, person, "Away", "Still away")
        proxy.connect(stack.url)
        positions += await rename(stack, person, "Back")
        await received(host, positions)

        stack.kill_api()
        await eventually(stack.installation.ready)
        positions += await rename(stack, person, "After the kill")
        await received(host, positions)

        refreshes = await host.run("return state.refreshes")

        async def renewed() -> bool:
            return bool(await host.run("return state.refreshes") > refreshes)

        await eventually(renewed)
        positions += await rename(stack, person, "With another token")
        await received(host, positions)


async def test_a_wrong_clock_costs_no_renewals(stack: Stack, bundle: Path) -> None:
    """The clock of the machine is a day late or early; the life of a token is counted from its arrival."""
    async with host_of("node", stack, bundle) as host:
        for hours in (24, -24):
            await host.run(
                "state.now ??= Date.now; Date.now = () => state.now() + given.hours * 3_600_000", hours=hours
            )
            await sign_in(host, stack.url)
            for _ in range(3):
                await host.run("return state.client.query(library.MeDocument)")
            assert await host.run("return state.refreshes") == 0


async def test_parallel_calls_share_one_renewal(stack: Stack, bundle: Path) -> None:
    """Twenty calls begin when the access token has expired by the clock of the machine."""
    async with host_of("node", stack, bundle) as host:
        await sign_in(host, stack.url)
        names = await host.run(
            """
            const now = Date.now;
            Date.now = () => now() + 3_600_000;
            const calls = Array.from({ length: 20 }, () => state.client.query(library.MeDocument));
            const answers = await Promise.all(calls);
            Date.now = now;
            return answers.map(({ data }) => data.me.username);
            """
        )
        assert names == ["admin"] * 20
        assert await host.run("return state.refreshes") == 1


async def test_calls_refused_for_their_token_share_one_renewal(stack: Stack, bundle: Path) -> None:
    """The server finds the token expired, and this machine's clock stands still."""
    async with host_of("node", stack, bundle) as host:
        await sign_in(host, stack.url)
        await host.run("const stopped = Date.now(); state.now = Date.now; Date.now = () => stopped")
        token = await host.run("return state.client.session.accessToken()")

        async def expired() -> bool:
            answer = await stack.installation.post({"query": "{ me { id } }"}, token)
            return "errors" in answer

        await eventually(expired)
        names = await host.run(
            """
            const calls = Array.from({ length: 20 }, () => state.client.query(library.MeDocument));
            return (await Promise.all(calls)).map(({ data }) => data.me.username);
            """
        )
        assert names == ["admin"] * 20
        assert await host.run("return state.refreshes") == 1


async def test_two_tabs_share_a_session_and_its_renewals(stack: Stack, bundle: Path, origin: str) -> None:
    """The second tab is signed in by the first one's storage; both renew at the same moment, with one request."""
    async with proxied(stack.url) as proxy, stack.window(base_url=ORIGIN) as first:
        url = proxy.url(stack.url)
        tabs = [PageHost(first), PageHost(await stack.tab(first.context))]
        for tab in tabs:
            await tab.page.goto("/")
        await sign_in(tabs[0], url, stored=True)
        await tabs[1].run(START, url=f"{url}/graphql", stored=True)
        assert (await tabs[1].run("return state.client.session.start()"))["status"] == "signed-in"

        for _ in range(2):
            assert await renewals_of(tabs, proxy) == 1
        await tabs[0].run("await state.client.signOut()")

        async def signed_out() -> bool:
            return bool(await tabs[1].run("return state.client.session.state.status === 'signed-out'"))

        await eventually(signed_out)


async def renewals_of(tabs: list[PageHost], proxy: Proxy) -> int:
    """How often the session is renewed when each tab makes ten calls with an expired token."""
    for tab in tabs:
        await tab.run(
            "state.refreshes = 0; state.begun = false; const now = Date.now; Date.now = () => now() + 3_600_000"
        )
    calls = """
        const calls = Array.from({ length: 10 }, () => state.client.query(library.MeDocument));
        state.begun = true;
        return (await Promise.all(calls)).map(({ data }) => data.me.username);
    """
    meeting = asyncio.create_task(proxy.hang_at(re.compile(rb'"refreshSession":'), within=PATIENCE_SECONDS))
    calling = [asyncio.create_task(tab.run(calls)) for tab in tabs]

    async def all_begun() -> bool:
        return all([await tab.run("return state.begun ?? false") for tab in tabs])

    assert await meeting
    await eventually(all_begun)
    proxy.flow()
    assert await asyncio.gather(*calling) == [["admin"] * 10] * len(tabs)
    return sum([await tab.run("return state.refreshes") for tab in tabs])


async def test_a_mutation_whose_answer_is_lost_takes_effect_once(stack: Stack, bundle: Path) -> None:
    """The connection is cut between the server's answer and the client, which sends the mutation again."""
    person = await stack.person()
    async with proxied(stack.url) as proxy, host_of("node", stack, bundle) as host:
        await sign_in(host, proxy.url(stack.url), person.username, person.password)
        create = "return state.client.mutate(library.CreateDataDocument, { input: { name: 'Once', content: {} } })"
        creating = asyncio.create_task(host.run(create))
        assert await proxy.hang_at(re.compile(rb'"createData":\s*\{'), within=PATIENCE_SECONDS)
        proxy.drop()
        proxy.flow()

        created = await creating
        assert created["ok"]
        assert await host.run("return state.tries") == 2
        listed = await host.run("return (await state.client.query(library.DataObjectsDocument)).data.dataObjects.edges")
        assert [edge["node"]["id"] for edge in listed] == [created["data"]["id"]]


async def test_a_mutation_that_may_not_be_repeated_is_not(stack: Stack, bundle: Path) -> None:
    """`createInvitation` takes no idempotency key: its lost answer is the caller's to judge."""
    async with proxied(stack.url) as proxy, host_of("node", stack, bundle) as host:
        await sign_in(host, proxy.url(stack.url))
        inviting = asyncio.create_task(
            host.run("await state.client.mutate(library.CreateInvitationDocument, { days: 1 })")
        )
        assert await proxy.hang_at(re.compile(rb'"createInvitation":\s*\{'), within=PATIENCE_SECONDS)
        proxy.drop()
        proxy.flow()

        with pytest.raises(Refused, match="TransportError"):
            await inviting


async def test_a_client_reads_its_own_writes(stack: Stack, bundle: Path) -> None:
    """The projectors stand still when the client writes, and go on when its next read is under way."""
    person = await stack.person()
    async with proxied(stack.url) as proxy, host_of("node", stack, bundle) as host:
        await sign_in(host, proxy.url(stack.url))
        stack.signal("projector", signal.SIGSTOP)
        try:
            await host.run(NAME, id=person.id, name="Written")
            reading = asyncio.create_task(host.run(READ, id=person.id))
            assert await proxy.receives(re.compile(rb"query User"), within=PATIENCE_SECONDS)
        finally:
            stack.signal("projector", signal.SIGCONT)
        assert await reading == "Written"


async def test_events_are_the_way_out_where_no_websocket_opens(stack: Stack, bundle: Path, origin: str) -> None:
    """A proxy cuts every WebSocket and lets other requests pass."""
    person = await stack.person()
    async with door(stack.installation.port) as opened, host_of("page", stack, bundle) as host:
        opened.absent = True
        await sign_in(host, opened.url)
        await host.run(FOLLOW, variables={"userId": person.id})
        await connected(host)
        assert opened.attempts >= 2
        await received(host, await rename(stack, person, "One", "Two"))


async def test_a_slow_reader_gets_everything(stack: Stack, bundle: Path) -> None:
    """Changes that nobody takes do not pile up: the subscription stops, and goes on after the last one."""
    person = await stack.person()
    async with host_of("deno", stack, bundle) as host:
        await sign_in(host, stack.url)
        await host.run(
            "state.changes = state.client.subscribe(library.UserChangesDocument, given)", userId=person.id, after="0"
        )
        await connected(host)
        document = "mutation($input: [UpdateUserInput!]!) { updateUsers(input: $input) { position } }"
        positions = []
        for batch in range(3):
            changes = [{"id": person.id, "name": f"{batch}.{number}"} for number in range(100)]
            answer = await stack.installation.ask(document, await stack.admin(), input=changes)
            positions += [int(change["position"]) for change in answer["updateUsers"]]
        seen = await host.run(
            """
            const seen = [];
            while (seen.length < given.count) {
              const { value } = await state.changes.next();
              seen.push(Number(value.userChanges.position));
            }
            return seen;
            """,
            count=len(positions) + 1,
        )
        assert seen[1:] == positions


async def test_a_token_that_expires_is_no_lost_connection(stack: Stack, bundle: Path) -> None:
    """The server ends the socket with each token. Nothing is said to be lost, and changes go on."""
    person = await stack.person()
    async with host_of("deno", stack, bundle) as host:
        await sign_in(host, stack.url)
        await host.run("state.seen = []; state.client.onConnection((connection) => state.seen.push(connection))")
        await host.run(FOLLOW, variables={"userId": person.id})
        await connected(host)

        async def connected_three_times() -> bool:
            return bool(await host.run("return state.seen.filter((connection) => connection === 'open').length >= 3"))

        await eventually(connected_three_times)
        await received(host, await rename(stack, person, "With another token"))
        assert "lost" not in await host.run("return state.seen")


async def test_a_subscription_that_has_ended_says_where_to_go_on(stack: Stack, bundle: Path) -> None:
    """Another one with its variables gets what happened after its last change."""
    person = await stack.person()
    async with host_of("node", stack, bundle) as host:
        await sign_in(host, stack.url)
        next_of = """
          state.changes = state.client.subscribe(library.UserChangesDocument, given.variables);
          const { value } = await state.changes.next();
          await state.changes.return();
          return { position: Number(value.userChanges.position), variables: state.changes.variables };
        """
        position = str((await rename(stack, person, "Before"))[0] - 1)
        before = await host.run(next_of, variables={"userId": person.id, "after": position})
        positions = await rename(stack, person, "After")
        after = await host.run(next_of, variables=before["variables"])
        assert [before["position"], after["position"]] == [int(position) + 1, *positions]


async def test_refusals_are_data_and_failures_are_typed(stack: Stack, bundle: Path) -> None:
    """A form shows the first; the others are told apart by their class."""
    person = await stack.person()
    async with host_of("node", stack, bundle) as host:
        await host.run(START, url=f"{stack.url}/graphql")
        login = "return state.client.mutate(library.LoginDocument, { input: given })"
        refused = await host.run(login, login=person.username, password="wrong")
        assert (refused["ok"], refused["errors"][0]["code"]) == (False, "WRONG_CREDENTIALS")
        with pytest.raises(Refused, match="UnauthenticatedError"):
            await host.run("return state.client.query(library.UsersDocument)")

        assert (await host.run(login, login=person.username, password=person.password))["ok"]
        with pytest.raises(Refused, match="ForbiddenError") as forbidden:
            await host.run("return state.client.query(library.UsersDocument)")
        assert forbidden.value.code == "FORBIDDEN"
        with pytest.raises(Refused, match="OperationError") as invalid:
            await host.run(
                "for await (const _ of state.client.subscribe(library.UserChangesDocument, { cursor: 'x' }));"
            )
        assert invalid.value.code == "BAD_USER_INPUT"
        with pytest.raises(Refused, match="TypeError"):
            await host.run("return state.client.query(library.LoginDocument, { input: {} })")


async def test_a_call_of_one_user_is_not_sent_as_the_next(stack: Stack, bundle: Path) -> None:
    """The first user's session ends, and the second signs in before the refused call is sent again."""
    first, second = await stack.person(), await stack.person()
    async with host_of("node", stack, bundle) as host:
        await sign_in(host, stack.url, first.username, first.password)
        await change_role(stack, first)
        with pytest.raises(Refused, match="UnauthenticatedError"):
            await host.run(
                """
                const { fetch } = globalThis;
                globalThis.fetch = async (url, init) => {
                  const answer = await fetch(url, init);
                  if (init.body.includes("mutation UpdateUser")) {
                    globalThis.fetch = fetch;
                    const { login, password } = given;
                    await state.client.mutate(library.LoginDocument, { input: { login, password } });
                  }
                  return answer;
                };
                return state.client.mutate(library.UpdateUserDocument, { input: { id: given.id, name: "Wrong" } });
                """,
                id=second.id,
                login=second.username,
                password=second.password,
            )
        assert await host.run(READ, id=second.id) == second.name


async def test_a_subscription_of_one_user_ends_before_the_next(stack: Stack, bundle: Path) -> None:
    """Another user signs in with the same client; what the first may see does not come any more."""
    first, second = await stack.person(), await stack.person()
    async with host_of("deno", stack, bundle) as host:
        await sign_in(host, stack.url, first.username, first.password)
        await host.run(FOLLOW, variables={})
        await connected(host)
        login = "await state.client.mutate(library.LoginDocument, { input: given })"
        await host.run(login, login=second.username, password=second.password)
        await ended(host, "UnauthenticatedError")


async def change_role(stack: Stack, person: Person) -> None:
    """Give a user another role, which ends its sessions."""
    await stack.installation.ask(
        "mutation($input: ChangeRoleInput!) { changeRole(input: $input) { errors { message } } }",
        await stack.admin(),
        input={"id": person.id, "role": "TECHNICAL_WORKER"},
    )


async def test_what_ends_ends_everything(stack: Stack, bundle: Path) -> None:
    """A signal ends its subscription; the end of the session, elsewhere, the others; `close` what is left."""
    person = await stack.person()
    async with host_of("deno", stack, bundle) as host:
        await sign_in(host, stack.url, person.username, person.password)
        with pytest.raises(Refused, match="AbortError"):
            await host.run(
                """
                const stop = new AbortController();
                const changes = state.client.subscribe(library.UserChangesDocument, {}, { signal: stop.signal });
                setTimeout(() => stop.abort(), 0);
                for await (const _ of changes);
                """
            )
        with pytest.raises(Refused, match="AbortError"):
            await host.run("return state.client.query(library.MeDocument, {}, { signal: AbortSignal.abort() })")

        await host.run(FOLLOW, variables={})
        await connected(host)
        # By this clock the token stays fresh: only the server's word ends the session.
        await host.run("const stopped = Date.now(); state.now = Date.now; Date.now = () => stopped")
        await change_role(stack, person)
        await ended(host, "UnauthenticatedError")
        await host.run("Date.now = state.now")
        assert (await host.run("return state.client.session.state"))["status"] == "signed-out"

        await sign_in(host, stack.url, person.username, person.password)
        await host.run(FOLLOW, variables={})
        await connected(host)
        await host.run("state.client.close()")
        await ended(host, "ClosedError")
        with pytest.raises(Refused, match="ClosedError"):
            await host.run("return state.client.query(library.MeDocument)")


async def ended(host: Host, name: str) -> None:
    """Wait until the subscription has ended with this error."""

    async def has_ended() -> bool:
        return bool(await host.run("return state.ended") == name)

    await eventually(has_ended)


async def test_a_throttled_call_says_when_to_come_again(stack: Stack, bundle: Path) -> None:
    """The pause is longer than the client waits by itself."""
    person = await stack.person()
    async with host_of("node", stack, bundle) as host:
        await sign_in(host, stack.url, person.username, person.password)
        writes = "for (const attributes of given.all) await state.client.mutate(library.UpdateUserDocument, "
        large = [{"text": f"{number}" * 50_000} for number in range(10)]
        with pytest.raises(Refused, match="ThrottledError") as throttled:
            await host.run(writes + "{ input: { id: given.id, attributes } })", id=person.id, all=large)
        assert (throttled.value.retry_after or 0) > 30
