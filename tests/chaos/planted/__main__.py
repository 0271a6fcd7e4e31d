"""`make chaos-planted`: check that chaos notices planted bugs.

Each patch in this directory removes one protection from a copy of the tree. Chaos runs there with the faults that
should expose the bug, and must fail. The output lists the failed checks.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent.parent
PARTS: Final = ("events", "projections", "auth", "graph", "rollcall", "tests", "schema.graphql")
PACE: Final = "60"
TRIES: Final = 3
"""Seeds per bug: its effect depends on the moment of a fault."""


@dataclass(frozen=True, slots=True)
class Planted:
    """A bug, and the faults that expose it."""

    patch: str
    faults: str
    minutes: float


PLANTED: Final = (
    Planted("no-head-lock", "kill-api,drop", 0.3),
    Planted("retry-without-key", "kill-api,drop,hang,pause-api", 0.5),
    Planted("checkpoint-before-batch", "delay-projector,kill-projector,kill-mongod", 1.0),
    Planted("no-compare-and-set", "late-writes", 1.0),
)


def main() -> int:
    """Plant each bug, or the named ones; return exit code 0 if each was caught."""
    wanted = [planted for planted in PLANTED if not sys.argv[1:] or planted.patch in sys.argv[1:]]
    caught = [is_caught(planted) for planted in wanted]
    return 0 if all(caught) else 1


def is_caught(planted: Planted) -> bool:
    """Run chaos on a copy with the bug until it fails; return False if it never does."""
    with tempfile.TemporaryDirectory(prefix="rollcall-planted-") as directory:
        tree = Path(directory)
        for part in PARTS:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, tree / part)
        subprocess.run(["git", "apply", str(HERE / f"{planted.patch}.patch")], cwd=tree, check=True)
        for seed in range(1, TRIES + 1):
            wrongs = _run(planted, tree, seed)
            if wrongs:
                print(f"{planted.patch}: caught with seed {seed} by {', '.join(wrongs)}", flush=True)
                for check, found in wrongs.items():
                    print(f"    {check}: {found[0][:200]}" + (f" (and {len(found) - 1} more)" if found[1:] else ""))
                return True
    print(f"{planted.patch}: NOT CAUGHT with {TRIES} seeds", flush=True)
    return False


def _run(planted: Planted, tree: Path, seed: int) -> dict[str, list[str]]:
    kept = tree / f"found-{seed}"
    settings = {
        "CHAOS_MINUTES": str(planted.minutes),
        "CHAOS_SEED": str(seed),
        "CHAOS_FAULTS": planted.faults,
        "CHAOS_PACE": PACE,
    }
    with (tree / "output").open("wb") as output:
        finished = subprocess.run(
            [sys.executable, "-m", "tests.chaos"],
            cwd=tree,
            env={**os.environ, **settings, "CHAOS_DIRECTORY": str(kept), "PYTHONPATH": str(tree)},
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    report = kept / "report.json"
    if not report.exists():
        last = (tree / "output").read_text().splitlines()[-3:]
        return {"the run itself": last} if finished.returncode else {}
    wrongs: dict[str, list[str]] = msgspec.json.decode(report.read_bytes())["wrongs"]
    return {check: found for check, found in wrongs.items() if found}


if __name__ == "__main__":
    sys.exit(main())
