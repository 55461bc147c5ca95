"""Keys of LoRA files: which module a tensor is for and which part of its update it holds.

Torch-free. A key is a stem, which names the module in the spelling of whoever wrote the file, and
a suffix, which names the part. The suffixes are a closed list; the stems are looked up in a table
generated from the loaded modules (`engine.adapters.names`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_MAX_FLOAT32 = 3.4028234663852886e38

# Parts of one module's update, named after kohya and LyCORIS.
_SUFFIXES: dict[str, str] = {
    ".lora_down.weight": "down",
    ".lora_up.weight": "up",
    ".lora_mid.weight": "mid",
    ".alpha": "alpha",
    ".dora_scale": "dora_scale",
    # peft, and diffusers since it writes peft names
    ".lora_A.weight": "down",
    ".lora_B.weight": "up",
    ".lora_A.default.weight": "down",
    ".lora_B.default.weight": "up",
    ".lora_magnitude_vector": "magnitude",
    ".lora_magnitude_vector.weight": "magnitude",
    ".lora_magnitude_vector.default.weight": "magnitude",
    # diffusers before peft: modules, then attention processors
    ".lora.down.weight": "down",
    ".lora.up.weight": "up",
    ".lora.alpha": "alpha",
    ".lora_linear_layer.down.weight": "down",
    ".lora_linear_layer.up.weight": "up",
    ".lora_linear_layer.alpha": "alpha",
    "_lora.down.weight": "down",
    "_lora.up.weight": "up",
    "_lora.alpha": "alpha",
    # LyCORIS
    ".hada_w1_a": "hada_w1_a",
    ".hada_w1_b": "hada_w1_b",
    ".hada_w2_a": "hada_w2_a",
    ".hada_w2_b": "hada_w2_b",
    ".hada_t1": "hada_t1",
    ".hada_t2": "hada_t2",
    ".lokr_w1": "lokr_w1",
    ".lokr_w1_a": "lokr_w1_a",
    ".lokr_w1_b": "lokr_w1_b",
    ".lokr_w2": "lokr_w2",
    ".lokr_w2_a": "lokr_w2_a",
    ".lokr_w2_b": "lokr_w2_b",
    ".lokr_t2": "lokr_t2",
}
_SUFFIXES_BY_LENGTH = sorted(_SUFFIXES, key=len, reverse=True)


def split_key(key: str) -> tuple[str, str] | None:
    """`(stem, part)` of a key, None for one that is no part of a LoRA this code knows."""
    for suffix in _SUFFIXES_BY_LENGTH:
        if key.endswith(suffix):
            return key.removesuffix(suffix), _SUFFIXES[suffix]
    return None


def group_keys(keys: Iterable[str]) -> tuple[dict[str, dict[str, str]], tuple[str, ...]]:
    """Sorts the keys of a file by module.

    Returns:
        For each stem the key of each part, in file order; and the keys that are no part at all.
    """
    modules: dict[str, dict[str, str]] = {}
    strangers: list[str] = []
    for key in keys:
        split = split_key(key)
        if split is None:
            strangers.append(key)
        else:
            stem, part = split
            modules.setdefault(stem, {})[part] = key
    return modules, tuple(strangers)


def alpha_from_metadata(stem: str, rank: int, config: Mapping[str, object]) -> float | None:
    """A module's alpha from peft's `LoraConfig`, such that alpha / `rank` is its scale.

    Args:
        stem: of the module's keys.
        rank: of its factors.
        config: one model's `LoraConfig`; patterns in it are whole trailing names.

    Raises:
        ValueError: the alpha is NaN, infinite, or beyond float32.
    """
    alpha = config.get("lora_alpha")
    patterns = config.get("alpha_pattern")
    if isinstance(patterns, Mapping):
        for name, value in patterns.items():
            if stem == name or stem.endswith(f".{name}"):
                alpha = value
    if isinstance(alpha, bool) or not isinstance(alpha, int | float):
        return None
    if not abs(alpha) <= _MAX_FLOAT32:  # JSON may hold NaN, and integers that no float can
        raise ValueError("the alpha in its metadata is no number of float32")
    # Rank-stabilised LoRA (arXiv 2312.03732) divides by the root of the rank.
    return float(alpha) * rank**0.5 if config.get("use_rslora") else float(alpha)
