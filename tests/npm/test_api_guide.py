"""The guide's TypeScript works: compiled strictly as it stands there, and run against a real server."""

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
AROUND: Final = """
import WebSocket from "ws"; // browsers have one of their own
Object.assign(globalThis, { WebSocket });
const currentToken = () => process.argv[2];
const show = (change: Change) => console.log(JSON.stringify({ shown: change }));
"""
"""What the guide leaves to its readers."""
COMPILER: Final = [
    "--strict",
    "--noEmitOnError",
    "--skipLibCheck",
    *("--target", "es2022"),
    *("--module", "nodenext"),
    *("--moduleResolution", "nodenext"),
]


def compiled(packages: Path, folder: Path, url: str) -> Path:
    """All snippets of the guide as one program."""
    snippets = re.findall(r"^```ts\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    program = (AROUND + "\n".join(snippets)).replace("ws://127.0.0.1:8000/graphql", url)
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
    """What the program prints, until the block ends."""
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
    """The next change that the guide's second subscription shows; what its first one prints is passed over."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            line = (await printed.readline()).decode()
            said = json.loads(line)
            if "shown" in said:
                return said["shown"]
            assert "userChanges" in said["data"], line


def cut(site: Site) -> None:
    """Cut off every connection, as a network does."""
    runner = site.server.runner
    assert runner is not None
    assert runner.server is not None
    for connection in runner.server.connections:
        if connection.transport is not None:
            connection.transport.abort()


async def rename(site: Site, person: Person, name: str) -> str:
    """Change a user behind the API's back; the position of that."""
    client = await site.signed_in(person.user)
    document = "mutation ($input: UpdateUserInput!) { updateUser(input: $input) { position } }"
    return str((await client.field(document, input={"id": person.id, "name": name}))["position"])


async def test_the_typescript_of_the_guide_subscribes_and_resumes(
    own_site: Site, npm_packages: Path, tmp_path: Path
) -> None:
    """What changes while the connection is cut is shown once it is there again, and nothing twice."""
    site = own_site
    admin, person = await site.person(Role.ADMIN), await site.person()
    program = await asyncio.to_thread(compiled, npm_packages, tmp_path, f"ws://{site.anyone.url.authority}/graphql")
    listeners = site.services.feed._subscribers

    async def both_listen() -> bool:
        return len(listeners) == 2

    async def nobody_listens() -> bool:
        return not listeners

    async with reader(program, (admin.client.authorization or "").removeprefix("Bearer ")) as printed:
        await eventually(both_listen)
        first = await rename(site, person, "First")
        seen = [await shown(printed)]
        cut(site)
        await eventually(nobody_listens)
        missed = [await rename(site, person, name) for name in ("Second", "Third")]
        seen += [await shown(printed), await shown(printed)]

    assert [(change["position"], change["user"]["name"]) for change in seen] == list(
        zip([first, *missed], ["First", "Second", "Third"], strict=True)
    )
