from __future__ import annotations

import json
import resource
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from pydantic import SecretStr

from api import cli
from api.doctor import machine, storage
from api.doctor.finding import Finding, Verdict
from api.settings import Settings
from api.store import open_store
from tests.api.postgres import Postgres


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", port=0, min_free_disk_bytes=1)


def worst(findings: Any) -> Finding:
    return max(findings, key=lambda finding: [*Verdict].index(finding.verdict))


# The machine -------------------------------------------------------------------------------------


def test_this_machine_runs_the_tests():
    assert machine.check_python().verdict is Verdict.OK
    assert "GiB" in machine.check_memory().detail


def test_an_old_python_is_told(monkeypatch):
    monkeypatch.setattr(machine, "MIN_PYTHON", (9, 0))
    assert machine.check_python().verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("requirement", "text"),
    [
        ("numpy", ""),
        ("numpy<1", "needed is <1"),
        ("no-such-distribution", "is missing"),
        ("no-such-distribution; extra == 'dev'", ""),
        ("no-such-distribution; python_version < '3'", ""),
    ],
)
def test_a_package_that_does_not_fit_is_named(requirement: str, text: str):
    told = machine._misfit(Requirement(requirement))
    assert (text in told) if text else told == ""


def test_a_source_tree_that_is_not_installed_is_no_failure():
    assert machine.check_packages("no-such-distribution").verdict is Verdict.WARN


def test_little_memory_is_told(monkeypatch, tmp_path: Path):
    limit = tmp_path / "memory.max"
    limit.write_text(f"{2**30}\n")
    monkeypatch.setattr(machine, "_CGROUP_LIMIT", limit)
    finding = machine.check_memory()
    assert (finding.verdict, finding.detail) == (Verdict.WARN, "1.0 GiB by the container's limit")


@pytest.mark.parametrize(
    ("limit", "value", "verdict"),
    [
        (resource.RLIMIT_NOFILE, 256, Verdict.WARN),
        (resource.RLIMIT_NOFILE, resource.RLIM_INFINITY, Verdict.OK),
        (resource.RLIMIT_FSIZE, 1000, Verdict.FAIL),
    ],
)
def test_tight_limits_are_told(monkeypatch, limit: int, value: int, verdict: Verdict):
    others = {resource.RLIMIT_NOFILE: 65536, resource.RLIMIT_FSIZE: resource.RLIM_INFINITY}
    limits = {**others, limit: value}
    monkeypatch.setattr(resource, "getrlimit", lambda asked: (limits[asked], limits[asked]))
    assert machine.check_limits().verdict is verdict


def test_a_clock_of_another_year_is_told(monkeypatch):
    assert machine.check_clock().verdict in (Verdict.OK, Verdict.WARN)
    monkeypatch.setattr(time, "gmtime", lambda: time.struct_time((1970, 1, 1, 0, 0, 0, 3, 1, 0)))
    assert machine.check_clock().verdict is Verdict.FAIL


@pytest.mark.slow
def test_a_device_computes_or_tells_why_not():
    good, bad = machine.check_devices(["cpu", "cuda:99"])
    assert (good.verdict, bad.verdict) == (Verdict.OK, Verdict.FAIL)
    assert bad.advice


# Models and data ---------------------------------------------------------------------------------


def test_an_installation_that_was_never_started_is_fit(settings: Settings):
    for check in (storage.check_models, storage.check_data_dir, storage.check_sqlite):
        assert worst(check(settings)).verdict is not Verdict.FAIL
    assert storage.check_port(settings).verdict is Verdict.OK
    assert not settings.data_dir.exists()


def test_a_broken_models_file_is_told(settings: Settings, tmp_path: Path):
    models = tmp_path / "models.yaml"
    models.write_text("models: 7\n")
    [finding] = storage.check_models(settings.model_copy(update={"models": models}))
    assert finding.verdict is Verdict.FAIL
    assert str(models) in finding.check


def test_a_folder_that_takes_no_files_is_told(settings: Settings):
    broken = settings.model_copy(update={"data_dir": Path("/proc/self/data")})
    [finding] = storage.check_data_dir(broken)
    assert (finding.verdict, "BACKDROP_DATA_DIR" in finding.advice) == (Verdict.FAIL, True)


def test_a_folder_that_others_may_read_is_told(settings: Settings):
    settings.data_dir.mkdir(mode=0o755)
    settings.data_dir.chmod(0o755)
    advice = [finding.advice for finding in storage.check_data_dir(settings)]
    assert any(line.startswith("chmod 700") for line in advice)
    assert list(settings.data_dir.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "verdict"), [("nfs4", Verdict.FAIL), ("tmpfs", Verdict.WARN), ("ext4", Verdict.OK)]
)
def test_a_file_system_that_does_not_keep_tasks_is_told(
    settings: Settings, monkeypatch, kind: str, verdict: Verdict
):
    monkeypatch.setattr(storage, "_file_system_kind", lambda _folder: kind)
    monkeypatch.setattr(storage, "SLOW_SYNC_S", 60)
    finding = next(iter(storage.check_data_dir(settings)))
    assert finding.verdict is verdict


def test_the_file_system_is_that_of_the_deepest_mount():
    assert storage._file_system_kind(Path("/proc/self")) == "proc"


@pytest.mark.parametrize(("floor", "verdict"), [(2**62, Verdict.FAIL), (0, Verdict.OK)])
def test_little_space_is_told(settings: Settings, floor: int, verdict: Verdict):
    full = settings.model_copy(update={"min_free_disk_bytes": floor})
    [finding] = [each for each in storage.check_data_dir(full) if each.check == "disk"]
    assert finding.verdict is verdict


def test_a_sound_store_and_a_damaged_one_are_told_apart(settings: Settings):
    open_store(settings).close()
    assert [each.detail for each in storage.check_sqlite(settings)][-1] == "sound"
    file = settings.data_dir / "backdrop.sqlite3"
    file.write_bytes(b"x" * 8192)
    assert worst(storage.check_sqlite(settings)).verdict is Verdict.FAIL


def test_a_database_is_asked_and_its_password_not_shown(settings: Settings, postgres: Postgres):
    url = postgres.new_database()
    named = settings.model_copy(update={"database_url": SecretStr(url)})
    [finding] = storage.check_store(named)
    assert finding.verdict is Verdict.OK
    assert finding.detail.startswith("PostgreSQL ")

    nobody = SecretStr("postgresql://someone:secret@127.0.0.1:1/none")
    [finding] = storage.check_store(settings.model_copy(update={"database_url": nobody}))
    assert finding.verdict is Verdict.FAIL
    assert "secret" not in f"{finding.check} {finding.detail}"


def test_a_port_in_use_is_told(settings: Settings):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        used = settings.model_copy(update={"port": taken.getsockname()[1]})
        finding = storage.check_port(used)
    assert (finding.verdict, "in use" in finding.detail) == (Verdict.WARN, True)


# The command -------------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main(["doctor", *arguments])
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def test_the_command_tells_what_to_do_and_fails_where_a_check_does(
    capsys, monkeypatch, tmp_path: Path
):
    monkeypatch.setenv("BACKDROP_DEVICES", "cpu")
    options = ["--quick", "--port", "0", "--data-dir"]
    status, out, _ = run(capsys, *options, str(tmp_path))
    assert status == 0
    assert "data folder" in out
    status, out, _ = run(capsys, *options, "/proc/self/data", "--json")
    assert status == 1
    document = json.loads(out)
    assert document["ok"] is False
    [failed] = [each for each in document["findings"] if each["verdict"] == "fail"]
    assert failed["advice"]


@pytest.mark.parametrize("key", [[], ["--key", "alice"], ["--key", ":x"]])
def test_a_url_needs_a_key_pair(capsys, key: list[str]):
    status, out, err = run(capsys, "--url", "http://127.0.0.1:9", *key)
    assert (status, out) == (2, "")
    assert "--key" in err
