"""How much memory models take and may take."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from engine.checkpoint import Checkpoint

# The rest is for activations, LoRAs on their way in and what the CUDA context takes itself.
DEVICE_SHARE = 0.6
CPU_SHARE = 0.5
HOST_SHARE = 0.25
_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def modules_of(checkpoint: Checkpoint) -> tuple[torch.nn.Module, ...]:
    """Its modules, each once."""
    codecs = (checkpoint.own_vae, checkpoint.vae)
    modules = (checkpoint.unet, *checkpoint.text_encoders, *(each.module for each in codecs))
    return tuple(dict.fromkeys(modules))


def checkpoint_bytes(checkpoint: Checkpoint) -> int:
    """Memory of its weights and buffers, and of the LoRAs kept beside them."""
    tensors = {
        id(tensor): tensor
        for module in modules_of(checkpoint)
        for tensor in (*module.parameters(), *module.buffers())
    }
    return sum(tensor.nbytes for tensor in tensors.values()) + checkpoint.adapters.num_bytes


def default_device_bytes(device: torch.device) -> int:
    """What loaded models may take of `device`: a share of all its memory."""
    if device.type == "cuda":
        _, total = torch.cuda.mem_get_info(device)
        return int(DEVICE_SHARE * total)
    return int(CPU_SHARE * machine_bytes())


def default_host_bytes(device: torch.device) -> int:
    """What the copies in host memory may take, for the engine of one of the machine's devices."""
    if device.type == "cpu":
        return 0  # the device's own tier is in host memory already
    devices = max(1, torch.cuda.device_count())
    return int(HOST_SHARE * machine_bytes() / devices)


def machine_bytes() -> int:
    """Memory of this machine, or of its container where that has a lower limit."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for file in _CGROUP_LIMITS:
        try:
            limits.append(int(file.read_text(encoding="ascii")))
        except (OSError, ValueError):  # no such file; "max" means none
            continue
    return min(limits)
