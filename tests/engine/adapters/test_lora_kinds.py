"""Each kind of LoRA equals the dense update it stands for, on every layer of a real UNet."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextModel

from engine.adapters.host import AdapterHost
from engine.adapters.lora_info import read_lora_info
from engine.adapters.updates import Dense, Kronecker, LowRank
from tests.engine.adapters import lora_writer
from tests.engine.adapters.forwards import assert_close, forward, forward_with, inputs, merged
from tests.engine.adapters.lora_writer import dora, modules_of, write_lora

KINDS = {
    "lora": (lora_writer.lora, {"lora", "locon"}),
    "no_alpha": (lora_writer.lora_without_alpha, {"lora", "locon"}),
    "tucker": (lora_writer.tucker, {"lora", "locon"}),
    "loha": (lora_writer.loha, {"loha"}),
    "loha_tucker": (lora_writer.loha_tucker, {"loha"}),
    "lokr": (lora_writer.lokr, {"lokr"}),
    "lokr_tucker": (lora_writer.lokr_tucker, {"lokr"}),
    "dora": (dora(lora_writer.lora), {"lora", "locon", "dora"}),
    "dora_tucker": (dora(lora_writer.tucker), {"lora", "locon", "dora"}),
    "dora_by_input": (dora(lora_writer.lora, by_input=True), {"lora", "locon", "dora"}),
    "dora_loha": (dora(lora_writer.loha), {"loha", "dora"}),
    "dora_lokr": (dora(lora_writer.lokr), {"lokr", "dora"}),
    "dora_lokr_by_input": (dora(lora_writer.lokr, by_input=True), {"lokr", "dora"}),
}


def kohya_stems(unet: UNet2DConditionModel) -> dict[str, torch.Tensor]:
    return {
        f"lora_unet_{path.replace('.', '_')}": module.weight
        for path, module in modules_of(unet).items()
    }


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("weight", [1.0, 0.35, -0.8])
def test_a_kind_equals_its_dense_update(
    unet: UNet2DConditionModel, tmp_path: Path, name: str, weight: float
) -> None:
    kind, reported = KINDS[name]
    file = tmp_path / "lora.safetensors"
    by_stem = write_lora(file, kind, kohya_stems(unet))
    assert read_lora_info(file).kinds == reported
    host = AdapterHost(unet, ())
    lora = host.lora(file)
    assert lora.unmatched == ()
    arguments = inputs(3)
    deltas = dict(zip(modules_of(unet), by_stem.values(), strict=True))
    expected = forward(merged(unet, (deltas, weight)), arguments)
    assert_close(forward_with(host, unet, [((lora, weight),)] * 3, arguments), expected)
    assert (expected - forward(unet, arguments)).abs().max() > 0.01


def test_a_hadamard_product_runs_as_thin_factors_up_to_rank_64_and_dense_beyond(
    unet: UNet2DConditionModel, tmp_path: Path
) -> None:
    file = tmp_path / "loha.safetensors"
    stems = kohya_stems(unet)
    write_lora(file, lora_writer.loha, stems, max_rank=9)
    ranks = {path: 1 + number % 9 for number, path in enumerate(modules_of(unet))}
    updates = AdapterHost(unet, ()).lora(file).updates["unet"]
    for path, rank in ranks.items():
        assert isinstance(updates[path], LowRank if rank <= 8 else Dense), (path, rank)
    lokr = tmp_path / "lokr.safetensors"
    write_lora(lokr, lora_writer.lokr, stems)
    updates = AdapterHost(unet, ()).lora(lokr).updates["unet"]
    assert {type(update) for update in updates.values()} == {Kronecker}


def test_dense_hadamard_products_are_exact_too(unet: UNet2DConditionModel, tmp_path: Path) -> None:
    file = tmp_path / "loha.safetensors"
    by_stem = write_lora(file, lora_writer.loha, kohya_stems(unet), max_rank=9)
    host = AdapterHost(unet, ())
    arguments = inputs(2)
    deltas = dict(zip(modules_of(unet), by_stem.values(), strict=True))
    actual = forward_with(host, unet, [((host.lora(file), 0.5),)] * 2, arguments)
    assert_close(actual, forward(merged(unet, (deltas, 0.5)), arguments))


@pytest.mark.parametrize("name", ["lora", "loha", "lokr", "dora"])
def test_a_text_encoder_takes_every_kind(
    unet: UNet2DConditionModel, text_encoder: CLIPTextModel, tmp_path: Path, name: str
) -> None:
    file = tmp_path / "lora.safetensors"
    modules = modules_of(text_encoder)
    stems = {
        f"lora_te_text_model_{path.replace('.', '_')}": module.weight
        for path, module in modules.items()
    }
    by_stem = write_lora(file, KINDS[name][0], stems)
    host = AdapterHost(unet, (text_encoder,))
    lora = host.lora(file)
    assert lora.unmatched == ()
    tokens = torch.tensor([[1, 17, 30, 4, 2, 0], [1, 8, 2, 0, 0, 0]])
    deltas = dict(zip(modules, by_stem.values(), strict=True))
    with torch.inference_mode():
        expected = merged(text_encoder, (deltas, 0.7))(tokens).last_hidden_state
        with host.text_encoding(((lora, 0.7),)):
            actual = text_encoder(tokens).last_hidden_state
        plain = text_encoder(tokens).last_hidden_state
    assert_close(actual, expected)
    assert (actual - plain).abs().max() > 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_factors_far_below_the_models_precision_keep_their_digits(
    unet: UNet2DConditionModel, tmp_path: Path, dtype: torch.dtype
) -> None:
    def faint(rng, base, rank):  # type: ignore[no-untyped-def]
        parts, delta = lora_writer.lora(rng, base, rank)
        for suffix in (".lora_down.weight", ".lora_up.weight"):
            parts[suffix] = parts[suffix] * 1e-6
        parts[".alpha"] = parts[".alpha"] * 1e12
        return parts, delta

    path = "mid_block.attentions.0.proj_in"
    file = tmp_path / "faint.safetensors"
    (delta,) = write_lora(
        file, faint, {f"unet.{path}": unet.get_submodule(path).weight}, max_rank=1
    ).values()
    module = unet.get_submodule(path)
    x = torch.randn(2, 32, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    expected = torch.nn.functional.conv2d(x, module.weight + torch.from_numpy(delta), module.bias)
    small = type(unet).from_config(unet.config).to(dtype)
    small.load_state_dict(unet.state_dict())
    host = AdapterHost(small, ())
    with torch.inference_mode(), host.unet_rows([((host.lora(file), 1.0),)] * 2):
        actual = small.get_submodule(path)(x.to(dtype)).double()
    assert (actual - expected).abs().max() < 8 * torch.finfo(dtype).eps * expected.abs().max()
