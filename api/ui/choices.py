"""What a visitor has chosen on the page, and the request that it makes."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, cast, get_args

from backdrop.client import GenerateOptions, ResizeModeName
from engine.job import SEED_MODULUS

RANDOM_SEED = -1
DEFAULT_MODE: ResizeModeName = "ResizeAndFill"
MODES: tuple[ResizeModeName, ...] = get_args(ResizeModeName)


@dataclass(frozen=True, slots=True)
class Choices:
    """The form's values, under the names that `GenerateOptions` gives them where it has them.

    Attributes:
        foreground: file of the cut-out.
        reference: file of the background to follow, if any.
        prompts: one a line.
        negative_prompts: likewise.
        lora_weights: ModelCode to weight, of the LoRAs in use.
        embeddings: ModelCodes in use.
        sampler: None for the model's own, as for `cfg_scale`.
        seed: -1 has `with_seed` draw one.
    """

    foreground: str
    width: int
    height: int
    resize_mode: ResizeModeName = DEFAULT_MODE
    reference: str | None = None
    refer_strength: float = 0.3
    reference_resize_mode: ResizeModeName = DEFAULT_MODE
    deep_fusion: bool = False
    prompts: str = ""
    negative_prompts: str = ""
    model: str | None = None
    lora_weights: Mapping[str, float] = field(default_factory=dict)
    embeddings: tuple[str, ...] = ()
    steps: int = 10
    sampler: str | None = None
    cfg_scale: float | None = None
    clip_skip: int = 1
    seed: int = RANDOM_SEED
    batch_size: int = 1

    def with_seed(self) -> Self:
        """The same with a seed drawn where none is chosen, so that the request can be repeated."""
        if self.seed != RANDOM_SEED:
            return self
        return replace(self, seed=secrets.randbelow(SEED_MODULUS))

    def options(self, *, preview: bool = False) -> GenerateOptions:
        """Arguments of `Client.submit` besides the foreground; defaults of the server left out.

        Args:
            preview: somebody looks on while it is painted.
        """
        options: dict[str, Any] = {"prompts": _lines(self.prompts)}
        if negative := _lines(self.negative_prompts):
            options["negative_prompts"] = negative
        if self.resize_mode != DEFAULT_MODE:
            options["resize_mode"] = self.resize_mode
        if self.reference is not None:
            options["reference"] = Path(self.reference)
            options["refer_strength"] = self.refer_strength
            options["reference_resize_mode"] = self.reference_resize_mode
            options["deep_fusion"] = self.deep_fusion
        chosen = {
            "model": self.model,
            "sampler": self.sampler,
            "cfg_scale": self.cfg_scale,
            "sub_models": {**self.lora_weights, **dict.fromkeys(self.embeddings)} or None,
            "clip_skip": self.clip_skip if self.clip_skip != 1 else None,
        }
        options |= {name: value for name, value in chosen.items() if value is not None}
        options |= {
            "steps": self.steps,
            "seed": self.seed,
            "width": self.width,
            "height": self.height,
            "batch_size": self.batch_size,
        }
        if preview:
            options["preview"] = True
        return cast("GenerateOptions", options)


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
