"""The autoencoder: diffusers' AutoencoderTiny, started so that it sees the right colours at once."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from diffusers.models.autoencoders.vae import AutoencoderTinyBlock
from torch import nn

# The decoder is wider than the encoder: reading a picture is easier than painting one, and a
# decoder can be trained on without making latents on disk stale.
ENCODER_WIDTH = 32
DECODER_WIDTH = 48


def new_vae() -> AutoencoderTiny:
    """A fresh autoencoder whose first three latent channels are the 8x8-reduced RGB.

    Residual branches start small and three feature channels carry the colours straight through,
    so that training spends its time on detail: without this it stood on a plateau of grey for
    hundreds of steps.
    """
    vae = AutoencoderTiny(
        encoder_block_out_channels=(ENCODER_WIDTH,) * 4,
        decoder_block_out_channels=(DECODER_WIDTH,) * 4,
        num_encoder_blocks=(1, 2, 3, 3),
        num_decoder_blocks=(3, 3, 2, 1),
    )
    with torch.no_grad():
        _pass_colors_through(vae.encoder.layers)
        _pass_colors_through(vae.decoder.layers)
        last = _convolutions(vae.encoder.layers)[-1]
        last.weight[:3] *= 4  # 0..1 to about -2..2
        last.bias[:3] = -2
        first = _convolutions(vae.decoder.layers)[0]
        first.weight[:3] /= 4
        first.bias[:3] = 0.5
    return vae


def _convolutions(layers: nn.Sequential) -> list[nn.Conv2d]:
    return [layer for layer in layers if isinstance(layer, nn.Conv2d)]


def _pass_colors_through(layers: nn.Sequential) -> None:
    """Channels 0..2 are copied from layer to layer and averaged where the picture is reduced."""
    for layer in layers:
        if isinstance(layer, AutoencoderTinyBlock):
            branch_end = layer.conv[-1]
            branch_end.weight.mul_(0.3)
            branch_end.weight[:3] *= 0.1
            branch_end.bias.zero_()
    convolutions = _convolutions(layers)
    binomial = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    for convolution in convolutions:
        if convolution is convolutions[-1]:
            convolution.weight.mul_(0.1)
        if convolution.bias is not None:
            convolution.bias.zero_()
        convolution.weight[:3] = 0
        for channel in range(3):
            if convolution.stride[0] == 2:
                convolution.weight[channel, channel] = binomial
            else:
                convolution.weight[channel, channel, 1, 1] = 1


def start_from(vae: AutoencoderTiny, folder: Path) -> None:
    """Takes over the weights of a narrower autoencoder; the function starts out the same.

    Old channels keep their weights and do not hear the new ones at first, which start at random
    and so can learn.
    """
    narrow = AutoencoderTiny.from_pretrained(folder).state_dict()
    with torch.no_grad():
        for name, wide in vae.state_dict().items():
            old = narrow[name].float()
            where = tuple(slice(0, size) for size in old.shape)
            if wide.ndim == 4:
                wide[: old.shape[0], old.shape[1] :] = 0
            wide[where] = old
