from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml

from api.fleet import STOP_TIMEOUT_S
from api.server import GRACE_S
from api.settings import Settings
from tests.api.bench import Bench
from tests.deploy.files import (
    DEPLOY,
    assert_are_settings,
    assert_is_a_command,
    assert_is_a_probe,
    dockerfile_says,
    documents,
    image_environment,
)

FOLDER = DEPLOY / "kubernetes"
OLDEST = "1.30"  # of preStop's sleep
[KUSTOMIZATION] = documents(FOLDER / "kustomization.yaml")
RESOURCES = [
    document for name in KUSTOMIZATION["resources"] for document in documents(FOLDER / name)
]
WORKLOADS = [each for each in RESOURCES if each["kind"] in {"Deployment", "StatefulSet"}]
OURS = [each for each in WORKLOADS if each["metadata"]["name"] in {"api", "worker"}]
CONFIG = dict(
    literal.split("=", 1) for literal in KUSTOMIZATION["configMapGenerator"][0]["literals"]
)
SECRETS = dict(
    line.split("=", 1) for line in (FOLDER / "secrets.env.example").read_text().splitlines()
)


def identity(resource: dict[str, Any]) -> str:
    return f"{resource['kind']}/{resource['metadata']['name']}"


def the(kind: str, name: str) -> dict[str, Any]:
    [found] = [each for each in RESOURCES if identity(each) == f"{kind}/{name}"]
    return found


def pod(workload: dict[str, Any]) -> dict[str, Any]:
    return workload["spec"]["template"]["spec"]


def labels(workload: dict[str, Any]) -> dict[str, str]:
    return workload["spec"]["template"]["metadata"]["labels"]


def containers(workload: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod(workload).get("initContainers", ()), *pod(workload)["containers"]]


def selects(selector: dict[str, Any], pod_labels: dict[str, str]) -> bool:
    expressions = selector.get("matchExpressions", ())
    return selector.get("matchLabels", {}).items() <= pod_labels.items() and all(
        pod_labels.get(each["key"]) in each["values"] for each in expressions
    )


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
@pytest.mark.parametrize(
    "resource", [each for each in RESOURCES if each["kind"] != "ScaledObject"], ids=identity
)
def test_every_manifest_is_as_the_api_server_has_it(resource, version):
    kubernetes_validate.validate(resource, version, strict=True)


def test_a_mistyped_key_would_be_found():
    broken = copy.deepcopy(the("Deployment", "worker"))
    pod(broken)["terminationGracePeriod"] = 40
    with pytest.raises(kubernetes_validate.ValidationError, match="terminationGracePeriod"):
        kubernetes_validate.validate(broken, OLDEST, strict=True)


def test_kustomize_is_told_of_every_file():
    files = {path.name for path in FOLDER.glob("*.yaml")}
    assert files == {*KUSTOMIZATION["resources"], "kustomization.yaml"}
    [config], [secret] = KUSTOMIZATION["configMapGenerator"], KUSTOMIZATION["secretGenerator"]
    assert secret["envs"] == ["secrets.env"]
    named = {image["name"] for image in KUSTOMIZATION["images"]}
    for workload in OURS:
        [container] = containers(workload)
        assert container["image"] in named
        assert container["envFrom"] == [{"configMapRef": {"name": config["name"]}}]


def test_settings_exist_and_take_their_values():
    assert_are_settings(CONFIG)
    assert_are_settings(SECRETS)
    for workload in OURS:
        for container in containers(workload):
            assert_are_settings({each["name"]: each.get("value") for each in container["env"]})


@pytest.mark.parametrize("workload", WORKLOADS, ids=identity)
def test_secrets_that_are_referred_to_are_in_the_example(workload):
    for container in containers(workload):
        for variable in container.get("env", ()):
            if "valueFrom" in variable:
                reference = variable["valueFrom"]["secretKeyRef"]
                assert reference["name"] == KUSTOMIZATION["secretGenerator"][0]["name"]
                assert reference["key"] in SECRETS
    assert SECRETS["POSTGRES_PASSWORD"] in SECRETS["BACKDROP_DATABASE_URL"]


@pytest.mark.parametrize("workload", OURS, ids=identity)
def test_our_pods_run_a_command_that_exists_as_the_user_of_the_image(workload):
    [container] = containers(workload)
    assert_is_a_command(container["args"])
    [user] = dockerfile_says("USER")
    assert pod(workload)["securityContext"]["runAsUser"] == int(user)
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert mounts["/models"]["readOnly"]
    assert CONFIG["BACKDROP_MODELS"].startswith("/models/")
    assert {image_environment()["BACKDROP_DATA_DIR"], "/tmp"} <= set(mounts)


@pytest.mark.parametrize("workload", WORKLOADS, ids=identity)
def test_no_pod_has_rights_and_every_mount_has_its_volume(workload):
    claimed = workload["spec"].get("volumeClaimTemplates", ())
    volumes = {each["name"] for each in pod(workload).get("volumes", ())}
    volumes |= {each["metadata"]["name"] for each in claimed}
    assert pod(workload)["securityContext"]["runAsNonRoot"]
    assert not pod(workload)["automountServiceAccountToken"]
    for container in containers(workload):
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        rights = container["securityContext"]
        assert rights["readOnlyRootFilesystem"]
        assert not rights["allowPrivilegeEscalation"]
        assert rights["capabilities"] == {"drop": ["ALL"]}


def test_probes_of_the_api_ask_real_routes_at_its_port():
    [container] = containers(the("Deployment", "api"))
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert str(ports["http"]) == image_environment()["BACKDROP_PORT"]
    assert str(ports["metrics"]) == CONFIG["BACKDROP_METRICS_PORT"]
    for probe, path in [
        ("startupProbe", "/healthz"),
        ("livenessProbe", "/healthz"),
        ("readinessProbe", "/readyz"),
    ]:
        assert container[probe]["httpGet"] == {"path": path, "port": "http"}
        assert_is_a_probe(path)


@pytest.mark.parametrize("workload", OURS, ids=identity)
def test_pods_have_the_time_they_need_to_stop(workload):
    [container] = containers(workload)
    before_s = container.get("lifecycle", {}).get("preStop", {"sleep": {"seconds": 0}})
    needed_s = before_s["sleep"]["seconds"] + GRACE_S + STOP_TIMEOUT_S
    assert pod(workload)["terminationGracePeriodSeconds"] > needed_s


def test_a_worker_has_one_gpu():
    [container] = containers(the("Deployment", "worker"))
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"


@pytest.mark.parametrize(
    "service", [each for each in RESOURCES if each["kind"] == "Service"], ids=identity
)
def test_services_lead_to_ports_of_pods(service):
    [workload] = [
        each
        for each in WORKLOADS
        if selects({"matchLabels": service["spec"]["selector"]}, labels(each))
    ]
    named = {
        port["name"] for container in containers(workload) for port in container.get("ports", ())
    }
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= named


def test_services_that_settings_name_exist():
    for url in (SECRETS["BACKDROP_DATABASE_URL"], CONFIG["BACKDROP_S3_ENDPOINT"]):
        host = urlsplit(url).hostname
        assert host
        the("Service", host)
    backend = the("Ingress", "api")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    ports = the("Service", backend["name"])["spec"]["ports"]
    assert backend["port"]["name"] in {port["name"] for port in ports}


@pytest.mark.parametrize(
    "resource",
    [each for each in RESOURCES if each["kind"] in {"PodDisruptionBudget", "NetworkPolicy"}],
    ids=identity,
)
def test_budgets_and_policies_are_about_pods_that_exist(resource):
    selector = resource["spec"].get("selector", resource["spec"].get("podSelector"))
    chosen = [each for each in WORKLOADS if selects(selector, labels(each))]
    assert chosen
    ports = {
        port["containerPort"]
        for workload in (
            WORKLOADS if "Egress" in resource["spec"].get("policyTypes", ()) else chosen
        )
        for container in containers(workload)
        for port in container.get("ports", ())
    } | {53}
    for rule in [*resource["spec"].get("ingress", ()), *resource["spec"].get("egress", ())]:
        assert {port["port"] for port in rule["ports"]} <= ports


def test_the_ingress_lets_bodies_pass_that_the_api_takes():
    annotations = the("Ingress", "api")["metadata"]["annotations"]
    megabytes = int(annotations["nginx.ingress.kubernetes.io/proxy-body-size"].removesuffix("m"))
    assert megabytes * 2**20 == Settings.model_fields["max_body_bytes"].default


def test_workers_are_scaled_by_what_the_api_tells_of_the_queue(tmp_path: Path):
    scaled = the("ScaledObject", "worker")
    assert scaled["apiVersion"] == "keda.sh/v1alpha1"
    target = scaled["spec"]["scaleTargetRef"]
    the(target["kind"], target["name"])
    [trigger] = scaled["spec"]["triggers"]
    host, path = re.fullmatch(r"http://([\w.]+)(/\w+)", trigger["metadata"]["url"]).groups()
    service, namespace, _ = host.split(".")
    assert namespace == KUSTOMIZATION["namespace"]
    assert the("Service", service)["spec"]["ports"][0]["port"] == 80
    assert_is_a_probe(path)
    bench = Bench(tmp_path)
    bench.submit()
    answer = bench.caller.http.get(path).json()
    assert answer[trigger["metadata"]["valueLocation"]] == 1


def test_labels_and_selectors_of_a_workload_agree():
    for workload in WORKLOADS:
        assert selects(workload["spec"]["selector"], labels(workload))
    assert (
        yaml.safe_load((FOLDER / "namespace.yaml").read_text())["metadata"]["name"]
        == (KUSTOMIZATION["namespace"])
    )
