"""Phrases -> English by a Marian, M2M100 or NLLB model of models.yaml, on the CPU."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.errors import EngineFault, WeightsUnavailable
from engine.translation.glossary_translator import GlossaryTranslator
from engine.translation_model import TranslationModel

if TYPE_CHECKING:
    import torch

MAX_TOKENS = 128  # of a phrase; prompts part phrases by commas, so few have more than 20
MAX_PHRASES = 64  # of one call
BATCH_SIZE = 8
WAIT_S = 30.0  # for another prompt's turn; translation keeps all cores busy

# Marian's tokenizers would normalize punctuation by it, of which phrases have none.
SACREMOSES = "Recommended: pip install sacremoses"

_NLLB_CODES: Mapping[str, str] = {
    "zh": "zho_Hans",
    "ja": "jpn_Jpan",
    "ko": "kor_Hang",
    "fr": "fra_Latn",
    "es": "spa_Latn",
    "it": "ita_Latn",
    "pt": "por_Latn",
    "de": "deu_Latn",
    "ru": "rus_Cyrl",
    "tr": "tur_Latn",
    "vi": "vie_Latn",
    "id": "ind_Latn",
    "th": "tha_Thai",
}
_NLLB_ENGLISH = "eng_Latn"
_MODEL_TYPES = ("marian", "m2m_100")  # NLLB is an M2M100 with other language codes
_SYNTAX = re.compile(r"[()\[\]{}<>\\|]|\bBREAK\b")
_NUMBER = re.compile(r"\d+")


class TranslatorBusy(EngineFault):
    """Other prompts are being translated for too long."""


class TooMuchText(EngineFault):
    """Prompts have more or longer phrases than a model is given at a time."""


class ModelTranslator:
    """Translates by a model, loaded at the first use. Safe to call from any thread.

    Args:
        model: the entry of models.yaml.
    """

    def __init__(self, model: TranslationModel) -> None:
        self._entry = model
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None  # tokenizer and model of transformers

    def translate(self, phrases: list[str], code: str) -> list[str]:
        """The phrases in English.

        Args:
            phrases: of one language, without syntax.
            code: of `LANGUAGES`.

        Raises:
            TooMuchText: more than 64 phrases, or one of more than 128 tokens.
            TranslatorBusy: the model was not free within half a minute.
            WeightsUnavailable: the folder holds no such model.
        """
        if len(phrases) > MAX_PHRASES:
            raise TooMuchText(f"{len(phrases)} phrases, more than {MAX_PHRASES}")
        if not self._lock.acquire(timeout=WAIT_S):
            raise TranslatorBusy("the translation model is busy")
        try:
            tokenizer, model = self._loaded = self._loaded or self._load()
            answers: list[str] = []
            for first in range(0, len(phrases), BATCH_SIZE):
                answers += _generate(tokenizer, model, phrases[first : first + BATCH_SIZE], code)
        finally:
            self._lock.release()
        return [
            _checked(phrase, answer, code) for phrase, answer in zip(phrases, answers, strict=True)
        ]

    def _load(self) -> tuple[Any, Any]:
        from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer

        folder = self._entry.path
        only_safetensors = None if self._entry.allow_pickle else True
        try:
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
            if config.model_type not in _MODEL_TYPES:
                raise ValueError(f"a {config.model_type} model is no Marian, M2M100 or NLLB model")
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", SACREMOSES)
                tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = AutoModelForSeq2SeqLM.from_pretrained(
                folder, local_files_only=True, use_safetensors=only_safetensors
            )
        except (ImportError, OSError, ValueError, KeyError) as exc:
            raise WeightsUnavailable(f"{folder}: no usable translation model ({exc})") from exc
        return tokenizer, model.eval()


def _generate(tokenizer: Any, model: Any, phrases: Sequence[str], code: str) -> list[str]:
    import torch

    options = _language_options(tokenizer, code)
    inputs = tokenizer(list(phrases), return_tensors="pt", padding=True)
    num_tokens = int(inputs["input_ids"].shape[1])
    if num_tokens > MAX_TOKENS:
        raise TooMuchText(f"a phrase of {num_tokens} tokens, more than {MAX_TOKENS}")
    with torch.inference_mode():
        tokens: torch.Tensor = model.generate(
            **inputs, **options, max_length=None, max_new_tokens=2 * num_tokens + 8
        )
    return list(tokenizer.batch_decode(tokens, skip_special_tokens=True))


def _language_options(tokenizer: Any, code: str) -> dict[str, int]:
    """Tells a tokenizer of several languages which one comes; what `generate` must start with."""
    if _NLLB_ENGLISH in tokenizer.get_vocab():
        tokenizer.src_lang = _NLLB_CODES[code]
        return {"forced_bos_token_id": int(tokenizer.convert_tokens_to_ids(_NLLB_ENGLISH))}
    if hasattr(tokenizer, "get_lang_id"):
        tokenizer.src_lang = code
        return {"forced_bos_token_id": int(tokenizer.get_lang_id("en"))}
    return {}  # Marian: one target language


def _checked(phrase: str, answer: str, code: str) -> str:
    """The answer without prompt syntax and a full stop that the phrase has not.

    A phrase whose answer is empty or has other numbers is left to the glossary.
    """
    english = " ".join(_SYNTAX.sub(" ", answer).split()).rstrip(".,;")
    if not english or sorted(_NUMBER.findall(english)) != sorted(_NUMBER.findall(phrase)):
        return GlossaryTranslator().translate([phrase], code)[0]
    return english
