"""What adapters add to the output of one module, row by row.

The base weight is used as it is; updates run beside it on the same input and are added to its
output in place. Rows outside the row map are not touched; a row in it that uses no adapter gets
zeros added.
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
        rows: of the forward that `x` belongs to.
        x: input of the module: (B, ..., in) for a Linear, (B, in, H, W) for a Conv2d.
        output: what the module made of it; written to.

    Returns:
        `output`.
    """
    assert rows.num_rows in (None, len(x)), "a row map describes its forward"
    module = layer.module
    x = x.to(module.weight.dtype)
    is_convolution = isinstance(module, nn.Conv2d)
    # No copies in the engine, whose UNets are laid out so.
    laid_out = output.contiguous(
        memory_format=torch.channels_last if is_convolution else torch.contiguous_format
    )
    inside, result = x, laid_out
    if rows.num_rows is not None:
        inside, result = x[rows.span], laid_out[rows.span]
    result = _channels_last(result, module)
    tokens = result.view(rows.num_groups, -1, result.shape[-1])
    if layer.gain is not None:  # first, for it changes the base output alone
        tokens.addcmul_(tokens, _of_groups(layer.gain, rows))
        if layer.bias_gain is not None:
            tokens -= _of_groups(layer.bias_gain, rows)
    if layer.factors is not None:
        _add_low_rank(layer, layer.factors, rows, inside, tokens)
    for position, update, weight in layer.others:
        for own in rows.ranges[position]:
            laid_out[own].add_(_product(module, update, x[own]), alpha=weight * update.scale)
    return output if laid_out is output else output.copy_(laid_out)


def _channels_last(x: torch.Tensor, module: nn.Linear | nn.Conv2d) -> torch.Tensor:
    return x.permute(0, 2, 3, 1) if isinstance(module, nn.Conv2d) else x


def _of_groups(stacked: torch.Tensor, rows: RowMap) -> torch.Tensor:
    """(S, ...) -> (groups, ...)."""
    return stacked if rows.order is None else stacked.index_select(0, rows.order)


# --- low rank ---


def _add_low_rank(
    layer: Layer, factors: torch.Tensor, rows: RowMap, x: torch.Tensor, tokens: torch.Tensor
) -> None:
    """Adds to `tokens`, (groups, tokens, out), in two products."""
    columns = factors.shape[2] - tokens.shape[2]
    if layer.filters is not None:
        assert isinstance(layer.module, nn.Conv2d), "only convolutions have filters"
        hidden = _convolve_groups(layer.module, layer.filters, rows, x)
        up = _of_groups(factors[..., columns:], rows)
    else:
        x = _channels_last(x, layer.module)
        x = x.reshape(rows.num_groups, -1, columns)
        own = _of_groups(factors, rows)
        down, up = own[..., :columns], own[..., columns:]
        hidden = torch.bmm(x, down.mT) if rows.num_groups > 1 else F.linear(x, down[0])
    if rows.num_groups > 1:
        tokens.baddbmm_(hidden, up, alpha=layer.weight)
    else:
        tokens[0].addmm_(hidden[0], up[0], alpha=layer.weight)


def _convolve_groups(
    module: nn.Conv2d, filters: torch.Tensor, rows: RowMap, x: torch.Tensor
) -> torch.Tensor:
    """Every row with the filters of its own set: (groups, tokens, R).

    Groups of rows become groups of channels. One convolution with the filters of all sets, each
    row's own picked from its output, was measured two to five times as slow at eight sets.
    """
    groups, size = rows.num_groups, len(x) // rows.num_groups
    if groups == 1:
        hidden = _convolve(module, x, filters[0])
    else:
        own = _of_groups(filters, rows).flatten(0, 1)
        x = x.reshape(groups, size, *x.shape[1:]).transpose(0, 1).flatten(1, 2)
        hidden = _convolve(module, x.contiguous(), own, groups=groups)
    hidden = hidden.reshape(size, groups, -1, *hidden.shape[-2:])
    return hidden.permute(1, 0, 3, 4, 2).flatten(1, 3)


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


def _convolve(
    module: nn.Conv2d, x: torch.Tensor, weight: torch.Tensor, groups: int = 1
) -> torch.Tensor:
    assert module.padding_mode == "zeros", "as in every UNet of diffusers"
    return F.conv2d(x, weight, None, module.stride, module.padding, module.dilation, groups)
