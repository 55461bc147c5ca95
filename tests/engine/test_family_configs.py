"""The shipped configs against the published sizes and the original networks, all on meta."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import nn

from engine.checkpoint_info import CONFIGS, CheckpointInfo, Declared, read_checkpoint_info
from engine.components import file_components
from engine.families import Family
from engine.safetensors_header import TensorInfo
from tests.engine.full_shape import full_shape

# Parameters of the published models: UNet with 4 channels, VAE, text encoders.
PUBLISHED = {
    "sd1": (859_520_964, 83_653_863, 123_060_480),
    "sd2": (865_910_724, 83_653_863, 340_387_840),
    "sdxl": (2_567_463_684, 83_653_863, 123_060_480, 694_659_840),
}


class HeaderOnly:
    """Names and shapes of a file as large as the real one, without a byte of weights."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self.path = Path("full.safetensors")
        self.tensors = {
            prefix + name: TensorInfo("F16", tuple(tensor.shape), 0)
            for prefix, module in modules.items()
            for name, tensor in module.state_dict().items()
        }

    def get(self, name: str) -> torch.Tensor:
        raise AssertionError(f"a check reads no weights, not even {name}")


@pytest.mark.parametrize("family", PUBLISHED)
def test_every_name_and_shape_of_the_original_networks_is_expected(family: Family) -> None:
    parts = file_components(HeaderOnly(full_shape(family)), _info(family))
    for part in parts.components:
        assert not part.mismatches(), str(part.mismatches())


@pytest.mark.parametrize("family", PUBLISHED)
def test_sizes_are_the_published_ones(family: Family) -> None:
    parts = file_components(HeaderOnly(full_shape(family)), _info(family))
    assert parts.own_vae is not None
    modules = (parts.unet, parts.own_vae, *parts.text_encoders)
    assert tuple(part.num_bytes(torch.float32) // 4 for part in modules) == PUBLISHED[family]


def test_only_the_sdxl_vae_insists_on_float32() -> None:
    for family in PUBLISHED:
        parts = file_components(HeaderOnly(full_shape(family)), _info(family))
        assert parts.own_vae is not None
        assert (parts.own_vae.dtype is torch.float32) == (family == "sdxl")


def _info(family: Family) -> CheckpointInfo:
    info = read_checkpoint_info(CONFIGS / family, Declared())
    assert info.family == family
    return info
