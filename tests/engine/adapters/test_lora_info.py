"""What the header of a LoRA file tells, and the one line that a wrong file gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file

from engine.adapters.host import AdapterHost
from engine.adapters.lora_info import read_lora_info
from engine.errors import EngineFault, IncompatibleAdapter, WeightsUnavailable

Tensors = dict[str, torch.Tensor]
STEM = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"


def pair(stem: str, columns: int = 32, rows: int = 32, rank: int = 2) -> Tensors:
    return {
        f"{stem}.lora_down.weight": torch.ones(rank, columns),
        f"{stem}.lora_up.weight": torch.ones(rows, rank),
    }


def save(folder: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> Path:
    file = folder / "lora.safetensors"
    save_file(tensors, file, metadata)
    return file


def test_planning_reads_headers_without_torch() -> None:
    program = "import sys, engine.adapters.lora_info; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


ATTN2 = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"


@pytest.mark.parametrize(
    ("tensors", "metadata", "family"),
    [
        (pair(ATTN2, 768), {}, "sd1"),
        (pair(ATTN2, 1024), {}, "sd2"),
        (pair(ATTN2, 2048), {}, "sdxl"),
        (pair(ATTN2, 2048), {"ss_base_model_version": "sd_v1"}, "sdxl"),
        (pair("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_v", 768), {}, "sd1"),
        (pair("lora_te2_text_model_encoder_layers_0_mlp_fc1"), {}, "sdxl"),
        (pair("lora_unet_double_blocks_0_img_attn_proj"), {}, "pipeline"),
        (pair("transformer.transformer_blocks.0.attn2.to_k", 768), {}, "pipeline"),
        (pair(STEM), {"ss_base_model_version": "sdxl_base_v1-0"}, "sdxl"),
        (pair(STEM), {"modelspec.architecture": "stable-diffusion-v1/lora"}, "sd1"),
        (pair(STEM), {"modelspec.architecture": "stable-diffusion-3-medium/lora"}, "pipeline"),
        (pair("lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q", 640), {}, "sdxl"),
        (pair("lora_te_text_model_encoder_layers_0_self_attn_q_proj", 768), {}, "sd1"),
        (pair("lora_te_text_model_encoder_layers_0_self_attn_q_proj", 1024), {}, "sd2"),
        (pair("lora_te1_text_model_encoder_layers_0_self_attn_q_proj", 768), {}, None),
        (pair(STEM), {}, None),
        (pair(ATTN2, 24), {}, None),
    ],
)
def test_the_family_is_told_by_shapes_then_names_then_notes(
    tmp_path: Path, tensors: Tensors, metadata: dict[str, str], family: str | None
) -> None:
    info = read_lora_info(save(tmp_path, tensors, metadata))
    assert info.family == family
    if any("attn2" in key for key in tensors) and family != "pipeline":
        assert info.cross_attention_dim == next(iter(tensors.values())).shape[1]


def test_families_of_the_text_width_are_told_for_every_kind(tmp_path: Path) -> None:
    loha = {f"{ATTN2}.hada_w{side}_a": torch.ones(32, 2) for side in "12"}
    loha |= {f"{ATTN2}.hada_w{side}_b": torch.ones(2, 2048) for side in "12"}
    assert read_lora_info(save(tmp_path, loha)).family == "sdxl"
    lokr = {f"{ATTN2}.lokr_w1": torch.ones(4, 24), f"{ATTN2}.lokr_w2": torch.ones(8, 32)}
    assert read_lora_info(save(tmp_path, lokr)).family == "sd1"


DOWN, UP = ".lora_down.weight", ".lora_up.weight"
BROKEN = {
    "up is missing": {STEM + DOWN: torch.ones(2, 32)},
    "does not fit down": {STEM + DOWN: torch.ones(2, 32), STEM + UP: torch.ones(32, 3)},
    "an empty factor": {STEM + DOWN: torch.ones(0, 32), STEM + UP: torch.ones(32, 0)},
    "do not belong together": pair(STEM) | {STEM + ".lokr_w1": torch.ones(2, 2)},
    "hada_w2_b is missing": {
        f"{STEM}.hada_{name}": torch.ones(2, 2) for name in ("w1_a", "w1_b", "w2_a")
    },
    "lokr_w2_a is missing": {STEM + ".lokr_w1": torch.ones(2, 2)},
    "not floating point": {key: value.to(torch.int32) for key, value in pair(STEM).items()},
    "lora_magnitude_vector has shape": pair(STEM)
    | {STEM + ".lora_magnitude_vector": torch.ones(9)},
    "holds no LoRA (its first key: emb_params)": {"emb_params": torch.ones(2, 768)},
}


@pytest.mark.parametrize("message", BROKEN)
def test_broken_parts_are_named_before_a_tensor_is_read(tmp_path: Path, message: str) -> None:
    file = save(tmp_path, BROKEN[message])
    with pytest.raises(WeightsUnavailable) as caught:
        read_lora_info(file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def load_error(unet: UNet2DConditionModel, file: Path) -> EngineFault:
    with pytest.raises(EngineFault) as caught:
        AdapterHost(unet, ()).lora(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


def test_no_match_at_all_is_an_error(unet: UNet2DConditionModel, tmp_path: Path) -> None:
    error = load_error(unet, save(tmp_path, pair("lora_unet_double_blocks_0_img_attn_proj")))
    assert isinstance(error, IncompatibleAdapter)
    assert "not one of its 1 modules" in str(error)


def test_another_shape_is_an_error_that_names_both(
    unet: UNet2DConditionModel, tmp_path: Path
) -> None:
    error = load_error(unet, save(tmp_path, pair(STEM, 320, 320)))
    assert isinstance(error, IncompatibleAdapter)
    assert "320 x 320" in str(error)
    assert "32 x 32" in str(error)


def test_two_names_of_one_module_are_an_error(unet: UNet2DConditionModel, tmp_path: Path) -> None:
    path = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    error = load_error(unet, save(tmp_path, pair(STEM) | pair(f"unet.{path}")))
    assert "twice" in str(error)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_file_with_nan_or_infinity_is_refused(
    unet: UNet2DConditionModel, tmp_path: Path, value: float
) -> None:
    tensors = pair(STEM)
    tensors[STEM + UP][3, 1] = value
    error = load_error(unet, save(tmp_path, tensors))
    assert STEM + UP in str(error)


@pytest.mark.parametrize("alpha", ["NaN", "Infinity", "1e300", "9" * 400])
def test_an_alpha_that_is_no_number_is_refused_with_the_header(tmp_path: Path, alpha: str) -> None:
    packed = {"lora_adapter_metadata": f'{{"unet.lora_alpha": {alpha}}}'}
    with pytest.raises(WeightsUnavailable, match=r"unet\.x: the alpha in its metadata"):
        read_lora_info(save(tmp_path, pair("unet.x"), packed))


def test_finite_factors_whose_update_overflows_are_refused(
    unet: UNet2DConditionModel, tmp_path: Path
) -> None:
    tensors = pair(STEM) | {STEM + ".alpha": torch.tensor(1.5e308, dtype=torch.float64)}
    tensors[STEM + UP] = tensors[STEM + UP].abs() * 100 + 100
    assert "overflows" in str(load_error(unet, save(tmp_path, tensors)))


@pytest.mark.parametrize(
    ("part", "shape"), [(".alpha", (3,)), (".dora_scale", (31, 1)), (".dora_scale", ())]
)
def test_a_misshapen_modifier_is_refused(
    unet: UNet2DConditionModel, tmp_path: Path, part: str, shape: tuple[int, ...]
) -> None:
    file = save(tmp_path, pair(STEM) | {STEM + part: torch.ones(shape)})
    assert STEM in str(load_error(unet, file))


def test_a_missing_file_and_a_truncated_one_are_one_line(
    unet: UNet2DConditionModel, tmp_path: Path
) -> None:
    load_error(unet, tmp_path / "absent.safetensors")
    file = save(tmp_path, pair(STEM))
    file.write_bytes(file.read_bytes()[:-7])
    load_error(unet, file)


def test_partial_matches_are_told_by_name(unet: UNet2DConditionModel, tmp_path: Path) -> None:
    tensors = pair(STEM) | pair("lora_unet_elsewhere") | {"stray.diff_b": torch.ones(3)}
    tensors |= {f"{ATTN2}.alpha": torch.tensor(4.0)}  # dropped module, alpha left behind
    lora = AdapterHost(unet, ()).lora(save(tmp_path, tensors))
    assert lora.num_matched == 1
    assert set(lora.unmatched) == {"lora_unet_elsewhere", "stray.diff_b", f"{ATTN2}.alpha"}


def test_a_first_convolution_for_another_channel_count_is_left_out(
    unet: UNet2DConditionModel, tmp_path: Path
) -> None:
    nine = {
        "lora_unet_conv_in.lora_down.weight": torch.ones(2, 9, 3, 3),
        "lora_unet_conv_in.lora_up.weight": torch.ones(16, 2, 1, 1),
    }
    lora = AdapterHost(unet, ()).lora(save(tmp_path, pair(STEM) | nine))
    assert lora.unmatched == ("lora_unet_conv_in",)
