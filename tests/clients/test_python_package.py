"""The Python package as such: its documents, names, types, dependencies, and its wheel."""

import ast
import inspect
import pickle
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import assert_type

import pytest
from graphql import build_schema, parse, validate

import rollcall_client
from rollcall_client import (
    AsyncClient,
    ChangeType,
    Client,
    Credentials,
    DataChange,
    OperationFailed,
    Outcome,
    Page,
    Problem,
    Refused,
    Role,
    Tokens,
    User,
    UserChange,
    following,
    operations,
)
from rollcall_client.errors import KINDS
from rollcall_client.exchange import ClientState, exchange

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "clients" / "python"
MODULES = sorted((PACKAGE / "src" / "rollcall_client").glob("*.py"))
SCHEMA = build_schema((ROOT / "schema.graphql").read_text())
SELECTIONS = {"ERRORS", "PAGE_INFO", "SESSION", "SUBPROTOCOL", "USER", "USER_PAYLOAD"}
DOCUMENTS = {
    name: value
    for module in (operations, following)
    for name, value in vars(module).items()
    if isinstance(value, str) and name.isupper() and name not in SELECTIONS
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_document_is_valid(name: str) -> None:
    """The server's schema accepts each document that the client sends."""
    assert validate(SCHEMA, parse(DOCUMENTS[name])) == []


@pytest.mark.parametrize(
    ("names", "enum"), [(Role, "Role"), (ChangeType, "UserEventType")], ids=["roles", "types of changes"]
)
def test_known_names_are_those_of_the_schema(names: type[Role | ChangeType], enum: str) -> None:
    """Each enum of the client has the values that the schema's has."""
    assert {member.value for member in names} == set(SCHEMA.type_map[enum].values)  # type: ignore[attr-defined]


def test_codes_are_those_of_the_server() -> None:
    """The API guide has each code that has an error of its own."""
    guide = (ROOT / "docs" / "api.md").read_text()

    assert [code for code in KINDS if f"| `{code}` |" not in guide] == []


def test_the_public_names_are_those_meant_to_be_public() -> None:
    """All are exported and documented."""
    assert sorted(rollcall_client.__all__) == rollcall_client.__all__
    assert all(getattr(rollcall_client, name).__doc__ for name in rollcall_client.__all__ if name != "Outcome")


def test_both_clients_have_the_same_methods() -> None:
    """With the same arguments."""

    def signatures(client: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(getattr(client, name)).parameters)
            for name in dir(client)
            if not name.startswith("_") and callable(getattr(client, name))
        }

    assert signatures(Client) == signatures(AsyncClient)
    assert list(inspect.signature(Client).parameters) == list(inspect.signature(AsyncClient).parameters)
    assert {"execute", "register", "update_user", "all_users", "user_changes", "close"} <= set(signatures(Client))


def typed(client: Client, page: Page[User]) -> None:
    """Not run: mypy checks that methods keep their types."""
    assert_type(client.get_user("id", at_position=1), User | None)
    assert_type(client.list_users(first=1), Page[User])
    assert_type(client.update_users([]), list[Outcome])
    assert_type(next(client.user_changes()), UserChange)
    assert_type(next(client.data_changes()), DataChange)
    assert_type(page.items, tuple[User, ...])
    client.get_user(1)  # type: ignore[arg-type]


async def typed_async(client: AsyncClient) -> None:
    """Not run: mypy checks that methods keep their types."""
    assert_type(await client.get_user("id"), User | None)
    assert_type(await client.list_users(first=1), Page[User])
    assert_type(await anext(client.user_changes()), UserChange)


def test_the_client_imports_nothing_of_the_product() -> None:
    """It is a package of its own: only the standard library, httpx, websockets and itself."""
    imported = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])

    assert imported - sys.stdlib_module_names == {"httpx", "rollcall_client", "websockets"}


def test_the_project_installs_the_same_dependencies() -> None:
    """The dev extra has each line of the client's, and what builds it."""
    own = tomllib.loads((PACKAGE / "pyproject.toml").read_text())
    dev = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["dev"]

    assert set(own["project"]["dependencies"]) | set(own["build-system"]["requires"]) <= set(dev)


def test_the_wheel_can_be_built_and_imported(tmp_path: Path) -> None:
    """It has every module, the marker of its types, and the licence. Nothing is downloaded."""
    copy = shutil.copytree(PACKAGE, tmp_path / "copy", ignore=shutil.ignore_patterns("__pycache__", "dist"))
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=copy, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")

    assert {f"rollcall_client/{path.name}" for path in MODULES} | {"rollcall_client/py.typed"} <= names
    assert any(name.endswith("/LICENSE") for name in names)
    check = "import rollcall_client, sys; sys.exit(not rollcall_client.__file__.startswith(sys.argv[1]))"
    command = [sys.executable, "-c", check, str(tmp_path / "site")]
    subprocess.run(command, env={"PYTHONPATH": str(tmp_path / "site")}, check=True)


def test_errors_can_be_sent_to_another_process() -> None:
    """With what they say: a process pool hands them over."""
    refused = Refused([Problem("TAKEN", "the email belongs to someone else", ("email",))])
    failed = OperationFailed("DAMAGED: m", [{"message": "m", "extensions": {"code": "DAMAGED"}}], {"me": None})
    failed.outcome_unknown = True

    for error in (refused, failed):
        received = pickle.loads(pickle.dumps(error))  # noqa: S301
        assert (str(received), received.code) == (str(error), error.code)
        assert vars(received) == vars(error)


def test_secrets_are_not_shown() -> None:
    """Tokens and passwords are in no representation of a value that a traceback may print."""
    tokens = Tokens("secret", "secret")
    state = ClientState(Credentials("ada", "secret"), tokens)
    operation = operations.change_password("secret", "secret")
    shown = [tokens, state.credentials, operation, next(exchange(state, operation)), state]

    assert not any("secret" in repr(value) for value in shown)
