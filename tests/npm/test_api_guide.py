"""The TypeScript of docs/api.md compiles in strict mode and works against a real server."""

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from events.event_types import Role
from tests.graph.client import Json
from tests.graph.site import Person, Site
from tests.waiting import PATIENCE_SECONDS, eventually

GUIDE: Final = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
PRELUDE: Final = """
import WebSocket from "ws"; // browsers have it built in
Object.assign(globalThis, { WebSocket });
const currentToken = () => process.argv[2];
const show = (change: Change) => console.log(JSON.stringify({ shown: change }));
"""
"""Definitions that the guide leaves to its readers."""
COMPILER: Final = [
    "--strict",
    "--noEmitOnError",
    "--skipLibCheck",
    *("--target", "es2022"),
    *("--module", "nodenext"),
    *("--moduleResolution", "nodenext"),
]


def compiled(packages: Path, folder: Path, url: str) -> Path:
    """Compile all snippets of the guide as one program; return its path."""
    snippets = re.findall(r"^```ts\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    program = (PRELUDE + "\n".join(snippets)).replace("ws://127.0.0.1:8000/graphql", url)
    (folder / "node_modules").symlink_to(packages / "node_modules")
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "guide.ts").write_text(program)
    compiler = packages / "node_modules" / ".bin" / "tsc"
    finished = subprocess.run(
        [compiler, *COMPILER, "guide.ts"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stdout
    return folder / "guide.js"


@asynccontextmanager
async def reader(program: Path, token: str) -> AsyncIterator[asyncio.StreamReader]:
    """Run the program until the block ends and give its output."""
    process = await asyncio.create_subprocess_exec(
        "node", program, token, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdout
    try:
        yield process.stdout
    finally:
        process.kill()
        await process.wait()


async def shown(printed: asyncio.StreamReader) -> Json:
    """The next change from the guide's second subscription; output of the first one is skipped."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            line = (await printed.readline()).decode()
            message = json.loads(line)
            if "shown" in message:
                return message["shown"]
            assert "userChanges" in message["data"], line


def cut(site: Site) -> None:
    """Abort every connection, like a network failure."""
    runner = site.server.runner
    assert runner is not None
    assert runner.server is not None
    for connection in runner.server.connections:
        if connection.transport is not None:
            connection.transport.abort()


async def rename(site: Site, person: Person, name: str) -> str:
    """Rename a user and return the position of the change."""
    client = await site.signed_in(person.user)
    document = "mutation ($input: UpdateUserInput!) { updateUser(input: $input) { position } }"
    return str((await client.field(document, input={"id": person.id, "name": name}))["position"])


async def test_the_typescript_of_the_guide_subscribes_and_resumes(
    own_site: Site, npm_packages: Path, tmp_path: Path
) -> None:
    """After a reconnect the program shows the missed changes, and no change twice."""
    site = own_site
    admin, person = await site.person(Role.ADMIN), await site.person()
    program = await asyncio.to_thread(compiled, npm_packages, tmp_path, f"ws://{site.anyone.url.authority}/graphql")
    subscribers = site.services.feed._subscribers

    async def both_subscribed() -> bool:
        return len(subscribers) == 2

    async def none_subscribed() -> bool:
        return not subscribers

    async with reader(program, (admin.client.authorization or "").removeprefix("Bearer ")) as printed:
        await eventually(both_subscribed)
        first = await rename(site, person, "First")
        seen = [await shown(printed)]
        cut(site)
        await eventually(none_subscribed)
        missed = [await rename(site, person, name) for name in ("Second", "Third")]
        seen += [await shown(printed), await shown(printed)]

    assert [(change["position"], change["user"]["name"]) for change in seen] == list(
        zip([first, *missed], ["First", "Second", "Third"], strict=True)
    )
