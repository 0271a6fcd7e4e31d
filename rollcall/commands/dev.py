"""`rollcall dev`: the whole installation on one machine, in one command.

Private servers, the API and both projectors, each a process of its own. What stops is started again; all of it ends
with this process, however that ends.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
import structlog

from auth.password_hashing import Passwords
from projections.status import State, read_status
from rollcall.children import keep_running, own_metrics_port
from rollcall.commands.users import FIRST_ADMIN, ensure_first_admin
from rollcall.exits import BAD_INPUT, FAULT
from rollcall.keys import kept_secret
from rollcall.settings import BadSettings, Settings
from rollcall.wiring import House, open_house, when_possible

log = structlog.get_logger(__name__)

READY_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class DevProcess:
    """One process of the installation."""

    name: str
    arguments: tuple[str, ...]


PARTS = (
    DevProcess("api", ("serve",)),
    DevProcess("mysql_users", ("projector", "mysql")),
    DevProcess("mongo_users", ("projector", "mongo")),
)


async def dev(settings: Settings, say: Callable[[str], None]) -> None:
    """Run everything until cancelled. Says a line that begins with `ready` when all of it works.

    Raises:
        BadSettings, ServersUnavailable: it cannot be started; says why.
    """
    async with open_house(settings, say) as house, house.passwords() as passwords:
        await when_possible(house.prepare_log)
        password = await _first_password(house, passwords)
        await house.prepare_views()
        running: dict[str, int] = {}
        async with asyncio.TaskGroup() as parts:
            for number, part in enumerate(PARTS):
                parts.create_task(_keep_running(part, _own_variables(settings, number), running), name=part.name)
            await _until_ready(house, running)
            say(f"ready  {_address(settings)}/graphql  sign in as {FIRST_ADMIN} with {password}")


async def _first_password(house: House, passwords: Passwords) -> str:
    """See that there is an administrator; how to sign in as it."""
    given = house.settings.admin_password
    path = house.settings.data_dir / "keys" / "first-admin-password"
    password = given.get_secret_value() if given else kept_secret(path, lambda: secrets.token_urlsafe(12))
    await ensure_first_admin(house, passwords, password)
    account = await house.commands.find(FIRST_ADMIN)
    if not account or not await passwords.verify(account.password_hash, password):
        return "the password that you have set"
    return "the password in ROLLCALL_ADMIN_PASSWORD" if given else f"password {password}"


def _own_variables(settings: Settings, number: int) -> dict[str, str]:
    """What the environment of one part has of its own. Here clients may look around, unless told that they may not."""
    own = own_metrics_port(settings, number)
    return own if "introspection" in settings.model_fields_set else own | {"ROLLCALL_INTROSPECTION": "true"}


async def _keep_running(part: DevProcess, variables: dict[str, str], running: dict[str, int]) -> None:
    """Run one part, again whenever it ends, except when it says that running it again is of no use."""

    def started(pid: int) -> None:
        running[part.name] = pid

    status = await keep_running(part.name, part.arguments, variables, given_up=_is_of_no_use, started=started)
    if status == BAD_INPUT:
        raise BadSettings(f"the {part.name} process cannot be started; its own error stands above")
    log.error("dev.faulted", part=part.name, status=status, hint="`rollcall status` says why")


def _is_of_no_use(status: int, _: float) -> bool:
    return status in (BAD_INPUT, FAULT)


async def _until_ready(house: House, running: dict[str, int]) -> None:
    """Wait until the API answers and both views are live, by the word of the processes started here."""
    async with aiohttp.ClientSession() as client:
        while not (  # noqa: ASYNC110 - other processes cannot set an Event
            await _answers(client, house.settings) and await _live(house, running)
        ):
            await asyncio.sleep(READY_POLL_SECONDS)


async def _answers(client: aiohttp.ClientSession, settings: Settings) -> bool:
    try:
        async with client.get(f"{_address(settings)}/readyz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def _live(house: House, running: dict[str, int]) -> bool:
    """Also if another projector is at work already: then those started here stand by."""
    return all(
        status.state is State.LIVE
        and any(process.endswith(f":{running.get(status.name)}") for process in (status.process, *status.standbys))
        for status in await read_status(house.database)
    )


def _address(settings: Settings) -> str:
    host = "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host  # noqa: S104 - compared, not bound
    return f"http://{host}:{settings.port}"
