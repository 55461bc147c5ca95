"""How a main model paints in few steps: the `few_steps` of its entry. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from engine.job import AnySampler, DistilledSampler, Sampler
from engine.step_spacing import StepSpacing
from engine.sub_models import SubModel


class FewSteps(BaseModel):
    """Settings for jobs of few steps that want no other sampler or guidance than the model's.

    Attributes:
        max_steps: jobs of at most so many steps are painted this way.
        lora: the LoRA that was distilled for it, written as an entry of sub_models without kind;
            its weight is its default_weight. None for a checkpoint that needs none.
        sampler: the one it was distilled for: lcm, tcd, or an ordinary one.
        guidance_scale: 1..30; most distilled models want 1, which also halves the work.
        guidance_cutoff: see `MainModel`.
        step_spacing: see `MainModel`; lcm and tcd have their own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_steps: int = Field(10, ge=6, le=50)
    lora: SubModel | None = None
    sampler: AnySampler = DistilledSampler.LCM
    guidance_scale: float = Field(1.0, ge=1, le=30)
    guidance_cutoff: float = Field(1.0, gt=0, le=1)
    step_spacing: StepSpacing | None = None

    @field_validator("sampler", mode="before")
    @classmethod
    def _is_a_sampler(cls, value: object) -> object:
        by_name = {each.value: each for each in (*DistilledSampler, *Sampler)}
        if not isinstance(value, str) or value not in by_name:
            raise ValueError(f"must be one of {', '.join(by_name)}")
        return by_name[value]

    @field_validator("lora", mode="before")
    @classmethod
    def _is_a_lora(cls, value: object) -> object:
        return {"kind": "lora", **_as_strings(value)} if isinstance(value, Mapping) else value

    @field_validator("lora")
    @classmethod
    def _is_no_other_kind(cls, value: SubModel | None) -> SubModel | None:
        if value is not None and value.kind != "lora":
            raise ValueError(f"kind: is {value.kind}, not lora")
        return value

    @model_validator(mode="after")
    def _has_one_spacing(self) -> FewSteps:
        if isinstance(self.sampler, DistilledSampler) and self.step_spacing is not None:
            raise ValueError(f"step_spacing: {self.sampler.value} has its own")
        return self


def _as_strings(value: Mapping[Any, Any]) -> dict[str, Any]:
    """Keys that pydantic can name in a message, whatever YAML made of them."""
    return {str(key): each for key, each in value.items()}
