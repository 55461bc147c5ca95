"""The updates of several LoRAs on one module, stacked so that rows can pick theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from engine.adapters.load import Lora
from engine.adapters.updates import Dense, Kronecker, LowRank


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """What L LoRAs do to one module.

    Low-rank updates are padded with zeros to the largest rank R among them; a LoRA that has none
    here is a slab of zeros.

    Attributes:
        module: the module they update.
        down: (L, R, in) or (L, R, in, kh, kw); None where no update here is low-rank.
        up: (L, R, out), None likewise.
        scale: (L,), in at least float32.
        gain: (L, out), None where no update here is a DoRA.
        others: position among the L, and an update that is not low-rank.
    """

    module: nn.Linear | nn.Conv2d
    down: torch.Tensor | None
    up: torch.Tensor | None
    scale: torch.Tensor | None
    gain: torch.Tensor | None
    others: tuple[tuple[int, Kronecker | Dense], ...]

    @property
    def num_bytes(self) -> int:
        """Memory of the stacks; none where a single LoRA is stacked, for those are its own."""
        stacks = [each for each in (self.down, self.up, self.gain) if each is not None]
        return sum(each.nbytes for each in stacks if len(each) > 1)


def stack_layers(loras: Sequence[Lora], model: str, root: nn.Module) -> tuple[Layer, ...]:
    """One layer for each module of `root` that any of `loras` updates.

    Args:
        loras: distinct; their order is that of the positions.
        model: the key of `Lora.updates`.
        root: that model.
    """
    paths = dict.fromkeys(path for lora in loras for path in lora.updates.get(model, ()))
    return tuple(_stack(loras, model, path, root.get_submodule(path)) for path in paths)


def _stack(loras: Sequence[Lora], model: str, path: str, module: nn.Module) -> Layer:
    assert isinstance(module, nn.Linear | nn.Conv2d), path
    updates = [lora.updates.get(model, {}).get(path) for lora in loras]
    low_rank = [each if isinstance(each, LowRank) else None for each in updates]
    others = tuple(
        (position, each)
        for position, each in enumerate(updates)
        if isinstance(each, Kronecker | Dense)
    )
    if not any(low_rank):
        return Layer(module, None, None, None, None, others)
    rank = max(len(each.down) for each in low_rank if each is not None)
    weight = module.weight
    scale_dtype = torch.promote_types(weight.dtype, torch.float32)
    scales = [0.0 if each is None else each.scale for each in low_rank]
    return Layer(
        module=module,
        down=_pad(
            [each.down if each else None for each in low_rank], (rank, *weight.shape[1:]), weight
        ),
        up=_pad([each.up if each else None for each in low_rank], (rank, len(weight)), weight),
        scale=torch.tensor(scales, dtype=scale_dtype, device=weight.device),
        gain=_stack_gains([each.gain if each else None for each in low_rank], weight),
        others=others,
    )


def _pad(
    tensors: Sequence[torch.Tensor | None], shape: tuple[int, ...], like: torch.Tensor
) -> torch.Tensor:
    """(len(tensors), *shape), the rest of a shorter tensor zero; a single one is not copied."""
    if len(tensors) == 1 and tensors[0] is not None:
        return tensors[0][None]
    stacked = like.new_zeros(len(tensors), *shape)
    for slab, tensor in zip(stacked, tensors, strict=True):
        if tensor is not None:
            slab[: len(tensor)] = tensor
    return stacked


def _stack_gains(gains: Sequence[torch.Tensor | None], like: torch.Tensor) -> torch.Tensor | None:
    if all(gain is None for gain in gains):
        return None
    return _pad(gains, (len(like),), like)
