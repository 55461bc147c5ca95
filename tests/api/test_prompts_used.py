from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from api.prompts_used import FAILED_NOTE, TOO_LONG_NOTE, stored_prompts_used
from api.protocol import GenerateBackgroundsRequest
from engine.registry import load_registry
from engine.translate import translator_for
from engine.translation.glossary_translator import GlossaryTranslator
from engine.translation.model_translator import ModelTranslator
from engine.translation_model import TranslationModel
from tests.api.bench import MODELS, Bench


def used(bench: Bench, **changes: Any) -> tuple[list[str], list[str], str]:
    detail = bench.detail(bench.submit(**changes))
    return detail["PositivePromptsUsed"], detail["NegativePromptsUsed"], detail["Note"]


def test_chinese_prompts_are_painted_from_their_english(bench: Bench):
    sent = {"PositivePrompts": ["木桌上", "(蓝天:1.2)"], "NegativePrompts": ["水印"]}
    uid = bench.submit(**sent)
    detail = bench.detail(uid)
    assert detail["PositivePromptsUsed"] == ["on wooden table", "(blue sky:1.2)"]
    assert detail["NegativePromptsUsed"] == ["watermark"]
    assert detail["Note"] == ""
    params = bench.record(uid).params
    assert {name: params[name] for name in sent} == sent, "what was sent is kept"
    request = GenerateBackgroundsRequest.model_validate(params)
    painted = stored_prompts_used(params).in_place(request)
    assert painted.PositivePrompts == detail["PositivePromptsUsed"]
    assert painted.NegativePrompts == detail["NegativePromptsUsed"]


@pytest.mark.parametrize(
    "changes",
    [
        {"PositivePrompts": ["blue sky, 8k (soft light:1.3)"], "TranslatePrompts": True},
        {"PositivePrompts": ["蓝天"], "TranslatePrompts": False},
        {"PositivePrompts": []},
    ],
)
def test_english_and_what_is_not_to_be_translated_stay(bench: Bench, changes: dict[str, Any]):
    assert used(bench, **changes) == (changes["PositivePrompts"], [], "")


def test_the_words_of_the_main_model_stay(bench: Bench):
    assert used(bench, PositivePrompts=["scene, ciel bleu"])[0] == ["scene, blue sky"]


def test_a_client_cannot_say_what_is_used(bench: Bench):
    sent = {"PositivePrompts": ["蓝天"], "PositivePromptsUsed": ["a lie"]}
    assert used(bench, **sent)[0] == ["blue sky"]


def test_a_task_of_an_older_version_was_painted_from_what_was_sent():
    prompts = stored_prompts_used({"PositivePrompts": ["蓝天"], "NegativePrompts": []})
    assert (prompts.positive, prompts.negative) == (["蓝天"], [])


def test_a_translator_that_fails_fails_no_task(
    bench: Bench, tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
):
    empty = TranslationModel.model_construct(path=tmp_path_factory.mktemp("no-model"))
    service = bench.app.state.service
    bench.app.state.service = dataclasses.replace(service, translator=ModelTranslator(empty))
    assert used(bench, PositivePrompts=["蓝天"]) == (["蓝天"], [], FAILED_NOTE)
    assert str(empty.path) in caplog.text
    assert used(bench, PositivePrompts=["blue sky"]) == (["blue sky"], [], "")


def test_the_model_of_models_yaml_takes_the_place_of_the_glossary(tmp_path: Path):
    (tmp_path / "mt").mkdir()
    file = tmp_path / "models.yaml"
    file.write_text(MODELS)
    assert isinstance(translator_for(load_registry(file).translation), GlossaryTranslator)
    file.write_text(f"{MODELS}translation: {{path: mt}}\n")
    assert isinstance(translator_for(load_registry(file).translation), ModelTranslator)


def test_a_translation_beyond_the_limit_on_prompts_is_not_used(bench: Bench):
    sent = ["蓝天白云" * 2_000]
    assert used(bench, PositivePrompts=sent) == (sent, [], TOO_LONG_NOTE)
