"""What a checkpoint is, told by its files, and what models.yaml may say about it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.engine import Engine
from engine.errors import RegistryError, WeightsUnavailable
from engine.job import GenerationJob
from tests.engine.single_files import networks, save, tensors_of, write_configs
from tests.engine.tiny import V_ZERO_SNR, write_registry, write_tiny_model

FILE = {"path": "one.safetensors", "family": None}


@cache
def tensors(family: str, channels: int = 4) -> dict[str, torch.Tensor]:
    """Only what tells them apart and one tensor of every kind: a header with little behind it."""
    names = ("input_blocks.0.0.", "conv_in", "final", "ln_final", "out.2.")
    full = tensors_of(networks(family, channels))
    return {name: value for name, value in full.items() if any(n in name for n in names)}


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
@pytest.mark.parametrize("channels", [4, 9])
def test_family_and_channels_are_told_by_the_tensors(
    tmp_path: Path, family: str, channels: int
) -> None:
    save(tensors(family, channels), tmp_path / "one.safetensors")
    info = write_registry(tmp_path, one=FILE | {"prediction_type": "epsilon"}).models["one"].info
    assert (info.family, info.unet_in_channels) == (family, channels)
    assert (info.vae_scale_factor, info.noise_schedule.prediction_type) == (8, "epsilon")
    assert info.text_layers == {"sd1": 12, "sd2": 23, "sdxl": 12}[family]


@pytest.mark.parametrize(
    ("metadata", "markers", "expected"),
    [
        ({}, (), ("epsilon", "leading", False)),
        ({"modelspec_prediction_type": "epsilon"}, (), ("epsilon", "leading", False)),
        ({"modelspec_prediction_type": "v"}, (), ("v_prediction", "leading", False)),
        ({}, ("v_pred",), ("v_prediction", "leading", False)),
        ({}, ("v_pred", "ztsnr"), ("v_prediction", "trailing", True)),
    ],
)
def test_prediction_type_is_told_by_metadata_or_marker_tensors(
    tmp_path: Path,
    metadata: dict[str, str],
    markers: tuple[str, ...],
    expected: tuple[str, str, bool],
) -> None:
    marked = tensors("sdxl") | {name: torch.ones(0) for name in markers}
    save(marked, tmp_path / "one.safetensors", **metadata)
    schedule = write_registry(tmp_path, one=FILE).models["one"].info.noise_schedule
    zero_snr = float(schedule.training_sigmas()[-1]) > 1000
    assert (schedule.prediction_type, schedule.timestep_spacing, zero_snr) == expected


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [("stable-diffusion-v2-768-v", "v_prediction"), ("stable-diffusion-v2-512", "epsilon")],
)
def test_sd2_is_told_apart_by_its_label(tmp_path: Path, architecture: str, expected: str) -> None:
    file = tmp_path / "one.safetensors"
    save(tensors("sd2"), file, modelspec_architecture=architecture)
    info = write_registry(tmp_path, one=FILE).models["one"].info
    assert info.noise_schedule.prediction_type == expected


def test_what_the_file_leaves_open_comes_from_models_yaml(tmp_path: Path) -> None:
    save(tensors("sd1"), tmp_path / "one.safetensors")
    said = {
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "linspace",
    }
    schedule = write_registry(tmp_path, one=FILE | said).models["one"].info.noise_schedule
    assert schedule.prediction_type == "v_prediction"
    assert schedule.timestep_spacing == "linspace"
    assert schedule.training_sigmas()[-1] > 1000


def test_what_the_folder_leaves_open_comes_from_models_yaml(tmp_path: Path) -> None:
    """Folders of the first releases say neither prediction type nor spacing."""
    write_tiny_model(tmp_path / "one", in_channels=4, scheduler=V_ZERO_SNR)
    file = tmp_path / "one" / "scheduler" / "scheduler_config.json"
    kept = ("beta_start", "beta_end", "beta_schedule", "num_train_timesteps")
    config = json.loads(file.read_text())
    file.write_text(json.dumps({key: config[key] for key in kept if key in config}))
    said = {"prediction_type": "v_prediction", "timestep_spacing": "linspace"}
    schedule = write_registry(tmp_path, one=said).models["one"].info.noise_schedule
    assert (schedule.prediction_type, schedule.timestep_spacing) == ("v_prediction", "linspace")
    said = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    schedule = write_registry(tmp_path, one=said).models["one"].info.noise_schedule
    assert schedule.timestep_spacing == "trailing"
    assert schedule.training_sigmas()[-1] > 1000


def test_an_sd2_file_with_a_config_of_its_own_needs_no_prediction_type(tmp_path: Path) -> None:
    save(tensors("sd2"), tmp_path / "one.safetensors")
    write_configs(tmp_path / "configs", "sd2", 4, prediction_type="v_prediction")
    info = write_registry(tmp_path, one=FILE | {"config": "configs"}).models["one"].info
    assert info.noise_schedule.prediction_type == "v_prediction"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"family": "sdxl"}, "family is sd1, models.yaml says sdxl"),
        ({"in_channels": 9}, "in_channels is 4, models.yaml says 9"),
        ({"prediction_type": "epsilon"}, "prediction_type is v_prediction, models.yaml says eps"),
        ({"rescale_betas_zero_snr": False}, "rescale_betas_zero_snr is True, models.yaml says F"),
    ],
)
def test_a_contradiction_of_file_and_entry_names_both(
    tmp_path: Path, said: dict[str, Any], told: str
) -> None:
    marked = tensors("sd1") | {"v_pred": torch.ones(0), "ztsnr": torch.ones(0)}
    save(marked, tmp_path / "one.safetensors")
    assert told in mistake(tmp_path, FILE | said)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"family": "sdxl"}, "text_encoder_2/config.json"),
        ({"in_channels": 9}, "in_channels is 4, models.yaml says 9"),
        ({"prediction_type": "epsilon"}, "prediction_type is v_prediction, models.yaml says eps"),
        ({"timestep_spacing": "leading"}, "timestep_spacing is trailing, models.yaml says leading"),
        ({"config": "one"}, "brings its own configs"),
    ],
)
def test_a_contradiction_of_folder_and_entry_names_both(
    tmp_path: Path, said: dict[str, Any], told: str
) -> None:
    write_tiny_model(tmp_path / "one", in_channels=4, scheduler=V_ZERO_SNR)
    assert told in mistake(tmp_path, said)


@pytest.mark.parametrize(
    ("family", "said", "told"),
    [
        ("sd2", {}, "an SD 2 file without metadata: set prediction_type"),
        ("sd1", {"sampler": "pndm"}, "sampler"),
        ("sd1", {"path": "one.safetensors\0"}, "path"),
        ("sd1", {"path": "../../../nowhere.safetensors"}, "neither a folder nor a file"),
        ("sd1", {"path": "package:../../x"}, "ships no model"),
        ("sd1", {"config": "one.safetensors"}, "is not a folder"),
        ("sd1", {"in_channels": 5}, "in_channels"),
    ],
)
def test_a_mistake_in_models_yaml_stops_the_start(
    tmp_path: Path, family: str, said: dict[str, Any], told: str
) -> None:
    save(tensors(family), tmp_path / "one.safetensors")
    assert told in mistake(tmp_path, FILE | said)


def test_sd2_in_the_newer_layout_is_no_refiner(tmp_path: Path) -> None:
    """SD Turbo holds its text encoder where the SDXL refiner holds its own."""
    moved = {
        name.replace("cond_stage_model.model.", "conditioner.embedders.0.model."): value
        for name, value in tensors("sd2").items()
    }
    save(moved, tmp_path / "one.safetensors")
    entry = FILE | {"prediction_type": "epsilon"}
    assert write_registry(tmp_path, one=entry).models["one"].info.family == "sd2"
    refiner = moved | {"model.diffusion_model.label_emb.0.0.weight": torch.ones(2, 2)}
    save(refiner, tmp_path / "two.safetensors")
    entry["path"] = "two.safetensors"
    assert "an SDXL refiner" in write_registry(tmp_path, one=entry).unusable["one"]


@pytest.mark.parametrize("marker", ["edm_mean", "edm_vpred.sigma_max"])
def test_a_model_of_another_parametrisation_is_not_taken_for_epsilon(
    tmp_path: Path, marker: str
) -> None:
    save(tensors("sdxl") | {marker: torch.ones(())}, tmp_path / "one.safetensors")
    assert "EDM" in write_registry(tmp_path, one=FILE).unusable["one"]


def test_a_file_without_a_vae_needs_a_shared_one(tmp_path: Path) -> None:
    pruned = {k: v for k, v in tensors("sd1").items() if not k.startswith("first_stage_model.")}
    save(pruned, tmp_path / "one.safetensors")
    assert "holds no VAE: name one as shared_vae" in mistake(tmp_path, FILE)
    save(pruned, tmp_path / "vae.safetensors")
    assert not write_registry(tmp_path, one=FILE | {"shared_vae": "vae.safetensors"}).unusable


OTHER_KINDS = {
    "lora_unet_down_blocks_0.lora_down.weight": "a LoRA",
    "emb_params": "an embedding",
    "model.diffusion_model.double_blocks.0.img_attn.qkv.weight": "FLUX",
    "model.diffusion_model.joint_blocks.0.x": "SD 3",
    "down_blocks.0.resnets.0.conv1.weight": "the UNet of a diffusers folder",
    "control_model.zero_convs.0.0.weight": "a ControlNet",
    "encoder.conv_in.weight": "a VAE",
    "a": "its first tensor is 'a'",
    "model.diffusion_model.input_blocks.0.0.weight": "no text encoder",
}


@pytest.mark.parametrize(("name", "told"), OTHER_KINDS.items())
def test_a_file_of_another_kind_is_told_and_the_others_are_served(
    tmp_path: Path, job: GenerationJob, name: str, told: str
) -> None:
    save({name: torch.ones(8, 4, 3, 3)}, tmp_path / "one.safetensors")
    assert told in _served_beside_a_good_model(tmp_path, job)


@pytest.mark.parametrize(
    ("label", "told"),
    [("stable-diffusion-xl-v1-base", "metadata say sdxl, its tensors are sd1: set family to sd1")],
)
def test_a_file_under_a_false_label_is_told_and_the_others_are_served(
    tmp_path: Path, job: GenerationJob, label: str, told: str
) -> None:
    save(tensors("sd1"), tmp_path / "one.safetensors", modelspec_architecture=label)
    assert told in _served_beside_a_good_model(tmp_path, job)
    settled = write_registry(tmp_path, one=FILE | {"family": "sd1"})
    assert not settled.unusable


def test_a_truncated_file_is_told_and_the_others_are_served(
    tmp_path: Path, job: GenerationJob
) -> None:
    file = save(tensors("sd1"), tmp_path / "one.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    assert "truncated" in _served_beside_a_good_model(tmp_path, job)


def _served_beside_a_good_model(folder: Path, job: GenerationJob) -> str:
    """Registers the bad file beside a good model, which must work; returns the bad one's line."""
    write_tiny_model(folder / "good", in_channels=9, scheduler=V_ZERO_SNR)
    registry = write_registry(folder, good={}, one=FILE)
    engine = Engine(registry)
    job = GenerationJob(
        job_id="a", model_name="good", foreground=job.foreground, num_inference_steps=6
    )
    assert len(engine.generate(job)) == 1
    with pytest.raises(WeightsUnavailable) as caught:
        engine.add(GenerationJob(job_id="b", model_name="one", foreground=job.foreground))
    line = str(caught.value)
    assert registry.unusable == {"one": line}
    assert line.startswith(f"{folder / 'one.safetensors'}: ")
    assert "\n" not in line
    return line


def mistake(folder: Path, entry: dict[str, Any]) -> str:
    with pytest.raises(RegistryError) as caught:
        write_registry(folder, one=entry)
    line = str(caught.value)
    assert line.startswith(f"{folder / 'models.yaml'}: models: entry 'one': ")
    assert "\n" not in line
    return line
