"""Models with random weights of the real classes, and tokenizers trained here."""

from __future__ import annotations

import json
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from transformers import (
    M2M100Config,
    M2M100ForConditionalGeneration,
    M2M100Tokenizer,
    MarianConfig,
    MarianMTModel,
    MarianTokenizer,
    NllbTokenizer,
)

from engine.errors import WeightsUnavailable
from engine.translate import translate_prompts, translator_for
from engine.translation import model_translator
from engine.translation.model_translator import (
    SACREMOSES,
    ModelTranslator,
    TooMuchText,
    TranslatorBusy,
)
from engine.translation_model import TranslationModel

TEXT = ["ciel bleu avec des nuages blancs", "blue sky with white clouds", "table en bois"] * 4
SIZES: dict[str, Any] = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "max_position_embeddings": 256,
}


def spm(folder: Path) -> Path:
    """A sentencepiece model and a vocab.json beside it."""
    (folder / "text").write_text("\n".join(TEXT))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text"),
        model_prefix=str(folder / "spm"),
        vocab_size=45,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spm.model"))
    words = ["<s>", "<pad>", "</s>", "<unk>"]
    words += [pieces.id_to_piece(i) for i in range(3, pieces.get_piece_size())]
    vocab = {word: index for index, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    return folder / "spm.model"


def marian(folder: Path) -> Path:
    source = spm(folder)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", SACREMOSES)
        tokenizer = MarianTokenizer(
            source_spm=str(source), target_spm=str(source), vocab=str(folder / "vocab.json")
        )
    config = MarianConfig(
        **SIZES,
        vocab_size=len(tokenizer),
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    return saved(folder, tokenizer, MarianMTModel(config))


def m2m100(folder: Path) -> Path:
    source = spm(folder)
    tokenizer = M2M100Tokenizer(vocab_file=str(folder / "vocab.json"), spm_file=str(source))
    ids = [tokenizer.get_lang_id(code) for code in ("en", "fr")]
    config = M2M100Config(**SIZES, vocab_size=max(ids) + 200, decoder_start_token_id=2)
    return saved(folder, tokenizer, M2M100ForConditionalGeneration(config))


def nllb(folder: Path) -> Path:
    letters = sorted({"\u2581", *"".join(TEXT)} - {" "})
    words = ["<s>", "<pad>", "</s>", "<unk>", *letters]
    tokenizer = NllbTokenizer(vocab={word: index for index, word in enumerate(words)}, merges=[])
    config = M2M100Config(**SIZES, vocab_size=len(tokenizer), decoder_start_token_id=2)
    return saved(folder, tokenizer, M2M100ForConditionalGeneration(config))


def saved(folder: Path, tokenizer: Any, model: Any) -> Path:
    target = folder / "model"
    tokenizer.save_pretrained(target)
    model.save_pretrained(target)
    return target


BUILDERS = {"marian": marian, "m2m100": m2m100, "nllb": nllb}


@pytest.fixture(scope="module", params=BUILDERS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return BUILDERS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def translator(folder: Path) -> ModelTranslator:
    made = translator_for(TranslationModel.model_construct(path=folder, allow_pickle=False))
    assert isinstance(made, ModelTranslator)
    return made


def test_a_prompt_is_translated_by_the_model(translator: ModelTranslator):
    prompt = "(ciel bleu:1.2), <lora:x:0.5>, blue sky"
    first, again = (translate_prompts([prompt], translator).prompts[0] for _ in range(2))
    assert first == again
    assert first.startswith("(")
    assert first.endswith(":1.2), <lora:x:0.5>, blue sky")


def test_it_is_told_the_languages(folder: Path, translator: ModelTranslator):
    translator.translate(["ciel bleu"], "fr")
    assert translator._loaded is not None
    tokenizer = translator._loaded[0]
    options = model_translator._language_options(tokenizer, "fr")
    if "marian" in str(folder):
        assert options == {}
        return
    first = tokenizer.convert_ids_to_tokens(tokenizer("ciel")["input_ids"])[0]
    english = tokenizer.convert_ids_to_tokens(options["forced_bos_token_id"])
    expected = ("__fr__", "__en__") if "m2m100" in str(folder) else ("fra_Latn", "eng_Latn")
    assert (first, english) == expected


def test_what_goes_in_is_bounded(translator: ModelTranslator):
    with pytest.raises(TooMuchText, match="65 phrases"):
        translator.translate(["ciel"] * 65, "fr")
    with pytest.raises(TooMuchText, match="tokens, more than 128"):
        translator.translate(["ciel bleu " * 200], "fr")


def test_a_busy_model_is_not_waited_for_without_end(
    translator: ModelTranslator, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(model_translator, "WAIT_S", 0.01)
    with translator._lock, pytest.raises(TranslatorBusy):
        translator.translate(["ciel"], "fr")


def test_threads_take_turns(translator: ModelTranslator):
    answers: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: answers.append(translator.translate(["ciel bleu"], "fr")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    assert len({tuple(answer) for answer in answers}) == 1


def test_a_folder_without_a_model_is_named(tmp_path: Path):
    entry = TranslationModel.model_construct(path=tmp_path, allow_pickle=False)
    with pytest.raises(WeightsUnavailable, match=str(tmp_path)):
        ModelTranslator(entry).translate(["ciel"], "fr")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Blue sky.", "Blue sky"),
        ("a (blue) [sky] BREAK <x>", "a blue sky x"),
        ("", "blue sky"),
        ("blue sky in 2024", "blue sky"),
    ],
)
def test_an_answer_brings_no_syntax_and_no_other_numbers(answer: str, expected: str):
    assert model_translator._checked("ciel bleu", answer, "fr") == expected
