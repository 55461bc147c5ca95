"""The original networks as torch modules: their state dicts are the single-file layouts.

Built the way the first implementations build them, block by block, and not from any table of names,
so that they check the engine's tables. Only OpenCLIP's text transformer can run.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class Named(nn.Module):
    """A module of named parts; None stands for no part."""

    def __init__(self, **parts: nn.Module | None) -> None:
        super().__init__()
        for name, part in parts.items():
            if part is not None:
                self.add_module(name, part)


def conv(inputs: int, outputs: int, size: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding=size // 2)


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(4, channels)


# --- UNet ---


def unet(
    *,
    in_channels: int,
    width: int,
    multiples: Sequence[int],
    depths: Sequence[int],
    context: int,
    linear: bool,
    vector: int | None = None,
) -> nn.Module:
    """The LDM and SGM UNet with two ResBlocks a level.

    Args:
        in_channels: 4 or 9.
        width: channels of the first level.
        multiples: of `width`, by level.
        depths: transformer blocks by level; 0 for none.
        context: width of the prompt embeddings.
        linear: linear projections around a transformer instead of 1x1 convolutions.
        vector: width of SDXL's added conditions.
    """
    embedding = 4 * width
    last = len(multiples) - 1

    def transformer(channels: int, depth: int) -> list[nn.Module]:
        return [spatial_transformer(channels, depth, context, linear)] if depth else []

    inputs: list[nn.Module] = [nn.Sequential(conv(in_channels, width))]
    channels, skips = width, [width]
    for level, multiple in enumerate(multiples):
        for _ in range(2):
            block = unet_resnet(channels, embedding, width * multiple)
            channels = width * multiple
            inputs.append(nn.Sequential(block, *transformer(channels, depths[level])))
            skips.append(channels)
        if level < last:
            inputs.append(nn.Sequential(Named(op=conv(channels, channels))))
            skips.append(channels)
    middle = nn.Sequential(
        unet_resnet(channels, embedding, channels),
        spatial_transformer(channels, depths[-1] or 1, context, linear),
        unet_resnet(channels, embedding, channels),
    )
    outputs: list[nn.Module] = []
    for level, multiple in reversed(list(enumerate(multiples))):
        for index in range(3):
            block = unet_resnet(channels + skips.pop(), embedding, width * multiple)
            channels = width * multiple
            parts = [block, *transformer(channels, depths[level])]
            if level and index == 2:
                parts.append(Named(conv=conv(channels, channels)))
            outputs.append(nn.Sequential(*parts))
    return Named(
        time_embed=nn.Sequential(
            nn.Linear(width, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        ),
        label_emb=None
        if vector is None
        else nn.Sequential(
            nn.Sequential(nn.Linear(vector, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        ),
        input_blocks=nn.ModuleList(inputs),
        middle_block=middle,
        output_blocks=nn.ModuleList(outputs),
        out=nn.Sequential(norm(width), nn.SiLU(), conv(width, 4)),
    )


def unet_resnet(inputs: int, embedding: int, outputs: int) -> nn.Module:
    return Named(
        in_layers=nn.Sequential(norm(inputs), nn.SiLU(), conv(inputs, outputs)),
        emb_layers=nn.Sequential(nn.SiLU(), nn.Linear(embedding, outputs)),
        out_layers=nn.Sequential(norm(outputs), nn.SiLU(), nn.Dropout(), conv(outputs, outputs)),
        skip_connection=conv(inputs, outputs, 1) if inputs != outputs else nn.Identity(),
    )


def spatial_transformer(channels: int, depth: int, context: int, linear: bool) -> nn.Module:
    def projection() -> nn.Module:
        return nn.Linear(channels, channels) if linear else conv(channels, channels, 1)

    def attention(width: int) -> nn.Module:
        return Named(
            to_q=nn.Linear(channels, channels, bias=False),
            to_k=nn.Linear(width, channels, bias=False),
            to_v=nn.Linear(width, channels, bias=False),
            to_out=nn.Sequential(nn.Linear(channels, channels), nn.Dropout()),
        )

    def block() -> nn.Module:
        geglu = Named(proj=nn.Linear(channels, 8 * channels))
        return Named(
            attn1=attention(channels),
            ff=Named(net=nn.Sequential(geglu, nn.Dropout(), nn.Linear(4 * channels, channels))),
            attn2=attention(context),
            norm1=nn.LayerNorm(channels),
            norm2=nn.LayerNorm(channels),
            norm3=nn.LayerNorm(channels),
        )

    return Named(
        norm=norm(channels),
        proj_in=projection(),
        transformer_blocks=nn.ModuleList([block() for _ in range(depth)]),
        proj_out=projection(),
    )


# --- VAE ---


def vae(width: int, multiples: Sequence[int] = (1, 2, 4, 4)) -> nn.Module:
    """The KL autoencoder with four latent channels."""
    widths = [width * multiple for multiple in multiples]
    down, channels = [], width
    for level, outputs in enumerate(widths):
        blocks = [vae_resnet(channels, outputs), vae_resnet(outputs, outputs)]
        channels = outputs
        more = level < len(widths) - 1
        downsample = Named(conv=conv(channels, channels)) if more else None
        down.append(Named(block=nn.ModuleList(blocks), downsample=downsample))
    encoder = Named(
        conv_in=conv(3, width),
        down=nn.ModuleList(down),
        mid=vae_middle(channels),
        norm_out=norm(channels),
        conv_out=conv(channels, 8),
    )
    up: list[nn.Module] = []
    for level, outputs in reversed(list(enumerate(widths))):
        blocks = [vae_resnet(channels, outputs)]
        blocks += [vae_resnet(outputs, outputs) for _ in range(2)]
        upsample = Named(conv=conv(outputs, outputs)) if level else None
        up.insert(0, Named(block=nn.ModuleList(blocks), upsample=upsample))
        channels = outputs
    decoder = Named(
        conv_in=conv(4, widths[-1]),
        mid=vae_middle(widths[-1]),
        up=nn.ModuleList(up),
        norm_out=norm(widths[0]),
        conv_out=conv(widths[0], 3),
    )
    return Named(
        encoder=encoder, decoder=decoder, quant_conv=conv(8, 8, 1), post_quant_conv=conv(4, 4, 1)
    )


def vae_resnet(inputs: int, outputs: int) -> nn.Module:
    return Named(
        norm1=norm(inputs),
        conv1=conv(inputs, outputs),
        norm2=norm(outputs),
        conv2=conv(outputs, outputs),
        nin_shortcut=conv(inputs, outputs, 1) if inputs != outputs else None,
    )


def vae_middle(channels: int) -> nn.Module:
    parts = {name: conv(channels, channels, 1) for name in ("q", "k", "v", "proj_out")}
    return Named(
        block_1=vae_resnet(channels, channels),
        attn_1=Named(norm=norm(channels), **parts),
        block_2=vae_resnet(channels, channels),
    )


# --- text encoders ---


def clip_text(width: int, layers: int) -> nn.Module:
    """CLIP's text encoder as the first transformers releases saved it."""

    def layer() -> nn.Module:
        names = ("k_proj", "v_proj", "q_proj", "out_proj")
        return Named(
            self_attn=Named(**{name: nn.Linear(width, width) for name in names}),
            layer_norm1=nn.LayerNorm(width),
            mlp=Named(fc1=nn.Linear(width, 4 * width), fc2=nn.Linear(4 * width, width)),
            layer_norm2=nn.LayerNorm(width),
        )

    embeddings = Named(
        token_embedding=nn.Embedding(49408, width), position_embedding=nn.Embedding(77, width)
    )
    embeddings.register_buffer("position_ids", torch.arange(77)[None])
    return Named(
        text_model=Named(
            embeddings=embeddings,
            encoder=Named(layers=nn.ModuleList([layer() for _ in range(layers)])),
            final_layer_norm=nn.LayerNorm(width),
        )
    )


class OpenClipText(nn.Module):
    """OpenCLIP's text transformer, which stacks q, k and v as torch's own attention does."""

    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(49408, width)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(77, width))
        self.transformer = Named(
            resblocks=nn.ModuleList([_OpenClipBlock(width, heads) for _ in range(layers)])
        )
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(width**-0.5 * torch.randn(width, width))
        self.logit_scale = nn.Parameter(torch.ones(()))

    def forward(self, ids: torch.Tensor, layers: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states after `layers` blocks, and the projected end-of-text state of all blocks.

        Args:
            ids: (B, 77) token ids.
            layers: how many blocks the first result has passed.
        """
        states = self.token_embedding(ids) + self.positional_embedding
        mask = torch.full((77, 77), float("-inf")).triu(1)
        outputs = []
        for block in self.transformer.resblocks:
            states = block(states, mask)
            outputs.append(states)
        ends = self.ln_final(states)[torch.arange(len(ids)), ids.argmax(dim=-1)]
        return outputs[layers - 1], ends @ self.text_projection


class _OpenClipBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = Named(c_fc=nn.Linear(width, 4 * width), c_proj=nn.Linear(4 * width, width))

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        normed = self.ln_1(states)
        states = states + self.attn(normed, normed, normed, attn_mask=mask, need_weights=False)[0]
        hidden = nn.functional.gelu(self.mlp.c_fc(self.ln_2(states)))
        return states + self.mlp.c_proj(hidden)
