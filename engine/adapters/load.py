"""A LoRA file and the models it updates -> its updates on the device, matched by name."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from engine.adapters.factors import build_update
from engine.adapters.lora_info import LoraModule, read_lora_info
from engine.adapters.names import UNET, Target
from engine.adapters.updates import Update, tensors_of, with_tensors
from engine.errors import IncompatibleAdapter, WeightsUnavailable


@dataclass(frozen=True, slots=True, eq=False)
class Lora:
    """One LoRA file, ready to run beside the models of one checkpoint.

    Attributes:
        path: the file.
        updates: by model ("unet", "text_encoder", "text_encoder_2"), then by module path.
        unmatched: names in the file that mean no module of these models, as the file spells them.
        num_bytes: device memory of the updates.
        serial: names it in this process for ever, unlike an address.
    """

    path: Path
    updates: Mapping[str, Mapping[str, Update]]
    unmatched: tuple[str, ...]
    num_bytes: int
    serial: int = field(default_factory=itertools.count().__next__)

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
        WeightsUnavailable: the file cannot be read, is no LoRA, or holds or amounts to NaN or
            infinity.
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
    try:
        with safe_open(path, framework="pt", device="cpu") as file, torch.inference_mode():
            built = [
                _build(
                    path, module, target, {p: file.get_tensor(k) for p, k in module.keys.items()}
                )
                for module, target in matched.values()
            ]
            packed = _pack(built, next(iter(names.values())).module.weight.device)
            if packed is None:
                raise WeightsUnavailable(f"{path}: {_overflowing(matched, built)} overflows")
    except (OSError, SafetensorError) as exc:
        raise WeightsUnavailable(f"{path}: cannot be loaded: {exc}") from exc
    updates: dict[str, dict[str, Update]] = {}
    for (_, target), update in zip(matched.values(), packed, strict=True):
        updates.setdefault(target.model, {})[target.path] = update
    size = sum(tensor.nbytes for update in packed for tensor in tensors_of(update))
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
    alpha = float(module.shape.rank or 1) if module.alpha is None else module.alpha
    if "alpha" in tensors:
        stored = tensors.pop("alpha")
        if stored.numel() != 1:
            raise WeightsUnavailable(f"{path}: {module.keys['alpha']} is no single number")
        alpha = float(stored)
        if not math.isfinite(alpha):
            raise WeightsUnavailable(f"{path}: {module.keys['alpha']} holds NaN or infinity")
    parts = {part: tensor.to(dtype) for part, tensor in tensors.items()}
    for part, tensor in parts.items():
        if not bool(torch.isfinite(tensor).all()):
            raise WeightsUnavailable(f"{path}: {module.keys[part]} holds NaN or infinity")
    if module.shape.kind == "loha" or module.shape.has_magnitude:
        # Large products, or norms of the base weight. The rest is quick and goes over in one piece.
        parts = {part: tensor.to(weight.device) for part, tensor in parts.items()}
    try:
        return build_update(parts, module.shape, alpha, target.module)
    except ValueError as exc:
        raise WeightsUnavailable(f"{path}: {module.stem}: {exc}") from exc


def _overflowing(matched: Mapping[str, object], built: Sequence[Update]) -> str:
    """The first module whose update holds NaN or infinity, though its parts did not."""
    return next(
        name
        for name, update in zip(matched, built, strict=True)
        if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors_of(update))
    )


def _pack(updates: Sequence[Update], device: torch.device) -> list[Update] | None:
    """The updates on `device`, in one piece of memory for each dtype; None where one overflowed.

    One copy to the device is quick where hundreds of small ones are not, and one piece leaves no
    holes in memory when it goes.
    """
    kinds: dict[tuple[torch.dtype, torch.device], list[torch.Tensor]] = {}
    for tensor in (tensor for update in updates for tensor in tensors_of(update)):
        kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    packed: dict[torch.Tensor, torch.Tensor] = {}
    for tensors in kinds.values():
        flat = torch.cat([tensor.flatten() for tensor in tensors]).to(device)
        if not bool(torch.isfinite(flat).all()):  # products of finite numbers may leave the range
            return None
        parts = torch.split_with_sizes(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            packed[tensor] = part.view(tensor.shape)
    return [with_tensors(each, [packed[part] for part in tensors_of(each)]) for each in updates]
