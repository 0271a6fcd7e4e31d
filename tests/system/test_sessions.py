"""Sessions on two API processes of one installation: each process honours changes made by the other."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.graph.client import close_code
from tests.ports import free_port
from tests.system.installation import Installation, own_servers
from tests.waiting import eventually

PASSWORD = "correct horse battery"
SESSION = "session { accessToken refreshToken } errors { code }"
LOGIN = f'mutation($p: String!) {{ login(input: {{login: "admin", password: $p}}) {{ {SESSION} }} }}'
REFRESH = f"mutation($t: String!) {{ refreshSession(refreshToken: $t) {{ {SESSION} }} }}"
LOGOUT = "mutation { logout { loggedOut } }"


@pytest.fixture
async def two(urls: tuple[str, str], tmp_path: Path) -> AsyncIterator[tuple[Installation, Installation]]:
    """Two API processes on the same databases."""
    one = own_servers(tmp_path, *urls)
    other = replace(one, port=free_port())
    async with one.running("serve"), other.running("serve"):
        for installation in (one, other):
            await eventually(installation.ready)
        yield one, other


async def signed_in(at: Installation) -> dict[str, str]:
    session: dict[str, str] = (await at.ask(LOGIN, p=PASSWORD))["login"]["session"]
    return session


async def refreshed(at: Installation, token: str) -> Any:
    return (await at.ask(REFRESH, t=token))["refreshSession"]


async def test_a_session_that_ends_at_one_process_ends_at_the_other(
    two: tuple[Installation, Installation],
) -> None:
    """Twenty concurrent refreshes on both give one next token; a logout at one closes the socket at the other."""
    one, other = two
    session = await signed_in(one)

    answers = await asyncio.gather(*(refreshed(at, session["refreshToken"]) for at in two for _ in range(10)))

    assert {answer["session"]["refreshToken"] for answer in answers} != {session["refreshToken"]}
    assert len({answer["session"]["refreshToken"] for answer in answers}) == 1
    token = answers[0]["session"]["accessToken"]
    assert (await other.ask("{ me { username } }", token))["me"] == {"username": "admin"}
    async with other.socket(token) as raw:
        closed = asyncio.create_task(close_code(raw))  # who does not read is cut off
        assert (await one.ask(LOGOUT, token))["logout"] == {"loggedOut": True}

        assert await closed == 4403
    with pytest.raises(AssertionError, match="UNAUTHENTICATED"):
        await other.ask("{ me { username } }", token)
    answer = await refreshed(other, answers[0]["session"]["refreshToken"])
    assert [error["code"] for error in answer["errors"]] == ["INVALID_TOKEN"]


async def test_set_password_ends_all_sessions(two: tuple[Installation, Installation]) -> None:
    """`rollcall set-password`, a separate process, closes the sockets of every API process."""
    one, other = two
    sessions = [await signed_in(at) for at in two]
    async with one.socket(sessions[0]["accessToken"]) as first, other.socket(sessions[1]["accessToken"]) as second:
        closed = asyncio.gather(close_code(first), close_code(second))
        finished = await one.run("set-password", "admin", stdin="another good password\n")
        assert finished.code == 0, finished.err

        assert set(await closed) == {4403}
    for at, session in zip(two, sessions, strict=True):
        answer = await refreshed(at, session["refreshToken"])
        assert [error["code"] for error in answer["errors"]] == ["INVALID_TOKEN"]
