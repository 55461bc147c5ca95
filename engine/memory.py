"""How much memory there is, and how much of it loaded checkpoints take."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from engine.checkpoint import Checkpoint
from engine.device_profile import machine_bytes

_OWN_MEMORY = Path("/proc/self/statm")  # in pages: all that is mapped, then what is resident


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


def memory_bytes(device: torch.device) -> tuple[int, int]:
    """Used and all memory of a device: of a GPU by whomever, on the CPU by this process."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return total - free, total
    try:
        resident = int(_OWN_MEMORY.read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):  # no Linux
        resident = 0
    return resident * os.sysconf("SC_PAGE_SIZE"), machine_bytes()


def empty_cache(device: torch.device) -> None:
    """Gives back to the device what torch keeps for later."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
