"""Several API worker processes on one port under one supervisor."""

import asyncio
import os
import signal
import socket
from dataclasses import replace
from pathlib import Path

import aiohttp

from tests.ports import in_a_row
from tests.system.installation import Installation, Process, own_servers
from tests.system.test_metrics import key, samples
from tests.waiting import PATIENCE_SECONDS, eventually

WORKERS = 2
SERVE = ("serve", "--workers", str(WORKERS))


def workers(supervisor: Process) -> dict[int, int]:
    """The process ids of the workers, by worker number."""
    pid, found = supervisor.popen.pid, {}
    for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        command = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
        if "--worker" in command:
            found[int(command[command.index("--worker") + 1])] = child
    return found


async def all_listen(installation: Installation, supervisor: Process, times: int = WORKERS) -> None:
    """Wait until workers have logged `times` starts and the API is ready."""

    async def listen() -> bool:
        assert supervisor.popen.returncode is None, "".join(supervisor.err)
        return sum('"serving"' in line and '"PORT"' in line for line in supervisor.err) == times

    async def ready() -> bool:
        return all([await installation.ready() for _ in range(12)])  # 12 requests most probably reach every worker

    await eventually(listen)
    await eventually(ready)


async def all_end(pids: list[int]) -> None:
    async def ended() -> bool:
        return not any(Path(f"/proc/{pid}").exists() for pid in pids)

    await eventually(ended)


async def test_all_workers_answer_on_one_port_and_a_killed_one_is_restarted(
    urls: tuple[str, str], tmp_path: Path
) -> None:
    """Every worker answers with the same session, and the others answer while one restarts."""
    metrics = in_a_row(WORKERS)
    installation = own_servers(tmp_path, *urls)
    variables = {**installation.variables, "ROLLCALL_METRICS_PORT": str(metrics)}
    installation = replace(installation, variables=variables)
    async with installation.running(*SERVE) as supervisor:
        await all_listen(installation, supervisor)
        token = await installation.sign_in("admin", "correct horse battery")
        for _ in range(60):  # one connection per request
            assert (await installation.ask("{ me { username } }", token))["me"] == {"username": "admin"}

        answered = [
            (await samples(f"http://127.0.0.1:{metrics + number}")).get(
                key("rollcall_http_request_seconds_count", route="/graphql", status="200"), 0
            )
            for number in range(WORKERS)
        ]

        assert sum(answered) == 61
        assert all(answered), answered

        before = workers(supervisor)
        os.kill(before[1], signal.SIGKILL)
        await all_end([before[1]])
        for _ in range(20):
            assert await installation.ready()
        await all_listen(installation, supervisor, times=WORKERS + 1)
        after = workers(supervisor)

        assert {number for number in before if before[number] != after[number]} == {1}
        assert any('"child.restarting"' in line and '"api-1"' in line for line in supervisor.err)


async def test_a_stop_drains_sockets_and_leaves_no_worker(urls: tuple[str, str], tmp_path: Path) -> None:
    """SIGTERM closes open sockets, ends every worker and exits with 0."""
    installation = own_servers(tmp_path, *urls)
    async with installation.running(*SERVE) as supervisor, aiohttp.ClientSession() as client:
        await all_listen(installation, supervisor)
        pids = list(workers(supervisor).values())
        sockets = [
            await client.ws_connect(f"{installation.url}/graphql", protocols=["graphql-transport-ws"]) for _ in range(6)
        ]
        stopping = asyncio.create_task(supervisor.stop())
        for one in sockets:
            await one.receive(timeout=PATIENCE_SECONDS)

        assert await stopping == 0
        assert 1001 in {one.close_code for one in sockets}  # a busy machine may abort some
        await all_end(pids)


async def test_workers_do_not_outlive_their_supervisor(urls: tuple[str, str], tmp_path: Path) -> None:
    """SIGKILL of the supervisor ends every worker."""
    installation = own_servers(tmp_path, *urls)
    async with installation.running(*SERVE) as supervisor:
        await all_listen(installation, supervisor)
        pids = list(workers(supervisor).values())
        await supervisor.stop(signal.SIGKILL)
        await all_end(pids)


async def test_a_port_in_use_and_a_wrong_master_key_end_the_supervisor(urls: tuple[str, str], tmp_path: Path) -> None:
    """Neither is retried; exit codes and messages are those of a single process."""
    installation = own_servers(tmp_path, *urls)
    with socket.socket() as other:
        other.bind(("127.0.0.1", installation.port))
        other.listen()
        taken = await installation.run(*SERVE)
    made = await installation.run("create-admin", "ada", "ada@example.com", stdin="correct horse battery\n")
    wrong = {**installation.variables, "ROLLCALL_MASTER_KEY": "A" * 43 + "="}
    async with asyncio.timeout(PATIENCE_SECONDS):
        refused = await replace(installation, variables=wrong).run(*SERVE)

    assert made.code == 0
    assert (taken.code, "ROLLCALL_PORT: cannot listen" in taken.err) == (2, True)
    assert (refused.code, "master key" in refused.err) == (3, True)
