"""No test depends on the speed of the machine: only a failure reaches a limit, or `REASONS` explains it.

A test that fails on a busy machine says nothing about the program. So waits end at `PATIENCE_SECONDS`, far more than
a machine ten times slower needs, and tests read clocks only where `REASONS` says why speed does not matter.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parent
CLOCKS: Final = {"monotonic", "perf_counter", "process_time", "thread_time"}
REASONS: Final = {
    "auth/test_turns.py": "requires that turns begin no sooner than they may",
    "cluster/failover.py": "prints durations and rates, and asserts nothing about them",
    "events/test_primary.py": "the limit is half of that of a statement, which is 40 s; a tenth of a second is needed",
    "events/test_resuming.py": "its limits are the moments at which readers disconnect",
    "graph/test_doors.py": "requires that the intervals between registrations passed",
    "graph/test_freshness.py": "requires that at least two seconds passed",
    "graph/test_fuzz_http.py": "a limit is the moment at which a client disconnects from a waiting server",
    "graph/test_projection_status.py": "requires minimum pauses, and at most the readings that fit",
    "pages/conftest.py": "Playwright counts PATIENCE_SECONDS in milliseconds",
    "system/clients.py": "the limit of a request is PATIENCE_SECONDS",
    "system/test_fanout.py": "records times and asserts nothing about them",
    "system/test_standby.py": "the limit grows with the duration of one event in the same run",
    "system/writer.py": "a writer runs for a time; its throughput is not asserted",
}
"""By file: why its clocks and limits other than `PATIENCE_SECONDS` cannot fail on a slow machine."""


def measured(tree: ast.AST) -> Iterator[str]:
    """Yield clocks that are read, and waits whose limit is not `PATIENCE_SECONDS`."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        # The timeout of asyncio.wait raises nothing.
        limits = [keyword.value for keyword in node.keywords if keyword.arg in {"timeout", "within"} and name != "wait"]
        if name in {"timeout", "wait_for"}:
            limits += node.args[-1:]
        if name in CLOCKS:
            yield name
        for limit in limits:
            if ast.unparse(limit) not in {"PATIENCE_SECONDS", "within"}:
                yield f"{name}({ast.unparse(limit)})"


def test_no_test_depends_on_the_machines_speed() -> None:
    """Every clock and every limit in a test is `PATIENCE_SECONDS` or has a reason."""
    found = {}
    for path in sorted(TESTS.rglob("*.py")):
        name = str(path.relative_to(TESTS))
        if not name.startswith("chaos/") and (uses := sorted(set(measured(ast.parse(path.read_text()))))):
            found[name] = uses

    unexplained = {name: uses for name, uses in found.items() if name not in REASONS}
    assert unexplained == {}
    assert set(REASONS) <= set(found), "REASONS names a file without clocks and limits"
