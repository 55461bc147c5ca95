"""LoRA files for a shape, and a registry that offers them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file

from engine.registry import Registry, load_registry
from scripts.benchmark.shapes import MODEL_NAME, Shape

RANK = 16
NUM_LORAS = 8


@dataclass(frozen=True, slots=True)
class LoraSet:
    """A model with LoRAs trained for it, as far as their names and sizes go.

    Attributes:
        model: its diffusers folder.
        files: of the LoRAs.
        registry: offers model and LoRAs; a LoRA's name is that of its file.
    """

    model: Path
    files: tuple[Path, ...]
    registry: Registry

    @property
    def names(self) -> tuple[str, ...]:
        """Of the LoRAs in the registry."""
        return tuple(file.stem for file in self.files)


def write_lora_set(shape: Shape, model: Path, folder: Path, num_loras: int = NUM_LORAS) -> LoraSet:
    """Writes the files and a models.yaml into `folder`."""
    unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(model / "unet"))
    files = tuple(
        write_lora(folder / f"lora-{number}.safetensors", unet, seed=number)
        for number in range(num_loras)
    )
    entry = {
        "name": MODEL_NAME,
        "path": str(model),
        "family": "sd1",
        "native_size_px": shape.native_size_px,
        "min_area_ratio": 0,
        "num_inference_steps": shape.num_steps,
    }
    content = {
        "default_model": MODEL_NAME,
        "models": [entry],
        "sub_models": [{"name": file.stem, "kind": "lora", "path": str(file)} for file in files],
    }
    models = folder / "models.yaml"
    models.write_text(yaml.safe_dump(content))
    return LoraSet(model, files, load_registry(models))


def write_lora(path: Path, unet: UNet2DConditionModel, *, seed: int, rank: int = RANK) -> Path:
    """Every projection of every transformer block in float16, as trainers leave them by default.

    In the layout of diffusers and peft: the one diffusers loads with the least work.
    """
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, module in unet.named_modules():
        if not isinstance(module, torch.nn.Linear) or ".transformer_blocks." not in name:
            continue
        out, width = module.weight.shape
        down = torch.randn(rank, width, generator=generator) / rank
        up = torch.randn(out, rank, generator=generator) * 0.02
        tensors[f"unet.{name}.lora_A.weight"] = down.half()
        tensors[f"unet.{name}.lora_B.weight"] = up.half()
    save_file(tensors, path)
    return path
