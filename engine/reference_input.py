"""What a forward needs of the references of its pieces: their rows, and who reads which."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from engine.lanes import Piece
from engine.reference import ReferenceRows, unconditional_share


def readers_of(pieces: Sequence[Piece]) -> list[int]:
    """Numbers of the pieces that read a reference."""
    return [number for number, piece in enumerate(pieces) if piece.lane.reference_noise is not None]


def reference_sample(piece: Piece) -> torch.Tensor:
    """The piece's part of the reference at the lane's noise level, scaled for the UNet.

    Args:
        piece: of a lane with a reference.

    Returns:
        float32 (1, C, height, width).
    """
    lane, latents = piece.lane, piece.lane.conditioning.reference_latents
    assert lane.reference_noise is not None, "the lane reads no reference"
    assert latents is not None, "a lane with noise for it has a reference"
    steps, step_index = lane.state.steps, lane.state.step_index
    noised = steps.noised(latents, lane.reference_noise, step_index)
    return piece.tile.crop(noised * steps.steps[step_index].input_scale)


def told_of_reference(piece: Piece) -> torch.Tensor:
    """What a 9-channel checkpoint is told beside it: a canvas to paint without anything kept.

    Told that it keeps the reference, the embedded model's features say little of it, and palettes
    came out no nearer.

    Returns:
        float32 (1, 1 + C, height, width).
    """
    latents = piece.lane.conditioning.blank_latents
    assert latents is not None, "9 channels see a blank masked image"
    blank = piece.tile.crop(latents)
    return torch.cat([torch.ones_like(blank[:, :1]), blank], dim=1)


def reference_rows(
    pieces: Sequence[Piece], num_guided: int, *, min_readers: int = 0
) -> ReferenceRows | None:
    """Who reads which, in the order of rows of `joined_rows.JoinedRows`.

    Args:
        pieces: in the order of their rows: unconditional rows of the first `num_guided` of them,
            then a conditional row of each, then a reference row of each that reads one.
        num_guided: how many have an unconditional row.
        min_readers: name the first reader again until there are so many (`batch_invariant`).

    Returns:
        None where no piece reads.
    """
    numbers = readers_of(pieces)
    if not numbers:
        return None
    readers: list[tuple[int, int, float, torch.Tensor]] = []
    for index, number in enumerate(numbers):
        piece = pieces[number]
        reference = num_guided + len(pieces) + index
        mask = piece.tile.crop(piece.lane.conditioning.repaint_mask)
        if number < num_guided:
            share = unconditional_share(piece.lane.guidance_scale)
            readers.append((number, reference, share, mask))
        readers.append((num_guided + number, reference, 1.0, mask))
    readers += readers[:1] * (min_readers - len(readers))
    rows, references, shares, masks = zip(*readers, strict=True)
    return ReferenceRows(rows, references, shares, torch.cat(masks))
