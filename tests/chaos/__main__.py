"""`make chaos`: run the whole system under load, inject faults, and check the guarantees afterwards.

CHAOS_MINUTES   duration of the faults; 0.75 by default, with strangers 4
CHAOS_SEED      seed of faults and load; random and printed by default
CHAOS_FAULTS    kinds, separated by commas; all by default; `none` for a soak
CHAOS_STRANGERS 1: attackers instead of faults, in the second half of the time; harmless: as many harmless requests
CHAOS_PACE      faults per minute; 23 by default
CHAOS_DIRECTORY directory of ledgers, logs and the report; a temporary one by default
"""

import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import uvloop

from tests.chaos import picture, report
from tests.chaos.faults import FAULTS_A_MINUTE, KINDS
from tests.chaos.run import Outcome, Plan, run

BESIDE_STRANGERS = {"persons": 3, "administrators": 1, "owners": 1}
"""A quarter of the usual load, which keeps two cores busy for four fifths of the time: then more requests of any kind
double the slowest answers (docs/chaos.md)."""
DEFAULTS = {"MINUTES": 0.75, "PACE": FAULTS_A_MINUTE}
SHM = Path("/dev/shm")  # noqa: S108 - a private directory is created in it


def plan_of(environment: "os._Environ[str]") -> Plan:
    """Read the plan from environment variables."""
    seed = int(environment.get("CHAOS_SEED") or secrets.randbelow(1_000_000))
    requested = environment.get("CHAOS_FAULTS", "")
    strangers = {"": "", "1": "attack", "harmless": "harmless"}.get(environment.get("CHAOS_STRANGERS", ""))
    if strangers is None:
        sys.exit(f"CHAOS_STRANGERS: expected 1 or harmless, found {environment['CHAOS_STRANGERS']!r}")
    kinds = [] if strangers or requested == "none" else requested.split(",") if requested else list(KINDS)
    if unknown := set(kinds) - KINDS.keys():
        sys.exit(f"CHAOS_FAULTS: expected some of {', '.join(KINDS)}, or none; found {', '.join(sorted(unknown))}")
    defaults = {**DEFAULTS, "MINUTES": 4.0} if strangers else DEFAULTS
    minutes, pace = (float(environment.get(f"CHAOS_{name}") or default) for name, default in defaults.items())
    return Plan(seed, minutes * 60, kinds, pace, strangers, **(BESIDE_STRANGERS if strangers else {}))


def main() -> int:
    """Run and report; return exit code 0 if every check passed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # child processes and the mount must be cleaned up
    plan = plan_of(os.environ)
    kept = Path(os.environ.get("CHAOS_DIRECTORY") or tempfile.mkdtemp(prefix="rollcall-chaos-"))
    kept.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="rollcall-chaos-", dir=SHM if SHM.is_dir() else None))
    began = time.monotonic()
    try:
        outcome = uvloop.run(
            run(plan, work / "run", lambda line: print(f"{time.monotonic() - began:6.1f}  {line}", flush=True))
        )
        return write_report(outcome, kept)
    except KeyboardInterrupt:
        print(f"interrupted; ledgers and logs are in {kept}")
        return 130
    finally:
        _keep(work / "run", kept)
        shutil.rmtree(work, ignore_errors=True)


def _keep(work: Path, kept: Path) -> None:
    """Copy ledgers and logs, replacing those of an earlier run."""
    shutil.rmtree(kept / "ledgers", ignore_errors=True)
    for log in (*work.glob("*.log"), *work.glob("broker/logs/kafka.log")):
        shutil.copy(log, kept / log.name)
    if (work / "ledgers").is_dir():
        shutil.copytree(work / "ledgers", kept / "ledgers")


def write_report(outcome: Outcome, kept: Path) -> int:
    """Print and write the report; return the exit code."""
    found = report.summary(outcome)
    text = "\n".join(report.lines(found, kept))
    (kept / "report.txt").write_text(text + "\n")
    (kept / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    if outcome.plan.soak:
        picture.draw(outcome.series, kept / "soak.svg")
    print(text)
    return 0 if outcome.green else 1


if __name__ == "__main__":
    sys.exit(main())
