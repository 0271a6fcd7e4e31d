"""The settings of the serving policy are validated at start, and errors name the variable."""

import hashlib
import json
from pathlib import Path

import pytest

from rollcall.api import serving_policy
from rollcall.commands.dev import own_variables
from rollcall.environment import load_settings
from rollcall.settings import BadSettings, Settings

ME = "query Me { me { id } }"
SHA256 = hashlib.sha256(ME.encode()).hexdigest()


def written(path: Path, manifest: object) -> Path:
    path = path / "persisted-documents.json"
    path.write_text(manifest if isinstance(manifest, str) else json.dumps(manifest))
    return path


def test_defaults_are_secure() -> None:
    """No introspection, no other origins, a deadline of ten seconds, and no trusted documents required."""
    policy = serving_policy(Settings())

    assert not policy.introspection
    assert policy.origins == frozenset()
    assert policy.deadline_seconds == 10.0
    assert not policy.trusted.only
    assert not policy.federation


def test_a_manifest_allows_only_its_documents(tmp_path: Path) -> None:
    """The mode `preferred` allows others too. Ids may have the prefix `sha256:`."""
    path = written(tmp_path, {f"sha256:{SHA256}": ME, "abc": "{ __typename }"})

    trusted = serving_policy(Settings(trusted_documents=path)).trusted

    assert (trusted.documents, trusted.only) == ({SHA256: ME, "abc": "{ __typename }"}, True)
    assert not serving_policy(Settings(trusted_documents=path, trusted_documents_mode="preferred")).trusted.only


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("{", "not JSON"),
        ([ME], "expected a JSON object from ids to documents"),
        ({}, "expected a JSON object from ids to documents"),
        ({"a1": ME, "b2": 1}, "b2: expected the text of a document, found 1"),
        ({"a1": ME, "b2": {"query": ME}}, "b2: expected the text of a document"),
        ({"a1": ME, "b2": "{ me {"}, "b2: Syntax Error"),
        ({"a1": ME, "b2": "{ nothing }"}, "b2: Cannot query field 'nothing' on type 'Query'."),
        ({"b2": "{ " + "__typename " * 21 + "}"}, "b2: this document has 21 fields at its root"),
        ({"b2": "{ __schema { types { name } } }"}, "b2: GraphQL introspection has been disabled"),
        ({"sha256:b2": ME}, f"sha256:b2: this document's is sha256:{SHA256}"),
    ],
    ids=str,
)
def test_an_invalid_manifest_is_refused_with_its_entry(tmp_path: Path, manifest: object, message: str) -> None:
    """The server refuses it before it listens."""
    path = written(tmp_path, manifest)

    with pytest.raises(BadSettings) as refused:
        serving_policy(Settings(trusted_documents=path))

    assert str(refused.value).startswith(f"ROLLCALL_TRUSTED_DOCUMENTS: {path}: {message}")


def test_a_missing_manifest_is_an_error(tmp_path: Path) -> None:
    """The error has the path and the system's message."""
    path = tmp_path / "nothing.json"

    with pytest.raises(BadSettings, match=r"ROLLCALL_TRUSTED_DOCUMENTS: .*nothing\.json: No such file"):
        serving_policy(Settings(trusted_documents=path))


@pytest.mark.parametrize("origins", ["*", "https://app.example.com, null", "app.example.com"])
def test_an_invalid_list_of_origins_is_an_error(monkeypatch: pytest.MonkeyPatch, origins: str) -> None:
    """The error names the variable."""
    monkeypatch.setenv("ROLLCALL_ALLOWED_ORIGINS", origins)

    with pytest.raises(BadSettings, match="ROLLCALL_ALLOWED_ORIGINS: "):
        serving_policy(load_settings())


def test_introspection_is_on_in_development_unless_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """`rollcall dev` switches it on for its API process; `rollcall serve` does not."""
    monkeypatch.delenv("ROLLCALL_INTROSPECTION", raising=False)
    assert not load_settings().introspection
    assert own_variables(load_settings(), "api")["ROLLCALL_INTROSPECTION"] == "true"

    monkeypatch.setenv("ROLLCALL_INTROSPECTION", "off")
    assert not load_settings().introspection
    assert "ROLLCALL_INTROSPECTION" not in own_variables(load_settings(), "api")


def test_a_subgraph_accepts_documents_of_a_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server does not start if no document of a gateway can be executed; the message says what to set."""
    path = written(tmp_path, json.dumps({"abc": "{ _entities(representations: []) { __typename } }"}))
    monkeypatch.setenv("ROLLCALL_FEDERATION", "on")
    monkeypatch.setenv("ROLLCALL_TRUSTED_DOCUMENTS", str(path))

    with pytest.raises(BadSettings, match="FEDERATION requires ROLLCALL_TRUSTED_DOCUMENTS_MODE=preferred"):
        load_settings()
    monkeypatch.setenv("ROLLCALL_TRUSTED_DOCUMENTS_MODE", "preferred")
    policy = serving_policy(load_settings())

    assert (policy.federation, list(policy.trusted.documents)) == (True, ["abc"])
