"""The original networks at their published sizes: names and shapes, or a file of random weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from tests.engine import original_modules as original

_DTYPES = {torch.float16: "F16", torch.bfloat16: "BF16"}


def full_shape(family: str) -> dict[str, nn.Module]:
    """The original networks at their published widths."""
    with torch.device("meta"):
        return dict(_full_shape(family))


def _full_shape(family: str) -> Iterator[tuple[str, nn.Module]]:
    match family:
        case "sd1" | "sd2":
            context = 768 if family == "sd1" else 1024
            yield (
                "model.diffusion_model.",
                original.unet(
                    in_channels=4,
                    width=320,
                    multiples=(1, 2, 4, 4),
                    depths=(1, 1, 1, 0),
                    context=context,
                    linear=family == "sd2",
                ),
            )
        case "sdxl":
            yield (
                "model.diffusion_model.",
                original.unet(
                    in_channels=4,
                    width=320,
                    multiples=(1, 2, 4),
                    depths=(0, 2, 10),
                    context=2048,
                    linear=True,
                    vector=2816,
                ),
            )
    yield "first_stage_model.", original.vae(128)
    match family:
        case "sd1":
            yield "cond_stage_model.transformer.", original.clip_text(768, 12)
        case "sd2":
            yield "cond_stage_model.model.", original.OpenClipText(1024, 24, 16)
        case "sdxl":
            yield "conditioner.embedders.0.transformer.", original.clip_text(768, 12)
            yield "conditioner.embedders.1.model.", original.OpenClipText(1280, 32, 20)


def write_random_weights(file: Path, family: str, dtype: torch.dtype) -> Path:
    """Writes the whole checkpoint tensor by tensor, in little memory."""
    shapes = {
        prefix + name: tensor.shape
        for prefix, module in full_shape(family).items()
        for name, tensor in module.state_dict().items()
    }
    header, position = {}, 0
    for name, shape in shapes.items():
        end = position + 2 * shape.numel()
        header[name] = {
            "dtype": _DTYPES[dtype],
            "shape": list(shape),
            "data_offsets": [position, end],
        }
        position = end
    raw = json.dumps(header).encode()
    generator = torch.Generator().manual_seed(0)
    with file.open("wb") as opened:
        opened.write(len(raw).to_bytes(8, "little") + raw)
        for shape in shapes.values():
            values = torch.randn(shape, generator=generator).mul_(0.02).to(dtype)
            opened.write(values.view(torch.int16).numpy().tobytes())
    return file
