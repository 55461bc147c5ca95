"""Which adapters each row of one forward uses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch

from engine.adapters.load import Lora

# LoRAs with their weights, in the order of the job; what one row of a batch uses.
AdapterSet = tuple[tuple[Lora, float], ...]


@dataclass(frozen=True, slots=True, eq=False)
class RowMap:
    """The rows of one forward, those from the first to the last that uses any LoRA.

    Attributes:
        num_rows: of the forward; None where all rows are alike, however many there are.
        span: these rows.
        sets: the distinct sets among them, in order of first use; one may be empty.
        num_groups: these rows fall into so many equal parts of one set each.
        order: int64 (num_groups,), the set of each part; None where part i uses set i.
        ranges: for each set its rows, as ranges within the forward.
    """

    num_rows: int | None
    span: slice
    sets: tuple[AdapterSet, ...]
    num_groups: int
    order: torch.Tensor | None
    ranges: tuple[tuple[slice, ...], ...]


def row_map(rows: Sequence[AdapterSet], device: torch.device) -> RowMap | None:
    """Sorts the rows of a forward by their adapters; None where no row uses any.

    Args:
        rows: one entry a row.
        device: of `RowMap.order`.
    """
    merged = [_merge(row) for row in rows]
    acting = [number for number, row in enumerate(merged) if row]
    if not acting:
        return None
    if len(set(merged)) == 1:
        return RowMap(None, slice(None), (merged[0],), 1, None, ((slice(None),),))
    start, stop = acting[0], acting[-1] + 1
    sets = tuple(dict.fromkeys(merged[start:stop]))
    runs: list[tuple[int, slice]] = []  # a set, and neighbouring rows that use it
    for each, neighbours in groupby(merged[start:stop]):
        begin = runs[-1][1].stop if runs else start
        runs.append((sets.index(each), slice(begin, begin + len(list(neighbours)))))
    size = math.gcd(*(rows.stop - rows.start for _, rows in runs))
    order = [number for number, rows in runs for _ in range(0, rows.stop - rows.start, size)]
    if len(sets) == 1:
        order = [0]
    return RowMap(
        num_rows=len(merged),
        span=slice(start, stop),
        sets=sets,
        num_groups=len(order),
        order=None if order == list(range(len(sets))) else torch.tensor(order, device=device),
        ranges=tuple(
            tuple(rows for number, rows in runs if number == position)
            for position in range(len(sets))
        ),
    )


def _merge(row: AdapterSet) -> AdapterSet:
    """Each LoRA once: one named twice counts with both weights, and weight 0 is no use at all."""
    weights: dict[Lora, float] = {}
    for lora, weight in row:
        weights[lora] = weights.get(lora, 0.0) + weight
    return tuple((lora, weight) for lora, weight in weights.items() if weight != 0)
