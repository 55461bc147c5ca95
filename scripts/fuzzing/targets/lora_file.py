"""LoRA files: keys, shapes and metadata, drawn from what trainers write and from what none would.

An input is read as choices, not as a file: a random change of a file's bytes hardly ever gives
another set of keys and shapes.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import atheris
import torch
from torch import nn

from engine.adapters.load import load_lora
from engine.adapters.lora_info import LoraInfo, LoraModule, read_lora_info
from engine.adapters.lora_keys import _SUFFIXES as SUFFIXES
from engine.adapters.names import Target
from engine.adapters.updates import tensors_of
from engine.errors import WeightsUnavailable
from scripts.fuzzing.catalogue import Check, Garbage

_STEMS = (
    "lora_unet_mid_block_attn2_to_k",
    "unet.a.attn2.to_v",
    "lora_te_text_model",
    "transformer.x",
    "",
)
_BITS = {"F32": 32, "F16": 16, "BF16": 16, "I64": 64, "F8_E4M3": 8}
_SIDES = (1, 2, 3, 4, 8, 0, 768)
_MAX_DATA_BYTES = 2**18
_PATTERN = b"\x3c"  # repeated, a small positive number in every floating point type above


def open_check(folder: Path) -> Check:
    """Reads a file's header; a LoRA that is accepted must load into layers of the shape it claims."""
    numbers = itertools.count()

    def check(data: bytes) -> bool:
        path = folder / f"{next(numbers)}.safetensors"  # read once each: there is a cache by name
        path.write_bytes(file_of(data))
        try:
            confirm(read_lora_info(path))
        except WeightsUnavailable:
            return False
        finally:
            path.unlink()
        return True

    return check


def confirm(info: LoraInfo) -> None:
    """Loads a LoRA by itself into layers made to fit.

    Raises:
        Garbage: a module is lost, or an update holds NaN or infinity.
        WeightsUnavailable: numbers that no header tells, such as an alpha that is no single one.
    """
    for module in info.modules:
        shape = module.shape
        if shape.rows < 0 or shape.columns < 0 or (shape.rank or 1) < 1:
            raise Garbage(f"{module.stem} has the shape {shape}")
    layers = {module.stem: _layer(module) for module in info.modules}
    targets = {stem: Target("unet", f"at.{stem}", layer) for stem, layer in layers.items()}
    lora = load_lora(info.path, targets)
    if lora.num_matched != len(info.modules) or set(lora.unmatched) != set(info.unknown_keys):
        raise Garbage(f"{lora.num_matched} of {len(info.modules)} modules were loaded")
    for updates in lora.updates.values():
        for path, update in updates.items():
            if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors_of(update)):
                raise Garbage(f"the update of {path} is not finite")


def _layer(module: LoraModule) -> nn.Linear | nn.Conv2d:
    """A layer of the shape that `module` claims: its kernel is one row of cells."""
    rows, columns = module.shape.rows, module.shape.columns
    if not module.shape.is_convolution:
        return nn.Linear(columns, rows, bias=False)
    return nn.Conv2d(columns // 9, rows, 3, bias=False)


def file_of(data: bytes) -> bytes:
    """The safetensors file that an input's choices make: at most 6 modules."""
    choices = atheris.FuzzedDataProvider(data)
    header: dict[str, Any] = {}
    end, usual = 0, choices.PickValueInList([*_BITS])
    for _ in range(choices.ConsumeIntInRange(0, 6)):
        for key, shape in _module(choices):
            dtype = choices.PickValueInList([*_BITS]) if _rarely(choices) else usual
            size = prod(shape) * _BITS[dtype] // 8
            if key not in header and end + size <= _MAX_DATA_BYTES:
                header[key] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
                end += size
    if choices.ConsumeBool():
        header["__metadata__"] = _metadata(choices)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + _PATTERN * end


def _module(choices: Any) -> Iterator[tuple[str, list[int]]]:
    """Keys and shapes of one module: a set that belongs together, with a change here and there."""
    stem = choices.PickValueInList([*_STEMS]) + str(choices.ConsumeIntInRange(0, 3))
    for suffix, shape in _set(choices):
        if _rarely(choices):
            continue
        yield f"{stem}{suffix}", _shape(choices) if _rarely(choices) else shape
    if choices.ConsumeIntInRange(0, 3) == 0:
        yield f"{stem}{choices.PickValueInList([*SUFFIXES])}", _shape(choices)
    if _rarely(choices):
        yield str(choices.ConsumeUnicodeNoSurrogates(12)), _shape(choices)


def _set(choices: Any) -> list[tuple[str, list[int]]]:
    """The factors of one update of any kind, with the shapes they should have."""
    rows, columns, rank = (choices.PickValueInList([1, 2, 3, 4, 8, 768]) for _ in range(3))
    kernel = choices.PickValueInList([[], [1, 1], [3, 3]])
    down, up = [rank, columns, *kernel], [rows, rank, *([1, 1] if kernel else [])]
    pair = [[rows, rank], [rank, columns]]
    sets = [
        [(".lora_down.weight", down), (".lora_up.weight", up), (".alpha", [])],
        [(".lora_A.weight", down), (".lora_B.weight", up)],
        [(".lora.down.weight", down), (".lora.up.weight", up), (".dora_scale", [rows, 1])],
        [(".lora_A.weight", down), (".lora_B.weight", up), (".lora_magnitude_vector", [rows])],
        [(f".hada_w{side}_{name}", pair[name == "b"]) for side in (1, 2) for name in "ab"],
        [(".lokr_w1", [rank, 2]), (".lokr_w2", [rows, columns, *kernel])],
        [(".lokr_w1", [2, 2]), (".lokr_w2_a", pair[0]), (".lokr_w2_b", [*pair[1], *kernel])],
        [
            (".lora_down.weight", [rank, columns, 1, 1]),
            (".lora_mid.weight", [rank, rank, 3, 3]),
            (".lora_up.weight", [rows, rank, 1, 1]),
        ],
    ]
    return sets[choices.ConsumeIntInRange(0, len(sets) - 1)]


def _rarely(choices: Any) -> bool:
    return choices.ConsumeIntInRange(0, 19) == 7


def _shape(choices: Any) -> list[int]:
    length = choices.PickValueInList([0, 1, 2, 2, 3, 4])
    return [choices.PickValueInList([*_SIDES]) for _ in range(length)]


def _metadata(choices: Any) -> dict[str, str]:
    alpha = choices.PickValueInList([8, 0.5, True, None, "8", -1e300])
    config = {"unet.lora_alpha": alpha, "unet.use_rslora": choices.ConsumeBool()}
    packed = json.dumps(config) if choices.ConsumeBool() else choices.ConsumeUnicodeNoSurrogates(20)
    base = choices.PickValueInList(["sdxl_base_v1-0", "sd_v1", "flux", ""])
    return {"lora_adapter_metadata": packed, "ss_base_model_version": base}


def seeds() -> list[bytes]:
    """Choices without a plan; coverage finds the rest."""
    return [
        bytes((31 * index + step * index) % 256 for index in range(300)) for step in range(1, 30)
    ]
