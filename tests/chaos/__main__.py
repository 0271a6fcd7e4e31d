"""`make chaos`: the whole system under load and under fire; what is wrong afterwards is told, with the seed.

CHAOS_MINUTES   how long faults go on; 0.75 by default
CHAOS_SEED      of what is done and when; drawn and printed by default
CHAOS_FAULTS    kinds, separated by commas; all by default; `none` for a soak
CHAOS_PACE      faults a minute; 23 by default
CHAOS_DIRECTORY where ledgers, logs and the report go; a temporary directory by default
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

DEFAULTS = {"MINUTES": 0.75, "PACE": FAULTS_A_MINUTE}
SHM = Path("/dev/shm")  # noqa: S108 - a directory of our own is made in it


def plan_of(environment: "os._Environ[str]") -> Plan:
    """What the variables ask for."""
    seed = int(environment.get("CHAOS_SEED") or secrets.randbelow(1_000_000))
    asked = environment.get("CHAOS_FAULTS", "")
    kinds = [] if asked == "none" else asked.split(",") if asked else list(KINDS)
    if unknown := set(kinds) - KINDS.keys():
        sys.exit(f"CHAOS_FAULTS: expected some of {', '.join(KINDS)}, or none; found {', '.join(sorted(unknown))}")
    minutes, pace = (float(environment.get(f"CHAOS_{name}") or other) for name, other in DEFAULTS.items())
    return Plan(seed, minutes * 60, kinds, pace)


def main() -> int:
    """Run, report, and say by the exit code whether all was right."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the processes and the mount must not outlive this one
    plan = plan_of(os.environ)
    kept = Path(os.environ.get("CHAOS_DIRECTORY") or tempfile.mkdtemp(prefix="rollcall-chaos-"))
    kept.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="rollcall-chaos-", dir=SHM if SHM.is_dir() else None))
    began = time.monotonic()
    try:
        outcome = uvloop.run(
            run(plan, work / "run", lambda line: print(f"{time.monotonic() - began:6.1f}  {line}", flush=True))
        )
        return told(outcome, kept)
    except KeyboardInterrupt:
        print(f"interrupted; ledgers and logs are in {kept}")
        return 130
    finally:
        _keep(work / "run", kept)
        shutil.rmtree(work, ignore_errors=True)


def _keep(work: Path, kept: Path) -> None:
    """Ledgers and logs, in the place of an earlier run's."""
    shutil.rmtree(kept / "ledgers", ignore_errors=True)
    for log in work.glob("*.log"):
        shutil.copy(log, kept / log.name)
    if (work / "ledgers").is_dir():
        shutil.copytree(work / "ledgers", kept / "ledgers")


def told(outcome: Outcome, kept: Path) -> int:
    """Print and keep the report."""
    found = report.summary(outcome)
    text = "\n".join(report.lines(found, kept))
    (kept / "report.txt").write_text(text + "\n")
    (kept / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    if not outcome.plan.kinds:
        picture.draw(outcome.series, kept / "soak.svg")
    print(text)
    return 0 if outcome.green else 1


if __name__ == "__main__":
    sys.exit(main())
