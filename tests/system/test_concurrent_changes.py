"""Concurrent changes of one user through two API processes."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.ports import free_port
from tests.system.installation import Installation, own_servers
from tests.waiting import eventually

UPDATE = """
mutation($input: UpdateUserInput!) {
  updateUser(input: $input) { user { version attributes } errors { code message } }
}
"""
PATCHES = 30


async def test_parallel_patches_through_two_processes_all_take_effect(urls: tuple[str, str], tmp_path: Path) -> None:
    """Thirty patches of different keys, half of them through each process: no STALE_VERSION, and no key is lost."""
    one = own_servers(tmp_path, *urls)
    other = replace(one, port=free_port())
    async with one.running("serve"), other.running("serve"):
        for installation in (one, other):
            await eventually(installation.ready)
        token = await one.sign_in("admin", "correct horse battery")
        me = (await one.ask("{ me { id version } }", token))["me"]

        async def patch(at: Installation, n: int) -> Any:
            given = {"id": me["id"], "attributes": {f"k{n}": n}}
            return (await at.ask(UPDATE, token, input=given))["updateUser"]

        payloads = await asyncio.gather(*(patch((one, other)[n % 2], n) for n in range(PATCHES)))

        assert [payload["errors"] for payload in payloads] == [[]] * PATCHES
        first = me["version"] + 1
        assert sorted(payload["user"]["version"] for payload in payloads) == list(range(first, first + PATCHES))
        for at in (one, other):
            now = (await at.ask("{ me { version attributes } }", token))["me"]
            assert now["attributes"] == {f"k{n}": n for n in range(PATCHES)}
