"""Which adapters each row of one forward uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch

from engine.adapters.load import Lora

T = TypeVar("T")

# LoRAs with their weights, in the order of the job; what one row of a batch uses.
AdapterSet = tuple[tuple[Lora, float], ...]


class RowMap:
    """The rows of one forward as indices and weights on the device.

    Attributes:
        num_rows: of the forward.
        loras: the distinct LoRAs of all rows, in order of first use; a position means one of them.
        active: (B,) indices of the rows that use any; None where all do.
        index: (B, n) positions, B active rows of up to n LoRAs; rows of fewer repeat position 0.
        weights: (B, n), 0 where a position is only padding; in at least float32.
        users: for each position the active rows that use it, and its weight in each.
        is_uniform: every row uses the same LoRAs at the same weights: row 0 speaks for all, and
            B may be 1 for any number of rows.
    """

    def __init__(
        self, rows: Sequence[AdapterSet], *, device: torch.device, dtype: torch.dtype
    ) -> None:
        merged = [_merge(row) for row in rows]
        self.num_rows = len(merged)
        self.loras = tuple(dict.fromkeys(lora for row in merged for lora in row))
        self.is_uniform = all(row == merged[0] for row in merged)
        used = [number for number, row in enumerate(merged) if row]
        self.active: torch.Tensor | None = None
        if len(used) < len(merged):
            self.active = torch.tensor(used, device=device)
        if self.is_uniform:
            used = used[:1]
        used_by_row = [merged[number] for number in used]
        width = max((len(row) for row in used_by_row), default=0)
        position_of = {lora: position for position, lora in enumerate(self.loras)}
        dtype = torch.promote_types(dtype, torch.float32)
        index = [[position_of[lora] for lora in row] for row in used_by_row]
        self.index = torch.tensor([_pad(row, width) for row in index], device=device)
        self.weights = torch.tensor(
            [_pad(list(row.values()), width) for row in used_by_row], dtype=dtype, device=device
        )
        self.users = tuple(
            _users(used_by_row, lora, device=device, dtype=dtype) for lora in self.loras
        )


def _pad(row: list[T], width: int) -> list[T | int]:
    return [*row, *[0] * (width - len(row))]


def _users(
    rows: Sequence[dict[Lora, float]], lora: Lora, *, device: torch.device, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    weights = {number: row[lora] for number, row in enumerate(rows) if lora in row}
    return (
        torch.tensor(list(weights), device=device),
        torch.tensor(list(weights.values()), dtype=dtype, device=device),
    )


def _merge(row: AdapterSet) -> dict[Lora, float]:
    """Weights by LoRA: one named twice counts with both weights, and weight 0 is no use at all."""
    weights: dict[Lora, float] = {}
    for lora, weight in row:
        weights[lora] = weights.get(lora, 0.0) + weight
    return {lora: weight for lora, weight in weights.items() if weight != 0}
