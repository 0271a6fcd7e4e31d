"""A short chaos run as part of the suite."""

import asyncio
import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SECONDS = 240.0


async def test_faults_lose_and_double_nothing_acknowledged(tmp_path: Path) -> None:
    """Twenty seconds of ten kinds of faults; a failure shows the seed and the lines of the ledgers."""
    kinds = "kill-api,kill-projector,kill-mysqld,kill-mongod,pause-api,pause-projector,cut,drop,hang,delay-projector"
    chaos = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.chaos",
        cwd=ROOT,
        env={**os.environ, "CHAOS_MINUTES": "0.33", "CHAOS_FAULTS": kinds, "CHAOS_DIRECTORY": str(tmp_path / "chaos")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(SECONDS):
            output, _ = await chaos.communicate()
    finally:
        if chaos.returncode is None:
            chaos.send_signal(signal.SIGINT)
            await chaos.wait()
    assert chaos.returncode == 0, output.decode()
