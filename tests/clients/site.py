"""An application of another origin than the API's, in a browser or a process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from aiohttp import web

from tests.clients.hosts import Host, PageHost, process
from tests.clients.package import FOLDER, run
from tests.pages.stack import Person, Stack
from tests.ports import free_port
from tests.waiting import eventually

ORIGIN: Final = f"http://127.0.0.1:{free_port()}"
"""Of the pages that use the client."""
ESBUILD: Final = FOLDER / "node_modules" / ".bin" / "esbuild"
DENO: Final = FOLDER / "node_modules" / ".bin" / "deno"


@pytest.fixture(scope="module")
def bundle(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as one script, `client.js`."""
    folder = tmp_path_factory.mktemp("bundle")
    entry = f"""
      import * as core from "{package}/dist/index.js";
      import * as operations from "{package}/dist/operations.js";
      Object.assign(globalThis, {{ library: {{ ...core, ...operations }} }});
    """
    (folder / "entry.js").write_text(entry)
    run(ESBUILD, folder / "entry.js", "--bundle", "--format=esm", f"--outfile={folder}/client.js")
    return folder


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[None]:
    """Serve a folder at `ORIGIN`; every page of it loads `client.js`."""

    async def page(request: web.Request) -> web.Response:
        text = '<!doctype html><title>Page</title><body><script type="module" src="/client.js"></script>'
        return web.Response(text=text, content_type="text/html")

    application = web.Application()
    application.router.add_get("/", page)
    application.router.add_static("/", folder)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", int(ORIGIN.rpartition(":")[2])).start()
        yield
    finally:
        await runner.cleanup()


@pytest_asyncio.fixture(scope="module")
async def origin(bundle: Path) -> AsyncIterator[str]:
    """Pages that have loaded the client."""
    async with served(bundle):
        yield ORIGIN


@asynccontextmanager
async def host_of(kind: str, stack: Stack, bundle: Path) -> AsyncIterator[Host]:
    """A host of the client: a `page`, for which `origin` is served, `node`, or `deno`."""
    if kind == "page":
        async with stack.window(base_url=ORIGIN) as page:
            await page.goto("/")
            yield PageHost(page)
    elif kind == "node":
        modules = [FOLDER / "dist" / f"{name}.js" for name in ("index", "operations")]
        async with process("node", modules=modules) as host:
            yield host
    else:
        command = (DENO, "run", "--allow-all", "--no-config", "--quiet")
        async with process(*command, modules=[bundle / "client.js"]) as host:
            yield host


async def rename(stack: Stack, person: Person, *names: str) -> list[int]:
    """Rename a user; return the positions of the changes."""
    positions = []
    for name in names:
        answer = await stack.installation.ask(
            "mutation($input: UpdateUserInput!) { updateUser(input: $input) { position errors { message } } }",
            await stack.admin(),
            input={"id": person.id, "name": name},
        )
        assert answer["updateUser"]["errors"] == []
        positions.append(int(answer["updateUser"]["position"]))
    return positions


async def connected(host: Host) -> None:
    """Wait until the subscriptions of `state.client` are open."""

    async def is_open() -> bool:
        return bool(await host.run("return state.client.connection === 'open'"))

    await eventually(is_open)
