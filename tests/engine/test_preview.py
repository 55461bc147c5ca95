"""Previews: what a step takes the picture to be, in rough colours, at no cost to those without."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from engine import preview
from engine.checkpoint import Checkpoint
from engine.engine import Engine
from engine.events import Event, ImageDone, ImagePreview
from engine.job import GenerationJob, Sampler
from engine.latent_colors import fit_latent_colors
from engine.preview import MAX_SIDE_PX, clean_latents
from engine.registry import Registry
from engine.sampler_state import SamplerState
from engine.sampler_steps import sampler_steps
from engine.samplers import make_scheduler
from engine.schedule import partial_schedule, read_noise_schedule
from engine.vae import LatentCodec
from tests.engine.calls import counted_calls
from tests.engine.runs import assert_same_image, drain, embedded, images

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SHAPE = (1, 4, 6, 5)
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def previews(events: list[Event]) -> list[ImagePreview]:
    return [event for event in events if isinstance(event, ImagePreview)]


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "PERIOD_S", 0.0)


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "PERIOD_S", 3600.0)


@pytest.fixture
def fitted_engine(embedded_engine: Engine) -> Engine:
    """Whose previews do not wait for the colours, so that short jobs are shown too."""
    assert vae_of(embedded_engine, "PICPIK General").colors is not None
    return embedded_engine


@pytest.fixture
def shown(product: Image.Image) -> GenerationJob:
    return embedded(product, preview=True, num_inference_steps=12)


# The clean latents -------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("strength", [None, 0.4])
@pytest.mark.parametrize("sampler", Sampler)
def test_the_clean_latents_are_those_that_the_scheduler_object_finds(
    sampler: Sampler, strength: float | None, prediction_type: str
) -> None:
    config = {"prediction_type": prediction_type, "timestep_spacing": "trailing"}
    noise_schedule = read_noise_schedule({**BETAS, **config})
    schedule = None
    if strength is not None:
        schedule = partial_schedule(noise_schedule, strength, 5, sampler)
    arguments = (sampler, noise_schedule, 5, schedule)
    scheduler, steps = make_scheduler(*arguments), sampler_steps(*arguments)
    values = torch.Generator().manual_seed(0)
    state = SamplerState(steps, torch.zeros(SHAPE), torch.Generator())
    for index, timestep in enumerate(scheduler.timesteps):
        state.step_index = index
        state.latents, output = (torch.randn(SHAPE, generator=values) for _ in range(2))
        expected = clean_by(scheduler, output, timestep, state.latents)
        found = clean_latents(state, output, prediction_type)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def clean_by(
    scheduler: Any, output: torch.Tensor, timestep: torch.Tensor, sample: torch.Tensor
) -> torch.Tensor:
    """What a scheduler object takes the image to be; it goes on to its next step."""
    scheduler.scale_model_input(sample, timestep)  # some find their place only in this
    converted = None
    if hasattr(scheduler, "convert_model_output"):
        if scheduler.step_index is None:
            scheduler._init_step_index(timestep)
        converted = scheduler.convert_model_output(output, sample=sample)
    result = scheduler.step(output, timestep, sample, return_dict=False)
    return result[1] if converted is None else converted


# Their colours -----------------------------------------------------------------------------------


def test_a_linear_codec_is_found_exactly() -> None:
    mixing = torch.tensor([[0.9, -0.2, 0.4], [0.1, 0.8, -0.5], [0.3, 0.3, 0.7], [-0.6, 0.2, 0.1]])

    def encode(image: torch.Tensor) -> torch.Tensor:
        cells = torch.nn.functional.avg_pool2d(image, 8)
        return torch.einsum("oc,ncyx->noyx", mixing, cells) + 0.3

    colors = fit_latent_colors(encode, 8, 4)
    painted = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(1)) * 1.6 - 0.8
    large = torch.nn.functional.interpolate(painted, scale_factor=8)
    found = np.asarray(colors.picture(encode(large)[0].numpy())).astype(int)
    expected = ((painted[0].permute(1, 2, 0).numpy() + 1) * 127.5).round().astype(int)
    assert np.abs(found - expected).max() <= 1


def test_a_codec_that_overflows_gives_grey_and_no_error() -> None:
    colors = fit_latent_colors(
        lambda image: torch.full((len(image), 4, 10, 10), torch.nan), factor=8, channels=4
    )
    picture = colors.picture(np.zeros((4, 2, 3), np.float32))
    assert (picture.size, picture.getpixel((0, 0))) == ((3, 2), (128, 128, 128))


def test_latents_that_are_not_finite_are_shown_all_the_same() -> None:
    colors = fit_latent_colors(
        lambda image: torch.nn.functional.avg_pool2d(image, 8), factor=8, channels=3
    )
    picture = colors.picture(np.array([np.nan, np.inf, -np.inf], np.float32).reshape(3, 1, 1))
    assert picture.size == (1, 1)


def test_the_embedded_models_colours_are_those_of_the_picture(embedded_engine: Engine) -> None:
    vae = vae_of(embedded_engine, "PICPIK General")
    with Image.open(EXAMPLES / "lake-pagoda.jpg") as photograph:
        picture = photograph.convert("RGB").resize((192, 128))
    pixels = torch.from_numpy(np.asarray(picture, np.float32) / 127.5 - 1)
    latents = vae.encode(pixels.permute(2, 0, 1)[None])[0].numpy()
    rough = vae.colors.picture(latents)
    small = picture.resize(rough.size, Image.Resampling.BOX)
    found, expected = (np.asarray(each).astype(float) for each in (rough, small))
    assert np.abs(found - expected).mean() < 20
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.85


def test_colours_of_a_kl_autoencoder_are_fitted_too(tiny_engine: Engine) -> None:
    colors = vae_of(tiny_engine, "four_kl").colors
    assert colors.weights.shape == (4, 3)
    assert np.isfinite(colors.weights).all()


def vae_of(engine: Engine, name: str) -> LatentCodec:
    checkpoint = engine._models.get(engine.registry.main_model(name))
    assert isinstance(checkpoint, Checkpoint)
    return checkpoint.vae


# In the engine -----------------------------------------------------------------------------------


def test_asking_changes_no_bit_of_any_image(fitted_engine: Engine, shown: GenerationJob) -> None:
    for changes in ({}, {"sampler": Sampler.EULER_ANCESTRAL, "num_images": 2}):
        plain = fitted_engine.generate(replace(shown, preview=False, **changes))
        asked = fitted_engine.generate(replace(shown, **changes))
        assert [each.image.tobytes() for each in asked] == [each.image.tobytes() for each in plain]
        assert [each.parameters for each in asked] == [each.parameters for each in plain]


def test_who_does_not_ask_is_shown_nothing_and_pays_nothing(
    embedded_registry: Registry, shown: GenerationJob
) -> None:
    engine = Engine(embedded_registry)
    seen: list[Event] = []
    with counted_calls() as calls:
        engine.generate(replace(shown, preview=False), on_event=seen.append)
        unasked = len(calls.encode)
        engine.encodings.clear()
        calls.clear()
        engine.generate(replace(shown, num_inference_steps=40))
        assert len(calls.encode) == unasked + 1  # the colours
        engine.encodings.clear()
        calls.clear()
        engine.generate(shown)
        assert len(calls.encode) == unasked  # they are kept with the model
    assert previews(seen) == []


@pytest.mark.usefixtures("every_step")
def test_the_last_preview_resembles_the_image(fitted_engine: Engine, shown: GenerationJob) -> None:
    seen: list[Event] = []
    (image,) = fitted_engine.generate(shown, on_event=seen.append)
    found = previews(seen)
    assert 2 <= len(found) <= 12
    last = found[-1].picture
    assert (last.mode, last.width, last.height) == ("RGB", 16, 16)
    alpha = np.asarray(shown.foreground.getchannel("A").resize((16, 16), Image.Resampling.BOX))
    small = np.asarray(image.image.resize((16, 16), Image.Resampling.BOX)).astype(float)
    rough = np.asarray(last).astype(float)
    outside = alpha == 0
    assert np.abs(rough[outside].mean(axis=0) - small[outside].mean(axis=0)).max() < 30
    assert isinstance(seen[-2], ImageDone)  # no preview follows the image


@pytest.mark.usefixtures("once")
def test_every_image_of_a_batch_is_shown_and_none_too_often(
    fitted_engine: Engine, shown: GenerationJob
) -> None:
    seen: list[Event] = []
    fitted_engine.generate(replace(shown, num_images=3), on_event=seen.append)
    assert [(each.job_id, each.image_index) for each in previews(seen)] == [
        ("job", 0),
        ("job", 1),
        ("job", 2),
    ]


@pytest.mark.usefixtures("once")
def test_jobs_share_forwards_and_only_those_that_ask_are_shown(
    fitted_engine: Engine, shown: GenerationJob
) -> None:
    fitted_engine.add(replace(shown, job_id="asks"))
    fitted_engine.add(replace(shown, job_id="does not", preview=False))
    events = drain(fitted_engine)
    assert [each.job_id for each in previews(events)] == ["asks"]
    asked, plain = (images(events, name)[0] for name in ("asks", "does not"))
    assert_same_image(asked, plain)


@pytest.mark.usefixtures("every_step")
@pytest.mark.parametrize("size", [(640, 320), (200, 72)])
def test_a_preview_has_the_proportions_of_its_canvas_in_every_pass(
    tiny_registry: Registry, job: GenerationJob, size: tuple[int, int]
) -> None:
    """The first pass is painted whole and small, the second by tiles."""
    small = {"native_size_px": 64, "tile_size_px": 64}
    model = tiny_registry.main_model("nine").model_copy(update=small)
    engine = Engine(Registry({"nine": model}, "nine"))
    assert vae_of(engine, "nine").colors is not None
    width, height = size
    job = replace(job, width_px=width, height_px=height, preview=True)
    plan = engine.add(job)
    assert len(plan.passes) == 2
    found = previews(drain(engine))
    assert len(found) > plan.passes[0].num_forwards
    for each in found:
        assert max(each.picture.size) <= MAX_SIDE_PX
        assert each.picture.width / each.picture.height == pytest.approx(width / height, rel=0.1)


@pytest.mark.usefixtures("every_step")
def test_a_preview_that_lacks_memory_costs_its_image_nothing(
    tiny_engine: Engine, job: GenerationJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_self: LatentCodec) -> Any:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(LatentCodec, "colors", property(full))
    seen: list[Event] = []
    assert len(tiny_engine.generate(replace(job, preview=True), on_event=seen.append)) == 1
    assert previews(seen) == []


@pytest.mark.usefixtures("every_step")
def test_nothing_is_shown_of_a_canceled_job(tiny_engine: Engine, job: GenerationJob) -> None:
    tiny_engine.add(replace(job, preview=True, num_inference_steps=100))
    events: list[Event] = []
    while not previews(events):
        assert tiny_engine.busy
        tiny_engine.wait()
        events = tiny_engine.step()
    tiny_engine.cancel(job.job_id)
    deadline = time.monotonic() + 0.3
    while time.monotonic() < deadline:
        assert tiny_engine.step() == []
