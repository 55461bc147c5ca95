"""The weight files of a diffusers folder: whole, in shards, as variants, and damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.checkpoint import Checkpoint, load_checkpoint
from engine.errors import WeightsUnavailable
from tests.engine.single_files import narrow
from tests.engine.tiny import EPSILON, write_registry, write_tiny_model

UNET = Path("one", "unet", "diffusion_pytorch_model.safetensors")
VAE = Path("one", "vae", "diffusion_pytorch_model.safetensors")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_tiny_model(tmp_path / "one", in_channels=4, scheduler=EPSILON, kl=True)
    return tmp_path


def test_what_a_folder_lacks_or_has_too_much_is_named(root: Path) -> None:
    weights = load_file(root / UNET)
    del weights["conv_out.bias"]
    weights["conv_out.scale"] = torch.ones(1)
    weights["conv_in.bias"] = torch.ones(2)
    save_file(weights, root / UNET)
    message = refusal(root)
    assert message.startswith(str(root / UNET))
    assert "missing 'conv_out.bias'; unexpected 'conv_out.scale'; 'conv_in.bias' has the" in message


def test_shards_are_one_model(root: Path) -> None:
    expected = load(root).unet.state_dict()
    shard(root)
    assert_equal(load(root).unet.state_dict(), expected)


def test_a_missing_shard_is_named(root: Path) -> None:
    shard(root)
    (root / UNET).with_name("b.safetensors").unlink()
    assert "b.safetensors: cannot be read (No such file" in refusal(root)


def test_an_index_may_not_reach_out_of_its_folder(root: Path) -> None:
    index = shard(root)
    narrow(index, weight_map={"conv_in.weight": "../vae/diffusion_pytorch_model.safetensors"})
    assert "a shard lies outside the folder" in refusal(root)


def test_the_fp16_variant_is_found(root: Path) -> None:
    expected = load(root).unet.state_dict()
    (root / UNET).rename((root / UNET).with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert_equal(load(root).unet.state_dict(), expected)


def test_attention_of_early_vaes_is_found(root: Path) -> None:
    expected = load(root).own_vae.module.state_dict()
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = load_file(root / VAE)
    for new, spelled in old.items():
        weights = {name.replace(f".{new}.", f".{spelled}."): weights[name] for name in weights}
    save_file(weights, root / VAE)
    assert_equal(load(root).own_vae.module.state_dict(), expected)


def test_a_pickled_component_needs_leave(root: Path) -> None:
    expected = load(root).unet.state_dict()
    torch.save(load_file(root / UNET), (root / UNET).with_suffix(".bin"))
    (root / UNET).unlink()
    assert "is pickled" in refusal(root)
    assert_equal(load(root, allow_pickle=True).unet.state_dict(), expected)


def test_a_component_without_weights_is_named(root: Path) -> None:
    (root / VAE).unlink()
    assert f"{VAE}: no such file" in refusal(root)


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [("unet", "block_out_channels", [10, 7]), ("vae", "_class_name", "X"), ("unet", "act_fn", 3)],
)
def test_an_unusable_config_is_named(root: Path, part: str, key: str, value: object) -> None:
    narrow(root / "one" / part / "config.json", **{key: value})
    assert refusal(root).startswith(str(root / "one" / part / "config.json"))


def load(root: Path, **fields: bool) -> Checkpoint:
    model = write_registry(root, one=fields).main_model("one")
    return load_checkpoint(model, device=torch.device("cpu"), dtype=torch.float32)


def refusal(root: Path) -> str:
    with pytest.raises(WeightsUnavailable) as caught:
        load(root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def shard(root: Path) -> Path:
    """Splits the UNet's weights into two files; returns their index."""
    weights = load_file(root / UNET)
    (root / UNET).unlink()
    names = sorted(weights)
    halves = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in halves.items():
        save_file({name: weights[name] for name in part}, (root / UNET).with_name(file))
    index = Path(f"{root / UNET}.index.json")
    weight_map = {name: file for file, part in halves.items() for name in part}
    index.write_text(json.dumps({"weight_map": weight_map}))
    return index


def assert_equal(state: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert state.keys() == expected.keys()
    for name, tensor in state.items():
        assert torch.equal(tensor, expected[name]), name
