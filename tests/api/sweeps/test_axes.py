"""Axes as the command line spells them."""

from __future__ import annotations

from typing import Any

import pytest

from api.sweeps.axes import BadAxis, parse_axes, parse_request_axes
from engine.job import ResizeMode, Sampler


@pytest.mark.parametrize(
    ("text", "title", "setting", "values"),
    [
        ("Steps=6,10,20", "Steps", "num_inference_steps", (6, 10, 20)),
        ("steps = 6 , 10.0", "Steps", "num_inference_steps", (6, 10)),
        ("Steps=6..20:7", "Steps", "num_inference_steps", (6, 13, 20)),
        ("Steps=6..19:7,50", "Steps", "num_inference_steps", (6, 13, 50)),
        ("CFGScale=1..2:0.25", "CFGScale", "guidance_scale", (1.0, 1.25, 1.5, 1.75, 2.0)),
        ("Sampler=Euler a,DPM++ 2M", "Sampler", "sampler", (Sampler.EULER_ANCESTRAL, Sampler.DPMPP_2M)),
        ("Seed=3..1:-1", "Seed", "seed", (3, 2, 1)),
        ("Seed=7..9", "Seed", "seed", (7, 8, 9)),
        ("ReferStrength=0,0.3,1", "ReferStrength", "strength", (1.0, 1.0 - 0.3, 0.0)),
        ("ResizeMode=JustResize", "ResizeMode", "resize_mode", (ResizeMode.JUST_RESIZE,)),
        ("DeepFusion=off,on", "DeepFusion", "deep_fusion", (False, True)),
        ('Model="small, quick",large', "Model", "model_name", ("small, quick", "large")),
        (
            "lora:golden hour=-1..2:0.5",
            "lora:golden hour",
            "lora:golden hour",
            (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0),
        ),
        ("lora:a=b=0.1..0.3:0.1", "lora:a=b", "lora:a=b", (0.1, 0.2, 0.3)),
    ],
)  # fmt: skip
def test_an_axis_is_a_name_and_values(
    text: str, title: str, setting: str, values: tuple[Any, ...]
) -> None:
    (axis,) = parse_axes([text])
    assert (axis.name, axis.setting, axis.values) == (title, setting, values)


def test_values_are_called_as_they_were_written() -> None:
    (axis,) = parse_axes(["ReferStrength=0..1:0.25"])
    assert axis.labels == ("0", "0.25", "0.5", "0.75", "1")
    (axis,) = parse_axes(["Sampler=DPM++ 2M Karras"])
    assert axis.labels == ("DPM++ 2M Karras",)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["Steps"], ["Steps", "NAME=VALUE"]),
        (["=6"], ["NAME=VALUE"]),
        (["Stepz=6"], ["axis Stepz", "no such axis", "CFGScale", "lora:NAME"]),
        (["Steps=6,5"], ["axis Steps: 5: ", "6"]),
        (["Steps=6,101"], ["axis Steps: 101: ", "100"]),
        (["Steps=6.5"], ["axis Steps: 6.5: ", "integer"]),
        (["Steps=six"], ["axis Steps: six: ", "not a number"]),
        (["Steps=6,,7"], ["axis Steps: : ", "not a number"]),
        (["Steps="], ["axis Steps: has no values"]),
        (["Steps=6,6"], ["axis Steps: 6: stands twice"]),
        (["CFGScale=nan"], ["axis CFGScale: nan: "]),
        (["CFGScale=1e9"], ["axis CFGScale: 1e9: "]),
        (["CFGScale=0.5"], ["axis CFGScale: 0.5: "]),
        (["Seed=-1"], ["axis Seed: -1: ", "names its seeds"]),
        (["Seed=1..9:0"], ["axis Seed: 1..9:0: ", "step of 0"]),
        (["Seed=1..9:-1"], ["axis Seed: 1..9:-1: ", "does not lead there"]),
        (["Seed=9..1"], ["does not lead there"]),
        (["Seed=0..999999999999:0.000001"], ["axis Seed", "more than 1000 values"]),
        (["Seed=1..x"], ["axis Seed: 1..x: 'x' is not a number"]),
        (["Sampler=PNDM"], ["axis Sampler: PNDM: ", "Euler a"]),
        (["ResizeMode=Stretch"], ["axis ResizeMode: Stretch: ", "JustResize"]),
        (["DeepFusion=maybe"], ["axis DeepFusion: maybe: "]),
        (["ReferStrength=1.1"], ["axis ReferStrength: 1.1: "]),
        (["lora:x=3"], ["axis lora:x: 3: ", "2"]),
        (["lora:=1"], ["names no LoRA"]),
        (["Seed=1", "seed=2"], ["two axes set seed"]),
        (["Seed=1", "Steps=6", "CFGScale=3", "lora:a=1"], ["1 to 3 axes"]),
        (["Seed=1..500", "Steps=6..10"], ["2500 points"]),
        (['Model="a\nb'], ["axis Model: "]),
    ],
)
def test_what_cannot_be_swept_is_named(texts: list[str], words: list[str]) -> None:
    with pytest.raises(BadAxis) as refused:
        parse_axes(texts)
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("Steps=6,10", (6, 10)),
        ("ReferStrength=0.3", (0.3,)),
        ("Sampler=Euler a", ("Euler a",)),
        ("ResizeMode=JustResize", ("JustResize",)),
        ("DeepFusion=off,on", (False, True)),
        ("lora:glow=-0.25", (-0.25,)),
    ],
)
def test_a_request_gets_the_values_in_its_own_terms(text: str, values: tuple[Any, ...]) -> None:
    """Not by way of the engine's: 1 - (1 - 0.3) is not 0.3."""
    (axis,) = parse_request_axes([text])
    assert axis.values == values
    assert (axis.axis,) == parse_axes([text])
