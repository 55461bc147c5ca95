"""A LoRA file and the models it updates -> its updates on the device, matched by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from engine.adapters.factors import build_update
from engine.adapters.lora_info import LoraModule, read_lora_info
from engine.adapters.names import UNET, Target
from engine.adapters.updates import Update, num_bytes
from engine.errors import IncompatibleAdapter, WeightsUnavailable


@dataclass(frozen=True, slots=True, eq=False)
class Lora:
    """One LoRA file, ready to run beside the models of one checkpoint.

    Attributes:
        path: the file.
        updates: by model ("unet", "text_encoder", "text_encoder_2"), then by module path.
        unmatched: names in the file that mean no module of these models, as the file spells them.
        num_bytes: device memory of the updates.
    """

    path: Path
    updates: Mapping[str, Mapping[str, Update]]
    unmatched: tuple[str, ...]
    num_bytes: int

    @property
    def num_matched(self) -> int:
        """Modules it updates."""
        return sum(len(updates) for updates in self.updates.values())


def load_lora(path: Path, names: Mapping[str, Target]) -> Lora:
    """Loads a LoRA for the modules in `names`.

    A weight w adds w times the update. For a DoRA the update is its whole change of the base
    weight, rescaling included, so that weights and several LoRAs add up without an order.

    Args:
        path: safetensors file of any layout in `lora_keys`.
        names: see `name_table`.

    Raises:
        WeightsUnavailable: the file cannot be read, is no LoRA or holds NaN or infinity.
        IncompatibleAdapter: not one module of it is in the models, or one has another shape there.
        torch.OutOfMemoryError: the device cannot hold it.
    """
    info = read_lora_info(path)
    matched: dict[str, tuple[LoraModule, Target]] = {}
    unmatched: list[str] = list(info.unknown_keys)
    for module in info.modules:
        target = names.get(module.stem)
        if target is None or not _fits(path, module, target):
            unmatched.append(module.stem)
        elif (name := f"{target.model}.{target.path}") in matched:
            raise IncompatibleAdapter(f"{path}: updates {name} twice")
        else:
            matched[name] = (module, target)
    if not matched:
        raise IncompatibleAdapter(
            f"{path}: not one of its {len(info.modules)} modules is in this model"
            f" (its first: {info.modules[0].stem})"
        )
    updates: dict[str, dict[str, Update]] = {}
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            for module, target in matched.values():
                tensors = {part: file.get_tensor(key) for part, key in module.keys.items()}
                update = _build(path, module, target, tensors)
                updates.setdefault(target.model, {})[target.path] = update
    except (OSError, SafetensorError) as exc:
        raise WeightsUnavailable(f"{path}: cannot be loaded: {exc}") from exc
    size = sum(num_bytes(update) for each in updates.values() for update in each.values())
    return Lora(path, updates, tuple(unmatched), size)


def _fits(path: Path, module: LoraModule, target: Target) -> bool:
    """Whether the update has the shape of the weight.

    Ordinary and inpainting UNets differ in the width of their first convolution alone, and a LoRA
    of the one is used on the other: there a misfit is reported with the unmatched names.
    """
    weight = target.module.weight
    if (module.shape.rows, module.shape.columns) == (len(weight), weight[0].numel()):
        return True
    if (target.model, target.path) == (UNET, "conv_in"):
        return False
    raise IncompatibleAdapter(
        f"{path}: {module.stem} updates a weight of {module.shape.rows} x {module.shape.columns},"
        f" this model's {target.path} has {len(weight)} x {weight[0].numel()}"
    )


def _build(
    path: Path, module: LoraModule, target: Target, tensors: dict[str, torch.Tensor]
) -> Update:
    weight = target.module.weight
    dtype = torch.promote_types(weight.dtype, torch.float32)
    parts = {part: tensor.to(dtype) for part, tensor in tensors.items()}
    for part, tensor in parts.items():
        if not bool(torch.isfinite(tensor).all()):
            raise WeightsUnavailable(f"{path}: {module.keys[part]} holds NaN or infinity")
    alpha = float(module.shape.rank or 1) if module.alpha is None else module.alpha
    if "alpha" in parts:
        stored = parts.pop("alpha")
        if stored.numel() != 1:
            raise WeightsUnavailable(f"{path}: {module.keys['alpha']} is no single number")
        alpha = float(stored)
    on_device = {part: tensor.to(weight.device) for part, tensor in parts.items()}
    try:
        with torch.inference_mode():
            return build_update(on_device, module.shape, alpha, target.module)
    except ValueError as exc:
        raise WeightsUnavailable(f"{path}: {module.stem}: {exc}") from exc
