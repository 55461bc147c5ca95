"""What adapters add to the output of one module, row by row.

The base weight is used as it is; updates run beside it on the same input. Rows that use no adapter
are not touched.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from engine.adapters.layers import Layer
from engine.adapters.rows import RowMap
from engine.adapters.updates import Dense, Kronecker


def add_updates(layer: Layer, rows: RowMap, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    """The module's output with every row's own adapters added.

    Args:
        layer: the stacked updates of the module.
        rows: one entry a row of `x`, or uniform.
        x: input of the module: (B, ..., in) for a Linear, (B, in, H, W) for a Conv2d.
        output: what the module made of it; not written to.
    """
    assert rows.is_uniform or rows.num_rows == len(x), "a row map describes its forward"
    if rows.active is None:
        return output + _updates(layer, rows, x, output)
    active = output.index_select(0, rows.active)
    delta = _updates(layer, rows, x.index_select(0, rows.active), active)
    return output.index_copy(0, rows.active, active + delta)


def _updates(layer: Layer, rows: RowMap, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    """What is added to `output`; of its shape and dtype."""
    x = x.to(layer.module.weight.dtype)
    delta = torch.zeros_like(output) if layer.down is None else _low_rank(layer, rows, x, output)
    if layer.gain is not None:
        delta = delta + _rescaling(layer.gain, layer.module, rows, output)
    for position, update in layer.others:
        used, weights = rows.users[position]
        weights = weights * update.scale
        if rows.is_uniform:
            delta = delta + _weighted(_product(layer.module, update, x), weights[:1])
        else:
            product = _product(layer.module, update, x.index_select(0, used))
            part = delta.index_select(0, used) + _weighted(product, weights)
            delta = delta.index_copy(0, used, part)
    return delta


def _weighted(product: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(B, ...) times (B,); in the weights' precision, since a scale may be below float16."""
    shaped = weights.reshape(-1, *[1] * (product.dim() - 1))
    return (product * shaped).to(product.dtype)


# --- low rank ---


def _low_rank(layer: Layer, rows: RowMap, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    assert layer.down is not None, "a layer with low-rank updates"
    assert layer.up is not None, "a layer with low-rank updates"
    assert layer.scale is not None, "a layer with low-rank updates"
    # Each row's n LoRAs of rank R act as one of rank n * R.
    scales = rows.weights * layer.scale[rows.index]
    scales = scales.repeat_interleave(layer.down.shape[1], dim=1)
    if isinstance(layer.module, nn.Conv2d):
        return _low_rank_convolution(layer.module, layer.down, layer.up, rows, scales, x)
    tokens = x.reshape(len(x), -1, x.shape[-1])
    if rows.is_uniform:
        down, up = layer.down.flatten(0, 1), layer.up.flatten(0, 1)
        hidden = F.linear(tokens, down)
        delta = (hidden * scales[:, None]).to(x.dtype) @ up
    else:
        down = layer.down[rows.index].flatten(1, 2)
        up = layer.up[rows.index].flatten(1, 2)
        hidden = torch.bmm(tokens, down.transpose(1, 2))
        delta = torch.bmm((hidden * scales[:, None]).to(x.dtype), up)
    return delta.reshape(output.shape)


def _low_rank_convolution(
    module: nn.Conv2d,
    down: torch.Tensor,
    up: torch.Tensor,
    rows: RowMap,
    scales: torch.Tensor,
    x: torch.Tensor,
) -> torch.Tensor:
    """One convolution with every LoRA's filters, then each row goes on with its own."""
    hidden = _convolve(module, x, down.flatten(0, 1))  # (B, L * R, H, W)
    if rows.is_uniform:
        hidden = (hidden * scales[:, :, None, None]).to(x.dtype)
        return F.conv2d(hidden, up.flatten(0, 1).T[:, :, None, None])
    height, width = hidden.shape[-2:]
    hidden = hidden.reshape(len(x), *down.shape[:2], height * width)
    own = hidden[torch.arange(len(x), device=x.device)[:, None], rows.index].flatten(1, 2)
    own = (own * scales[:, :, None]).to(x.dtype)
    delta = torch.bmm(up[rows.index].flatten(1, 2).transpose(1, 2), own)
    return delta.reshape(len(x), -1, height, width)


def _rescaling(
    gain: torch.Tensor, module: nn.Linear | nn.Conv2d, rows: RowMap, output: torch.Tensor
) -> torch.Tensor:
    """What a DoRA's magnitudes change of the base output, bias aside."""
    change = (rows.weights[:, :, None] * gain[rows.index]).sum(dim=1)  # (B, out)
    channels = [1] * (output.dim() - 2)
    if isinstance(module, nn.Conv2d):
        change = change.reshape(*change.shape, *channels)
        bias = None if module.bias is None else module.bias[:, None, None]
    else:
        change = change.reshape(len(change), *channels, -1)
        bias = module.bias
    base = output if bias is None else output - bias
    return (base * change).to(output.dtype)


# --- Kronecker and dense ---


def _product(
    module: nn.Linear | nn.Conv2d, update: Kronecker | Dense, x: torch.Tensor
) -> torch.Tensor:
    """The update without its scale, applied to `x` in place of the base weight."""
    if isinstance(update, Kronecker):
        if isinstance(module, nn.Conv2d):
            return _kronecker_convolution(module, update, x)
        return _kronecker_linear(update, x)
    weight = update.weight
    return _convolve(module, x, weight) if isinstance(module, nn.Conv2d) else F.linear(x, weight)


def _kronecker_linear(update: Kronecker, x: torch.Tensor) -> torch.Tensor:
    """kron(left, right) x as left X right^T, X being x cut into b rows of d."""
    rows = x.reshape(*x.shape[:-1], update.left.shape[1], update.right.shape[1])
    return (update.left @ F.linear(rows, update.right)).flatten(-2)


def _kronecker_convolution(module: nn.Conv2d, update: Kronecker, x: torch.Tensor) -> torch.Tensor:
    """The same on channels: `right` convolves each of b groups, `left` mixes the groups."""
    groups = update.left.shape[1]
    hidden = _convolve(module, x.reshape(len(x) * groups, -1, *x.shape[-2:]), update.right)
    size = hidden.shape[-2:]
    mixed = update.left @ hidden.reshape(len(x), groups, -1)
    return mixed.reshape(len(x), -1, *size)


def _convolve(module: nn.Conv2d, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    assert module.padding_mode == "zeros", "as in every UNet of diffusers"
    return F.conv2d(x, weight, None, module.stride, module.padding, module.dilation)
