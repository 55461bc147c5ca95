"""The step loop: one UNet forward for pieces of many lanes, then a sampler step for whole lanes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from functools import lru_cache

import torch

from engine import sampler_state
from engine.compiled_blocks import eager_blocks
from engine.joined_rows import JoinedRows, join_rows
from engine.lanes import Lane, Piece
from engine.reference import reading
from engine.reference_input import reference_sample


@torch.inference_mode()
def predict(pieces: Sequence[Piece], rows: JoinedRows | None = None) -> list[torch.Tensor]:
    """Guided model outputs, float32 (1, C, height, width) a piece, from one UNet forward.

    Args:
        pieces: of lanes with equal `group_key`.
        rows: of these pieces, where they were joined before.

    Raises:
        torch.OutOfMemoryError: the forward did not fit; no lane was changed.
    """
    checkpoint = pieces[0].lane.checkpoint
    if rows is None:
        rows = join_rows(pieces)
    as_they_are = eager_blocks(checkpoint.unet) if rows.is_changed else nullcontext()
    adapted = checkpoint.adapters.unet_rows(rows.adapters)
    with as_they_are, adapted, reading(checkpoint.unet, rows.reading):
        output = checkpoint.unet(
            _unet_input(rows),
            _timesteps(
                tuple(piece.lane.state.timestep for piece in rows.owners), checkpoint.device
            ),
            encoder_hidden_states=rows.prompt_embeds,
            added_cond_kwargs=rows.added_conditions,
            return_dict=False,
        )[0]
    return _guide(rows, output.float())


def hand_out(pieces: Sequence[Piece], outputs: Sequence[torch.Tensor]) -> list[Lane]:
    """Gives each piece's output to its lane; the lanes whose tiles all have theirs now."""
    for piece, output in zip(pieces, outputs, strict=True):
        piece.lane.outputs[piece.tile] = output
    return [lane for lane in dict.fromkeys(p.lane for p in pieces) if not lane.open_tiles]


@torch.inference_mode()
def advance(lanes: Sequence[Lane]) -> None:
    """One sampler step on lanes whose tiles all have outputs.

    On 4-channel checkpoints the kept cells are put back after it.
    """
    for group in _of_one_size(lanes):
        outputs = [lane.take_model_output() for lane in group]
        joined = outputs[0] if len(group) == 1 else torch.cat(outputs)
        sampler_state.advance([lane.state for lane in group], joined)
    for lane in lanes:
        if not lane.checkpoint.needs_masked_image:
            lane.state.latents = _blend_kept_cells(lane)


def _unet_input(rows: JoinedRows) -> torch.Tensor:
    """`rows.unet_input` with the samples of this step in it."""
    sample = _samples(rows.pieces)
    guided, count, channels = rows.num_guided, len(rows.pieces), sample.shape[1]
    target = rows.unet_input[:, :channels]
    if guided:
        target[:guided] = sample[:guided]
    target[guided : guided + count] = sample
    for row, reader in enumerate(rows.readers, guided + count):
        target[row] = reference_sample(reader)[0]
    if rows.padding:
        target[-rows.padding :] = sample[:1]
    return rows.unet_input


def _samples(pieces: Sequence[Piece]) -> torch.Tensor:
    """float32 (P, C, height, width), at the scale the UNet was trained on."""
    groups = _of_one_size(dict.fromkeys(piece.lane for piece in pieces))
    scaled = [sampler_state.model_inputs([lane.state for lane in lanes]) for lanes in groups]
    if len(scaled) == 1 and all(len(piece.lane.tiles) == 1 for piece in pieces):
        return scaled[0]
    samples: dict[Lane, torch.Tensor] = {}
    for lanes, inputs in zip(groups, scaled, strict=True):
        samples |= zip(lanes, inputs.chunk(len(lanes)), strict=True)
    return torch.cat([piece.tile.crop(samples[piece.lane]) for piece in pieces])


@lru_cache(maxsize=1024)
def _timesteps(timesteps: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """Kept for the next image: a new tensor on a GPU would wait for all that runs there."""
    return torch.tensor(timesteps, dtype=torch.float32, device=device)


def _of_one_size(lanes: Iterable[Lane]) -> list[list[Lane]]:
    """Lanes whose tiles are of one size may have canvases of several."""
    groups: dict[torch.Size, list[Lane]] = {}
    for lane in lanes:
        groups.setdefault(lane.state.latents.shape, []).append(lane)
    return list(groups.values())


def _guide(rows: JoinedRows, output: torch.Tensor) -> list[torch.Tensor]:
    """Classifier-free guidance (arXiv 2207.12598); outputs in the order that was asked for."""
    guided, count = rows.num_guided, len(rows.pieces)
    conditional = output[guided : guided + count]
    if rows.guidance_scales is not None:
        unconditional = output[:guided]
        mixed = conditional[:guided] - unconditional
        mixed.mul_(rows.guidance_scales).add_(unconditional)
        conditional = mixed if guided == count else torch.cat([mixed, conditional[guided:]])
    if count == 1:
        return [conditional]
    by_number = dict(zip(rows.order, conditional.chunk(count), strict=True))
    return [by_number[number] for number in range(count)]


def _blend_kept_cells(lane: Lane) -> torch.Tensor:
    """Kept cells take the image's latents, noised to the level of the next step."""
    image_latents = lane.conditioning.image_latents
    assert image_latents is not None, "4-channel checkpoints blend with the image"
    kept = lane.state.steps.noised(image_latents, lane.noise, lane.state.step_index)
    mask = lane.conditioning.repaint_mask
    return (1 - mask) * kept + mask * lane.state.latents
