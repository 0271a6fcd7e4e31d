"""One `rollcall dev` and one Chromium for all journeys of a file."""

import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from playwright.async_api import async_playwright, expect

from rollcall.embedded import Addresses
from tests import databases
from tests.pages.stack import PATIENCE_MS, Stack
from tests.system.installation import own_servers

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest_asyncio.fixture(scope="module")
async def stack(
    addresses: Addresses, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[Stack]:
    """The installation and the browser. They end with the file: eight processes would slow down all other tests.

    `VARIABLES` of the file, if it has them, are settings of the installation.
    """
    if CHROMIUM is None:
        pytest.skip("Chromium not found: apt-get install chromium")
    expect.set_options(timeout=PATIENCE_MS)
    async with (
        databases.empty_schema(addresses) as schema,
        databases.mongo(addresses) as mongo,
        async_playwright() as playwright,
    ):
        installation = own_servers(
            tmp_path_factory.mktemp("pages"),
            addresses.mysql_url.replace("/rollcall", f"/{schema.database}"),
            addresses.mongo_url.replace("/rollcall?", f"/{mongo.documents.name}?"),
        )
        extra = getattr(request.module, "VARIABLES", {})
        installation = replace(installation, variables={**installation.variables, **extra})
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS), env=dict(os.environ))
        async with installation.running("dev") as dev:
            await dev.line("ready")
            yield Stack(installation, browser, dev.popen.pid)
            await browser.close()
