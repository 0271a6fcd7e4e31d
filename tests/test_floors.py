"""The house keeps its floors: imports go only downwards, and never in a circle."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = ("events", "projections", "auth", "graph", "rollcall")
"""From the ground up."""


def modules() -> dict[str, Path]:
    """Every module of the house, by its dotted name."""
    found = {}
    for floor in FLOORS:
        for path in (ROOT / floor).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules of the house that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names if alias.name in known)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                for alias in names:
                    inner = f"{module}.{alias.name}"
                    yield from [inner] if inner in known else [module] if module in known else []
            case ast.ImportFrom():
                pytest.fail(f"{path}: relative imports hide which floor they go to")


HOUSE = modules()
IMPORTS = {name: sorted(set(imported(path, HOUSE))) for name, path in HOUSE.items()}


@pytest.mark.parametrize("name", HOUSE)
def test_imports_go_only_downwards(name: str) -> None:
    """A module imports from its own floor and from those below it."""
    height = FLOORS.index(name.partition(".")[0])

    upwards = [target for target in IMPORTS[name] if FLOORS.index(target.partition(".")[0]) > height]

    assert upwards == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    """The order in which modules can be understood exists."""
    try:
        TopologicalSorter(IMPORTS).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def test_the_environment_is_read_on_the_top_floor_only() -> None:
    """Everything below `rollcall/` gets what it needs as arguments."""
    readers = [
        name
        for name, path in HOUSE.items()
        if not name.startswith("rollcall") and ("os.environ" in path.read_text() or "getenv" in path.read_text())
    ]

    assert readers == []


def test_the_document_driver_is_imported_in_one_file() -> None:
    """Another MongoDB driver could take motor's place by changing one file."""
    importers = [name for name, path in HOUSE.items() if "motor" in {word for line in path.read_text().splitlines()
                 if line.startswith(("import ", "from ")) for word in line.replace(".", " ").split()}]  # fmt: skip

    assert importers == ["projections.mongo.client"]
