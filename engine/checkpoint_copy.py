"""A loaded checkpoint -> the same on another device, as new modules."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch

from engine.adapters.host import AdapterHost
from engine.checkpoint import Checkpoint, next_serial
from engine.errors import GpuOutOfMemory
from engine.memory import modules_of
from engine.vae import LatentCodec


def copy_checkpoint(checkpoint: Checkpoint, device: torch.device) -> Checkpoint:
    """Copies modules and leaves the original as it is, so that a failure leaves nothing half moved.

    What was one module or tensor in the original is one in the copy; tokenizers are shared.

    Raises:
        GpuOutOfMemory: the device cannot hold it; what was copied is freed again.
    """
    try:
        memo = moved_tensors(modules_of(checkpoint), device)
        memo |= {id(each): each for each in checkpoint.tokenizers}
        with checkpoint.adapters.held():
            return replace(copy.deepcopy(checkpoint, memo), device=device)
    except torch.OutOfMemoryError:
        pass  # left here, for its traceback holds on to all that was copied so far
    raise GpuOutOfMemory(f"{checkpoint.name!r} does not fit into the device's memory")


def float32_copy(checkpoint: Checkpoint) -> Checkpoint:
    """The same in float32 on the same device, for what overflows in a narrower type.

    Raises:
        GpuOutOfMemory: the device cannot hold it.
    """
    copied = copy_checkpoint(checkpoint, checkpoint.device)
    try:
        for module in modules_of(copied):
            module.float()
    except torch.OutOfMemoryError as exc:
        raise GpuOutOfMemory(f"{checkpoint.name!r} does not fit in float32") from exc
    codecs = {vae: LatentCodec(vae.module) for vae in (copied.vae, copied.own_vae)}
    return replace(
        copied,
        vae=codecs[copied.vae],
        own_vae=codecs[copied.own_vae],
        dtype=torch.float32,
        adapters=AdapterHost(copied.unet, copied.text_encoders),
        serial=next_serial(),
    )


def moved_tensors(modules: Iterable[torch.nn.Module], device: torch.device) -> dict[int, Any]:
    """Copies of all weights on `device` by the ids of the originals: a memo for `copy.deepcopy`.

    It takes a tensor from there instead of copying it where it is.
    """
    memo: dict[int, Any] = {}
    for module in modules:
        for parameter in module.parameters():
            if id(parameter) not in memo:
                moved = parameter.detach().to(device, copy=True)
                memo[id(parameter)] = torch.nn.Parameter(moved, requires_grad=False)
        for buffer in module.buffers():
            memo[id(buffer)] = buffer.to(device, copy=True)
    return memo
