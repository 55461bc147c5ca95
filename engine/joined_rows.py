"""What the rows of a forward are told at every step alike, laid together once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch

from engine.adapters.rows import AdapterSet
from engine.lanes import Lane, Piece
from engine.reference import ReferenceRows
from engine.reference_input import readers_of, reference_rows, told_of_reference

_MAX_KEPT = 4  # groups that take turns


def rows_of(lane: Lane) -> int:
    """Rows of the forward that paint a piece of the lane: two with guidance, else one."""
    return 1 if lane.guidance_scale == 1 else 2


def max_rows_of(lane: Lane) -> int:
    """Rows of the forward a piece of the lane takes at most, that of its reference included."""
    return 2 if lane.reference_noise is None else 3


@dataclass(frozen=True, slots=True, eq=False)
class JoinedRows:
    """The rows of one forward, but for what changes from step to step.

    Unconditional ones of guided pieces, then one a piece, then those of references, then padding.

    Attributes:
        pieces: guided ones first; rows follow this order.
        order: their positions in what was asked for.
        num_guided: how many have an unconditional row.
        readers: pieces with a reference row, in order.
        padding: rows that only fill up.
        owners: the piece of each row.
        unet_input: (B, C, height, width) of the checkpoint's dtype, channels last. The samples in
            its first channels are written anew before every forward; behind them, for 9-channel
            checkpoints, stand repaint mask and masked image of each row.
        prompt_embeds: (B, S, D).
        added_conditions: what an SDXL UNet is told beside timestep and prompt; None for others.
        guidance_scales: float32 (G, 1, 1, 1) of the guided pieces; None without any.
        adapters: LoRAs with their weights, one set a row.
        reading: which rows read which reference; None where none does.
    """

    pieces: tuple[Piece, ...]
    order: tuple[int, ...]
    num_guided: int
    readers: tuple[Piece, ...]
    padding: int
    owners: tuple[Piece, ...]
    unet_input: torch.Tensor
    prompt_embeds: torch.Tensor
    added_conditions: dict[str, torch.Tensor] | None
    guidance_scales: torch.Tensor | None
    adapters: tuple[AdapterSet, ...]
    reading: ReferenceRows | None

    @property
    def is_changed(self) -> bool:
        """Whether anything acts inside the UNet beside its own weights."""
        return any(self.adapters) or self.reading is not None


class RowCache:
    """The joined rows of the last groups: while a group stays the same, so do its rows."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, JoinedRows] = OrderedDict()

    def get(self, pieces: Sequence[Piece], min_rows: int) -> JoinedRows:
        """The rows of `pieces`, padded to at least `min_rows`."""
        key = (min_rows, *((piece.lane, piece.tile, piece.lane.guidance_scale) for piece in pieces))
        rows = self._kept.get(key)
        if rows is None:
            rows = self._kept[key] = join_rows(pieces, min_rows)
            if len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return rows

    def clear(self) -> None:
        """Lets go of all lanes."""
        self._kept.clear()


def join_rows(pieces: Sequence[Piece], min_rows: int = 0) -> JoinedRows:
    """Lays the rows of `pieces` together, padded to at least `min_rows`."""
    order = tuple(sorted(range(len(pieces)), key=lambda number: -rows_of(pieces[number].lane)))
    ordered = tuple(pieces[number] for number in order)
    guided = tuple(piece for piece in ordered if rows_of(piece.lane) == 2)
    readers = tuple(ordered[number] for number in readers_of(ordered))
    owners = guided + ordered + readers
    padding = max(0, min_rows - len(owners))
    owners += owners[:1] * padding
    embeds = [piece.lane.conditioning.negative_prompt_embeds for piece in guided]
    embeds += [piece.lane.conditioning.prompt_embeds for piece in owners[len(guided) :]]
    return JoinedRows(
        pieces=ordered,
        order=order,
        num_guided=len(guided),
        readers=readers,
        padding=padding,
        owners=owners,
        unet_input=_unet_input(owners, num_references=len(readers), padding=padding),
        prompt_embeds=torch.cat(embeds),
        added_conditions=_added_conditions(owners, len(guided)),
        guidance_scales=_guidance_scales(guided),
        adapters=tuple(piece.lane.conditioning.adapters for piece in owners),
        # Of three rows of a piece with a reference two read.
        reading=reference_rows(ordered, len(guided), min_readers=min_rows * 2 // 3),
    )


def _unet_input(owners: Sequence[Piece], *, num_references: int, padding: int) -> torch.Tensor:
    """The rows with all but their samples in place; those are written later."""
    lane, tile = owners[0].lane, owners[0].tile
    rows = torch.empty(
        (len(owners), lane.checkpoint.unet.config.in_channels, tile.height, tile.width),
        dtype=lane.checkpoint.dtype,
        device=lane.checkpoint.device,
        memory_format=torch.channels_last,
    )
    if lane.checkpoint.needs_masked_image:
        first_reference = len(owners) - padding - num_references
        for number, piece in enumerate(owners):
            is_reference = first_reference <= number < first_reference + num_references
            told = told_of_reference(piece) if is_reference else _told(piece)
            rows[number, -told.shape[1] :] = told[0]
    return rows


def _told(piece: Piece) -> torch.Tensor:
    """float32 (1, 1 + C, height, width): repaint mask and masked image."""
    conditioning = piece.lane.conditioning
    assert conditioning.masked_image_latents is not None, "9 channels see the masked image"
    parts = (conditioning.repaint_mask, conditioning.masked_image_latents)
    return torch.cat([piece.tile.crop(part) for part in parts], dim=1)


def _guidance_scales(guided: Sequence[Piece]) -> torch.Tensor | None:
    if not guided:
        return None
    scales = [piece.lane.guidance_scale for piece in guided]
    device = guided[0].lane.checkpoint.device
    return torch.tensor(scales, dtype=torch.float32, device=device)[:, None, None, None]


def _added_conditions(owners: Sequence[Piece], num_guided: int) -> dict[str, torch.Tensor] | None:
    told = [piece.lane.conditioning for piece in owners]
    if told[0].pooled_prompt_embeds is None:
        return None
    pooled = [each.negative_pooled_prompt_embeds for each in told[:num_guided]]
    pooled += [each.pooled_prompt_embeds for each in told[num_guided:]]
    time_ids = [_time_ids(piece) for piece in owners]
    return {
        "text_embeds": torch.cat([each for each in pooled if each is not None]),
        "time_ids": torch.cat(time_ids),
    }


def _time_ids(piece: Piece) -> torch.Tensor:
    """(1, 6): the tile as a crop of its canvas, as SDXL was trained to be told (arXiv 2307.01952)."""
    time_ids = piece.lane.conditioning.time_ids
    assert time_ids is not None, "SDXL is told sizes"
    if len(piece.lane.tiles) == 1:
        return time_ids
    tile = piece.tile.scaled(piece.lane.prepared.vae.factor)
    crop = [[tile.top, tile.left, tile.height, tile.width]]
    return torch.cat([time_ids[:, :2], time_ids.new_tensor(crop)], dim=1)
