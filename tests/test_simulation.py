"""The simulation of docs/scaling.md: the document has what it prints, and one seed has one result."""

from pathlib import Path

from benchmarks.simulation import FITTED, PLACES, Load, check, rows, simulate

SCALING = (Path(__file__).parent.parent / "docs" / "scaling.md").read_text()


def test_the_document_has_the_rows_that_the_simulation_prints() -> None:
    place, machines = next(iter(PLACES.items()))
    results = [(count, simulate(FITTED, machines, Load(count, 64), seconds=10)) for count in (1, 4)]
    for row in rows({place: results})[2:]:
        assert row in SCALING
    for what, measured, _ in check(FITTED):
        assert f"| {what} | {measured:,g} |" in SCALING


def test_a_seed_decides_everything_and_another_seed_something() -> None:
    def seen(seed: int) -> list[float]:
        return simulate(FITTED, PLACES["two cores for all"], Load(2, 8), seconds=0.5, seed=seed).latency

    assert seen(1) == seen(1) != seen(2)
