"""The npm package of `clients/typescript`, installed and built for the tests."""

import subprocess
from pathlib import Path

import pytest

from tests.npm.node import installed

FOLDER = Path(__file__).parents[2] / "clients" / "typescript"
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
    """The folder of the package, with its packages installed, and `dist` and the documents of its examples made."""
    return installed(FOLDER, _build)


def _build() -> None:
    sources = [path for pattern in SOURCES for path in FOLDER.glob(pattern) if path.is_file()]
    built = FOLDER / "dist" / "index.js"
    if not built.is_file() or built.stat().st_mtime < max(path.stat().st_mtime for path in sources):
        run("npm", "run", "build")
        run("npm", "run", "examples")


def run(*command: str | Path, folder: Path = FOLDER) -> str:
    """Run a command in the package's folder to its end; it must succeed."""
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout
