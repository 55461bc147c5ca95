"""LoRAs on a pipeline of diffusers, through its own loader and peft."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from engine.errors import GpuOutOfMemory, IncompatibleAdapter, WeightsUnavailable, first_line
from engine.sub_models import WeightedLora

_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"


@contextmanager
def loras_on(pipeline: Any, loras: Sequence[WeightedLora]) -> Iterator[tuple[str, ...]]:
    """Puts LoRAs beside the weights of `pipeline`, and takes them away again whatever happens.

    peft wraps the layers it changes and never writes to their weights; unwrapped they are the
    same modules as before.

    Yields:
        A sentence for each that fits the model only in part.

    Raises:
        WeightsUnavailable: a file cannot be read.
        IncompatibleAdapter: a file is not made for this model.
        GpuOutOfMemory: the device cannot hold one.
    """
    acting = [lora for lora in loras if lora.weight != 0.0]
    if not acting:
        yield ()
        return
    names = [f"lora_{index}" for index in range(len(acting))]  # peft allows no dots
    notes = []
    try:
        for name, lora in zip(names, acting, strict=True):
            unmatched = _load(pipeline, lora.sub_model.path, name)
            if unmatched:
                notes.append(
                    f"{lora.sub_model.name}: {len(unmatched)} of its parts have no place in this"
                    f" model (first: {unmatched[0]})"
                )
        pipeline.set_adapters(names, [lora.weight for lora in acting])
        yield tuple(notes)
    finally:
        pipeline.unload_lora_weights()


def _load(pipeline: Any, path: Path, adapter_name: str) -> list[str]:
    """Loads one file; the names of its modules that the model has not."""
    where = {
        "weight_name": path.name,
        "local_files_only": True,
        "use_safetensors": True,
    }
    try:
        unmatched = _check(pipeline, path, pipeline.lora_state_dict(str(path.parent), **where))
        with warnings.catch_warnings():
            # Several at once are what it asks us to be sure of.
            warnings.filterwarnings("ignore", "Already found a `peft_config` attribute")
            pipeline.load_lora_weights(str(path.parent), adapter_name=adapter_name, **where)
    except torch.OutOfMemoryError:
        raise GpuOutOfMemory(f"{path}: does not fit into the device's memory") from None
    except (IncompatibleAdapter, torch.AcceleratorError):
        raise
    except (OSError, SafetensorError) as exc:
        raise WeightsUnavailable(f"{path}: cannot be loaded: {first_line(exc)}") from exc
    except Exception as exc:  # for a foreign file the converters raise whatever they stumble over
        raise IncompatibleAdapter(
            f"{path}: does not fit {type(pipeline).__name__}: {first_line(exc)}"
        ) from exc
    return unmatched


def _check(pipeline: Any, path: Path, tensors: dict[str, torch.Tensor]) -> list[str]:
    """Compares a LoRA in diffusers' spelling with the modules it names; those the model has not.

    diffusers itself pads factors that are too narrow, widens the model's layers for those that
    are too wide, overwrites norms a file brings along, and is silent where nothing matches.

    Raises:
        IncompatibleAdapter: a factor has another shape, a key is no factor, or nothing matches.
    """
    stems = [key.removesuffix(_DOWN) for key in tensors if key.endswith(_DOWN)]
    for key in tensors:
        if not key.endswith((_DOWN, _UP, ".alpha")):
            raise IncompatibleAdapter(f"{path}: {key!r} is no factor of a plain LoRA")
    unmatched = []
    for stem in stems:
        weight = _weight(pipeline, stem)
        if weight is None:
            unmatched.append(stem)
            continue
        shape = (len(tensors[stem + _UP]), *tensors[stem + _DOWN].shape[1:])
        if shape != tuple(weight.shape):
            raise IncompatibleAdapter(
                f"{path}: {stem} updates a weight of {_listed(shape)}, this model's has"
                f" {_listed(weight.shape)}"
            )
    if len(unmatched) == len(stems):
        first = stems[0] if stems else "none"
        raise IncompatibleAdapter(
            f"{path}: not one of its {len(stems)} modules is in this model (its first: {first})"
        )
    return unmatched


def _weight(pipeline: Any, stem: str) -> torch.Tensor | None:
    """The weight a LoRA module updates, also where another LoRA wraps it already."""
    component, _, path = stem.partition(".")
    module = getattr(pipeline, component, None)
    if component not in pipeline._lora_loadable_modules or module is None:
        return None
    try:
        layer = module.get_submodule(path)
    except AttributeError:
        return None
    weight = getattr(getattr(layer, "base_layer", layer), "weight", None)
    return weight if isinstance(weight, torch.Tensor) else None


def _listed(shape: Sequence[int]) -> str:
    return " x ".join(str(side) for side in shape)
