"""Few-step settings, step spacings and the guidance cut-off of an entry: checked, planned, run."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from safetensors.torch import save_file

from engine.engine import Engine
from engine.errors import ParameterOutOfRange, RegistryError
from engine.events import Event
from engine.job import DistilledSampler, GenerationJob, Sampler
from engine.plan import plan_job
from engine.registry import Registry, load_registry
from tests.engine.calls import counted_calls
from tests.engine.lora_files import write_lora
from tests.engine.runs import assert_same_image, drain, images
from tests.engine.tiny import EPSILON, write_tiny_model

WIDTH = 32  # prompt embeddings of the tiny models
LCM: dict[str, Any] = {
    "max_steps": 8,
    "lora": {"name": "LCM", "path": "lcm.safetensors", "default_weight": 0.9},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_root: Path) -> Path:
    folder = tmp_path_factory.mktemp("few")
    (folder / "nine").symlink_to(tiny_root / "nine")
    (folder / "four").symlink_to(tiny_root / "four")
    write_tiny_model(folder / "sd2", in_channels=9, scheduler=EPSILON, family="sd2")
    write_lora(folder / "lcm.safetensors", width=WIDTH)
    write_lora(folder / "other.safetensors", width=2048)
    save_file({}, folder / "empty.safetensors")
    return folder


def registry_of(folder: Path, path: str = "four", **fields: Any) -> Registry:
    entry = {"name": "model", "path": path, "native_size_px": 64} | fields
    file = folder / "models.yaml"
    file.write_text(yaml.safe_dump({"default_model": "model", "models": [entry]}))
    return load_registry(file)


@pytest.fixture
def asked(product: Image.Image) -> GenerationJob:
    return GenerationJob("job", "model", product, num_inference_steps=8, width_px=64, height_px=64)


# --- what an entry may say ---


@pytest.mark.parametrize(
    ("path", "fields", "told"),
    [
        ("four", {"few_steps": {"sampler": "best"}}, "few_steps.sampler: must be one of lcm, tcd,"),
        ("four", {"few_steps": {"max_steps": 5}}, "few_steps.max_steps"),
        ("four", {"few_steps": {"steps": 8}}, "few_steps.steps"),
        ("four", {"few_steps": {"step_spacing": "trailing"}}, "lcm has its own"),
        ("four", {"few_steps": {"lora": {"name": "x", "path": "no"}}}, "few_steps.lora.path"),
        (
            "four",
            {"few_steps": {"lora": {"name": "x", "path": "lcm.safetensors", "kind": "embedding"}}},
            "few_steps.lora: kind: is embedding, not lora",
        ),
        (
            "four",
            {"few_steps": {"lora": {"name": "x", "path": "other.safetensors"}}},
            "few_steps.lora: 'x' is made for",
        ),
        ("four", {"few_steps": {"lora": LCM["lora"] | {"name": "model"}}}, "used twice"),
        ("four", {"sampler": "lcm"}, "sampler"),
        ("four", {"guidance_cutoff": 0}, "guidance_cutoff"),
        ("four", {"step_spacing": "wide"}, "step_spacing"),
        ("nine", {"step_spacing": "align_your_steps"}, "step_spacing: align_your_steps: the table"),
        ("sd2", {"step_spacing": "align_your_steps"}, "no table for sd2 models"),
        (
            "nine",
            {"few_steps": {"sampler": "euler", "step_spacing": "align_your_steps"}},
            "few_steps.step_spacing: align_your_steps: the table",
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_entry_and_key(
    folder: Path, path: str, fields: dict[str, Any], told: str
) -> None:
    family = "sd2" if path == "sd2" else "sd1"
    with pytest.raises(RegistryError) as caught:
        registry_of(folder, path, family=family, **fields)
    (line,) = str(caught.value).splitlines()
    assert str(folder / "models.yaml") in line
    assert told in line


def test_a_damaged_lora_makes_its_model_unusable(folder: Path) -> None:
    few_steps = {"lora": {"name": "x", "path": "empty.safetensors"}}
    registry = registry_of(folder, few_steps=few_steps)
    assert "empty.safetensors" in registry.unusable["model"]


# --- planning ---


def test_a_job_of_few_steps_is_planned_with_the_settings_for_it(
    folder: Path, asked: GenerationJob
) -> None:
    plan = plan_job(asked, registry_of(folder, few_steps=LCM))
    assert (plan.num_inference_steps, plan.sampler, plan.guidance_scale) == (
        8,
        DistilledSampler.LCM,
        1.0,
    )
    assert [(each.sub_model.name, each.weight) for each in plan.loras] == [("LCM", 0.9)]
    assert plan.sampling.few_steps is not None


def test_the_models_own_defaults_are_no_wish(folder: Path, asked: GenerationJob) -> None:
    """A client may pass the entry of ListModels back whole."""
    registry = registry_of(folder, few_steps=LCM, sampler="heun", guidance_scale=5.0)
    plan = plan_job(replace(asked, sampler=Sampler.HEUN, guidance_scale=5.0), registry)
    assert (plan.sampler, plan.guidance_scale) == (DistilledSampler.LCM, 1.0)


@pytest.mark.parametrize(
    ("change", "sampler", "guidance_scale"),
    [
        ({"num_inference_steps": 9}, Sampler.EULER, 5.0),
        ({"sampler": Sampler.HEUN}, Sampler.HEUN, 5.0),
        ({"guidance_scale": 4.0}, Sampler.EULER, 4.0),
    ],
)
def test_more_steps_or_a_wish_of_the_job_takes_the_ordinary_way(
    folder: Path,
    asked: GenerationJob,
    change: dict[str, Any],
    sampler: Sampler,
    guidance_scale: float,
) -> None:
    registry = registry_of(folder, few_steps=LCM, guidance_scale=5.0)
    plan = plan_job(replace(asked, **change), registry)
    assert (plan.sampler, plan.guidance_scale, plan.loras) == (sampler, guidance_scale, ())
    assert plan.sampling.few_steps is None


def test_a_job_cannot_ask_for_a_distilled_sampler(folder: Path, asked: GenerationJob) -> None:
    job = replace(asked, sampler=DistilledSampler.LCM)  # type: ignore[arg-type]
    with pytest.raises(ParameterOutOfRange) as caught:
        plan_job(job, registry_of(folder, few_steps=LCM))
    assert caught.value.field == "sampler"


@pytest.mark.parametrize(
    ("cutoff", "num_steps", "guided"), [(0.5, 10, 5), (0.51, 10, 6), (0.01, 10, 1), (1.0, 10, 10)]
)
def test_guidance_is_cut_off_at_a_step(
    folder: Path, asked: GenerationJob, cutoff: float, num_steps: int, guided: int
) -> None:
    registry = registry_of(folder, guidance_cutoff=cutoff, guidance_scale=4.0, sampler="heun")
    for sampler in (Sampler.EULER, Sampler.HEUN):
        job = replace(asked, num_inference_steps=num_steps, sampler=sampler)
        (only,) = plan_job(job, registry).passes
        assert len(only.guidance_scales) == only.num_forwards
        steps = only.guidance_scales if sampler is Sampler.EULER else only.guidance_scales[::2]
        assert steps == (4.0,) * guided + (1.0,) * (num_steps - guided)
        if sampler is Sampler.HEUN:  # both forwards of a step alike
            assert only.guidance_scales[1::2] == steps[:-1]


@pytest.mark.parametrize("spacing", ["trailing", "align_your_steps"])
def test_a_spacing_reaches_every_pass(folder: Path, asked: GenerationJob, spacing: str) -> None:
    registry = registry_of(folder, step_spacing=spacing)
    large = replace(asked, width_px=256, height_px=256)
    first, second = plan_job(large, registry).passes
    default = plan_job(large, registry_of(folder)).passes
    assert first.schedule is not None
    assert default[0].schedule is None
    assert second.schedule is not None
    assert (second.schedule == default[1].schedule) == (spacing == "trailing")


# --- running ---


@pytest.mark.parametrize("strength", [1.0, 0.4, 0.01])
@pytest.mark.parametrize("sampler", ["lcm", "tcd", "euler"])
@pytest.mark.parametrize("path", ["four", "nine"])
def test_few_steps_paint_with_one_row_an_image(
    folder: Path, asked: GenerationJob, path: str, sampler: str, strength: float
) -> None:
    registry = registry_of(folder, path, min_area_ratio=0, few_steps=LCM | {"sampler": sampler})
    reference = None if strength == 1.0 else Image.new("RGB", (64, 64), "teal")
    job = replace(asked, num_images=2, reference=reference, strength=strength)
    engine = Engine(registry)
    with counted_calls() as calls:
        painted = engine.generate(job)
    assert calls.unet == [2] * 8
    assert painted[0].parameters["sampler"] == sampler
    assert painted[0].parameters["adapters"] == [["LCM", 0.9]]
    (again,) = engine.generate(replace(job, num_images=1, seed=1))
    assert_same_image(again, painted[1])
    assert painted[0].image.tobytes() != painted[1].image.tobytes()


def test_the_lora_of_few_steps_acts(folder: Path, asked: GenerationJob) -> None:
    with_lora, without = (
        Engine(registry_of(folder, few_steps=settings)).generate(asked)[0]
        for settings in (LCM, {"max_steps": 8})
    )
    assert with_lora.image.tobytes() != without.image.tobytes()


def test_behind_the_cutoff_the_conditional_row_runs_alone(
    folder: Path, asked: GenerationJob
) -> None:
    registry = registry_of(folder, guidance_cutoff=0.6, min_area_ratio=0)
    with counted_calls() as calls:
        Engine(registry).generate(asked)
    guided = math.ceil(0.6 * 8)
    assert calls.unet == [2] * guided + [1] * (8 - guided)


def test_a_cut_off_image_shares_forwards_with_guided_ones(
    folder: Path, asked: GenerationJob
) -> None:
    """One that is ahead drops its unconditional row while the other keeps its own."""
    registry = registry_of(folder, guidance_cutoff=0.5, min_area_ratio=0)
    (alone,) = Engine(registry).generate(asked)
    engine = Engine(registry)
    engine.add(replace(asked, job_id="first", seed=9))
    events: list[Event] = []
    while not events:  # until it is a step ahead
        engine.wait()
        events += engine.step()
    engine.add(asked)
    with counted_calls() as calls:
        events += drain(engine)
    assert 3 in calls.unet
    (together,) = images(events, "job")
    assert_same_image(together, alone)
