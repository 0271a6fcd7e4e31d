"""A MySQL server that refuses a running API: it stays up, says why in its log, and goes on once it may."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from events.database import Address, Database
from tests.system.installation import Installation, Process, own_servers
from tests.system.proxy import proxied
from tests.waiting import eventually

ASKED = "query { me { id } }"
IN_BOTH = 'query { users { totalCount } searchUsers(text: "ada") { totalCount } }'


def code_of(answer: dict[str, object]) -> object:
    errors = answer.get("errors")
    return errors[0]["extensions"]["code"] if isinstance(errors, list) else None


@asynccontextmanager
async def _serving(directory: Path, mysql_url: str, mongo_url: str) -> AsyncIterator[tuple[Installation, Process]]:
    installation = own_servers(directory, mysql_url, mongo_url)
    async with installation.running("serve") as serving:
        yield installation, serving


async def test_an_api_that_mysql_refuses_is_unavailable_until_it_may_again(
    urls: tuple[str, str], tmp_path: Path
) -> None:
    """Its account's password is changed while it runs. The log names the cause; the client sees an outage."""
    mysql_url, mongo_url = urls
    root = Address.parse(mysql_url)
    name, password = f"api_{secrets.token_hex(4)}", secrets.token_hex(16)
    administrator = Database.at(root, size=1)
    await administrator.execute(f"CREATE USER '{name}'@'%' IDENTIFIED BY '{password}'")
    await administrator.execute(f"GRANT ALL ON *.* TO '{name}'@'%'")
    own_url = f"mysql://{name}:{password}@{root.host}:{root.port}/{root.database}"
    try:
        async with (
            proxied(own_url) as proxy,
            _serving(tmp_path, proxy.url(own_url), mongo_url) as (
                installation,
                serving,
            ),
        ):
            await eventually(installation.ready)
            token = await installation.sign_in("admin", "correct horse battery")

            async def answered_with(code: str | None) -> bool:
                return code_of(await installation.post({"query": ASKED}, token)) == code

            async def set_up() -> bool:
                """It has made the views too, the last step of its start."""
                return code_of(await installation.post({"query": IN_BOTH}, token)) is None

            await eventually(set_up)
            await administrator.execute(f"ALTER USER '{name}'@'%' IDENTIFIED BY '{secrets.token_hex(16)}'")
            proxy.drop()

            await eventually(lambda: answered_with("UNAVAILABLE"))
            said: set[object] = set()

            async def refused() -> bool:
                said.add(code_of(await installation.post({"query": ASKED}, token)))
                return any("graph.refused" in line and "Access denied for user" in line for line in serving.err)

            await eventually(refused)
            assert said <= {"UNAVAILABLE"}
            assert not await installation.ready()
            assert serving.popen.returncode is None

            await administrator.execute(f"ALTER USER '{name}'@'%' IDENTIFIED BY '{password}'")
            await eventually(lambda: answered_with(None))
    finally:
        await administrator.execute(f"DROP USER '{name}'@'%'")
        await administrator.close()
