"""How much memory loaded checkpoints take."""

from __future__ import annotations

import torch

from engine.checkpoint import Checkpoint


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
