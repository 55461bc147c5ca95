"""The translation model of models.yaml."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from engine.hub_source import HubSource
from engine.model_paths import ModelFolder


class TranslationModel(BaseModel):
    """A model that translates prompts to English in place of the glossary.

    Attributes:
        path: transformers folder of a Marian, M2M100 or NLLB model.
        allow_pickle: read pickled weights, by torch's weights-only loader.
        source: where `backdrop models pull` gets it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: ModelFolder
    allow_pickle: bool = False
    source: HubSource | None = None

    @property
    def name(self) -> str:
        """What `backdrop models` calls it."""
        return "translation"
