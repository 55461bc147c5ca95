"""Every entry of models.yaml opened on the meta device: what it is, and whatever does not fit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from engine.adapters.lora_info import LoraModule, read_lora_info
from engine.adapters.names import Target, name_table
from engine.checkpoint import check_vaes
from engine.component import Component, Mismatches
from engine.components import open_checkpoint
from engine.embeddings import load_embedding
from engine.entry_check import check_steps
from engine.errors import EngineError
from engine.inpaint_pipeline import open_pipeline
from engine.pipeline_info import PipelineInfo
from engine.registry import MainModel
from engine.safetensors_header import read_safetensors_header
from engine.sub_models import HYPERNETWORK_REASON, SubModel


@dataclass(frozen=True, slots=True)
class MainModelReport:
    """What a main model's files hold.

    Attributes:
        name: of the entry.
        family: sd1, sd2, sdxl or pipeline; None where the files do not even tell that.
        in_channels: of the UNet; None of a pipeline.
        prediction_type: "epsilon", "v_prediction" or "sample"; None of a pipeline.
        num_bytes: memory of the loaded model.
        problems: a line each; none where it can be loaded.
    """

    name: str
    family: str | None
    in_channels: int | None
    prediction_type: str | None
    num_bytes: int | None
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Match:
    """How many of a LoRA's modules a main model has."""

    model_name: str
    num_matched: int


@dataclass(frozen=True, slots=True)
class SubModelReport:
    """What a sub-model's file holds.

    Attributes:
        name: of the entry.
        kind: "lora", "embedding" or "hypernetwork"; with the kinds of low-rank updates of a LoRA.
        family: of the main models it is made for; None where nothing tells.
        num_parts: modules of a LoRA, vectors of an embedding.
        matches: for a LoRA, every main model of its family.
        problems: a line each.
    """

    name: str
    kind: str
    family: str | None
    num_parts: int | None
    matches: tuple[Match, ...]
    problems: tuple[str, ...]


class ModelChecker:
    """Checks entries one by one; the modules of the main models are kept for the LoRAs.

    Args:
        dtype: memory is measured in.
    """

    def __init__(self, dtype: torch.dtype = torch.float16) -> None:
        # Both libraries warn about harmless details of valid configs.
        diffusers_logging.set_verbosity_error()
        transformers_logging.set_verbosity_error()
        self._dtype = dtype
        self._names: dict[str, Mapping[str, Target]] = {}
        self._families: dict[str, str] = {}

    def check_main_model(self, model: MainModel) -> MainModelReport:
        """Builds the model without memory and compares every name and shape with its files."""
        try:
            info = model.info
        except EngineError as exc:
            return MainModelReport(model.name, None, None, None, None, (str(exc),))
        if isinstance(info, PipelineInfo):
            return self._pipeline_report(model, info)
        num_bytes = None
        try:
            parts = open_checkpoint(model)
            num_bytes = sum(part.num_bytes(self._dtype) for part in parts.components)
            problems = tuple(_mismatches(parts.components))
            check_vaes(model, parts)
            check_steps(model)
            encoders = [part.module for part in parts.text_encoders]
            self._names[model.name] = name_table(parts.unet.module, encoders)
            self._families[model.name] = info.family
        except EngineError as exc:
            problems = (str(exc),)
        return MainModelReport(
            model.name,
            info.family,
            info.unet_in_channels,
            info.noise_schedule.prediction_type,
            num_bytes,
            problems,
        )

    def check_sub_model(self, sub_model: SubModel) -> SubModelReport:
        """Reads the file; a LoRA is matched with the main models checked before."""
        try:
            family = sub_model.trained_on()
            if sub_model.kind == "lora":
                return self._lora_report(sub_model, family)
            if sub_model.kind == "embedding":
                embedding = load_embedding(sub_model.path, allow_pickle=sub_model.allow_pickle)
                num_vectors = len(embedding.vectors[0])
                return SubModelReport(sub_model.name, "embedding", family, num_vectors, (), ())
        except EngineError as exc:
            problem = str(exc)
        else:
            problem = HYPERNETWORK_REASON
        return SubModelReport(
            sub_model.name, sub_model.kind, sub_model.family, None, (), (problem,)
        )

    def _pipeline_report(self, model: MainModel, info: PipelineInfo) -> MainModelReport:
        """Denoiser and VAE are compared; of the text encoders the headers are read.

        The libraries rename many of their weights on loading, and compare them there.
        """
        num_bytes, problems = 0, []
        size = torch.empty((), dtype=self._dtype).element_size()
        for name in filter(info.components.get, info.components):
            for file in sorted((model.path / name).glob("*.safetensors")):
                try:
                    tensors = read_safetensors_header(file).tensors.values()
                except EngineError as exc:
                    problems.append(str(exc))
                else:
                    num_bytes += size * sum(math.prod(each.shape) for each in tensors)
        if not problems:
            try:
                problems += _mismatches(open_pipeline(model, info))
            except EngineError as exc:
                problems.append(str(exc))
        return MainModelReport(model.name, info.family, None, None, num_bytes, tuple(problems))

    def _lora_report(self, sub_model: SubModel, family: str | None) -> SubModelReport:
        info = read_lora_info(sub_model.path)
        matches = tuple(
            Match(name, sum(_fits(module, names) for module in info.modules))
            for name, names in self._names.items()
            if family in (None, self._families[name])
        )
        problems = []
        if matches and not any(match.num_matched for match in matches):
            problems.append(
                f"{sub_model.path}: not one of its {len(info.modules)} modules is in a main model"
                " of its family"
            )
        kinds = ", ".join(sorted(info.kinds))
        return SubModelReport(
            sub_model.name, kinds, family, len(info.modules), matches, tuple(problems)
        )


def _fits(module: LoraModule, names: Mapping[str, Target]) -> bool:
    target = names.get(module.stem)
    if target is None:
        return False
    weight = target.module.weight
    return (module.shape.rows, module.shape.columns) == (len(weight), weight[0].numel())


def _mismatches(parts: Iterable[Component]) -> Iterator[str]:
    for part in parts:
        found = part.mismatches()
        for line in _lines(found):
            yield f"{part.weights.path}: {part.name}: {line}"


def _lines(found: Mismatches) -> Iterator[str]:
    yield from (f"missing {name!r}" for name in found.missing)
    yield from (f"unexpected {name!r}" for name in found.extra)
    yield from found.misshaped
