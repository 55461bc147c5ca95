"""Where a parameter of diffusers' and transformers' classes lies in the original layouts.

The direction is from the loaded module's own parameter names to the file's, so that every parameter
must find its source; nothing is guessed from the names a file happens to hold. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Source:
    """The tensor of a file that a parameter is taken from.

    Attributes:
        name: of the tensor.
        third: 0, 1 or 2: the parameter is that third of the tensor's rows (q, k and v stacked).
        transposed: the file holds the matrix the other way round.
    """

    name: str
    third: int | None = None
    transposed: bool = False


KeyMap = Callable[[str], Source]

_UNET_TOP = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_UNET_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_VAE_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}
_OPEN_CLIP_TOP = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}
_OPEN_CLIP_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def original_unet_name(name: str, config: Mapping[str, Any]) -> str:
    """The LDM spelling of a UNet2DConditionModel parameter or module, without a prefix.

    Args:
        name: dotted; a module path such as "down_blocks.0.attentions.1" works as well.
        config: the UNet's: `layers_per_block` and `up_block_types` place the blocks.
    """
    part, _, rest = name.partition(".")
    per_block = int(config["layers_per_block"]) + 1
    if part == "down_blocks":
        block, kind, index, inner = _split_block(rest)
        if kind == "downsamplers":
            return f"input_blocks.{(block + 1) * per_block}.0.{_replaced(inner, {'conv': 'op'})}"
        return f"input_blocks.{1 + block * per_block + index}.{_unet_layer(kind, inner)}"
    if part == "mid_block":
        kind, index, inner = _split_layer(rest)
        if kind == "attentions":
            return f"middle_block.{2 * index + 1}.{inner}"
        return f"middle_block.{2 * index}.{_replaced(inner, _UNET_RESNET)}"
    if part == "up_blocks":
        block, kind, index, inner = _split_block(rest)
        if kind == "upsamplers":
            after = 2 if str(config["up_block_types"][block]).startswith("CrossAttn") else 1
            return f"output_blocks.{(block + 1) * per_block - 1}.{after}.{inner}"
        return f"output_blocks.{block * per_block + index}.{_unet_layer(kind, inner)}"
    return _replaced(name, _UNET_TOP)


def original_vae_name(name: str, config: Mapping[str, Any]) -> str:
    """The LDM spelling of an AutoencoderKL parameter, without a prefix."""
    side, _, rest = name.partition(".")
    part, _, inner = rest.partition(".")
    if part == "conv_norm_out":
        return f"{side}.norm_out.{inner}"
    if part == "mid_block":
        kind, index, inner = _split_layer(inner)
        if kind == "attentions":
            return f"{side}.mid.attn_{index + 1}.{_replaced(inner, _VAE_ATTENTION)}"
        return f"{side}.mid.block_{index + 1}.{_vae_resnet(inner)}"
    if part in ("down_blocks", "up_blocks"):
        block, kind, index, inner = _split_block(inner)
        direction = part.removesuffix("_blocks")
        if part == "up_blocks":
            block = len(config["up_block_types"]) - 1 - block
        if kind == "resnets":
            return f"{side}.{direction}.{block}.block.{index}.{_vae_resnet(inner)}"
        return f"{side}.{direction}.{block}.{direction}sample.{inner}"
    return name


def original_open_clip(name: str) -> Source:
    """Where OpenCLIP's text transformer holds a CLIP parameter, without a prefix.

    Args:
        name: of CLIPTextModel, or of the variant with a projection.
    """
    if name == "text_projection.weight":
        return Source("text_projection", transposed=True)
    name = name.removeprefix("text_model.")
    if name in _OPEN_CLIP_TOP:
        return Source(_OPEN_CLIP_TOP[name])
    layer, _, inner = name.removeprefix("encoder.layers.").partition(".")
    block = f"transformer.resblocks.{layer}"
    for third, projection in enumerate(("q_proj", "k_proj", "v_proj")):
        start = f"self_attn.{projection}."
        if inner.startswith(start):
            return Source(f"{block}.attn.in_proj_{inner.removeprefix(start)}", third=third)
    return Source(f"{block}.{_replaced(inner, _OPEN_CLIP_LAYER)}")


def _split_layer(path: str) -> tuple[str, int, str]:
    """Of `resnets.1.conv1.weight`: kind, index and the rest."""
    kind, _, rest = path.partition(".")
    index, _, inner = rest.partition(".")
    return kind, int(index), inner


def _split_block(path: str) -> tuple[int, str, int, str]:
    """Of `0.resnets.1.conv1.weight`: block, kind, index and the rest."""
    block, _, rest = path.partition(".")
    return int(block), *_split_layer(rest)


def _unet_layer(kind: str, inner: str) -> str:
    if kind == "attentions":  # both layouts share every name inside
        return f"1.{inner}".removesuffix(".")
    return f"0.{_replaced(inner, _UNET_RESNET)}"


def _vae_resnet(inner: str) -> str:
    return _replaced(inner, {"conv_shortcut": "nin_shortcut"})


def _replaced(name: str, table: Mapping[str, str]) -> str:
    """`name` with its leading module spelled as in `table`; unknown names stay as they are."""
    for ours, theirs in table.items():
        if name == ours or name.startswith(ours + "."):
            return theirs + name[len(ours) :]
    return name
