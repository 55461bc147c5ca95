"""What a denoiser is made to do, counted and disturbed from outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from engine.engine import Engine
from engine.inpaint_pipeline import InpaintPipeline


def loaded(engine: Engine, model_name: str) -> InpaintPipeline:
    model = engine._models.get(engine.registry.main_model(model_name))
    assert isinstance(model, InpaintPipeline)
    return model


class Forwards:
    """Counts the forwards of a loaded denoiser; `disturb(count)` is called before each of them."""

    def __init__(
        self, engine: Engine, model_name: str, disturb: Callable[[int], None] = lambda _: None
    ) -> None:
        self._transformer = loaded(engine, model_name).pipeline.transformer
        self._disturb = disturb
        self.count = 0

    def __enter__(self) -> Self:
        self._hook = self._transformer.register_forward_pre_hook(self._seen)
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()

    def _seen(self, *_: object) -> None:
        self.count += 1
        self._disturb(self.count)
