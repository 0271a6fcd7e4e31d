"""No test measures the machine: a limit is either one that only a failure reaches, or its reason stands here.

A test that fails when the machine is busy says nothing about the program. So waits end at `PATIENCE_SECONDS`, which is
far beyond what a machine ten times slower takes, and clocks are read only where `REASONS` says why no speed matters.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parent
CLOCKS: Final = {"monotonic", "perf_counter", "process_time", "thread_time"}
REASONS: Final = {
    "events/test_resuming.py": "the limits of its readers are moments at which they break off, as clients do",
    "graph/test_freshness.py": "asks that at least two seconds passed",
    "graph/test_fuzz_http.py": "a limit is when a client hangs up on a server that waits for more",
    "graph/test_projection_status.py": "asks for pauses of at least a length, and for no more readings than fit",
    "system/clients.py": "the limit of a request is PATIENCE_SECONDS",
    "system/test_fanout.py": "keeps the times, and asks nothing of them",
    "system/test_standby.py": "the limit grows with what one event takes to show in the same run",
    "system/writer.py": "a writer runs for a time; what it achieves in it is not judged",
}
"""By file: why its clocks, and limits other than `PATIENCE_SECONDS`, cannot fail on a slow machine."""


def measured(tree: ast.AST) -> Iterator[str]:
    """Clocks that are read, and waits whose limit is not `PATIENCE_SECONDS`."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        # asyncio.wait chooses a moment to look or to cut off, and fails nothing.
        limits = [keyword.value for keyword in node.keywords if keyword.arg in {"timeout", "within"} and name != "wait"]
        if name in {"timeout", "wait_for"}:
            limits += node.args[-1:]
        if name in CLOCKS:
            yield name
        for limit in limits:
            if ast.unparse(limit) not in {"PATIENCE_SECONDS", "within"}:
                yield f"{name}({ast.unparse(limit)})"


def test_a_slow_machine_fails_no_test() -> None:
    """Every clock and every limit in a test is one that a machine ten times slower does not reach, or is explained."""
    found = {}
    for path in sorted(TESTS.rglob("*.py")):
        name = str(path.relative_to(TESTS))
        if not name.startswith("chaos/") and (uses := sorted(set(measured(ast.parse(path.read_text()))))):
            found[name] = uses

    unexplained = {name: uses for name, uses in found.items() if name not in REASONS}
    assert unexplained == {}
    assert set(REASONS) <= set(found), "a reason without a clock or a limit"
