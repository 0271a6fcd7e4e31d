"""The children of a process get the secrets that they use, and no others."""

import os
from types import SimpleNamespace
from typing import Any

import pytest

from rollcall.children import SECRETS, run_child
from rollcall.commands.dev import PROCESSES

CHILDREN = [*PROCESSES.values(), ("rebuild", "mysql", "--requested")]


@pytest.mark.parametrize("arguments", CHILDREN, ids=" ".join)
async def test_a_secret_reaches_only_the_process_that_uses_it(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A projector and a requested rebuild sign nothing: with their memory a thief makes neither tokens nor heads."""
    for name in SECRETS:
        monkeypatch.setenv(name, "secret")
    given: dict[str, str] = {}

    async def start(*_: str, env: dict[str, str], **__: Any) -> SimpleNamespace:
        given.update(env)
        return SimpleNamespace(pid=os.getpid(), returncode=0, wait=ended)

    async def ended() -> int:
        return 0

    monkeypatch.setattr("asyncio.create_subprocess_exec", start)
    await run_child(arguments, {"ROLLCALL_METRICS_PORT": "1"})

    assert given.keys() & SECRETS.keys() == {name for name, command in SECRETS.items() if command == arguments[0]}
    assert given["ROLLCALL_METRICS_PORT"] == "1"
