from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from api.database import open_database
from api.keys import KeyRing
from api.process import OFFLINE
from api.settings import Settings
from tests.api.command import assert_one_line, run, server
from tests.api.wire import png, signature


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("BACKDROP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BACKDROP_DATA_DIR", str(tmp_path / "data"))


def test_a_first_start_prints_the_url_and_one_working_key_pair(tmp_path: Path):
    with server("api", "--port", "0") as (process, url):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
        assert process.stdout is not None
        labels, keys = zip(
            *(process.stdout.readline().strip().split(": ") for _ in range(2)), strict=True
        )
        assert labels == ("PublicKey", "PrivateKey")
        fields = {"Action": "ListModels", "PublicKey": keys[0]}
        body = {**fields, "Signature": signature(fields, keys[1])}
        assert httpx.post(url, json=body, trust_env=False).json()["RetCode"] == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
        assert process.stdout.read() == ""
    file = tmp_path / "data" / "backdrop.sqlite3"
    assert file.stat().st_mode & 0o077 == 0

    with server("api", "--port", "0") as (process, url):
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
        assert process.stdout is not None
        assert process.stdout.read() == "", "a second start must make and show no key"


def test_a_given_key_pair_is_used_and_none_is_made():
    with server("api", "--port", "0", "--key", "me:secret") as (process, url):
        fields = {"Action": "GetCreditBalance", "PublicKey": "me"}
        body = {**fields, "Signature": signature(fields, "secret")}
        assert httpx.post(url, json=body, trust_env=False).json()["RetCode"] == 0
        process.terminate()
        assert process.wait(timeout=20) == 0
        assert process.stdout is not None
        assert process.stdout.read() == ""


def test_workers_of_several_devices_are_processes_of_their_own_and_end_in_good_order(monkeypatch):
    monkeypatch.setenv("BACKDROP_DEVICES", "cpu,cpu")
    monkeypatch.setenv("BACKDROP_WARM_SPARE", "false")
    process = psutil.Popen([sys.executable, "-m", "backdrop", "worker"], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while len(supervisors := process.children()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.terminate()
        assert process.wait(timeout=60) == 0
        assert not any(supervisor.is_running() for supervisor in supervisors)
    finally:
        if process.poll() is None:
            process.kill()


def test_a_port_in_use_is_one_clear_line(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, out, err = run(capsys, "api", "--port", port)
    assert (status, out) == (2, "")
    assert_one_line(err, f"127.0.0.1:{port}", "in use")


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["serve", "--key", "no-colon"], ["keys", "PUBLIC:PRIVATE"]),
        (["serve", "--port", "70000"], ["port", "65535"]),
        (["api", "--models", "nowhere.yaml"], ["nowhere.yaml"]),
        (["worker", "--models", "nowhere.yaml"], ["nowhere.yaml"]),
        (["models", "list", "--models", "nowhere.yaml"], ["nowhere.yaml"]),
        (["api", "--host", "no.such.host.invalid"], ["no.such.host.invalid"]),
        (["api", "--port", "0", "--data-dir", "/dev/null/data"], ["/dev/null"]),
        (["keys", "add", "--data-dir", "/dev/null/data"], ["/dev/null"]),
        (["generate", "--foreground", "nowhere.png"], ["nowhere.png"]),
    ],
)
def test_what_a_user_can_mend_is_one_clear_line(capsys, arguments, texts):
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert_one_line(err, *texts)


def test_a_bad_setting_in_the_environment_is_named_without_its_value(capsys, monkeypatch):
    monkeypatch.setenv("BACKDROP_KEYS", "hush-hush")
    status, _, err = run(capsys, "api")
    assert status == 2
    assert_one_line(err, "keys")
    assert "hush-hush" not in err


def test_a_page_without_its_library_is_told(capsys, monkeypatch):
    monkeypatch.setenv("BACKDROP_UI", "true")
    monkeypatch.setitem(sys.modules, "gradio", None)
    status, out, err = run(capsys, "api", "--port", "0")
    assert (status, out) == (2, "")
    assert_one_line(err, "ui", "pip install 'backdrop[ui]'")


def test_a_missing_settings_file_is_named(capsys, monkeypatch):
    monkeypatch.setenv("BACKDROP_SETTINGS_FILE", "no-such-settings.yaml")
    status, _, err = run(capsys, "models", "list")
    assert status == 2
    assert_one_line(err, "no-such-settings.yaml")


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ("prot: 1\nlease_s: 9\n", ["prot"]),
        ("- port\n", []),
        ("port: [\n", []),
        ("lease_s: soon\n", ["lease_s"]),
    ],
)
def test_a_settings_file_with_a_mistake_is_one_clear_line(
    capsys, monkeypatch, tmp_path: Path, content, texts
):
    file = tmp_path / "settings.yaml"
    file.write_text(content)
    monkeypatch.setenv("BACKDROP_SETTINGS_FILE", str(file))
    status, _, err = run(capsys, "models", "list")
    assert status == 2
    assert_one_line(err, *texts, *([] if "soon" in content else [str(file)]))


def test_a_settings_file_is_read_below_the_environment(monkeypatch, tmp_path: Path):
    file = tmp_path / "settings.yaml"
    file.write_text("lease_s: 9\nmax_attempts: 2\n")
    monkeypatch.setenv("BACKDROP_SETTINGS_FILE", str(file))
    monkeypatch.setenv("BACKDROP_MAX_ATTEMPTS", "5")
    monkeypatch.setenv("BACKDROP_OF_ANOTHER_PROGRAM", "x")
    settings = Settings()
    assert (settings.lease_s, settings.max_attempts) == (9, 5)


def test_secrets_are_read_from_files_below_the_environment(monkeypatch, tmp_path: Path):
    (tmp_path / "backdrop_keys").write_text("a:b,c:d\n")
    (tmp_path / "BACKDROP_PORT").write_text("9000\n")
    (tmp_path / "backdrop_lease_s").write_text("9")
    (tmp_path / "of_another_program").write_text("x")
    monkeypatch.setenv("BACKDROP_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("BACKDROP_LEASE_S", "7")
    settings = Settings()
    assert [pair.get_secret_value() for pair in settings.keys] == ["a:b", "c:d"]
    assert (settings.port, settings.lease_s) == (9000, 7)


def test_a_missing_folder_of_secrets_is_named(capsys, monkeypatch):
    monkeypatch.setenv("BACKDROP_SECRETS_DIR", "no-such-folder")
    status, _, err = run(capsys, "models", "list")
    assert status == 2
    assert_one_line(err, "no-such-folder")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"IMAGES_KEEP_S": "3600", "RECORDS_KEEP_S": "60"}, "records_keep_s"),
        ({"MAX_BODIES_IN_FLIGHT_BYTES": "100000"}, "max_bodies_in_flight_bytes"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(capsys, monkeypatch, changes, named):
    for name, value in changes.items():
        monkeypatch.setenv(f"BACKDROP_{name}", value)
    status, _, err = run(capsys, "models", "list")
    assert status == 2
    assert_one_line(err, named)


def test_models_are_listed(capsys):
    status, out, _ = run(capsys, "models", "list")
    assert status == 0
    assert "PICPIK General" in out
    assert "Euler" in out


def test_a_key_pair_is_added_and_shown_once(capsys, tmp_path: Path):
    status, out, _ = run(capsys, "keys", "add", "--label", "shop")
    assert status == 0
    (public, private) = (line.split(": ")[1] for line in out.splitlines())
    database = open_database(f"sqlite:///{tmp_path / 'data' / 'backdrop.sqlite3'}")
    assert KeyRing(database).private_key(public) == private
    database.close()


def test_a_share_of_a_key_is_set_bit_by_bit_and_shown(capsys, tmp_path: Path):
    share = ["keys", "share", "public", "--data-dir", str(tmp_path)]

    assert run(capsys, *share, "--weight", "2.5", "--max-running", "3")[0] == 0
    assert run(capsys, *share, "--priority", "-1")[1] == "weight 2.5, priority -1, max running 3\n"
    _, out, _ = run(capsys, *share, "--max-running", "0")
    assert out == "weight 2.5, priority -1, max running as the service has it\n"

    status, _, err = run(capsys, *share, "--weight", "0")
    assert status == 2
    assert_one_line(err, "weight")


def test_nothing_is_fetched_or_told_whatever_the_environment_says(capsys, monkeypatch):
    for name in OFFLINE:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    run(capsys, "models", "list")
    assert {name: os.environ[name] for name in OFFLINE} == OFFLINE


def test_generate_paints_files_around_the_untouched_item(capsys, tmp_path: Path):
    foreground, reference = tmp_path / "item.png", tmp_path / "reference.png"
    foreground.write_bytes(png(64, 64))
    reference.write_bytes(png(90, 50, "RGB"))
    kept = ("0.png", "0-1.png")
    (tmp_path / "out").mkdir()
    for name in kept:
        (tmp_path / "out" / name).write_bytes(b"an earlier result")
    status, out, err = run(
        capsys,
        *("generate", "--foreground", foreground, "--reference", reference),
        *("--prompt", "blue sky", "--negative-prompt", "text", "--refer-strength", "0.2"),
        *("--steps", 6, "--seed", 2**31 - 1, "--batch-size", 2, "--output", tmp_path / "out"),
        *("--device", "cpu"),
    )
    assert status == 0, err
    files = [tmp_path / "out" / name for name in ("2147483647.png", "0-2.png")]
    assert sorted(out.splitlines()) == sorted(map(str, files))
    pixels = []
    for file in files:
        with Image.open(file) as image:
            assert (image.mode, image.size) == ("RGB", (64, 64))
            assert "blue sky" in image.info["parameters"]
            assert image.getpixel((32, 32)) == (200, 30, 40)
            pixels.append(image.tobytes())
    assert pixels[0] != pixels[1]
    for name in kept:
        assert (tmp_path / "out" / name).read_bytes() == b"an earlier result"


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        (["--steps", 5], ["MainModel.InferenceParams.Steps"]),
        (["--width", 63], ["Width"]),
        (["--sampler", "PNDM"], ["Sampler", "Euler a"]),
        (["--model", "Nobody's"], ["Nobody's"]),
        (["--refer-strength", 0.5], ["--refer-strength", "--reference"]),
        (["--deep-fusion"], ["--deep-fusion", "--reference"]),
        (["--sub-model", "Nobody's=0.5"], ["Nobody's"]),
        (["--sub-model", "style=much"], ["--sub-model", "much"]),
    ],
)
def test_generate_refuses_what_the_service_refuses(capsys, tmp_path: Path, options, texts):
    foreground = tmp_path / "item.png"
    foreground.write_bytes(png())
    arguments = ["--foreground", foreground, "--output", tmp_path / "out", "--device", "cpu"]
    status, out, err = run(capsys, "generate", *arguments, *options)
    assert (status, out) == (2, "")
    assert_one_line(err, *texts)
    assert not (tmp_path / "out").exists()


def test_generate_applies_the_sub_models_it_is_given(capsys, tmp_path: Path):
    models = tmp_path / "models.yaml"
    models.write_text(
        "default_model: small\n"
        "models: [{name: small, path: package:embedded, family: sd1, native_size_px: 256}]\n"
        "sub_models: [{name: a=b, kind: lora, path: strong.safetensors, family: sd1}]\n"
    )
    write_strong_lora(tmp_path / "strong.safetensors")
    foreground = tmp_path / "item.png"
    foreground.write_bytes(png(64, 64))
    arguments = ["--models", models, "--foreground", foreground, "--seed", 1, "--steps", 6]
    pixels = {}
    for weight in ("1", "0", None):
        options = [] if weight is None else ["--sub-model", f"a=b={weight}"]
        output = tmp_path / str(weight)
        status, _, err = run(
            capsys, "generate", *arguments, *options, "--output", output, "--device", "cpu"
        )
        assert status == 0, err
        with Image.open(output / "1.png") as image:
            pixels[weight] = image.tobytes()
    assert pixels["0"] == pixels[None]
    assert pixels["1"] != pixels[None]


def write_strong_lora(path: Path) -> None:
    """A LoRA of rank 1 on one layer of the embedded model's UNet that no picture can miss."""
    name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_out_0"
    up, down = torch.full((256, 1), 2.0), torch.linspace(-1, 1, 256)[None]
    save_file({f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down}, path)


def test_generate_refuses_an_opaque_foreground(capsys, tmp_path: Path):
    foreground = tmp_path / "item.png"
    foreground.write_bytes(png(mode="RGB"))
    status, _, err = run(capsys, "generate", "--foreground", foreground)
    assert status == 2
    assert_one_line(err, "transparent")
