"""The updates of several sets of LoRAs on one module, stacked so that rows can pick theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from engine.adapters.rows import AdapterSet
from engine.adapters.updates import Dense, Kronecker, LowRank, Update

Modules = Mapping[str, Mapping[str, nn.Module]]  # by the key of `Lora.updates`, then by path
_Module = nn.Linear | nn.Conv2d
_Weighted = Sequence[tuple[Update, float]]  # of one set on one module
_LowRanks = Sequence[Sequence[tuple[LowRank, float]]]  # of each set on one module


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """What S sets of LoRAs do to one module.

    The low-rank updates of a set act as one of the sum of their ranks, padded with zeros to the
    largest sum R among the sets; a set that has none here is a slab of zeros.

    Attributes:
        module: the module they update.
        factors: (S, R, columns + out), see `LowRank`; None where no update here is low-rank.
        filters: (S, R, in, kh, kw), the down factors again, where the module is a convolution that
            is more than a product over channels; else None.
        weight: of the low-rank updates, where it is not in `factors` already; else 1.
        gain: (S, 1, out), weighted; None where no update here is a DoRA.
        bias_gain: (S, 1, out), `gain` times the module's bias; None where either is missing.
        others: position among the S, an update that is not low-rank and its weight.
    """

    module: nn.Linear | nn.Conv2d
    factors: torch.Tensor | None
    filters: torch.Tensor | None
    weight: float
    gain: torch.Tensor | None
    bias_gain: torch.Tensor | None
    others: tuple[tuple[int, Kronecker | Dense, float], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """What sets of LoRAs do to one model.

    Attributes:
        layers: by the module they update.
        num_bytes: memory of the copies made for it; the factors of a single LoRA are none.
    """

    layers: Mapping[nn.Module, Layer]
    num_bytes: int


@torch.inference_mode()
def stack_layers(sets: Sequence[AdapterSet], modules: Modules) -> Stack:
    """One layer for each module that any LoRA of `sets` updates.

    Args:
        sets: distinct; their order is that of the positions.
        modules: that LoRAs may update.

    Raises:
        torch.OutOfMemoryError: the device has no room for the copies.
    """
    layers: dict[nn.Module, Layer] = {}
    for model, by_path in modules.items():
        found = [[(lora.updates.get(model, {}), weight) for lora, weight in each] for each in sets]
        for path in dict.fromkeys(
            path for each in found for updates, _ in each for path in updates
        ):
            module = by_path[path]
            assert isinstance(module, nn.Linear | nn.Conv2d), path
            layers[module] = _layer(
                module,
                [
                    [(updates[path], weight) for updates, weight in each if path in updates]
                    for each in found
                ],
            )
    is_copied = len(sets) > 1 or len(sets[0]) > 1
    num_bytes = 0
    for layer in layers.values():
        copies = [layer.filters, layer.gain, layer.bias_gain, layer.factors if is_copied else None]
        num_bytes += sum(each.nbytes for each in copies if each is not None)
    return Stack(layers, num_bytes)


def _layer(module: _Module, sets: Sequence[_Weighted]) -> Layer:
    low_rank = [
        [(update, weight) for update, weight in each if isinstance(update, LowRank)]
        for each in sets
    ]
    others = tuple(
        (position, update, weight)
        for position, each in enumerate(sets)
        for update, weight in each
        if not isinstance(update, LowRank)
    )
    if not any(low_rank):
        return Layer(module, None, None, 1.0, None, None, others)
    own_weight = 1.0
    if len(sets) == len(low_rank[0]) == 1:
        ((update, own_weight),) = low_rank[0]
        factors = update.factors[None]
    else:
        factors = _stack_factors(low_rank, num_rows=len(module.weight))
    gain = _stack_gains(low_rank)
    bias_gain = None if gain is None or module.bias is None else gain * module.bias
    filters = None if _is_pointwise(module) else _filters(module, factors)
    return Layer(module, factors, filters, own_weight, gain, bias_gain, others)


def _stack_factors(low_rank: _LowRanks, num_rows: int) -> torch.Tensor:
    """(S, R, columns + out), the weights in the up factors, which have `num_rows`."""
    ranks = [sum(len(update.factors) for update, _ in each) for each in low_rank]
    some = next(update.factors for each in low_rank for update, _ in each)
    pieces: list[torch.Tensor] = []
    weights: list[float] = []  # one a rank
    for rank, each in zip(ranks, low_rank, strict=True):
        for update, weight in each:
            pieces.append(update.factors)
            weights += [weight] * len(update.factors)
        if rank < max(ranks):
            pieces.append(some.new_zeros(max(ranks) - rank, some.shape[1]))
            weights += [1.0] * (max(ranks) - rank)
    stacked = torch.cat(pieces)
    if any(weight != 1 for weight in weights):
        dtype = torch.promote_types(stacked.dtype, torch.float32)
        stacked[:, -num_rows:] *= torch.tensor(weights, dtype=dtype, device=stacked.device)[:, None]
    return stacked.view(len(ranks), max(ranks), -1)


def _stack_gains(low_rank: _LowRanks) -> torch.Tensor | None:
    """(S, 1, out); the changes that the DoRAs of a set make of the base output add up."""
    gains = [
        [update.gain * weight for update, weight in each if update.gain is not None]
        for each in low_rank
    ]
    some = next((gain for each in gains for gain in each), None)
    if some is None:
        return None
    none = torch.zeros_like(some)
    return torch.stack([sum(each, start=none) for each in gains])[:, None]


def _is_pointwise(module: _Module) -> bool:
    """Whether the module is one product over the channels of each token or cell."""
    if isinstance(module, nn.Linear):
        return True
    return module.kernel_size == module.stride == (1, 1) and module.padding == (0, 0)


def _filters(module: _Module, factors: torch.Tensor) -> torch.Tensor:
    num_rows, channels, height, width = module.weight.shape
    down = factors[..., :-num_rows].reshape(*factors.shape[:2], height, width, channels)
    filters = down.permute(0, 1, 4, 2, 3)
    if len(filters) > 1:  # see `_convolve_groups`
        return filters.contiguous()
    return filters[0].contiguous(memory_format=torch.channels_last)[None]
