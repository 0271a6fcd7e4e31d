"""The documents agree with the code: files, settings, commands, codes, permissions, figures, GraphQL documents."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from graphql import build_schema, parse, validate

from auth.permissions import Right, may
from benchmarks.flow import DARK, LIGHT, drawn
from events.event_types import Role
from graph.types import ErrorCode
from projections.status import State
from rollcall import exits
from rollcall.cli import app
from rollcall.environment import secret_variables
from rollcall.metrics import REPLICA_GAUGES, VIEW_GAUGES, WEBHOOK_GAUGES, Metrics
from rollcall.settings import Settings

ROOT = Path(__file__).parents[1]
FLOORS = ("events", "projections", "auth", "graph", "rollcall")
DOCUMENTS = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "CONTRIBUTING.md", ROOT / "README.md"])
DOCUMENT_NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]

ARCHITECTURE, API, OPERATIONS, SECURITY = (
    (ROOT / "docs" / f"{name}.md").read_text() for name in ("architecture", "api", "operations", "security")
)


def sources() -> Iterator[Path]:
    """Every module of the floors."""
    for floor in FLOORS:
        yield from (path for path in (ROOT / floor).rglob("*.py") if "node_modules" not in path.parts)


def words(text: str) -> int:
    """Words as `wc -w` counts them."""
    return len(text.split())


def table(text: str, *header: str) -> list[list[str]]:
    """The body rows of the one Markdown table whose header begins with these cells."""
    cells = r" \| ".join(map(re.escape, header))
    [body] = re.findall(rf"^\| {cells} \|.*\n\|[-| ]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in body.splitlines()]


def first_cells(text: str, *header: str) -> list[str]:
    """The first column of a table, without the backticks."""
    return [row[0].strip("`") for row in table(text, *header)]


def fenced(text: str, *languages: str) -> Iterator[str]:
    """The contents of the code blocks in these languages; an empty name is a block without one."""
    for language, body in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if language in languages:
            yield body


@pytest.mark.parametrize("name", DOCUMENT_NAMES)
def test_a_named_file_exists(name: str) -> None:
    """A path of this repository that a document names in backticks exists."""
    paths = re.findall(
        r"`((?:events|projections|auth|graph|rollcall|tests|docs|benchmarks)/[\w/.-]*)`", (ROOT / name).read_text()
    )

    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", DOCUMENT_NAMES)
def test_every_link_has_a_target(name: str) -> None:
    """A link to a file of this repository, or to a heading in one, has a target."""
    for target, _, heading in (
        link.partition("#") for link in re.findall(r"\]\(([^)\s]+)\)", (ROOT / name).read_text())
    ):
        if "://" not in target:
            path = (ROOT / name).parent / target if target else ROOT / name
            assert path.exists(), target
            headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE) if heading else []
            assert not heading or heading in {
                re.sub(r"[^\w-]", "", title.lower().replace(" ", "-")) for title in headings
            }


def test_the_settings_table_is_the_settings() -> None:
    """docs/operations.md lists the variables that the program reads, in its order, with their defaults."""
    rows = table(OPERATIONS, "variable", "default")
    shown = {"password_threads": "number of cores"}

    assert [row[0] for row in rows] == [f"`ROLLCALL_{name.upper()}`" for name in Settings.model_fields]
    for row, (name, field) in zip(rows, Settings.model_fields.items(), strict=True):
        default = "none" if field.default is None else f"`{field.default}`"
        assert row[1] == shown.get(name, default)


def test_every_variable_in_a_document_is_a_setting() -> None:
    """A document names no variable that the program does not read."""
    known = {f"ROLLCALL_{name.upper()}" for name in Settings.model_fields}
    known |= {f"{variable}_FILE" for variable in secret_variables()}
    named = {found for path in DOCUMENTS for found in re.findall(r"ROLLCALL_\w+[A-Z]", path.read_text())}

    assert named <= known


def commands() -> list[str]:
    """Every call of `rollcall` in a code block of a document."""
    blocks = [block for path in DOCUMENTS for block in fenced(path.read_text(), "", "sh")]
    return re.findall(r"(?:^|[|$ ]|/)rollcall ((?:projector|[a-z-]+)(?: .*)?)$", "\n".join(blocks), re.MULTILINE)


def parses(arguments: list[str]) -> None:
    """Parse arguments of `rollcall` without running the command."""
    group = typer.main.get_command(app)
    name, command, rest = group.resolve_command(group.make_context("rollcall", list(arguments)), list(arguments))  # type: ignore[attr-defined]
    command.make_context(name, rest)


def test_every_command_in_a_document_parses() -> None:
    """The program accepts each call of `rollcall` in a document."""
    found = commands()

    assert len(found) > 10
    for command in found:
        words = shlex.split(command)
        parses([word for word in words if not word.startswith("2>")])


def test_every_command_is_documented() -> None:
    """docs/operations.md or docs/api.md describes each command of the program."""
    names = typer.main.get_command(app).commands  # type: ignore[attr-defined]

    assert [name for name in names if f"rollcall {name}" not in OPERATIONS + API] == []


def test_the_exit_codes_are_those_of_the_program() -> None:
    """docs/operations.md lists the exit codes with their names, and no others."""
    named = {name: value for name, value in vars(exits).items() if name.isupper()}

    assert {row[1].strip("`"): int(row[0]) for row in table(OPERATIONS, "code", "name")} == named


def test_every_state_says_what_to_do() -> None:
    """docs/operations.md lists each state of a projection."""
    assert sorted(first_cells(OPERATIONS, "state", "what it means")) == sorted(State)


def test_the_log_events_are_those_of_the_program() -> None:
    """docs/operations.md lists the names of all log events, and no others."""
    code = "\n".join(path.read_text() for path in sources())
    logged = set(re.findall(r'\b(?:log\.(?:debug|info|warning|error|exception)|level)\(\s*"([a-z_.]+)"', code))

    assert set(first_cells(OPERATIONS, "event", "level")) == logged


def test_the_permissions_table_matches_the_code() -> None:
    """docs/security.md lists which roles hold each right."""
    roles = list(Role)
    rows = table(SECURITY, "right", *roles)

    assert {re.findall(r"`(\w+)`", row[0])[0] for row in rows} == {right.name for right in Right}
    for row in rows:
        right = Right[re.findall(r"`(\w+)`", row[0])[0]]
        assert [cell == "yes" for cell in row[1:]] == [may(role, right) for role in roles], right


def defines(path: Path, name: str) -> bool:
    """A file of tests defines this one."""
    return path.exists() and bool(re.search(rf"^(?:async )?def {name}\(", path.read_text(), re.MULTILINE))


def test_every_check_of_the_security_table_has_tests_that_exist() -> None:
    """docs/security.md names at least one existing test for each check, by file and function."""
    rows = table(SECURITY, "check", "of", "what Rollcall does", "tests")

    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`([\w.]+)::(\w+)`", row[-1])
        assert named, row[0]
        assert row[1] in {"O", "A", "O, A", "R"}, row[0]
        for file, name in named:
            assert any(defines(ROOT / "tests" / floor / file, name) for floor in ("auth", "graph", "mail")), (
                file,
                name,
            )


def test_every_cell_of_the_attackers_table_has_tests_that_exist() -> None:
    """docs/security.md says what each attacker can do to each promise, and names existing tests that show it."""
    attackers = ("anonymous", "customer", "staff", "reader of a backup", "writer of the database", "operator")
    rows = table(SECURITY, "promise", *attackers)
    used: set[str] = set()

    assert len(rows) == 10
    for promise, *cells in rows:
        for attacker, cell in zip(attackers, cells, strict=True):
            verdict = re.fullmatch(r"[^\[]+ ((?:\[\d+\])+)", cell)
            assert verdict, (promise, attacker)
            used.update(re.findall(r"\d+", verdict[1]))
    assert used == set(re.findall(r"^(\d+)\. `tests/[\w/]+\.py::\w+`$", SECURITY, re.MULTILINE))
    for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", SECURITY):
        assert defines(ROOT / file, name), (file, name)


def test_the_api_guide_has_every_error_code() -> None:
    """docs/api.md lists the codes of payloads and of GraphQL errors, and no others."""
    files = ("errors.py", "persisted.py", "schema.py", "endpoint.py", "app.py")
    code = "\n".join((ROOT / "graph" / name).read_text() for name in files)
    coded = re.findall(r'(?:ClientError\(|"code": |_coded\(error, )"([A-Z_]+)"', code)

    assert sorted(first_cells(API, "code", "meaning")) == sorted(member.name for member in ErrorCode)
    assert sorted(first_cells(API, "`extensions.code`", "meaning")) == sorted(set(coded))


def documents() -> list[str]:
    """Every GraphQL document of docs/api.md: arguments of the shell function and of the WebSocket client."""
    shell = re.findall(r"\bgraphql '([^']+)'", "\n".join(fenced(API, "sh", "")))
    client = re.findall(r'query: "([^"]+)"', "\n".join(fenced(API, "ts")))
    inline = re.findall(r"`(\{ \w+ \{[^`]*\})`", OPERATIONS)
    return [*shell, *client, *inline]


def test_every_graphql_document_is_valid() -> None:
    """Every GraphQL document of docs/api.md is valid in this schema."""
    schema = build_schema((ROOT / "schema.graphql").read_text())

    assert len(documents()) > 10
    for document in documents():
        assert validate(schema, parse(document)) == [], document


def test_every_make_target_exists() -> None:
    """Documents name existing `make` targets only, and CONTRIBUTING.md names all of them."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        name: set(re.findall(r"(?:^|`)make ([a-z]+)", (ROOT / name).read_text(), re.MULTILINE))
        for name in DOCUMENT_NAMES
    }

    assert set().union(*named.values()) <= targets
    assert named["CONTRIBUTING.md"] == targets


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_alert_rules_use_existing_metrics_and_name_an_existing_runbook() -> None:
    """Each alert rule uses metrics of the program, and links to a section of a document."""
    rules = (ROOT / "docs" / "alerts.yml").read_text()
    counted = {family.name for family in Metrics().registry.collect()}
    read = {"rollcall_log_up", "rollcall_log_head", "rollcall_view_state", *(f"rollcall_view_{n}" for n in VIEW_GAUGES)}
    read |= {f"rollcall_webhook_{name}" for name in WEBHOOK_GAUGES}
    read |= {f"rollcall_replica_{name}" for name in REPLICA_GAUGES}
    used = set(re.findall(r"\b(rollcall_\w+?)(?:_total|_count|_bucket)?\b(?=[{\[) ])", rules))
    assert len(used) > 8
    assert used <= counted | read

    runbooks = re.findall(r'runbook: "(docs/\w+\.md)#([\w-]+)"', rules)
    assert len(runbooks) == rules.count("alert:")
    assert [(path, anchor) for path, anchor in runbooks if anchor not in anchors((ROOT / path).read_text())] == []


def test_the_architecture_is_short() -> None:
    """docs/architecture.md has at most 2,500 words, and its glossary at most 40 lines."""
    glossary = table(ARCHITECTURE, "term", "meaning")

    assert words(ARCHITECTURE) <= 2_500
    assert len(glossary) <= 40


def test_every_decision_is_a_short_record_in_the_index() -> None:
    """Each record is in the index under its title, and has a context, a decision, consequences and 100 to 300 words."""
    index = (ROOT / "docs" / "decisions" / "README.md").read_text()
    records = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))

    assert [int(path.name[:4]) for path in records] == list(range(1, len(records) + 1))
    assert re.findall(r"^- \[(.+)\]\((.+)\)$", index, re.MULTILINE) == [
        (path.read_text().partition("\n")[0].removeprefix("# "), path.name) for path in records
    ]
    for path in records:
        text = path.read_text()
        assert 100 <= words(text) <= 300, path.name
        assert all(f"**{part}.**" in text for part in ("Context", "Decision", "Consequences")), path.name


def test_every_test_that_a_decision_names_exists() -> None:
    """A test that a decision names is in the suite."""
    source = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = {
        name
        for path in (ROOT / "docs" / "decisions").glob("*.md")
        for name in re.findall(r"`(test_\w+)`", path.read_text())
    }

    assert len(named) > 10
    assert {name for name in named if f"def {name}(" not in source} == set()


def test_the_figures_of_the_readme_are_those_of_the_benchmarks() -> None:
    """README.md repeats rates and ratios of docs/benchmarks.md without changing them."""
    measured = (ROOT / "docs" / "benchmarks.md").read_text()
    figures = re.findall(r"\| ([\d,]+)[\w ]* \|.*\| ([\d.]+) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)

    assert len(figures) == 3
    for rate, ratio in figures:
        assert re.search(rf"^\|.*\| {rate} \|.*\b{re.escape(ratio)}\b", measured, re.MULTILINE), (rate, ratio)


@pytest.mark.parametrize(("name", "colours"), [("flow.svg", LIGHT), ("flow-dark.svg", DARK)])
def test_the_flow_is_drawn_by_its_script(name: str, colours: dict[str, str]) -> None:
    """docs/flow.svg and docs/flow-dark.svg are what benchmarks/flow.py draws."""
    assert (ROOT / "docs" / name).read_text() == drawn(colours)
