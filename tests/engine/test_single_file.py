"""Single-file checkpoints: every layout loads as the same weights do from a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from safetensors.torch import save_file

from engine.checkpoint import Checkpoint, load_checkpoint
from engine.engine import Engine
from engine.errors import WeightsUnavailable
from engine.job import GenerationJob
from engine.registry import Registry
from tests.engine import single_files
from tests.engine.single_files import networks, save, tensors_of, write_configs, write_folder
from tests.engine.tiny import write_registry

CPU = torch.device("cpu")
V_PREDICTION = {"prediction_type": "v_prediction"}
# Family, channels, prediction type.
LAYOUTS = [
    ("sd1", 4, "epsilon"),
    ("sd1", 9, "epsilon"),
    ("sd2", 4, "v_prediction"),
    ("sd2", 9, "epsilon"),
    ("sdxl", 4, "epsilon"),
    ("sdxl", 9, "epsilon"),
]


@pytest.mark.parametrize(("family", "channels", "prediction"), LAYOUTS)
def test_a_single_file_equals_its_diffusers_folder(
    tmp_path: Path, job: GenerationJob, family: str, channels: int, prediction: str
) -> None:
    file = save(tensors_of(networks(family, channels)), tmp_path / "one.safetensors")
    write_folder(tmp_path / "many", file, family, channels, prediction_type=prediction)
    write_configs(tmp_path / "configs", family, 4)
    registry = write_registry(
        tmp_path,
        one={"path": file.name, "config": "configs", "prediction_type": prediction, "family": None},
        many={"family": family},
    )
    one, many = (load(registry, name) for name in ("one", "many"))
    assert one.family == many.family == family
    assert registry.main_model("one").info.noise_schedule.prediction_type == prediction
    assert_equal_weights(one, many)
    images = [
        Engine(registry).generate(replace(job, model_name=name, clip_skip=2))[0].image.tobytes()
        for name in ("one", "many")
    ]
    assert images[0] == images[1]


def test_open_clip_is_the_network_it_was_trained_as(tmp_path: Path) -> None:
    """Against torch's own attention, in both families: the last layer but one, and the pooled."""
    ids = torch.full((2, 77), 0)
    ids[:, 0], ids[:, 5] = 49406, 49407
    ids[0, 1:5], ids[1, 1:3] = torch.tensor([320, 1125, 539, 2368]), torch.tensor([7, 8])
    for family, layers in (("sd2", 23), ("sdxl", 31)):
        modules = networks(family, 4)
        reference = modules[single_files.TEXT[family][-1]]
        states, pooled = reference(ids, layers)
        encoder = load(small(tmp_path / family, family, tensors_of(modules))).text_encoders[-1]
        output = encoder(ids, output_hidden_states=True)
        if family == "sd2":
            torch.testing.assert_close(output.last_hidden_state, reference.ln_final(states))
        else:
            torch.testing.assert_close(output.hidden_states[-2], states)
            torch.testing.assert_close(output.text_embeds, pooled)


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("wanted", [torch.float16, torch.float32])
def test_weights_are_stored_in_any_precision(
    tmp_path: Path, stored: torch.dtype, wanted: torch.dtype
) -> None:
    tensors = {name: tensor.to(stored) for name, tensor in tensors_of(networks("sd1", 4)).items()}
    checkpoint = load(small(tmp_path, "sd1", tensors), dtype=wanted)
    assert {p.dtype for p in checkpoint.unet.parameters()} == {wanted}
    key = "model.diffusion_model.input_blocks.0.0.weight"
    assert torch.equal(checkpoint.unet.conv_in.weight, tensors[key].to(wanted))


def test_the_sdxl_vae_lives_in_float32(tmp_path: Path) -> None:
    checkpoint = load(small(tmp_path, "sdxl", sdxl_tensors()), dtype=torch.float16)
    assert checkpoint.own_vae.dtype is torch.float32
    assert checkpoint.text_encoders[1].dtype is torch.float16


def test_a_loaded_model_does_not_depend_on_its_file(tmp_path: Path) -> None:
    """Weights that stayed mapped would change, or crash the process, with the file."""
    checkpoint = load(small(tmp_path, "sd1", tensors_of(networks("sd1", 4))))
    before = checkpoint.unet.conv_out.weight.clone()
    file = tmp_path / "one.safetensors"
    with file.open("r+b") as opened:
        opened.write(b"\0" * file.stat().st_size)
    assert torch.equal(checkpoint.unet.conv_out.weight, before)


def test_training_state_and_buffers_beside_the_weights_are_passed_over(tmp_path: Path) -> None:
    tensors = tensors_of(networks("sd1", 4)) | {
        "betas": torch.ones(1000),
        "model_ema.decay": torch.ones(()),
        "first_stage_model.loss.logvar": torch.ones(()),
        "cond_stage_model.transformer.text_projection.weight": torch.ones(32, 32),
    }
    assert load(small(tmp_path, "sd1", tensors)).family == "sd1"


def test_text_encoders_of_early_merging_tools_load(tmp_path: Path) -> None:
    tensors = tensors_of(networks("sd1", 4))
    flat = {
        name.replace("transformer.text_model.", "transformer."): tensors[name] for name in tensors
    }
    one, two = (
        load(small(tmp_path / name, "sd1", each))
        for name, each in (("wrapped", tensors), ("flat", flat))
    )
    assert_equal_weights(one, two)


def test_an_sd2_text_encoder_in_the_newer_place_is_the_same(tmp_path: Path) -> None:
    tensors = tensors_of(networks("sd2", 4))
    moved = {
        name.replace("cond_stage_model.", "conditioner.embedders.0."): each
        for name, each in tensors.items()
    }
    one, two = (
        load(small(tmp_path / name, "sd2", each))
        for name, each in (("old", tensors), ("new", moved))
    )
    assert_equal_weights(one, two)


def test_a_projection_named_as_a_linear_layer_is_not_transposed(tmp_path: Path) -> None:
    tensors = sdxl_tensors()
    key = "conditioner.embedders.1.model.text_projection"
    spelled = {name: each for name, each in tensors.items() if name != key}
    spelled[key + ".weight"] = tensors[key].T.contiguous()
    one, two = (
        load(small(tmp_path / name, "sdxl", each))
        for name, each in (("plain", tensors), ("linear", spelled))
    )
    assert_equal_weights(one, two)


@pytest.mark.parametrize("damage", [b"PK\x03\x04", b"\x80\x02", b"\x80\x02}q\x00."])
def test_a_damaged_pickle_is_told_in_one_line(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "one.ckpt").write_bytes(damage)
    write_configs(tmp_path / "configs", "sd1", 4)
    fields = {"path": "one.ckpt", "in_channels": 9, "config": "configs", "allow_pickle": True}
    with pytest.raises(WeightsUnavailable, match=r"one\.ckpt: ") as caught:
        load(write_registry(tmp_path, one=fields))
    assert "\n" not in str(caught.value)


def test_what_is_missing_extra_and_misshaped_is_named_in_one_line(tmp_path: Path) -> None:
    tensors = tensors_of(networks("sd1", 4))
    del tensors["model.diffusion_model.middle_block.1.proj_in.weight"]
    del tensors["model.diffusion_model.out.2.bias"]
    tensors["model.diffusion_model.middle_block.3.weight"] = torch.ones(3)
    tensors["model.diffusion_model.time_embed.0.bias"] = torch.ones(3)
    with pytest.raises(WeightsUnavailable) as caught:
        load(small(tmp_path, "sd1", tensors))
    message = str(caught.value)
    assert "\n" not in message
    for word in (
        "one.safetensors: does not fit as unet",
        "missing 'model.diffusion_model.middle_block.1.proj_in.weight' (and 1 more)",
        "unexpected 'model.diffusion_model.middle_block.3.weight'",
        "'model.diffusion_model.time_embed.0.bias' has the shape [3], expected [64]",
    ):
        assert word in message


def test_weights_must_be_floating_point(tmp_path: Path) -> None:
    tensors = tensors_of(networks("sd1", 4))
    name = "first_stage_model.decoder.conv_out.bias"
    tensors[name] = tensors[name].to(torch.int8)
    with pytest.raises(WeightsUnavailable, match=f"{name}' has the dtype I8"):
        load(small(tmp_path, "sd1", tensors))


# --- VAEs ---


@pytest.mark.parametrize("layout", ["original", "with prefix", "diffusers"])
def test_a_vae_file_serves_as_shared_vae(tmp_path: Path, layout: str) -> None:
    modules = networks("sd1", 4, seed=5)
    tensors = modules[single_files.VAE].state_dict()
    file = tmp_path / "vae.safetensors"
    save_file(
        {"first_stage_model." * (layout == "with prefix") + k: v for k, v in tensors.items()}, file
    )
    if layout == "diffusers":
        configs = write_configs(tmp_path / "other", "sd1", 4)
        arguments: dict[str, Any] = {"config": str(configs), "subfolder": "vae"}
        vae = AutoencoderKL.from_single_file(str(file), local_files_only=True, **arguments)
        save_file(vae.state_dict(), file)
    registry = small(tmp_path, "sd1", tensors_of(networks("sd1", 4)), shared_vae="vae.safetensors")
    checkpoint = load(registry)
    key = "decoder.conv_in.weight"
    assert torch.equal(checkpoint.vae.module.state_dict()[key], tensors[key])
    assert not torch.equal(checkpoint.own_vae.module.state_dict()[key], tensors[key])


def test_a_tiny_vae_file_serves_as_shared_vae(tmp_path: Path) -> None:
    tiny = AutoencoderTiny()
    save_file(tiny.state_dict(), tmp_path / "tiny.safetensors")
    tensors = tensors_of(networks("sdxl", 4))
    without = {name: tensors[name] for name in tensors if not name.startswith("first_stage_model.")}
    checkpoint = load(small(tmp_path, "sdxl", without, shared_vae="tiny.safetensors"))
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    # Other memory formats run other kernels, whose last bits differ on some processors.
    tiny.eval().to(memory_format=torch.channels_last)
    assert torch.equal(checkpoint.vae.encode(image), tiny.encode(image).latents)
    assert checkpoint.own_vae is checkpoint.vae


def test_a_file_that_is_no_vae_is_named(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(2)}, tmp_path / "vae.safetensors")
    registry = small(tmp_path, "sd1", tensors_of(networks("sd1", 4)), shared_vae="vae.safetensors")
    with pytest.raises(WeightsUnavailable, match=r"vae\.safetensors: .*missing 'encoder\."):
        load(registry)


# --- pickles ---


def test_a_pickled_checkpoint_loads_only_where_its_entry_allows_it(tmp_path: Path) -> None:
    tensors = tensors_of(networks("sd1", 9))
    torch.save({"state_dict": tensors, "global_step": 7}, tmp_path / "one.ckpt")
    fields = {"path": "one.ckpt", "family": "sd1", "in_channels": 9, "config": "configs"}
    write_configs(tmp_path / "configs", "sd1", 4)
    allowed = load(write_registry(tmp_path, one=fields | {"allow_pickle": True}))
    same = load(small(tmp_path / "safe", "sd1", tensors))
    assert_equal_weights(allowed, same)
    refused = write_registry(tmp_path, one=fields)
    assert "allow_pickle" in refused.unusable["one"]
    with pytest.raises(WeightsUnavailable, match=r"one\.ckpt: is pickled"):
        load(refused)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": _Trap(tmp_path / "sprung")}, tmp_path / "one.ckpt")
    write_configs(tmp_path / "configs", "sd1", 4)
    fields = {"path": "one.ckpt", "in_channels": 9, "config": "configs", "allow_pickle": True}
    with pytest.raises(WeightsUnavailable, match=r"one\.ckpt: torch's weights-only") as caught:
        load(write_registry(tmp_path, one=fields))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "sprung").exists()


class _Trap:
    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._file,)


# --- helpers ---


def small(folder: Path, family: str, tensors: dict[str, torch.Tensor], **fields: Any) -> Registry:
    """A registry with one narrow single file."""
    folder.mkdir(exist_ok=True)
    save(tensors, folder / "one.safetensors")
    write_configs(folder / "configs", family, 4)
    entry = {"path": "one.safetensors", "config": "configs", "family": family}
    if family == "sd2":
        entry |= V_PREDICTION
    return write_registry(folder, one=entry | fields)


def sdxl_tensors() -> dict[str, torch.Tensor]:
    return tensors_of(networks("sdxl", 4))


def load(registry: Registry, name: str = "one", dtype: torch.dtype = torch.float32) -> Checkpoint:
    return load_checkpoint(registry.main_model(name), device=CPU, dtype=dtype)


def assert_equal_weights(one: Checkpoint, two: Checkpoint) -> None:
    pairs = [
        (one.unet, two.unet),
        (one.own_vae.module, two.own_vae.module),
        *zip(one.text_encoders, two.text_encoders, strict=True),
    ]
    for ours, theirs in pairs:
        state, other = ours.state_dict(), theirs.state_dict()
        assert state.keys() == other.keys()
        for name, tensor in state.items():
            assert torch.equal(tensor, other[name]), name
