"""The text that is painted from: the prompts of a request, translated where that is asked for."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.protocol import MAX_PROMPT_CHARS, PROMPT_SEPARATOR, GenerateBackgroundsRequest
from engine.registry import Registry
from engine.translate import Translator, translate_prompts

logger = logging.getLogger(__name__)

FAILED_NOTE = "The prompts could not be translated and were used as they are."
TOO_LONG_NOTE = (
    f"The translated prompts are longer than {MAX_PROMPT_CHARS} characters: they were used as"
    " they are."
)
_POSITIVE = "PositivePromptsUsed"
_NEGATIVE = "NegativePromptsUsed"


@dataclass(frozen=True, slots=True)
class PromptsUsed:
    """What a task is painted from.

    Attributes:
        positive: in place of PositivePrompts.
        negative: in place of NegativePrompts.
        note: what went wrong on the way, for the caller; "" for nothing.
    """

    positive: list[str]
    negative: list[str]
    note: str = ""

    def in_place(self, request: GenerateBackgroundsRequest) -> GenerateBackgroundsRequest:
        """The request as if it had been sent with these prompts."""
        update = {"PositivePrompts": self.positive, "NegativePrompts": self.negative}
        return request.model_copy(update=update)

    def stored(self) -> dict[str, list[str]]:
        """What a task's params keep beside the prompts as sent."""
        return {_POSITIVE: self.positive, _NEGATIVE: self.negative}


def prompts_used(
    request: GenerateBackgroundsRequest, translator: Translator, registry: Registry
) -> PromptsUsed:
    """The prompts of a request in English, where it asks for that. Blocking.

    A translator that fails is no reason to refuse a task: the prompts are used as they are then.

    Args:
        request: validated.
        translator: for phrases.
        registry: tells the words of the models asked for, which are not translated.
    """
    positive, negative = request.PositivePrompts, request.NegativePrompts
    if not request.TranslatePrompts:
        return PromptsUsed(positive, negative)
    try:
        translation = translate_prompts(
            [*positive, *negative], translator, keep=list(_kept_words(request, registry))
        )
    except Exception:  # a translator is other people's code and files
        logger.exception("prompts could not be translated")
        return PromptsUsed(positive, negative, FAILED_NOTE)
    used = translation.prompts
    english = PromptsUsed([*used[: len(positive)]], [*used[len(positive) :]])
    if _is_too_long(english.positive, positive) or _is_too_long(english.negative, negative):
        return PromptsUsed(positive, negative, TOO_LONG_NOTE)
    return english


def stored_prompts_used(params: Mapping[str, Any]) -> PromptsUsed:
    """What a stored task is painted from; tasks of older versions were painted from what was sent."""
    return PromptsUsed(
        positive=list(params.get(_POSITIVE, params.get("PositivePrompts", ()))),
        negative=list(params.get(_NEGATIVE, params.get("NegativePrompts", ()))),
    )


def _is_too_long(used: Sequence[str], sent: Sequence[str]) -> bool:
    return used != sent and len(PROMPT_SEPARATOR.join(used)) > MAX_PROMPT_CHARS


def _kept_words(request: GenerateBackgroundsRequest, registry: Registry) -> Iterator[str]:
    """Words the models asked for react to; a model that is not registered is refused later."""
    main = registry.models.get(request.MainModel.ModelCode or registry.default_model)
    yield from main.trigger_words if main is not None else ()
    for choice in request.SubModelList:
        sub_model = registry.sub_models.get(choice.ModelCode)
        if sub_model is not None:
            yield from (*sub_model.prompt_words, sub_model.name)
