"""GraphQL over HTTP, audited by its reference implementation, npm's `graphql-http`."""

import asyncio
import json

import pytest

from tests.graph.site import Site
from tests.npm.node import node
from tests.waiting import PATIENCE_SECONDS

AUDITS = 61


@pytest.mark.usefixtures("npm_packages")
async def test_every_audit_of_graphql_http_is_ok(site: Site) -> None:
    """All audits pass, including the optional ones, against a server in the profile of `rollcall dev`."""
    async with node("audit.mjs", str(site.anyone.url)) as process, asyncio.timeout(PATIENCE_SECONDS):
        printed, _ = await process.communicate()

    results = json.loads(printed)
    assert [result for result in results if result["status"] != "ok"] == []
    assert len({result["id"] for result in results}) == len(results) == AUDITS
