"""The five floors: imports go downwards only, and never in a circle."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = ("events", "projections", "auth", "graph", "rollcall")
"""From the lowest to the highest."""


def modules() -> dict[str, Path]:
    """Every module of the program, by its dotted name."""
    found = {}
    for floor in FLOORS:
        for path in (ROOT / floor).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Modules of the program that a module imports, anywhere in its code."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names if alias.name in known)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                for alias in names:
                    inner = f"{module}.{alias.name}"
                    yield from [inner] if inner in known else [module] if module in known else []
            case ast.ImportFrom():
                pytest.fail(f"{path}: a relative import hides its floor")


MODULES = modules()
IMPORTS = {name: sorted(set(imported(path, MODULES))) for name, path in MODULES.items()}


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_downwards_only(name: str) -> None:
    """A module imports from its own floor and from those below it."""
    height = FLOORS.index(name.partition(".")[0])

    upwards = [target for target in IMPORTS[name] if FLOORS.index(target.partition(".")[0]) > height]

    assert upwards == []


def test_projections_and_auth_do_not_import_each_other() -> None:
    """`auth` and the views depend on the log only."""
    crossing = [name for name, targets in IMPORTS.items() if name.startswith("auth") and any(
        target.startswith("projections") for target in targets)]  # fmt: skip

    assert crossing == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    """The import graph has a topological order."""
    try:
        TopologicalSorter(IMPORTS).prepare()
    except CycleError as error:
        pytest.fail(f"circular imports: {' -> '.join(error.args[1])}")


def test_the_environment_is_read_on_the_top_floor_only() -> None:
    """Everything below `rollcall/` receives what it needs as arguments."""
    readers = [
        name
        for name, path in MODULES.items()
        if not name.startswith("rollcall") and ("os.environ" in path.read_text() or "getenv" in path.read_text())
    ]

    assert readers == []


def test_the_document_driver_is_imported_in_one_file() -> None:
    """Only `projections/mongo/client.py` imports motor, so another driver can replace it there."""
    importers = [name for name, path in MODULES.items() if "motor" in {word for line in path.read_text().splitlines()
                 if line.startswith(("import ", "from ")) for word in line.replace(".", " ").split()}]  # fmt: skip

    assert importers == ["projections.mongo.client"]
