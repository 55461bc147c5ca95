"""Forwards through a UNet with adapters beside it, and through copies with updates merged in."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from engine.adapters.host import AdapterHost
from engine.adapters.rows import AdapterSet

LAYERS = (nn.Linear, nn.Conv2d)


def inputs(num_rows: int, width: int = 24, channels: int = 4, seed: int = 9) -> dict[str, Any]:
    """Different rows, so that a row which gets its neighbour's adapter cannot pass."""
    generator = torch.Generator().manual_seed(seed)
    draw = {"generator": generator, "dtype": torch.float64}
    return {
        "sample": torch.randn(num_rows, channels, 8, 8, **draw),
        "timestep": torch.linspace(900, 100, num_rows, dtype=torch.float64),
        "encoder_hidden_states": torch.randn(num_rows, 7, width, **draw),
    }


@torch.inference_mode()
def forward(unet: nn.Module, arguments: Mapping[str, Any]) -> torch.Tensor:
    return unet(**arguments, return_dict=False)[0]


def forward_with(
    host: AdapterHost, unet: nn.Module, rows: Sequence[AdapterSet], arguments: Mapping[str, Any]
) -> torch.Tensor:
    """Leaves no hooks behind: tests share the UNet, each with hosts of its own."""
    try:
        with host.unet_rows(rows):
            return forward(unet, arguments)
    finally:
        host.rest()


def merged(model: nn.Module, *updates: tuple[Mapping[str, np.ndarray], float]) -> nn.Module:
    """A copy with weighted dense updates, by module path, added to its weights in float64."""
    changed = copy.deepcopy(model)
    for deltas, weight in updates:
        for path, delta in deltas.items():
            changed.get_submodule(path).weight.data += weight * torch.from_numpy(delta)
    return changed


def digest(*models: nn.Module) -> str:
    """Of every byte of every parameter and buffer, by name."""
    sha = hashlib.sha256()
    for model in models:
        for name, tensor in model.state_dict().items():
            sha.update(name.encode())
            sha.update(tensor.reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def hooks_on(*models: nn.Module) -> int:
    """On layers that can be updated; transformers puts some of its own on whole blocks."""
    layers = [each for model in models for each in model.modules()]
    return sum(len(each._forward_hooks) for each in layers if isinstance(each, LAYERS))


def assert_close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal to float64 rounding through some thirty layers."""
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
