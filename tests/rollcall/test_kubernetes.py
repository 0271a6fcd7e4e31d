"""The manifests in deploy/kubernetes match Kubernetes' schemas and the program's settings, commands, routes and ports.

The tests need no cluster: they read the files as `kubectl apply --kustomize` would.
"""

import os
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from events.ids import new_id
from graph.app import make_app
from graph.context import Opening
from projections.lease import LEASE_SECONDS
from rollcall.commands.serve import DRAIN_SECONDS
from rollcall.environment import load_settings, secret_variables
from rollcall.metrics import Metrics, metrics_app
from rollcall.settings import Settings
from tests.rollcall.test_containers import check, instructions

DIRECTORY: Final = Path(__file__).parents[2] / "deploy" / "kubernetes"
RELEASES: Final = ("1.31", "1.34")
OPTIONAL: Final = {"publish-kafka.yaml", "publish-mail.yaml"}
KEY: Final = "A" * 43 + "="
VALUES: Final = {
    "ROLLCALL_MYSQL_URL": "mysql://rollcall:secret@a,b,c/rollcall",
    "ROLLCALL_MONGO_URL": "mongodb://a,b,c/rollcall?replicaSet=rs",
    "ROLLCALL_ADMIN_PASSWORD": "correct horse battery",
    "ROLLCALL_SMTP_URL": "smtp://me:secret@mail:587",
    "ROLLCALL_KAFKA_BOOTSTRAP": "kafka:9092",
    "ROLLCALL_PUBLIC_URL": "https://users.example.com",
    "ROLLCALL_MAIL_FROM": "rollcall@example.com",
}
Manifest = dict[str, Any]


def read(path: Path) -> list[Manifest]:
    return list(yaml.safe_load_all(path.read_text()))


FILES: Final = {path.name: read(path) for path in sorted(DIRECTORY.glob("*.yaml"))}
KUSTOMIZATION: Final = FILES.pop("kustomization.yaml")[0]
MANIFESTS: Final = [manifest for manifests in FILES.values() for manifest in manifests]


def of_kind(kind: str) -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in MANIFESTS if one["kind"] == kind}


DEPLOYMENTS: Final = of_kind("Deployment")


def pod(name: str) -> Manifest:
    return DEPLOYMENTS[name]["spec"]["template"]  # type: ignore[no-any-return]


def container(name: str) -> Manifest:
    [only] = pod(name)["spec"]["containers"]
    return only  # type: ignore[no-any-return]


def variables(name: str) -> dict[str, Manifest]:
    """The entries of a container's environment, without the common settings."""
    return {entry["name"]: entry for entry in container(name)["env"]}


def selects(policy: Manifest, labels: dict[str, str]) -> bool:
    selector = policy["spec"]["podSelector"]
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    return wanted and all(labels[one["key"]] in one["values"] for one in selector.get("matchExpressions", ()))


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_a_manifest_is_valid(manifest: Manifest, release: str) -> None:
    """By the schemas of Kubernetes; an unknown field, which the server would drop, is an error."""
    kubernetes_validate.validate(manifest, release, strict=True)


def test_every_file_is_applied_or_optional() -> None:
    """The optional ones need settings of which there is no default."""
    assert set(KUSTOMIZATION["resources"]) == FILES.keys() - OPTIONAL
    assert all((DIRECTORY / name).read_text().startswith("# Optional") for name in OPTIONAL)


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_deployment_runs_a_command_with_valid_settings(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each variable is a setting or the file of a secret, and the program accepts all of them together."""
    check(container(name)["args"])
    for variable in [one for one in os.environ if one.startswith("ROLLCALL_")]:
        monkeypatch.delenv(variable)
    for variable, value in of_kind("ConfigMap")["rollcall"]["data"].items():
        monkeypatch.setenv(variable, value)
    for variable in variables(name):
        value = VALUES.get(variable.removesuffix("_FILE"), KEY)
        if variable.endswith("_FILE"):
            (tmp_path / variable).write_text(value)
            value = str(tmp_path / variable)
        monkeypatch.setenv(variable, value)
        settings = {f"ROLLCALL_{field.upper()}" for field in Settings.model_fields}
        assert variable.removesuffix("_FILE") in settings

    if name == "publish-mail":
        assert load_settings().smtp_url is not None
    else:
        assert load_settings().own_servers


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_secrets_are_files_that_are_mounted(name: str) -> None:
    """No secret is in the environment, which child processes and crash reports see."""
    mounted = {mount["mountPath"] for mount in container(name)["volumeMounts"] if mount.get("readOnly")}
    volumes = {volume["name"]: volume for volume in pod(name)["spec"]["volumes"]}
    assert not variables(name).keys() & set(secret_variables())
    files = {variable: entry["value"] for variable, entry in variables(name).items() if variable.endswith("_FILE")}
    assert {str(Path(path).parent) for path in files.values()} == mounted
    for mount in container(name)["volumeMounts"]:
        volume = volumes[mount["name"]]
        assert volume.get("secret", {"defaultMode": 0o440})["defaultMode"] == 0o440


def test_only_the_api_has_the_key_that_signs_tokens() -> None:
    """And the administrator's password; only the publisher of mails has the mail server's."""
    having = {
        secret: {name for name in DEPLOYMENTS if f"{secret}_FILE" in variables(name)} for secret in secret_variables()
    }
    assert having["ROLLCALL_SIGNING_KEY"] == having["ROLLCALL_ADMIN_PASSWORD"] == {"api"}
    assert having["ROLLCALL_SMTP_URL"] == {"publish-mail"}
    assert having["ROLLCALL_MASTER_KEY"] == set(DEPLOYMENTS)


def routes(name: str) -> set[tuple[int, str]]:
    """The ports and paths that a process answers at."""
    application = make_app(Opening(), {}, new_id)
    metrics = metrics_app(Metrics(), None)  # type: ignore[arg-type]
    at = [(9464, metrics), *([(8000, application)] if name == "api" else [])]
    return {(port, resource.canonical) for port, app in at for resource in app.router.resources()}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_probes_ask_for_routes_that_exist(name: str) -> None:
    """Liveness never asks about databases: a restart brings none back. Only the API has something to be ready for."""
    ports = {port["name"]: port["containerPort"] for port in container(name)["ports"]}
    data = of_kind("ConfigMap")["rollcall"]["data"]
    assert ports["metrics"] == int(data["ROLLCALL_METRICS_PORT"])
    assert ports.get("http", 8000) == int(data["ROLLCALL_PORT"])
    probes = {kind: probe["httpGet"] for kind, probe in container(name).items() if kind.endswith("Probe")}
    assert all((ports[probe["port"]], probe["path"]) in routes(name) for probe in probes.values())
    assert probes["livenessProbe"]["path"] == "/healthz"
    assert ("readinessProbe" in probes) == (name == "api")


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_each_has_two_or_more_and_loses_one_at_a_time(name: str) -> None:
    """Projectors and publishers have a standby; the autoscaler sets the number of API processes."""
    spec = DEPLOYMENTS[name]["spec"]
    scaler = of_kind("HorizontalPodAutoscaler").get(name)
    assert (spec.get("replicas") or (scaler and scaler["spec"]["minReplicas"])) == 2
    assert ("replicas" in spec) == (scaler is None)  # else each apply would set the number back
    assert scaler is None or scaler["spec"]["scaleTargetRef"]["name"] == name
    labels = pod(name)["metadata"]["labels"]
    [budget] = [
        one
        for one in of_kind("PodDisruptionBudget").values()
        if one["spec"]["selector"]["matchLabels"].items() <= labels.items()
    ]
    assert budget["spec"]["maxUnavailable"] == 1
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    patience = pod(name)["spec"]["terminationGracePeriodSeconds"]
    paused = container(name).get("lifecycle", {"preStop": {"sleep": {"seconds": 0}}})["preStop"]["sleep"]["seconds"]
    assert patience > paused + DRAIN_SECONDS + LEASE_SECONDS


def test_no_deployment_takes_the_pods_of_another() -> None:
    for one, other in combinations(DEPLOYMENTS, 2):
        wanted = DEPLOYMENTS[one]["spec"]["selector"]["matchLabels"]
        assert not wanted.items() <= pod(other)["metadata"]["labels"].items()


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_pod_has_no_rights_that_it_does_not_need(name: str) -> None:
    """The user of the image, by number; nothing to write but /tmp; no token of the cluster's API."""
    spec, own = pod(name)["spec"], container(name)["securityContext"]
    [user] = instructions("USER")
    assert user == f"{spec['securityContext']['runAsUser']}:{spec['securityContext']['runAsGroup']}"
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["automountServiceAccountToken"] is False
    assert own == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container(name)["resources"]["limits"]["memory"]


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_the_network_lets_in_what_is_meant_to_come(name: str) -> None:
    """Prometheus to the metrics, and the ingress controller to the API; both from named namespaces only."""
    labels = pod(name)["metadata"]["labels"]
    policies = [one["spec"] for one in of_kind("NetworkPolicy").values() if selects(one, labels)]
    rules = [rule for policy in policies for rule in policy.get("ingress", ())]
    assert {port["port"] for rule in rules for port in rule["ports"]} == (
        {"metrics", "http"} if name == "api" else {"metrics"}
    )
    assert all(source["namespaceSelector"]["matchLabels"] for rule in rules for source in rule["from"])
    assert any({"Ingress", "Egress"} <= set(policy["policyTypes"]) for policy in policies)
    reached = {port["port"] for policy in policies for rule in policy.get("egress", ()) for port in rule["ports"]}
    assert {53, 3306, 27017} <= reached
    assert (443 in reached) == name.startswith("publish-")


def test_the_service_leads_to_the_api() -> None:
    service = of_kind("Service")["api"]["spec"]
    assert service["selector"].items() <= pod("api")["metadata"]["labels"].items()
    assert {port["targetPort"] for port in service["ports"]} == {"http"}
