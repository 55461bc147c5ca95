"""Sub-models on the wire: listed, passed back whole, stored, refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from api.protocol import GenerateBackgroundsRequest
from engine.registry import PACKAGED_MODELS
from tests.api.bench import MODELS, Bench
from tests.api.wire import assert_refused, generate
from tests.engine.lora_files import write_lora

SUB_MODELS = """
sub_models:
  - name: glow
    kind: lora
    path: glow.safetensors
    default_weight: 0.75
    trigger_words: [warm glow]
  - {name: sdxl, kind: lora, path: sdxl.safetensors}
  - {name: mark, kind: embedding, path: mark.safetensors, trigger_words: [blotch, smear]}
  - {name: hyper, kind: hypernetwork, path: hyper.pt}
  - {name: torn, kind: lora, path: torn.safetensors}
"""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    width = text_width()
    write_lora(tmp_path / "glow.safetensors", width=width)
    write_lora(tmp_path / "sdxl.safetensors", width=2048)
    save_file({"emb_params": torch.randn(2, width)}, tmp_path / "mark.safetensors")
    torch.save({}, tmp_path / "hyper.pt")
    (tmp_path / "torn.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    monkeypatch.setattr("tests.api.bench.MODELS", MODELS + SUB_MODELS)
    bench = Bench(tmp_path)
    yield bench
    bench.store.close()


def text_width() -> int:
    from engine.checkpoint_info import read_config

    config = PACKAGED_MODELS / "embedded" / "text_encoder" / "config.json"
    return int(read_config(config)["hidden_size"])


def test_usable_sub_models_are_listed_by_kind(bench: Bench):
    answer = bench.caller.call(Action="ListModels")
    assert answer["LoraModels"]["glow"] == {
        "ModelCode": "glow",
        "Name": "glow",
        "IsOfficial": True,
        "TriggerWordList": ["warm glow"],
        "InferenceParams": {"LoraWeight": 0.75},
    }
    assert answer["EmbeddingModels"] == {
        "mark": {
            "ModelCode": "mark",
            "Name": "mark",
            "IsOfficial": True,
            "TriggerWordList": ["blotch", "smear"],
            "InferenceParams": {},
        }
    }
    assert set(answer["LoraModels"]) == {"glow", "sdxl"}
    assert answer["HypernetworkModels"] == {}


def test_listed_models_may_be_passed_back_whole(bench: Bench):
    answer = bench.caller.call(Action="ListModels")
    uid = bench.submit(
        MainModel=answer["MainModels"]["PICPIK General"],
        SubModelList=[answer["LoraModels"]["glow"], answer["EmbeddingModels"]["mark"]],
        PositivePrompts=["a SMEAR of paint"],
    )
    record = bench.record(uid)
    stored = GenerateBackgroundsRequest.model_validate(record.params)
    assert [each.ModelCode for each in stored.SubModelList] == ["glow", "mark"]
    assert stored.SubModelList[0].InferenceParams.LoraWeight == 0.75
    assert record.note == ""


def test_a_default_weight_is_written_out(bench: Bench):
    uid = bench.submit(SubModelList=[{"ModelCode": "glow"}])
    [stored] = bench.record(uid).params["SubModelList"]
    assert stored["InferenceParams"] == {"LoraWeight": 0.75}


def test_an_embedding_whose_word_is_in_no_prompt_is_noted(bench: Bench):
    named = [{"ModelCode": "mark"}]
    uid = bench.submit(SubModelList=named, PositivePrompts=["blotches"])
    assert bench.detail(uid)["Note"] == ("mark had no effect: no prompt holds 'blotch' or 'smear'.")
    for prompts in ({"NegativePrompts": ["blotch"]}, {"PositivePrompts": ["(a smear:1.2)"]}):
        assert bench.detail(bench.submit(SubModelList=named, **prompts))["Note"] == ""


@pytest.mark.parametrize(
    ("sub_models", "code", "told"),
    [
        ([{"ModelCode": "glow"}, {"ModelCode": "x"}, {"ModelCode": "y"}], 1202, "[x, y]"),
        ([{"ModelCode": "sdxl"}], 230, "[SubModelList] not available: 'sdxl' is made for sdxl"),
        ([{"ModelCode": "hyper"}], 230, "hypernetworks are not supported"),
        ([{"ModelCode": "glow"}, {"ModelCode": "glow"}], 230, "named twice"),
        (
            [{"ModelCode": "glow", "InferenceParams": {"LoraWeight": 2.5}}],
            230,
            "SubModelList[0].InferenceParams.LoraWeight",
        ),
        (
            [{"ModelCode": "mark", "InferenceParams": {"LoraWeight": 0.5}}],
            230,
            "(blotch:0.5)",
        ),
        ([{"ModelCode": "torn"}], 150, ""),
    ],
)
def test_what_cannot_be_used_is_refused_and_leaves_nothing_behind(
    bench: Bench, sub_models: list[dict[str, Any]], code: int, told: str
):
    answer = bench.caller.ask(generate(SubModelList=sub_models))
    assert_refused(answer, code, told)
    assert str(bench.settings.data_dir) not in answer["Message"], "paths are the server's business"
    assert bench.files() == []
