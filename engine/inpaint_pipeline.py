"""A registry entry -> an inpainting pipeline of diffusers, loaded from its folder alone."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from engine.checkpoint_copy import moved_tensors
from engine.component import Component
from engine.components import build_on_meta, nothing_ignored
from engine.errors import GpuOutOfMemory, WeightsUnavailable, first_line
from engine.original_keys import Source
from engine.pipeline_info import PipelineInfo
from engine.registry import MainModel, Offload
from engine.weights import open_folder

# These are checked by name and shape before they are read. Text encoders are not: transformers
# renames and ties their tensors while it loads them, and tells afterwards what was missing.
_CHECKED = ("transformer", "vae")


@dataclass(frozen=True, slots=True)
class InpaintPipeline:
    """A loaded pipeline model; its weights are never written to.

    Attributes:
        name: of the registry entry.
        info: its facts.
        pipeline: runs one image at a time; it keeps the state of a call in itself.
        device: where it runs.
        offload: what stays in host memory until it is needed, see `MainModel`.
    """

    name: str
    info: PipelineInfo
    pipeline: Any
    device: torch.device
    offload: Offload

    @property
    def modules(self) -> tuple[torch.nn.Module, ...]:
        """Everything in it that has weights."""
        parts = self.pipeline.components.values()
        return tuple(part for part in parts if isinstance(part, torch.nn.Module))

    def num_bytes_on(self, device: torch.device) -> int:
        """Memory it takes there between two images, or at its peak where it offloads."""
        sizes = [module_bytes(module) for module in self.modules]
        if device.type == "cpu" or self.offload == "none":
            return sum(sizes)
        return max(sizes) if self.offload == "model" else 0


def module_bytes(module: torch.nn.Module) -> int:
    """Memory of a module's weights and buffers."""
    tensors = {id(each): each for each in (*module.parameters(), *module.buffers())}
    return sum(tensor.nbytes for tensor in tensors.values())


def open_pipeline(model: MainModel, info: PipelineInfo) -> tuple[Component, ...]:
    """Denoiser and VAE on the meta device beside their opened weights; takes no memory.

    Raises:
        WeightsUnavailable: a file is missing or of another format, or a config is unusable.
    """
    return tuple(_open_part(model.path / name, *_class_of(info, name)) for name in _CHECKED)


def load_pipeline(model: MainModel, *, device: torch.device, dtype: torch.dtype) -> InpaintPipeline:
    """Loads a diffusers folder into host memory, or onto `device` where that is another one.

    Args:
        model: a pipeline model.
        device: where it will run.
        dtype: of its weights. All these families were trained in bfloat16 and overflow in
            float16, for which bfloat16 is taken.

    Raises:
        WeightsUnavailable: a file is missing, truncated or does not fit its config.
        GpuOutOfMemory: the device cannot hold it.
    """
    # Both libraries warn about harmless details of valid configs on every load, and draw bars.
    for library_logging in (diffusers_logging, transformers_logging):
        library_logging.set_verbosity_error()
        library_logging.disable_progress_bar()
    info = model.info
    assert isinstance(info, PipelineInfo)
    for component in open_pipeline(model, info):
        component.check()
    dtype = torch.bfloat16 if dtype is torch.float16 else dtype
    components = {
        name: None if class_of is None else _load_part(model.path / name, *class_of, dtype)
        for name, class_of in info.components.items()
    }
    try:
        pipeline = getattr(diffusers, info.inpaint_class)(**components)
    except (TypeError, ValueError, AttributeError) as exc:
        raise WeightsUnavailable(f"{model.path / 'model_index.json'}: {first_line(exc)}") from exc
    pipeline.set_progress_bar_config(disable=True)
    loaded = InpaintPipeline(model.name, info, pipeline, torch.device("cpu"), model.offload)
    return loaded if device.type == "cpu" else copy_pipeline(loaded, device)


def copy_pipeline(loaded: InpaintPipeline, device: torch.device) -> InpaintPipeline:
    """Makes the pipeline run on `device`: by a copy, or with offload from where it is.

    Raises:
        GpuOutOfMemory: the device cannot hold it; what was copied is freed again.
    """
    try:
        return replace(loaded, pipeline=_on_device(loaded, device), device=device)
    except torch.OutOfMemoryError:
        pass  # left here, for its traceback holds on to all that was copied so far
    raise GpuOutOfMemory(f"{loaded.name!r} does not fit into the device's memory")


def _on_device(loaded: InpaintPipeline, device: torch.device) -> Any:
    parts = dict(loaded.pipeline.components)
    if loaded.offload == "none":
        memo = moved_tensors(loaded.modules, device)
        parts = {
            name: copy.deepcopy(part, memo) if isinstance(part, torch.nn.Module) else part
            for name, part in parts.items()
        }
    pipeline = type(loaded.pipeline)(**parts)
    pipeline.set_progress_bar_config(disable=True)
    if loaded.offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif loaded.offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
    return pipeline


def _class_of(info: PipelineInfo, name: str) -> tuple[str, str]:
    class_of = info.components.get(name)
    if class_of is None:
        raise WeightsUnavailable(f"{info.config_folder / 'model_index.json'}: names no {name}")
    return class_of


def _open_part(folder: Path, library: str, class_name: str) -> Component:
    part_class = _import(folder, library, class_name)
    weights = open_folder(folder, "diffusion_pytorch_model", allow_pickle=False)
    module = build_on_meta(folder / "config.json", part_class.from_config)
    return Component(folder.name, module, weights, "", Source, nothing_ignored)


def _load_part(folder: Path, library: str, class_name: str, dtype: torch.dtype) -> Any:
    """One component with its weights in `dtype`; a tokenizer or scheduler as it is.

    Raises:
        WeightsUnavailable: it cannot be loaded, or weights are missing.
    """
    part_class = _import(folder, library, class_name)
    try:
        if not issubclass(part_class, torch.nn.Module):
            return part_class.from_pretrained(folder, local_files_only=True)
        module, found = part_class.from_pretrained(
            folder,
            torch_dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as exc:  # tokenizers raise bare Exceptions
        raise WeightsUnavailable(f"{folder}: cannot be loaded: {first_line(exc)}") from exc
    if missing := sorted(found["missing_keys"]):
        raise WeightsUnavailable(f"{folder}: missing {missing[0]!r} ({len(missing)} in all)")
    for tensor in _tensors(module):
        # It may be a view of the mapped file, and would change when somebody overwrites that.
        tensor.data = tensor.data.clone()
    return module.eval().requires_grad_(False)


def _import(folder: Path, library: str, class_name: str) -> Any:
    try:
        return getattr(importlib.import_module(library), class_name)
    except (AttributeError, ImportError) as exc:
        raise WeightsUnavailable(
            f"{folder}: the installed {library} has no {class_name!r}"
        ) from exc


def _tensors(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    yield from module.parameters()
    yield from module.buffers()
