"""A database that refuses access. A running API stays up, says why in its log, and goes on once it may; what only
starts ends, and says what to do.
"""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from events.database import Address, Database
from rollcall import exits
from tests.system.installation import Installation, Process, own_servers
from tests.system.proxy import proxied
from tests.waiting import eventually

ASKED = "query { me { id } }"
SEARCHED = 'query { searchUsers(text: "ada") { totalCount } }'
IN_BOTH = 'query { users { totalCount } searchUsers(text: "ada") { totalCount } }'


def code_of(answer: dict[str, object]) -> object:
    errors = answer.get("errors")
    return errors[0]["extensions"]["code"] if isinstance(errors, list) else None


@asynccontextmanager
async def _serving(directory: Path, mysql_url: str, mongo_url: str) -> AsyncIterator[tuple[Installation, Process]]:
    installation = own_servers(directory, mysql_url, mongo_url)
    async with installation.running("serve") as serving:
        yield installation, serving


@pytest.mark.parametrize(
    ("change", "undo", "reason"),
    [
        pytest.param(
            "ALTER USER '{name}'@'%' IDENTIFIED BY 'another password'",
            "ALTER USER '{name}'@'%' IDENTIFIED BY '{password}'",
            "Access denied for user",
            id="another password",
        ),
        pytest.param(
            "SET GLOBAL require_secure_transport = ON",
            "SET GLOBAL require_secure_transport = OFF",
            "MySQL requires TLS, which is off",
            id="TLS required",
        ),
    ],
)
async def test_an_api_that_mysql_refuses_is_unavailable_until_it_may_again(
    urls: tuple[str, str], tmp_path: Path, change: str, undo: str, reason: str
) -> None:
    """The server's rules change while the API runs. The log names the cause; the client sees an outage."""
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
            await administrator.execute(change.format(name=name))
            proxy.drop()

            await eventually(lambda: answered_with("UNAVAILABLE"))
            said: set[object] = set()

            async def refused() -> bool:
                said.add(code_of(await installation.post({"query": ASKED}, token)))
                return any("graph.refused" in line and reason in line for line in serving.err)

            await eventually(refused)
            assert said <= {"UNAVAILABLE"}
            assert not await installation.ready()
            assert serving.popen.returncode is None

            await administrator.execute(undo.format(name=name, password=password))
            await eventually(lambda: answered_with(None))
    finally:
        await administrator.execute(undo.format(name=name, password=password))
        await administrator.execute(f"DROP USER '{name}'@'%'")
        await administrator.close()


async def test_an_api_that_mongodb_refuses_answers_from_mysql_until_it_may_again(
    urls: tuple[str, str], tmp_path: Path
) -> None:
    """Its rights are taken while it runs. Searches are unavailable, the log names the cause, all else is answered."""
    mysql_url, mongo_url = urls
    server, _, options = mongo_url.rpartition("@")[2].partition("?")
    database = server.partition("/")[2]
    name, password = f"api_{secrets.token_hex(4)}", secrets.token_hex(16)
    administrator: AsyncIOMotorClient[dict[str, object]] = AsyncIOMotorClient(mongo_url)
    rights = [{"role": "readWrite", "db": database}, {"role": "clusterMonitor", "db": "admin"}]
    await administrator.admin.command("createUser", name, pwd=password, roles=rights)
    try:
        own_url = f"mongodb://{name}:{password}@{server}?{options}"
        async with _serving(tmp_path, mysql_url, own_url) as (installation, serving):
            await eventually(installation.ready)
            token = await installation.sign_in("admin", "correct horse battery")

            async def answered_with(query: str, code: str | None) -> bool:
                return code_of(await installation.post({"query": query}, token)) == code

            await eventually(lambda: answered_with(IN_BOTH, None))
            await administrator.admin.command("revokeRolesFromUser", name, roles=rights)

            await eventually(lambda: answered_with(SEARCHED, "UNAVAILABLE"))
            assert await answered_with("query { users { totalCount } }", None)
            assert any("graph.refused" in line and "not authorized" in line for line in serving.err)
            assert serving.popen.returncode is None

            await administrator.admin.command("grantRolesToUser", name, roles=rights)
            await eventually(lambda: answered_with(SEARCHED, None))
    finally:
        await administrator.admin.command("dropUser", name)
        administrator.close()


@pytest.mark.parametrize(
    ("sign_in", "schema", "advice"),
    [
        ("{name}:another", "{schema}", "check user and password in ROLLCALL_MYSQL_URL"),
        ("{name}:{password}", "{schema}", "grant the rights that docs/operations.md lists"),
        ("{root}", "no_such_schema", "create the schema, or correct ROLLCALL_MYSQL_URL"),
    ],
    ids=["password", "right", "schema"],
)
async def test_a_command_that_mysql_refuses_says_what_to_do(
    urls: tuple[str, str], tmp_path: Path, sign_in: str, schema: str, advice: str
) -> None:
    """It ends with the exit code of an unusable setting, and repeats no password."""
    mysql_url, mongo_url = urls
    root = Address.parse(mysql_url)
    name, password = f"new_{secrets.token_hex(4)}", secrets.token_hex(16)
    administrator = Database.at(root, size=1)
    try:
        await administrator.execute(f"CREATE USER '{name}'@'%' IDENTIFIED BY '{password}'")
        user = sign_in.format(name=name, password=password, root=f"{root.user}:{root.password}")
        url = f"mysql://{user}@{root.host}:{root.port}/{schema.format(schema=root.database)}"

        refused = await own_servers(tmp_path, url, mongo_url).run("status")

        assert (refused.code, advice in refused.err) == (exits.BAD_INPUT, True), refused.err
        assert password not in refused.err
    finally:
        await administrator.execute(f"DROP USER '{name}'@'%'")
        await administrator.close()


async def test_a_command_that_mongodb_refuses_says_what_to_do(urls: tuple[str, str], tmp_path: Path) -> None:
    """A wrong password ends it with the exit code of an unusable setting."""
    mysql_url, mongo_url = urls
    url = f"mongodb://nobody:another@{mongo_url.rpartition('@')[2]}"

    refused = await own_servers(tmp_path, mysql_url, url).run("verify", "mongo")

    advice = "check user, password and authSource in ROLLCALL_MONGO_URL"
    assert (refused.code, advice in refused.err) == (exits.BAD_INPUT, True), refused.err
