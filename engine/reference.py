"""DeepFusion: reference-only attention, by which an image is painted in the style of another.

The noised reference runs as an extra row of the UNet forward. In every self-attention the rows
that paint find the reference's keys and values beside their own (MasaCtrl, arXiv 2304.08465;
StyleAligned, arXiv 2312.02133), and what they read is brought to the mean and deviation that the
reference itself has there (AdaIN, arXiv 1703.06868). No weights of its own are needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from torch import nn
from torch.nn import functional

# By so much guidance multiplies what the reference changes. 1 (both rows read alike) brings the
# palette of the embedded model's backgrounds 18 % nearer to the reference's, 2 brings it 34 %, and
# 3 (the unconditional row reads nothing) 44 %, but then little is left of the prompt's own colours.
STYLE_GUIDANCE = 2.0

# What varies less is not stretched to what the reference varies by: it would be noise.
_LEAST_VARIANCE = 1e-5

# Only a forward of the context that set it reads: on another thread the same UNet sees None.
_ROWS: ContextVar[ReferenceRows | None] = ContextVar("reference_rows", default=None)


class ReferenceRows:
    """Which rows of one forward read which.

    Args:
        readers: rows that read a reference; one named twice is as one named once.
        references: for each of them the row of its reference.
        shares: for each of them how much it takes of what it reads, 0..1.
        repaint_masks: float32 (len(readers), 1, h, w), 1 where a cell of the latent is painted;
            kept cells stay on plain attention.

    Attributes:
        readers: int64 (R,), on the device of the masks.
        references: likewise.
        shares: float32 (R, 1, 1, 1).
    """

    def __init__(
        self,
        readers: Sequence[int],
        references: Sequence[int],
        shares: Sequence[float],
        repaint_masks: torch.Tensor,
    ) -> None:
        device = repaint_masks.device
        self.readers = torch.tensor(readers, device=device)
        self.references = torch.tensor(references, device=device)
        self.shares = torch.tensor(shares, dtype=torch.float32, device=device)[:, None, None, None]
        self._masks = repaint_masks
        self._painted: dict[int, torch.Tensor] = {}

    def painted(self, num_tokens: int) -> torch.Tensor:
        """The tokens of a self-attention that are painted, at a lower resolution in any part.

        Returns:
            bool (R, 1, num_tokens, 1).
        """
        if num_tokens not in self._painted:
            masks = self._masks
            while masks.shape[-2] * masks.shape[-1] > num_tokens:
                # The UNet's own downsampling rounds odd sides up, too.
                masks = functional.max_pool2d(masks, kernel_size=2, ceil_mode=True)
            self._painted[num_tokens] = masks.flatten(1)[:, None, :, None] > 0
        return self._painted[num_tokens]


@contextmanager
def reading(unet: nn.Module, rows: ReferenceRows | None) -> Iterator[None]:
    """Within it, forwards of `unet` let rows read references; with None nothing is touched.

    Args:
        unet: diffusers' UNet2DConditionModel.
        rows: of each forward.
    """
    if rows is None:
        yield
        return
    layers = _self_attentions(unet)
    plain = [layer.processor for layer in layers]
    token = _ROWS.set(rows)
    try:
        for layer, processor in zip(layers, plain, strict=True):
            layer.set_processor(_ReadingProcessor(processor))
        yield
    finally:
        for layer, processor in zip(layers, plain, strict=True):
            layer.set_processor(processor)
        _ROWS.reset(token)


def unconditional_share(guidance_scale: float) -> float:
    """How much the unconditional row takes of what it reads, where the conditional one takes all.

    Guidance g adds (g - 1) times the difference of the two rows to the conditional one, and so
    multiplies what only that one has read: with this share by `STYLE_GUIDANCE`, if g is not less.

    Args:
        guidance_scale: above 1.
    """
    return max(0.0, (guidance_scale - STYLE_GUIDANCE) / (guidance_scale - 1))


def reference_noise(seed: int, shape: Sequence[int]) -> torch.Tensor:
    """The noise on a reference: float32 of `shape`, on the CPU.

    It has a generator of its own, so that the image's noise is the same with and without it.
    """
    digest = hashlib.sha256(f"{seed} reference".encode()).digest()
    generator = torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8]) >> 1)
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float32)


class _ReadingProcessor:
    """In place of a self-attention's own processor while rows read."""

    def __init__(self, plain: Any) -> None:
        self._plain = plain

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(B, N, D) -> (B, N, D)."""
        rows = _ROWS.get()
        if rows is None:
            output: torch.Tensor = self._plain(
                attn, hidden_states, encoder_hidden_states, attention_mask
            )
            return output
        return _attend(attn, hidden_states, rows)


def _attend(attn: Attention, hidden_states: torch.Tensor, rows: ReferenceRows) -> torch.Tensor:
    """The self-attention of a transformer block, which has neither norms nor a residual inside."""
    projections = (attn.to_q, attn.to_k, attn.to_v)
    query, key, value = (
        projection(hidden_states).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
        for projection in projections
    )
    attended = functional.scaled_dot_product_attention(query, key, value)
    own = attended[rows.readers]
    style = attended[rows.references]
    read = functional.scaled_dot_product_attention(
        query[rows.readers],
        torch.cat([key[rows.readers], key[rows.references]], dim=2),
        torch.cat([value[rows.readers], value[rows.references]], dim=2),
    )
    painted = rows.painted(hidden_states.shape[1])
    styled = _adapted(read, style, painted)
    fused = torch.where(painted, torch.lerp(own.float(), styled, rows.shares).to(own.dtype), own)
    attended = attended.index_copy(0, rows.readers, fused)
    merged = attended.transpose(1, 2).flatten(2)
    output: torch.Tensor = attn.to_out[0](merged)
    return output


def _adapted(read: torch.Tensor, style: torch.Tensor, painted: torch.Tensor) -> torch.Tensor:
    """What was read, with the mean and deviation of the style in every channel.

    Args:
        read: (R, heads, N, d).
        style: likewise; its statistics are those of all tokens.
        painted: bool (R, 1, N, 1), the tokens whose statistics are brought to those.

    Returns:
        float32 (R, heads, N, d).
    """
    read, style = read.float(), style.float()
    weights = painted.float()
    count = weights.sum(dim=2, keepdim=True).clamp(min=1)
    mean = (read * weights).sum(dim=2, keepdim=True) / count
    centred = read - mean
    variance = (centred.square() * weights).sum(dim=2, keepdim=True) / count
    style_mean = style.mean(dim=2, keepdim=True)
    style_variance = style.var(dim=2, keepdim=True, correction=0)
    gain = (style_variance / variance.clamp(min=_LEAST_VARIANCE)).sqrt()
    return centred * gain + style_mean


def _self_attentions(unet: nn.Module) -> list[Attention]:
    blocks = (module for module in unet.modules() if isinstance(module, BasicTransformerBlock))
    return [block.attn1 for block in blocks if not block.only_cross_attention]
