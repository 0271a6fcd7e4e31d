"""The npm package of `clients/typescript`, installed and built for the tests."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "clients" / "typescript"
NEEDED = "the tests of clients/typescript need Node.js 20 and npm"
SOURCES = (
    "src/**/*",
    "scripts/*",
    "examples/code-generator/*.ts",
    "package-lock.json",
    "package.json",
    "tsconfig.json",
)


@pytest.fixture(scope="session")
def package() -> Path:
    """The folder of the package, with its packages installed, and `dist` and the documents of its examples made.

    Without npm these tests are skipped, but in CI they fail.
    """
    if shutil.which("npm") is None:
        if os.environ.get("CI"):
            pytest.fail(NEEDED)
        pytest.skip(NEEDED)
    with (FOLDER / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another pytest worker may be installing
        wanted = (FOLDER / "package-lock.json").read_bytes()
        installed = FOLDER / "node_modules" / ".rollcall"
        if not installed.is_file() or installed.read_bytes() != wanted:
            run("npm", "ci", "--no-audit", "--no-fund")
            installed.write_bytes(wanted)
        sources = [path for pattern in SOURCES for path in FOLDER.glob(pattern) if path.is_file()]
        built = FOLDER / "dist" / "index.js"
        if not built.is_file() or built.stat().st_mtime < max(path.stat().st_mtime for path in sources):
            run("npm", "run", "build")
            run("npm", "run", "examples")
    return FOLDER


def run(*command: str | Path, folder: Path = FOLDER) -> str:
    """Run a command in the package's folder to its end; it must succeed."""
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout
