"""Each process serves Prometheus metrics on a port of its own, without personal data."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.ports import free_port
from tests.system.installation import Installation, own_servers
from tests.waiting import eventually

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def measured(installation: Installation) -> tuple[Installation, str]:
    """The installation with a metrics port, and that port's URL."""
    port = free_port()
    variables = {**installation.variables, "ROLLCALL_METRICS_PORT": str(port)}
    return replace(installation, variables=variables), f"http://127.0.0.1:{port}"


async def page(address: str) -> str:
    """The metrics page."""
    async with aiohttp.ClientSession() as client, client.get(f"{address}/metrics") as answer:
        assert answer.status == 200
        assert answer.content_type == "text/plain"
        return await answer.text()


async def samples(address: str) -> Samples:
    """The samples of the page, by name and labels; fails on an invalid format."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(await page(address))
        for sample in family.samples
    }


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    """The key of a sample."""
    return name, frozenset(labels.items())


async def test_each_process_reports_its_work_and_the_views(urls: tuple[str, str], tmp_path: Path) -> None:
    """The API counts appends and requests, the projector events; both report the views, and a dead projector shows."""
    installation = own_servers(tmp_path, *urls)
    (api, api_metrics), (projector, projector_metrics) = measured(installation), measured(installation)
    live = key("rollcall_view_state", view="mysql_users", state="LIVE")
    async with api.running("serve"):
        await eventually(api.ready)
        async with projector.running("projector", "mysql") as process:

            async def caught_up() -> bool:
                seen = await samples(api_metrics)
                return seen.get(live) == 1 and seen[key("rollcall_view_position", view="mysql_users")] == 1

            await eventually(caught_up)
            await api.sign_in("admin", "correct horse battery")
            of_api, of_projector = await samples(api_metrics), await samples(projector_metrics)
            process.popen.kill()

        assert of_api[key("rollcall_append_seconds_count")] == 1
        assert of_api[key("rollcall_http_request_seconds_count", route="/graphql", status="200")] >= 1
        assert of_api[key("rollcall_event_loop_lag_seconds_count")] >= 1
        assert of_api[key("rollcall_view_state", view="mongo_users", state="STOPPED")] == 1
        assert of_api[key("rollcall_view_quarantined_users", view="mysql_users")] == 0
        assert of_projector[key("rollcall_projector_events_total", view="mysql_users")] == 1
        assert of_projector[live] == 1
        assert "admin" not in await page(api_metrics)

        async def seen_dead() -> bool:
            seen = await samples(api_metrics)
            return seen[live] == 0 and seen[key("rollcall_view_heartbeat_age_seconds", view="mysql_users")] > 5

        await eventually(seen_dead)
        async with aiohttp.ClientSession() as client:
            async with client.get(f"{api.url}/metrics") as answer:
                assert answer.status == 404
            async with client.get(f"{api_metrics}/healthz") as answer:
                assert answer.status == 200


async def test_metrics_report_that_mysql_is_away(tmp_path: Path) -> None:
    """The page is served with `rollcall_log_up` 0."""
    nowhere = own_servers(tmp_path, "mysql://u:p@127.0.0.1:1/rollcall", "mongodb://127.0.0.1:1/rollcall")
    installation, address = measured(nowhere)
    async with installation.running("projector", "mysql"):

        async def answers() -> bool:
            try:
                return (await samples(address))[key("rollcall_log_up")] == 0
            except aiohttp.ClientError:
                return False

        await eventually(answers)
