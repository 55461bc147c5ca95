"""`backdrop models list|check|pull` as commands in processes of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.models_pull import HubFile, PullFailed, choose_files
from engine.hub_source import HubLocation, parse_source
from engine.registry import PACKAGED_MODELS
from tests.api.hub import COMMIT, REPO, Hub, running
from tests.engine.lora_files import write_lora

EMBEDDED = PACKAGED_MODELS / "embedded"


def backdrop(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BACKDROP_", "HF_")) and "proxy" not in name.lower()
    }
    source = str(Path(__file__).resolve().parents[2])
    return subprocess.run(
        [sys.executable, "-m", "backdrop", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**inherited, "PYTHONPATH": source, "COLUMNS": "200", **environment},
        timeout=120,
        check=False,
    )


def write_models(folder: Path, models: list[dict[str, Any]], **more: Any) -> None:
    content = {"default_model": models[0]["name"], "models": models, **more}
    (folder / "models.yaml").write_text(yaml.safe_dump(content))


MAIN = {"name": "main", "path": "model", "family": "sd1", "native_size_px": 256}
GLOW = {"name": "glow", "kind": "lora", "path": "glow.safetensors", "family": "sd1"}


def model_files() -> dict[str, bytes]:
    return {
        str(path.relative_to(EMBEDDED)): path.read_bytes()
        for path in EMBEDDED.rglob("*")
        if path.is_file()
    }


# --- list and check ---


def test_check_and_list_describe_every_entry(tmp_path: Path) -> None:
    shutil.copytree(EMBEDDED, tmp_path / "model")
    write_lora(tmp_path / "glow.safetensors", width=1, stem="lora_unet_conv_out")
    write_models(tmp_path, [MAIN], sub_models=[GLOW])
    listed = backdrop("models", "list", "--models", "models.yaml", cwd=tmp_path)
    assert (listed.returncode, listed.stderr) == (0, "")
    for word in ("main", "(default)", "glow", "lora", "sd1"):
        assert word in listed.stdout
    checked = backdrop("models", "check", "--models", "models.yaml", cwd=tmp_path)
    assert checked.returncode == 1  # the LoRA's one module has another shape
    for word in ("main", "sd1", "9", "v_prediction", "GiB", "ok", "0 in main", "trouble"):
        assert word in checked.stdout
    assert "not one of its 1 modules" in checked.stdout.splitlines()[-1]


def test_the_lora_of_few_steps_is_pulled_and_checked(tmp_path: Path, hub: Hub) -> None:
    write_lora(tmp_path / "made.safetensors", width=192)
    hub.files["lcm.safetensors"] = (tmp_path / "made.safetensors").read_bytes()
    lora = {
        "name": "LCM",
        "path": "lcm.safetensors",
        "source": f"hf:{REPO}@{COMMIT}/lcm.safetensors",
    }
    few_steps = {"lora": lora, "sampler": "euler", "step_spacing": "align_your_steps"}
    write_models(tmp_path, [{**MAIN, "path": "package:embedded", "few_steps": few_steps}])
    pulled = pull(hub, tmp_path, "LCM")
    assert pulled.returncode == 0, pulled.stderr
    assert (tmp_path / "lcm.safetensors").read_bytes() == hub.files["lcm.safetensors"]
    checked = backdrop("models", "check", "--models", "models.yaml", cwd=tmp_path)
    assert checked.returncode == 1
    (row,) = [line for line in checked.stdout.splitlines() if "LCM" in line]
    assert "lora" in row
    told = [line for line in checked.stdout.splitlines() if line.startswith("main: ")]
    assert any("few_steps" in line and "4096" in line for line in told)


def test_check_of_a_sound_file_succeeds(tmp_path: Path) -> None:
    write_models(tmp_path, [{**MAIN, "path": "package:embedded"}])
    checked = backdrop("models", "check", "--models", "models.yaml", cwd=tmp_path)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "trouble" not in checked.stdout


def test_check_tells_every_mismatch_and_goes_on(tmp_path: Path) -> None:
    shutil.copytree(EMBEDDED, tmp_path / "model")
    weights = tmp_path / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    write_models(tmp_path, [MAIN, {**MAIN, "name": "sound", "path": "package:embedded"}])
    checked = backdrop("models", "check", "--models", "models.yaml", cwd=tmp_path)
    assert checked.returncode == 1
    (line,) = [line for line in checked.stdout.splitlines() if line.startswith("main: ")]
    assert str(weights) in line
    assert "truncated" in line
    assert any("sound" in line and "ok" in line for line in checked.stdout.splitlines())


# --- pull ---


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running(Hub(model_files())) as hub:
        yield hub


def pull(hub: Hub, folder: Path, *names: str) -> subprocess.CompletedProcess[str]:
    arguments = ("models", "pull", *names, "--models", "models.yaml")
    # Started as every process of the product is: offline, until this command asks otherwise.
    return backdrop(
        *arguments, cwd=folder, HF_ENDPOINT=hub.url, HF_HOME=str(folder / "home"),
        HF_HUB_OFFLINE="1", HF_HUB_DISABLE_XET="1",
    )  # fmt: skip


def test_a_folder_is_pulled_whole_and_can_be_used(tmp_path: Path, hub: Hub) -> None:
    hub.files["unet/diffusion_pytorch_model.fp16.safetensors"] = b"another variant"
    hub.files["unet/diffusion_pytorch_model.bin"] = b"a pickle"
    hub.files["model.ckpt"] = b"the same once more"
    write_models(tmp_path, [{**MAIN, "source": f"hf:{REPO}@{COMMIT}"}])
    pulled = pull(hub, tmp_path)
    assert pulled.returncode == 0, pulled.stderr
    for path in (tmp_path / "models.yaml", tmp_path / "model"):
        assert str(path) in pulled.stdout
    got = {
        str(path.relative_to(tmp_path / "model")): path.read_bytes()
        for path in (tmp_path / "model").rglob("*")
        if path.is_file()
    }
    assert got == {name: data for name, data in model_files().items() if name != "README.md"}
    assert not (tmp_path / "model.part").exists()
    checked = backdrop("models", "check", "--models", "models.yaml", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout
    downloads = len(hub.ranges)
    again = pull(hub, tmp_path)
    assert (again.returncode, len(hub.ranges)) == (0, downloads)
    assert "is there already" in again.stdout


def test_a_broken_download_is_taken_up_where_it_ended(tmp_path: Path, hub: Hub) -> None:
    source = tmp_path / "source.safetensors"
    write_lora(source, width=3_000_000)  # the hub library writes in steps of 10 MiB
    hub.files["loras/glow.safetensors"] = source.read_bytes()
    glow = {**GLOW, "source": f"hf:{REPO}@{COMMIT}/loras/glow.safetensors"}
    write_models(tmp_path, [{**MAIN, "path": "package:embedded"}], sub_models=[glow])
    hub.cut_after = 15_000_000
    for _ in range(3):  # the hub library may take it up by itself
        pulled = pull(hub, tmp_path, "glow")
        if pulled.returncode == 0:
            break
        assert not (tmp_path / "glow.safetensors").exists()
    assert pulled.returncode == 0, pulled.stderr
    assert (tmp_path / "glow.safetensors").read_bytes() == source.read_bytes()
    begins = [int(each.removeprefix("bytes=").partition("-")[0]) for each in hub.ranges if each]
    assert begins
    assert min(begins) > 0


def test_a_wrong_checksum_is_refused(tmp_path: Path, hub: Hub) -> None:
    write_lora(tmp_path / "source.safetensors", width=32)
    hub.files["glow.safetensors"] = (tmp_path / "source.safetensors").read_bytes()
    hub.lies.add("glow.safetensors")
    glow = {**GLOW, "source": f"hf:{REPO}@{COMMIT}/glow.safetensors"}
    write_models(tmp_path, [{**MAIN, "path": "package:embedded"}], sub_models=[glow])
    pulled = pull(hub, tmp_path)
    assert pulled.returncode == 1
    assert "SHA-256" in pulled.stderr
    assert not (tmp_path / "glow.safetensors").exists()


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (f"hf:{REPO}", f"source: hf:{REPO}@{COMMIT}"),
        (f"hf:{REPO}@main", f"source: hf:{REPO}@{COMMIT}"),
        (f"hf:{REPO}@{COMMIT}/none.safetensors", "no such file"),
        (f"hf:{REPO}2@{COMMIT}", f"hf:{REPO}2@{COMMIT}"),
    ],
)
def test_what_cannot_be_pulled_is_one_line(
    tmp_path: Path, hub: Hub, source: str, told: str
) -> None:
    write_models(tmp_path, [{**MAIN, "source": source}])
    pulled = pull(hub, tmp_path)
    assert pulled.returncode == 1
    (line,) = pulled.stderr.splitlines()
    assert line.startswith("main: ")
    assert told in line
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("name", ["nobody", "main"])
def test_a_name_without_a_source_is_told(tmp_path: Path, hub: Hub, name: str) -> None:
    write_models(tmp_path, [MAIN])
    pulled = pull(hub, tmp_path, name)
    assert pulled.returncode == 2
    assert name in pulled.stderr


def test_a_hub_that_cannot_be_reached_is_one_line(tmp_path: Path, hub: Hub) -> None:
    write_models(tmp_path, [{**MAIN, "source": f"hf:{REPO}@{COMMIT}"}])
    hub.shutdown()
    hub.server_close()
    pulled = pull(hub, tmp_path)
    assert pulled.returncode == 1
    assert "Traceback" not in pulled.stderr
    assert "main: hf:" in pulled.stderr.splitlines()[-1]


# --- what is chosen ---


def chosen(*names: str) -> list[str]:
    location = HubLocation(REPO, COMMIT, None)
    files = [HubFile(name, None) for name in ("model_index.json", *names)]
    return [file.name for file in choose_files(location, files)][1:]


def test_the_plain_weights_go_before_variants() -> None:
    assert chosen(
        "unet/config.json",
        "unet/m.safetensors",
        "unet/m.fp16.safetensors",
        "unet/m.non_ema.safetensors",
        "vae/m.fp16.safetensors",
        "safety_checker/m.safetensors",
        "m.safetensors",
        "unet/m.bin",
        "unet/deep/m.safetensors",
    ) == ["unet/config.json", "unet/m.safetensors", "vae/m.fp16.safetensors"]


def test_shards_come_with_their_index() -> None:
    names = ["m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors"]
    shards = [f"transformer/{name}" for name in (*names, "m.safetensors.index.json")]
    assert sorted(chosen(*shards)) == sorted(shards)


def test_pickled_weights_come_where_there_are_no_others() -> None:
    pickled = ["unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.fp16.bin"]
    assert chosen("unet/config.json", *pickled) == ["unet/config.json", pickled[0]]


def test_a_transformers_folder_is_its_top_level() -> None:
    files = [
        HubFile(name, None)
        for name in ("config.json", "vocab.json", "source.spm", "model.safetensors",
                     "pytorch_model.bin", "rust_model.ot", "README.md", "onnx/config.json")
    ]  # fmt: skip
    got = choose_files(HubLocation(REPO, COMMIT, None), files)
    assert [file.name for file in got] == [
        "config.json",
        "vocab.json",
        "source.spm",
        "model.safetensors",
    ]


def test_a_repository_that_is_no_folder_is_told() -> None:
    with pytest.raises(PullFailed, match="name a file"):
        choose_files(HubLocation(REPO, COMMIT, None), [HubFile("a.safetensors", None)])


@pytest.mark.parametrize(
    "text",
    [
        "hf:a", "a/b", "hf:a/b@", "hf:a/b@x y", "hf:a/b/", "hf:a/b@c/../d", "hf:a/b@c//d",
        "hf:../b", "hf:a/..", "https://a/b", "hf:a/b@c/d\\e",
    ],
)  # fmt: skip
def test_a_source_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not written as"):
        parse_source(text)


def test_a_source_is_pinned_by_a_whole_commit() -> None:
    whole = parse_source(f"hf:a/b.c@{COMMIT}/d/e.safetensors")
    assert whole == HubLocation("a/b.c", COMMIT, "d/e.safetensors")
    assert whole.is_pinned
    assert str(whole) == f"hf:a/b.c@{COMMIT}/d/e.safetensors"
    for text in ("hf:a/b", "hf:a/b@main", "hf:a/b@0123456"):
        assert not parse_source(text).is_pinned
