"""The image and the compose file match the program's settings, commands, routes and packages.

The tests need no Docker: they read both files, and run the code of the health checks.
"""

import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import typer
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pymongo.uri_parser import parse_uri

from events.database import Address
from events.ids import new_id
from graph.app import make_app
from graph.context import Opening
from projections.publications import KAFKA
from projections.status import VIEWS, State
from rollcall.children import SECRETS
from rollcall.cli import app
from rollcall.embedded.kafka import VERSION
from rollcall.environment import load_settings
from rollcall.settings import Settings

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]

LOCKS = ("deploy/requirements.lock", "deploy/build-requirements.lock")

Yaml = Any
"""Mappings, lists and strings."""


def dockerfile() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile with their arguments."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", "")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def instructions(name: str) -> list[str]:
    return [arguments for instruction, arguments in dockerfile() if instruction == name]


class ComposeFile:
    """A reader of the YAML subset that the compose file uses: anchors, merges and flow lists, but no block scalars."""

    KEY = re.compile(r"(?P<key><<|[\w.-]+):(?: &(?P<anchor>\w+))?(?: (?P<value>\S.*))?")

    def __init__(self, text: str) -> None:
        lines = [line.rstrip() for line in text.splitlines()]
        self._lines = [line for line in lines if line and not line.lstrip().startswith("#")]
        self._anchors: dict[str, Yaml] = {}

    def read(self) -> Yaml:
        """Parse the file."""
        return self._block(0)

    def _depth(self) -> int:
        return len(self._lines[0]) - len(self._lines[0].lstrip(" ")) if self._lines else -1

    def _block(self, depth: int) -> Yaml:
        assert self._depth() == depth, f"expected indentation {depth} at: {self._lines[:1]}"
        return self._list(depth) if self._lines[0].lstrip().startswith("- ") else self._mapping(depth)

    def _list(self, depth: int) -> list[Yaml]:
        found = []
        while self._depth() == depth:
            line = self._lines.pop(0).strip()
            assert line.startswith("- "), line
            found.append(_scalar(line[2:]))
        return found

    def _mapping(self, depth: int) -> dict[str, Yaml]:
        found: dict[str, Yaml] = {}
        while self._depth() == depth:
            line = self._lines.pop(0).strip()
            parts = self.KEY.fullmatch(line)
            assert parts, f"unsupported YAML: {line}"
            value = self._value(parts["value"], depth)
            if parts["anchor"]:
                self._anchors[parts["anchor"]] = value
            if parts["key"] == "<<":
                found = {**value, **found}
            else:
                assert parts["key"] not in found, f"duplicate key: {line}"
                found[parts["key"]] = value
        return found

    def _value(self, text: str | None, depth: int) -> Yaml:
        if text is None:
            return self._block(depth + 2) if self._depth() > depth else None
        return self._anchors[text[1:]] if text.startswith("*") else _scalar(text)


def _scalar(text: str) -> Yaml:
    if text.startswith("["):
        quoted = '"' in text
        return json.loads(text) if quoted else [item.strip() for item in text[1:-1].split(",")]
    assert text[0] not in "{&*!|>'@`%", f"unsupported YAML: {text}"
    return json.loads(text) if text.startswith('"') else text


COMPOSE = ComposeFile((ROOT / "docker-compose.yml").read_text()).read()
SERVICES: dict[str, Yaml] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "rollcall"}
REFERENCE = re.compile(r"\$\{(?P<name>\w+)(?P<otherwise>:[?-][^}]*)?\}")


def filled(text: str) -> str:
    """Replace Compose's references by their defaults, and required ones by a valid secret."""

    def value(reference: re.Match[str]) -> str:
        otherwise = reference["otherwise"] or ""
        if otherwise.startswith(":-"):
            return otherwise[2:]
        return "A" * 43 + "=" if reference["name"].endswith("_KEY") else "a1b2c3d4"

    return REFERENCE.sub(value, text).replace("$$", "$")


def check(arguments: list[str]) -> None:
    """Parse arguments of `rollcall` without running the command; fails if they are invalid."""
    group = typer.main.get_command(app)
    name, command, rest = group.resolve_command(group.make_context("rollcall", list(arguments)), list(arguments))  # type: ignore[attr-defined]
    command.make_context(name, rest)


def health_test(service: str) -> list[str]:
    return [filled(word) for word in SERVICES[service]["healthcheck"]["test"]]


def image_health_test() -> list[str]:
    [check] = instructions("HEALTHCHECK")
    return ["CMD", *json.loads(check.partition("CMD ")[2])]


@contextmanager
def answering(status: int) -> Iterator[tuple[int, list[str]]]:
    """Run a loopback server that answers every GET with the status; give its port and the requested paths."""
    requested: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requested.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port, requested
        server.shutdown()
        thread.join()


def succeeds(test: list[str], port: int) -> bool:
    """Run a Python health check against a port; return whether it succeeds."""
    assert test[:3] == ["CMD", "python", "-c"]
    code = test[3].replace("127.0.0.1:8000", f"127.0.0.1:{port}")
    done = subprocess.run(
        [sys.executable, "-c", code], env={"ROLLCALL_PORT": str(port)}, capture_output=True, check=False
    )
    return done.returncode == 0


def test_every_variable_is_a_setting() -> None:
    """The program reads every ROLLCALL_ variable of the image and the compose file."""
    text = (ROOT / "Dockerfile").read_text() + (ROOT / "docker-compose.yml").read_text()
    known = {f"ROLLCALL_{name.upper()}" for name in Settings.model_fields}

    assert set(re.findall(r"\bROLLCALL_\w+", text)) <= known


@pytest.mark.parametrize("service", OURS)
def test_the_settings_of_each_service_are_valid(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of each service pass the program's validation and name the other services."""
    for name, value in OURS[service]["environment"].items():
        monkeypatch.setenv(name, filled(value))

    settings = load_settings()

    assert settings.mysql_url
    assert settings.mongo_url
    mysql, server = Address.parse(settings.mysql_url.get_secret_value()), SERVICES["mysql"]["environment"]
    assert (mysql.host, mysql.port) == ("mysql", 3306)
    assert (mysql.user, mysql.database) == (server["MYSQL_USER"], server["MYSQL_DATABASE"])
    mongo = parse_uri(settings.mongo_url.get_secret_value())
    assert (mongo["nodelist"], mongo["database"]) == ([("mongo", 27017)], "rollcall")
    assert mongo["username"] == SERVICES["mongo"]["environment"]["MONGO_INITDB_ROOT_USERNAME"]
    assert f"--replSet={mongo['options']['replicaSet']}" in SERVICES["mongo"]["command"]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_service_gets_only_the_secrets_that_it_uses(secret: str) -> None:
    """Projectors sign no token and create no administrator; only one service signs heads."""
    names = {"serve": "api", "heads": "heads", "publish": "mail"}
    having = [name for name in OURS if secret in OURS[name]["environment"]]

    assert having == ([] if secret.startswith("ROLLCALL_OTHER") else [names[SECRETS[secret]]])


def test_signed_heads_are_where_nobody_else_can_write() -> None:
    """On a volume of their own, in a directory that the image's user owns; the service is healthy while lines come."""
    file = Path(SERVICES["heads"]["environment"]["ROLLCALL_HEADS"])
    mounts = {name: service.get("volumes", []) for name, service in SERVICES.items()}

    assert mounts.pop("heads") == [f"heads:{file.parent}"]
    assert not [volume for volumes in mounts.values() for volume in volumes if volume.startswith("heads:")]
    assert any(f"--owner=rollcall --group=rollcall --mode=700 {file.parent}" in run for run in instructions("RUN"))
    assert f"find {file} -mmin -3" in health_test("heads")[1]


def test_the_service_that_signs_heads_is_healthy_while_it_writes(tmp_path: Path) -> None:
    """Its check fails without a file and with one that has not changed for long."""
    file = tmp_path / "heads.jsonl"
    command = health_test("heads")[1].replace(SERVICES["heads"]["environment"]["ROLLCALL_HEADS"], str(file))

    def healthy() -> bool:
        return subprocess.run(["sh", "-c", command], capture_output=True, check=False).returncode == 0

    assert not healthy()
    file.touch()
    assert healthy()
    os.utime(file, (0, 0))
    assert not healthy()


@pytest.mark.parametrize("service", sorted(COMPOSE["services"]))
def test_no_password_is_an_argument(service: str) -> None:
    """Every process of a machine can read arguments: a shell must not put a secret's value among them."""
    service_ = COMPOSE["services"][service]
    check = service_.get("healthcheck", {}).get("test", [])
    arguments = [*service_.get("command", []), *service_.get("entrypoint", []), *check]

    assert not [part for part in arguments if re.search(r"--?p(assword)?[ =]|(?<!\$)\$\{\w*(PASSWORD|KEY)", part)]


def test_no_secret_has_a_default() -> None:
    """Each secret is required, with a message that says so."""
    references = list(REFERENCE.finditer((ROOT / "docker-compose.yml").read_text()))
    secrets = [found for found in references if found["name"].endswith(("_KEY", "_PASSWORD"))]

    assert {found["name"] for found in secrets} == {
        "ROLLCALL_MASTER_KEY",
        "ROLLCALL_SIGNING_KEY",
        "ROLLCALL_HEAD_KEY",
        "ROLLCALL_ADMIN_PASSWORD",
        "MYSQL_ROOT_PASSWORD",
        "MYSQL_PASSWORD",
        "MONGO_PASSWORD",
    }
    assert all((found["otherwise"] or "").startswith(":?") and found["otherwise"][2:] for found in secrets)


def test_every_command_is_one_of_the_program() -> None:
    """`rollcall` accepts the command of the image and of each service."""
    assert [json.loads(words) for words in instructions("ENTRYPOINT")] == [["rollcall"]]
    assert "rollcall" in PROJECT["project"]["scripts"]

    for command in (json.loads(words) for words in instructions("CMD")):
        check(command)
    for service in OURS.values():
        check(service["command"])
    assert {name: service["command"] for name, service in OURS.items()} == {
        "api": ["serve", "--workers=2"],
        "projector-mysql": ["projector", "mysql"],
        "projector-mongo": ["projector", "mongo"],
        "heads": ["heads"],
        "webhooks": ["publish", "webhooks"],
        "mail": ["publish", "mail"],
        "publish-kafka": ["publish", "kafka"],
    }


def test_an_unknown_command_is_detected() -> None:
    """Control for the test above: `check` refuses unknown commands."""
    with pytest.raises(Exception, match="oracle"):
        check(["projector", "oracle"])
    with pytest.raises(Exception, match="serv"):
        check(["serv"])


@pytest.mark.parametrize("test", [image_health_test(), health_test("api")], ids=["image", "api"])
def test_a_health_check_requests_a_route_and_needs_200(test: list[str]) -> None:
    """HTTP health checks request an existing route of the API; only 200 is healthy."""
    routes = {resource.canonical for resource in make_app(Opening(), {}, new_id).router.resources()}

    with answering(200) as (port, requested):
        assert succeeds(test, port)
    with answering(503) as (port, _):
        assert not succeeds(test, port)

    assert not succeeds(test, port)  # the server has stopped
    assert set(requested) <= routes


FOLLOWERS = {"projector-mysql": VIEWS[0], "projector-mongo": VIEWS[1], "publish-kafka": KAFKA}


def test_the_publisher_finds_the_broker_of_the_same_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker advertises the address that the publisher is given, and is what the tests run."""
    broker = SERVICES["kafka"]
    bootstrap = OURS["publish-kafka"]["environment"]["ROLLCALL_KAFKA_BOOTSTRAP"]

    assert broker["environment"]["KAFKA_ADVERTISED_LISTENERS"] == f"BROKER://{bootstrap}"
    assert broker["image"] == f"apache/kafka:{VERSION}"
    assert broker["networks"] == ["data"]
    assert "ports" not in broker


@pytest.mark.parametrize(("service", "view"), FOLLOWERS.items())
def test_a_projector_is_healthy_unless_stopped_or_faulted(service: str, view: str) -> None:
    """The check of a projector reads the state of its own view; no answer is unhealthy."""
    kind, command = health_test(service)
    status, _, python = command.partition(" | ")
    assert kind == "CMD-SHELL"
    check(status.split()[1:])
    code = re.fullmatch(r'python -c "(.*)"', python)
    assert code

    def healthy(answer: str) -> bool:
        done = subprocess.run(
            [sys.executable, "-c", code[1]], input=answer, text=True, capture_output=True, check=False
        )
        return done.returncode == 0

    for state in State:
        names = FOLLOWERS.values()
        views = [{"name": name, "state": state if name == view else "LIVE"} for name in names]
        assert healthy(json.dumps(views)) == (state not in {State.STOPPED, State.FAULTED})
    assert not healthy("")


def test_the_image_copies_the_sources_of_the_wheel() -> None:
    """Everything that the wheel build needs is copied, exists and is not ignored; nothing else is copied."""
    [stage, *_] = [index for index, (name, _) in enumerate(dockerfile()) if name == "FROM"][1:]
    copied = [source for name, words in dockerfile()[:stage] if name == "COPY" for source in words.split()[:-1]]
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]

    sources = {*PACKAGES, "pyproject.toml", "README.md", "LICENSE", *LOCKS}
    assert {source.strip("/") for source in copied} == sources
    assert all((ROOT / source).exists() for source in copied)
    assert sorted(allowed) == sorted(source.strip("/") for source in copied)
    assert PROJECT["project"]["readme"] in allowed
    for licence in PROJECT["project"]["license-files"]:
        assert any(fnmatch(licence, pattern) or licence.startswith(f"{pattern}/") for pattern in allowed)


def locked(lock: str) -> dict[str, tuple[str, int]]:
    """Version and number of hashes of each package in a lock file."""
    entries = (ROOT / lock).read_text().replace("\\\n", " ").splitlines()
    found: dict[str, tuple[str, int]] = {}
    for entry in entries:
        pinned, *hashes = entry.split(" --hash=sha256:")
        name, _, version = pinned.partition(";")[0].strip().partition("==")
        found[canonicalize_name(name)] = version.strip(), len(hashes)
    return found


def test_the_image_installs_the_locked_packages_and_nothing_else() -> None:
    """pip checks a hash of every package that it downloads, and downloads nothing for our own wheel."""
    runs = " && ".join(instructions("RUN")).split("&&")
    installs = [run for run in runs if "pip install" in run or "pip wheel" in run]

    assert len(installs) == 4
    for install in installs:
        assert "--require-hashes" in install or "--no-deps" in install, install
        assert "pip wheel" not in install or "--no-build-isolation" in install, install
    for lock in LOCKS:
        assert all(version and hashes for version, hashes in locked(lock).values()), lock


def test_the_locked_versions_are_what_the_project_asks_for() -> None:
    """Run `make lock` after a change of the dependencies."""
    runtime, build = map(locked, LOCKS)

    for asked, found in [(PROJECT["project"]["dependencies"], runtime), (PROJECT["build-system"]["requires"], build)]:
        for requirement in map(Requirement, asked):
            version, _ = found[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), f"{requirement}: {version} is locked"


def test_no_password_is_on_a_command_line() -> None:
    """Command lines are visible to all processes of a machine: passwords come from the environment."""
    for name, service in SERVICES.items():
        words = [*service.get("command", []), *service.get("entrypoint", []), *service["healthcheck"]["test"]]
        line = re.sub(r'\b[A-Z_]+="[^"]*" ', "", " ".join(words))  # without assignments to the environment
        assert not re.search(r"--password|\s-p|\$\{?\w*(PASSWORD|KEY)", line), f"{name}: {line}"


def test_the_image_runs_without_root_and_extras() -> None:
    """The user is not root, no extra is installed, and output is unbuffered."""
    environment = " ".join(instructions("ENV"))
    supported = [line.rpartition(" ")[2] for line in PROJECT["project"]["classifiers"] if "Python :: 3." in line]

    assert instructions("USER")
    assert all(user.split(":")[0].isdigit() and int(user.split(":")[0]) > 0 for user in instructions("USER"))
    assert "PYTHONUNBUFFERED=1" in environment
    assert "ROLLCALL_HOST=0.0.0.0" in environment
    bases = {words.split()[0] for words in instructions("FROM")}
    assert bases <= {f"python:{version}-slim" for version in supported}
    assert len(bases) == 1  # a virtual environment works only with the Python that created it


def test_only_the_api_is_published_and_only_on_loopback() -> None:
    """No database publishes a port, and the databases' network is internal."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert list(published) == ["api"]
    assert all(port.startswith("127.0.0.1:") for port in published["api"])
    assert [port.rpartition(":")[2] for port in published["api"]] == instructions("EXPOSE")
    assert COMPOSE["networks"]["data"]["internal"] == "true"
    assert all(SERVICES[name]["networks"] == ["data"] for name in SERVICES if name not in {"api", "webhooks", "mail"})


def test_every_process_serves_metrics_on_an_unpublished_port() -> None:
    """The metrics port is the same for all and is not published."""
    ports = {service["environment"]["ROLLCALL_METRICS_PORT"] for service in OURS.values()}

    assert len(ports) == 1
    assert not ports & {port.rpartition(":")[2] for port in SERVICES["api"]["ports"]}


def test_services_start_after_their_databases_and_restart() -> None:
    """Our services wait for healthy databases; every service has a health check and restarts after a crash."""
    for service in OURS.values():
        assert service["depends_on"] == {name: {"condition": "service_healthy"} for name in ("mysql", "mongo")}
    for service in SERVICES.values():
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}


def test_the_databases_are_durable() -> None:
    """MySQL syncs each commit and lets our user create triggers; data are on named volumes."""
    assert SERVICES["mysql"]["image"] == "mysql:8.4"
    assert {
        "--innodb-flush-log-at-trx-commit=1",
        "--sync-binlog=1",
        "--log-bin-trust-function-creators=1",
        "--default-time-zone=+00:00",
    } <= set(SERVICES["mysql"]["command"])
    servers = ("mysql", "mongo", "kafka")
    volumes = {name: [volume.split(":")[1] for volume in SERVICES[name]["volumes"]] for name in servers}
    assert volumes == {
        "mysql": ["/var/lib/mysql"],
        "mongo": ["/data/db", "/data/configdb"],
        "kafka": [SERVICES["kafka"]["environment"]["KAFKA_LOG_DIRS"]],
    }
    named = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert named == set(COMPOSE["volumes"])
