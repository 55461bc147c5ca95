"""Sub-models of models.yaml, and which of them a job uses. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from engine.adapters.lora_info import read_lora_info
from engine.checkpoint_info import CheckpointInfo, read_config, text_encoder_folders
from engine.embeddings import read_embedding_info
from engine.errors import (
    MislabelledModel,
    ParameterOutOfRange,
    UnsuitableSubModel,
    WeightsUnavailable,
)
from engine.families import Family, ModelFamily
from engine.hub_source import HubSource
from engine.job import AdapterWeight
from engine.model_paths import ModelFile
from engine.pipeline_info import PipelineInfo
from engine.pipeline_plan import why_no_pipeline_lora

if TYPE_CHECKING:
    from engine.registry import MainModel, Registry

MAX_SUB_MODELS = 16
MIN_WEIGHT, MAX_WEIGHT = -1.0, 2.0
HYPERNETWORK_REASON = (
    "hypernetworks are not supported: they exist as pickled files alone, and few are left in use;"
    " a LoRA does the same"
)

SubModelKind = Literal["lora", "embedding", "hypernetwork"]


class SubModel(BaseModel):
    """One file that changes what a main model paints.

    Attributes:
        name: the ModelCode clients use.
        kind: lora (every kind of low-rank file), embedding (textual inversion) or hypernetwork
            (refused, with the reason).
        path: the file; safetensors.
        family: of the main models it was trained on; told by the file in most cases, with which
            it must agree. "pipeline" stands for all that are not sd1, sd2 or sdxl.
        default_weight: of a LoRA when a request gives none, -1..2.
        trigger_words: for a LoRA words it was trained to react to, shown to clients; for an
            embedding the words that stand for it in a prompt, its name where there are none.
        allow_pickle: read a pickled embedding, by torch's weights-only loader.
        source: where `backdrop models pull` gets the file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=200)
    kind: SubModelKind
    path: ModelFile
    family: ModelFamily | None = None
    default_weight: float = Field(1.0, ge=MIN_WEIGHT, le=MAX_WEIGHT)
    trigger_words: tuple[str, ...] = ()
    allow_pickle: bool = False
    source: HubSource | None = None

    @model_validator(mode="after")
    def _has_no_keys_of_another_kind(self) -> SubModel:
        if self.kind != "lora" and "default_weight" in self.model_fields_set:
            raise ValueError("default_weight: only a LoRA has a weight")
        if self.kind != "embedding" and self.allow_pickle:
            raise ValueError("allow_pickle: only for embeddings")
        if any(not word.strip() for word in self.trigger_words):
            raise ValueError("trigger_words: one of them is empty")
        return self

    @property
    def prompt_words(self) -> tuple[str, ...]:
        """What stands for an embedding in a prompt."""
        return self.trigger_words or (self.name,)

    def trained_on(self) -> ModelFamily | None:
        """The family its file or its entry tells; None where neither does.

        Raises:
            MislabelledModel: they contradict each other.
            WeightsUnavailable: the file is damaged or of another kind.
        """
        told: ModelFamily | None = None
        if self.kind == "lora":
            told = read_lora_info(self.path).family
        elif self.kind == "embedding":
            info = read_embedding_info(self.path, allow_pickle=self.allow_pickle)
            told = None if info is None else info.family
        if None not in (told, self.family) and told != self.family:
            raise MislabelledModel(
                f"{self.path}: is made for {told}, models.yaml says family {self.family}"
            )
        return told or self.family


@dataclass(frozen=True, slots=True)
class WeightedLora:
    """A LoRA of a job and its weight, -1..2."""

    sub_model: SubModel
    weight: float


@dataclass(frozen=True, slots=True)
class ChosenSubModels:
    """What a job's sub-models come to, each kind in the order of the job."""

    loras: tuple[WeightedLora, ...]
    embeddings: tuple[SubModel, ...]


def choose_sub_models(
    adapters: Sequence[AdapterWeight], model: MainModel, registry: Registry
) -> ChosenSubModels:
    """Looks up the sub-models of a job and checks that `model` can use them.

    Raises:
        UnknownLora: one is not registered.
        ParameterOutOfRange: a weight, or too many of them.
        UnsuitableSubModel: one is made for another family, of a kind that is not supported, named
            twice, or has a trigger word in common with another one.
        WeightsUnavailable: the file of one is damaged.
    """
    if len(adapters) > MAX_SUB_MODELS:
        raise ParameterOutOfRange(
            f"{len(adapters)} sub-models, more than {MAX_SUB_MODELS}", field="adapters"
        )
    loras: dict[str, WeightedLora] = {}
    embeddings: dict[str, SubModel] = {}
    for adapter in adapters:
        sub_model = registry.sub_model(adapter.adapter_name)
        if sub_model.name in loras or sub_model.name in embeddings:
            raise _unsuitable(f"{sub_model.name!r} is named twice")
        weight = _weight(adapter, sub_model)
        check_fits(sub_model, model)
        if sub_model.kind == "lora":
            loras[sub_model.name] = WeightedLora(sub_model, weight)
        else:
            embeddings[sub_model.name] = sub_model
    _check_trigger_words(tuple(embeddings.values()))
    return ChosenSubModels(tuple(loras.values()), tuple(embeddings.values()))


def _weight(adapter: AdapterWeight, sub_model: SubModel) -> float:
    weight = adapter.adapter_weight
    if weight is None:
        return sub_model.default_weight
    if not MIN_WEIGHT <= weight <= MAX_WEIGHT:  # refuses NaN too
        raise ParameterOutOfRange(
            f"the weight of {sub_model.name!r} is {weight}, not {MIN_WEIGHT:g}..{MAX_WEIGHT:g}",
            field="adapters",
        )
    if sub_model.kind == "embedding" and weight != 1.0:
        raise ParameterOutOfRange(
            f"{sub_model.name!r} is an embedding and has no weight of its own: weigh its word in"
            f" the prompt, ({sub_model.prompt_words[0]}:{weight:g})",
            field="adapters",
        )
    return weight


def check_fits(sub_model: SubModel, model: MainModel) -> None:
    """Whether the family and the text encoders of `model` are those the file is made for.

    Raises:
        UnsuitableSubModel: they are not, or nothing of this kind can be used.
        WeightsUnavailable: the file is damaged.
    """
    if sub_model.kind == "hypernetwork":
        raise _unsuitable(f"{sub_model.name!r}: {HYPERNETWORK_REASON}")
    info: CheckpointInfo | PipelineInfo = model.info
    family = sub_model.trained_on()
    if family is not None and family != info.family:
        raise _unsuitable(
            f"{sub_model.name!r} is made for {family} models, {model.name!r} is {info.family}"
        )
    if isinstance(info, PipelineInfo):
        if reason := _why_not_with_a_pipeline(sub_model):
            raise _unsuitable(f"{sub_model.name!r} cannot be used with {model.name!r}: {reason}")
        return
    theirs, ours = (
        _widths(sub_model),
        _widths_of_model(sub_model.kind, info.family, info.config_folder),
    )
    if theirs is not None and theirs != ours:
        raise _unsuitable(
            f"{sub_model.name!r} is made for text encoders of width {_listed(theirs)}, those of"
            f" {model.name!r} have {_listed(ours)}"
        )


def _why_not_with_a_pipeline(sub_model: SubModel) -> str | None:
    if sub_model.kind == "embedding":
        return "models of its family take no embeddings"
    return why_no_pipeline_lora(sub_model.path)


def _widths(sub_model: SubModel) -> tuple[int, ...] | None:
    """Widths the file is made for: of a UNet's prompt embeddings, or of each text encoder."""
    if sub_model.kind == "lora":
        width = read_lora_info(sub_model.path).cross_attention_dim
        return None if width is None else (width,)
    info = read_embedding_info(sub_model.path, allow_pickle=sub_model.allow_pickle)
    return None if info is None else info.widths


@lru_cache(maxsize=256)
def _widths_of_model(kind: SubModelKind, family: Family, configs_of: Path) -> tuple[int, ...]:
    """The same of a main model, from its configs; read once, as the model's other facts are."""
    try:
        if kind == "lora":
            config = configs_of / "unet" / "config.json"
            return (int(read_config(config)["cross_attention_dim"]),)
        configs = [configs_of / folder / "config.json" for folder in text_encoder_folders(family)]
        return tuple(int(read_config(config)["hidden_size"]) for config in configs)
    except (KeyError, TypeError, ValueError) as exc:
        raise WeightsUnavailable(f"{configs_of}: unusable config: {exc!r}") from exc


def _check_trigger_words(embeddings: Sequence[SubModel]) -> None:
    owner: dict[str, str] = {}
    for embedding in embeddings:
        for word in embedding.prompt_words:
            other = owner.setdefault(word.lower(), embedding.name)
            if other != embedding.name:
                raise _unsuitable(f"{other!r} and {embedding.name!r} share the word {word!r}")


def _listed(widths: Sequence[int]) -> str:
    return " and ".join(str(width) for width in widths)


def _unsuitable(message: str) -> UnsuitableSubModel:
    return UnsuitableSubModel(message, field="adapters")
