"""Everything a training sitting leaves behind for the next one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn


@dataclass(slots=True)
class TrainingState:
    """Weights, their moving average and the optimiser.

    Attributes:
        modules: what is trained, by name.
        optimizer: over all their parameters.
        ema: moving average of every parameter, in the order of `parameters`.
        step: optimiser steps done.
        minutes: of training done, over all sittings.
    """

    modules: dict[str, nn.Module]
    optimizer: torch.optim.Optimizer
    ema: list[torch.Tensor] = field(default_factory=list)
    step: int = 0
    minutes: float = 0.0

    def __post_init__(self) -> None:
        """Starts the average at the weights."""
        if not self.ema:
            self.ema = [weight.detach().clone() for weight in self.parameters]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Of all modules, in a fixed order."""
        return [weight for module in self.modules.values() for weight in module.parameters()]

    @torch.no_grad()
    def update_ema(self, decay: float) -> None:
        """Moves the average towards the weights; quickly in the first steps."""
        keep = min(decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.ema, [weight.detach() for weight in self.parameters], 1 - keep)

    def save(self, path: Path) -> None:
        """Writes all of it; a run killed meanwhile leaves the older file whole."""
        partial = path.with_suffix(".partial")
        torch.save(
            {
                "modules": {name: module.state_dict() for name, module in self.modules.items()},
                "optimizer": self.optimizer.state_dict(),
                "ema": self.ema,
                "step": self.step,
                "minutes": self.minutes,
            },
            partial,
        )
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Goes on from what `save` wrote."""
        saved: dict[str, Any] = torch.load(path, weights_only=True)
        for name, module in self.modules.items():
            module.load_state_dict(saved["modules"][name])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.ema = saved["ema"]
        self.step, self.minutes = saved["step"], saved["minutes"]

    @torch.no_grad()
    def use_ema(self) -> None:
        """Puts the averaged weights into the modules, for export."""
        for weight, average in zip(self.parameters, self.ema, strict=True):
            weight.copy_(average)
