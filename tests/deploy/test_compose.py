from __future__ import annotations

import copy
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from check_jsonschema.builtin_schemas import get_builtin_schema

from api.fleet import STOP_TIMEOUT_S
from api.server import GRACE_S
from tests.deploy.files import (
    DEPLOY,
    ROOT,
    assert_are_settings,
    assert_is_a_command,
    assert_is_a_probe,
    documents,
    image_environment,
)

FOLDER = DEPLOY / "compose"
OURS = ("api", "worker", "worker-cpu")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    [document] = documents(FOLDER / "compose.yaml")
    return document


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A copy of the folder, as far from the sources as it is in the tree, after `make-env`."""
    folder = tmp_path / "deploy" / "compose"
    folder.mkdir(parents=True)
    shutil.copy(FOLDER / "make-env", folder)
    shutil.copy(ROOT / "models.yaml", tmp_path)
    subprocess.run([folder / "make-env"], check=True)
    return folder


def validate(document: dict[str, Any]) -> None:
    schema = get_builtin_schema("vendor.compose-spec")
    jsonschema.validators.validator_for(schema)(schema).validate(document)


def test_the_file_is_as_the_compose_specification_has_it(compose):
    validate(compose)


@pytest.mark.parametrize("key", ["comand", "health_check"])
def test_a_mistyped_key_would_be_found(compose, key):
    broken = copy.deepcopy(compose)
    broken["services"]["api"][key] = ["api"]
    with pytest.raises(jsonschema.ValidationError, match=key):
        validate(broken)


@pytest.mark.parametrize("service", OURS)
def test_our_containers_get_settings_that_exist_and_commands_that_exist(compose, service):
    said = compose["services"][service]
    # What a variable of .env decides is known when it is set.
    assert_are_settings(
        {name: None if "${" in value else value for name, value in said["environment"].items()}
    )
    assert_are_settings({secret.upper(): None for secret in said["secrets"]})
    assert_is_a_command(said["command"])


@pytest.mark.parametrize("service", OURS)
def test_our_containers_have_no_rights_and_time_to_stop(compose, service):
    said = compose["services"][service]
    assert said["read_only"]
    assert said["cap_drop"] == ["ALL"]
    assert "/tmp" in said["tmpfs"]
    assert int(said["stop_grace_period"].removesuffix("s")) > GRACE_S + STOP_TIMEOUT_S


def test_secrets_reach_no_environment_of_ours(compose):
    for service in OURS:
        assert not {"password", "secret_access"} & {
            word
            for name in compose["services"][service]["environment"]
            for word in ("password", "secret_access")
            if word in name.lower()
        }
        assert compose["services"][service]["environment"]["BACKDROP_SECRETS_DIR"] == "/run/secrets"


def test_what_services_name_is_declared(compose):
    for service in compose["services"].values():
        assert set(service.get("secrets", ())) <= set(compose["secrets"])
        assert set(service.get("networks", ())) <= set(compose["networks"])
        assert set(service.get("depends_on", ())) <= set(compose["services"])
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or source.startswith(("$", ".", "/"))


def test_whoever_is_waited_for_healthily_has_a_health_check(compose):
    waited_for = {
        (name, condition["condition"])
        for service in compose["services"].values()
        for name, condition in service.get("depends_on", {}).items()
    }
    assert ("postgres", "service_healthy") in waited_for
    for name, condition in waited_for:
        assert condition != "service_healthy" or "test" in compose["services"][name]["healthcheck"]


def test_the_api_is_asked_at_its_own_port_whether_it_is_ready(compose):
    api = compose["services"]["api"]
    port, path = re.search(r"127\.0\.0\.1:(\d+)(/\w+)", api["healthcheck"]["test"][-1]).groups()
    assert port == image_environment()["BACKDROP_PORT"] == api["ports"][0].rsplit(":", 1)[1]
    assert_is_a_probe(path)


def test_only_the_gpu_worker_asks_for_gpus_and_stores_are_not_reached_from_outside(compose):
    services = compose["services"]
    [device] = services["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert "gpu" in device["capabilities"]
    assert "deploy" not in services["worker-cpu"]
    assert compose["networks"]["back"]["internal"]
    for name in ("worker", "worker-cpu", "postgres", "objects"):
        assert services[name]["networks"] == ["back"]
        assert "ports" not in services[name]


def test_make_env_sets_all_that_the_file_leaves_open(compose, made):
    values = dict(re.findall(r"^(\w+)=(.*)$", (made / ".env").read_text(), flags=re.MULTILINE))
    text = (FOLDER / "compose.yaml").read_text()
    required = set(re.findall(r"\$\{(\w+):\?", text))
    required |= {secret["environment"] for secret in compose["secrets"].values()}
    assert required <= set(values)
    known = set(re.findall(r"\$\{(\w+)", text)) | required | {"COMPOSE_PROFILES"}
    assert set(re.findall(r"^#?(\w+)=", (made / ".env").read_text(), flags=re.MULTILINE)) <= known
    assert values["POSTGRES_PASSWORD"] in values["BACKDROP_DATABASE_URL"]
    assert len(values["POSTGRES_PASSWORD"]) == len(values["S3_SECRET_ACCESS_KEY"]) == 48
    assert values["POSTGRES_PASSWORD"] != values["S3_SECRET_ACCESS_KEY"]
    assert values["COMPOSE_PROFILES"] in {"gpu", "cpu"}


def test_make_env_keeps_secrets_from_others_and_models_readable_and_never_overwrites(made):
    assert (made / ".env").stat().st_mode & 0o777 == 0o600
    assert (made / "models" / "models.yaml").read_bytes() == (ROOT / "models.yaml").read_bytes()
    assert (made / "models").stat().st_mode & 0o005 == 0o005, "containers run as another user"
    before = (made / ".env").read_text()
    assert subprocess.run([made / "make-env"], check=False, capture_output=True).returncode == 1
    assert (made / ".env").read_text() == before
