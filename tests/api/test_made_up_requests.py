"""Law 5: whatever comes in, the answer is a clear refusal or a task within every range."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.protocol import SAMPLERS, GenerateBackgroundsRequest
from tests.api.bench import QUERIES, Bench
from tests.api.wire import assert_refused, generate

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-5, 3000)
    | st.floats(-2, 40, allow_nan=False)
    | st.sampled_from(["", "Euler", "JustResize", "PICPIK General", "10", "\0", "蓝", "x" * 300])
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)
indexes = st.integers(-1, 3) | anything
resize_modes = st.sampled_from(["JustResize", "CropAndResize", "ResizeAndFill"]) | scalars


def some(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


models = some(
    {
        "ModelCode": st.just("PICPIK General") | scalars,
        "InferenceParams": some(
            {
                "Steps": st.integers(4, 102) | scalars,
                "CFGScale": st.floats(0, 31) | scalars,
                "ClipSkip": st.integers(0, 4) | scalars,
                "Sampler": st.sampled_from(["Euler", "DDIM", "Heun"]) | scalars,
                "LoraWeight": st.floats(-2, 3) | scalars,
            }
        )
        | anything,
    }
)
made_requests = some(
    {
        "MainModel": models | anything,
        "SubModelList": st.just([]) | anything,
        "PositivePrompts": st.lists(st.text(max_size=20), max_size=3) | anything,
        "NegativePrompts": st.lists(st.text(max_size=20), max_size=3) | anything,
        "TranslatePrompts": st.booleans() | anything,
        "BackgroundImage2Image": some(
            {
                "ImageIndex": indexes,
                "ReferStrength": st.floats(-0.5, 1.5) | scalars,
                "ResizeMode": resize_modes,
                "DeepFusion": st.booleans() | scalars,
            }
        )
        | anything,
        "TransparentForeground": some({"ImageIndex": indexes, "ResizeMode": resize_modes})
        | anything,
        "TransparentImageIndexList": st.lists(indexes, max_size=2) | anything,
        "Seed": st.integers(-3, 2**31 + 2) | scalars,
        "Width": st.integers(60, 2570) | scalars,
        "Height": st.integers(60, 2570) | scalars,
        "BatchSize": st.integers(-1, 18) | scalars,
        "Preview": st.booleans() | scalars,
        "request_uuid": st.text(max_size=5) | scalars,
        "Unknown": anything,
    }
)


def assert_lawful(bench: Bench, fields: dict[str, Any]) -> None:
    """The answer to `fields` is a refusal, or a task whose stored form is within every range."""
    started_at = time.monotonic()
    answer = bench.caller.ask(fields)
    assert time.monotonic() - started_at < 10
    if answer["RetCode"]:
        assert answer["RetCode"] in (220, 230, 1202), answer
        assert_refused(answer, answer["RetCode"], "[")
        return
    record = bench.record(answer["TaskUID"])
    stored = GenerateBackgroundsRequest.model_validate(record.params)
    for side in (stored.Width, stored.Height):
        assert type(side) is int
        assert 64 <= side <= 2560
    assert type(stored.Seed) is int
    assert 0 <= stored.Seed == record.seed <= 2**31 - 1
    assert 1 <= stored.BatchSize == record.num_images <= 16
    assert stored.SubModelList == []
    for flag in (stored.TranslatePrompts, stored.UseMainModelVAE):
        assert type(flag) is bool
    for prompts in (stored.PositivePrompts, stored.NegativePrompts):
        assert all(type(prompt) is str for prompt in prompts)
        assert sum(map(len, prompts)) <= 10_000
    assert stored.MainModel.ModelCode == "PICPIK General"
    inference = stored.MainModel.InferenceParams
    assert inference.Steps is not None
    assert 6 <= inference.Steps <= 100
    assert inference.Sampler in SAMPLERS
    assert inference.CFGScale is not None
    assert 1 <= inference.CFGScale <= 30
    assert inference.ClipSkip is None or 1 <= inference.ClipSkip <= 12
    assert inference.LoraWeight is None or -1 <= inference.LoraWeight <= 2
    modes = ("JustResize", "CropAndResize", "ResizeAndFill")
    assert stored.foreground.ResizeMode in modes
    assert 0 <= stored.foreground.ImageIndex < len(fields["ImageList"])
    if stored.BackgroundImage2Image is not None:
        background = stored.BackgroundImage2Image
        assert background.ResizeMode in modes
        assert 0 <= background.ImageIndex < len(fields["ImageList"])
        assert 0 <= background.ReferStrength <= 1
        assert type(background.DeepFusion) is bool


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(made_requests)
def test_made_up_requests_are_refused_or_lawful(shared: Bench, fields: dict[str, Any]):
    assert_lawful(shared, {**generate(), **fields})


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(made_requests, st.data())
def test_one_strange_field_in_a_good_request_is_refused_or_lawful(
    shared: Bench, fields: dict[str, Any], data: st.DataObject
):
    good = generate(BackgroundImage2Image={"ImageIndex": 1}, Width=64, Height=64)
    if fields:
        name = data.draw(st.sampled_from(sorted(fields)))
        good[name] = fields[name]
    assert_lawful(shared, good)


@settings(max_examples=40)
@given(st.sampled_from(sorted(QUERIES)), st.dictionaries(st.text(max_size=6), anything), anything)
def test_made_up_queries_are_answered(
    shared: Bench, action: str, fields: dict[str, Any], value: Any
):
    named = dict.fromkeys(QUERIES[action], value)
    answer = shared.caller.ask({**fields, **named, "Action": action})
    assert answer["RetCode"] in (0, 220, 230)
