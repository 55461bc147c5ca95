"""The same factors under the names of every trainer act the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from engine.adapters.host import AdapterHost
from engine.adapters.names import Target, name_table
from tests.engine.adapters.forwards import forward_with, inputs
from tests.engine.adapters.lora_writer import modules_of

CONFIGS = Path(__file__).resolve().parents[3] / "engine" / "configs"
ATTENTION = "down_blocks.1.attentions.0.transformer_blocks.0.attn1."


def factors(unet: UNet2DConditionModel, paths: list[str]) -> dict[str, tuple[torch.Tensor, ...]]:
    generator = torch.Generator().manual_seed(2)
    made = {}
    for number, path in enumerate(paths):
        weight, rank = unet.get_submodule(path).weight, 1 + number % 3
        down = torch.randn(rank, *weight.shape[1:], generator=generator)
        up = torch.randn(len(weight), rank, *[1] * (weight.dim() - 2), generator=generator)
        made[path] = (down, up)
    return made


def kohya(path: str) -> tuple[str, str, str]:
    stem = f"lora_unet_{path.replace('.', '_')}"
    return stem, ".lora_down.weight", ".lora_up.weight"


def peft(path: str) -> tuple[str, str, str]:
    return f"base_model.model.{path}", ".lora_A.weight", ".lora_B.weight"


def diffusers_peft(path: str) -> tuple[str, str, str]:
    return f"unet.{path}", ".lora_A.weight", ".lora_B.weight"


def diffusers_old(path: str) -> tuple[str, str, str]:
    return f"unet.{path}", ".lora.down.weight", ".lora.up.weight"


def processors(path: str) -> tuple[str, str, str]:
    attention, projection = path.removesuffix(".0").rsplit(".", 1)
    return f"{attention}.processor.{projection}", "_lora.down.weight", "_lora.up.weight"


def prefixed_processors(path: str) -> tuple[str, str, str]:
    stem, down, up = processors(path)
    return f"unet.{stem}", down, up


def original(path: str) -> tuple[str, str, str]:
    """What the SGM code calls the first attention block of the tiny UNet."""
    assert path.startswith(ATTENTION)
    rest = path.removeprefix(ATTENTION).replace(".", "_")
    stem = f"lora_unet_input_blocks_3_1_transformer_blocks_0_attn1_{rest}"
    return stem, ".lora_down.weight", ".lora_up.weight"


@pytest.mark.parametrize(
    "layout",
    [peft, diffusers_peft, diffusers_old, processors, prefixed_processors, original],
    ids=lambda layout: layout.__name__,
)
def test_a_layout_means_the_same_as_kohyas(
    unet: UNet2DConditionModel, tmp_path: Path, layout: Callable[[str], tuple[str, str, str]]
) -> None:
    paths = [ATTENTION + name for name in ("to_q", "to_k", "to_v", "to_out.0")]
    made = factors(unet, paths)
    outputs = []
    for number, spelling in enumerate((kohya, layout)):
        tensors = {}
        for path, (down, up) in made.items():
            stem, down_suffix, up_suffix = spelling(path)
            tensors |= {stem + down_suffix: down, stem + up_suffix: up}
        file = tmp_path / f"{number}.safetensors"
        save_file(tensors, file)
        host = AdapterHost(unet, ())
        lora = host.lora(file)
        assert set(lora.updates["unet"]) == set(paths)
        assert lora.unmatched == ()
        outputs.append(forward_with(host, unet, [((lora, 1.0),)], inputs(1)))
    assert torch.equal(*outputs)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_the_original_block_numbers_are_those_diffusers_converts_from(family: str) -> None:
    """Each module is named by its original name alone; diffusers' converter finds it there."""
    config = UNet2DConditionModel.load_config(CONFIGS / family / "unet")
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config)
    names = {
        target.path: name.removeprefix("diffusion_model.")
        for name, target in name_table(unet, ()).items()
        if name.startswith("diffusion_model.")
    }
    assert set(names) == set(modules_of(unet))
    weights = {f"{name}.weight": number for number, name in enumerate(names.values())}
    # The converter also moves biases and norms, which no LoRA touches.
    others = {f"{name}.bias": -1 for name in names.values()}
    norms = [f"{name.rpartition('.')[0]}.0" for path, name in names.items() if "resnets" in path]
    for norm in ("out.0", *norms):
        others |= {f"{norm}.weight": -1, f"{norm}.bias": -1}
    state = {
        f"model.diffusion_model.{key}": torch.tensor(value)
        for key, value in (others | weights).items()
    }
    converted = convert_ldm_unet_checkpoint(state, config)
    found = {
        int(value): key.removesuffix(".weight") for key, value in converted.items() if value >= 0
    }
    assert found == dict(enumerate(names))


def path_of(table: dict[str, Target], name: str) -> str:
    target = table[name]
    return f"{target.model}:{target.path}"


def test_names_as_sdxl_loras_spell_them() -> None:
    config = UNet2DConditionModel.load_config(CONFIGS / "sdxl" / "unet")
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config)
        small = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2}
        ids = {"vocab_size": 9, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
        encoders = (
            CLIPTextModel(CLIPTextConfig(**small, **ids, num_hidden_layers=12)),
            CLIPTextModelWithProjection(CLIPTextConfig(**small, **ids, num_hidden_layers=32)),
        )
    table = name_table(unet, encoders)
    known = {
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q": (
            "unet:down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
        ),
        "lora_unet_input_blocks_8_1_transformer_blocks_9_attn2_to_out_0": (
            "unet:down_blocks.2.attentions.1.transformer_blocks.9.attn2.to_out.0"
        ),
        "lora_unet_middle_block_1_transformer_blocks_9_ff_net_0_proj": (
            "unet:mid_block.attentions.0.transformer_blocks.9.ff.net.0.proj"
        ),
        "lora_unet_output_blocks_5_1_proj_out": "unet:up_blocks.1.attentions.2.proj_out",
        "lora_unet_output_blocks_2_2_conv": "unet:up_blocks.0.upsamplers.0.conv",
        "lora_unet_input_blocks_3_0_op": "unet:down_blocks.0.downsamplers.0.conv",
        "lora_unet_input_blocks_7_0_skip_connection": (
            "unet:down_blocks.2.resnets.0.conv_shortcut"
        ),
        "lora_unet_output_blocks_8_0_emb_layers_1": "unet:up_blocks.2.resnets.2.time_emb_proj",
        "lora_unet_label_emb_0_0": "unet:add_embedding.linear_1",
        "lora_te1_text_model_encoder_layers_11_mlp_fc1": "text_encoder:encoder.layers.11.mlp.fc1",
        "lora_te2_text_model_encoder_layers_31_self_attn_out_proj": (
            "text_encoder_2:text_model.encoder.layers.31.self_attn.out_proj"
        ),
        "text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj": (
            "text_encoder_2:text_model.encoder.layers.0.self_attn.q_proj"
        ),
        "text_encoder.text_model.encoder.layers.0.self_attn.to_out": (
            "text_encoder:encoder.layers.0.self_attn.out_proj"
        ),
        "lora_te2_text_projection": "text_encoder_2:text_projection",
    }
    assert {name: path_of(table, name) for name in known} == known
    assert "lora_te_text_model_encoder_layers_0_mlp_fc1" not in table


def test_names_as_sd1_loras_spell_them(text_encoder: CLIPTextModel) -> None:
    config = UNet2DConditionModel.load_config(CONFIGS / "sd1" / "unet")
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config)
    table = name_table(unet, (text_encoder,))
    known = {
        "lora_unet_down_blocks_0_attentions_1_proj_in": "unet:down_blocks.0.attentions.1.proj_in",
        "lora_unet_input_blocks_2_1_proj_in": "unet:down_blocks.0.attentions.1.proj_in",
        "lora_unet_output_blocks_3_1_proj_in": "unet:up_blocks.1.attentions.0.proj_in",
        "lora_unet_output_blocks_2_1_conv": "unet:up_blocks.0.upsamplers.0.conv",
        "lora_te_text_model_encoder_layers_1_self_attn_k_proj": (
            "text_encoder:encoder.layers.1.self_attn.k_proj"
        ),
        "base_model.model.text_model.encoder.layers.1.self_attn.k_proj": (
            "text_encoder:encoder.layers.1.self_attn.k_proj"
        ),
    }
    assert {name: path_of(table, name) for name in known} == known


def scale_of(unet: UNet2DConditionModel, file: Path) -> float:
    """By what the product of a one-module file's factors, both all ones, is multiplied."""
    (update,) = AdapterHost(unet, ()).lora(file).updates["unet"].values()
    down, up = update.factors.split(unet.get_submodule(PATH).in_features, dim=1)
    return float((up.T @ down)[0, 0])


PATH = ATTENTION + "to_q"
RANK = 4


def ones(unet: UNet2DConditionModel, stem: str) -> dict[str, torch.Tensor]:
    rows, columns = unet.get_submodule(PATH).weight.shape
    return {
        f"{stem}.lora_A.weight": torch.ones(RANK, columns),
        f"{stem}.lora_B.weight": torch.ones(rows, RANK),
    }


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({}, 1.0),
        ({"r": 4, "lora_alpha": 8}, 2.0),
        ({"r": 2, "lora_alpha": 8, "rank_pattern": {PATH: 4}}, 2.0),
        ({"r": 4, "lora_alpha": 8, "alpha_pattern": {PATH: 2}}, 0.5),
        ({"r": 4, "lora_alpha": 8, "alpha_pattern": {"attn1.to_q": 1}}, 0.25),
        ({"r": 4, "lora_alpha": 8, "alpha_pattern": {"to_k": 1}}, 2.0),
        ({"r": 4, "lora_alpha": 8, "use_rslora": True}, 4.0),
    ],
)
def test_pefts_alpha_comes_from_the_metadata(
    unet: UNet2DConditionModel, tmp_path: Path, config: dict[str, object], scale: float
) -> None:
    packed = {f"unet.{key}": value for key, value in config.items()}
    by_diffusers = tmp_path / "pytorch_lora_weights.safetensors"
    save_file(
        ones(unet, f"unet.{PATH}"), by_diffusers, {"lora_adapter_metadata": json.dumps(packed)}
    )
    assert scale_of(unet, by_diffusers) == pytest.approx(RANK * scale)
    by_peft = tmp_path / "adapter_model.safetensors"
    save_file(ones(unet, f"base_model.model.{PATH}"), by_peft)
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    assert scale_of(unet, by_peft) == pytest.approx(RANK * scale)


def test_an_alpha_in_the_file_goes_before_the_metadata(
    unet: UNet2DConditionModel, tmp_path: Path
) -> None:
    file = tmp_path / "lora.safetensors"
    tensors = ones(unet, f"unet.{PATH}") | {f"unet.{PATH}.alpha": torch.tensor(2)}
    save_file(tensors, file, {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 64})})
    assert scale_of(unet, file) == pytest.approx(2.0)
