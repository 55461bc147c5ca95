"""DeepFusion through whole jobs: which rows run, what stays as it was, and that it acts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from engine.checkpoint import Checkpoint, load_checkpoint
from engine.denoise import advance, predict
from engine.engine import Engine
from engine.errors import ParameterOutOfRange
from engine.job import AdapterWeight, GenerationJob
from engine.lanes import Lane, Piece, open_lane
from engine.plan import plan_job
from engine.prepare import prepare_job
from engine.registry import Registry, load_registry
from tests.engine.lora_files import write_unet_lora
from tests.engine.runs import array, assert_same_image
from tests.engine.tiny import EPSILON, V_PREDICTION, V_ZERO_SNR, write_tiny_model, write_tiny_sdxl

MODELS = ("nine", "four", "sd2", "xl", "xl_nine")
SIDE_PX = 64


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    root: Path = tmp_path_factory.mktemp("fusion")
    write_tiny_model(root / "nine", in_channels=9, scheduler=V_ZERO_SNR)
    write_tiny_model(root / "four", in_channels=4, scheduler=EPSILON)
    write_tiny_model(root / "sd2", in_channels=9, scheduler=V_PREDICTION, family="sd2")
    write_tiny_sdxl(root / "xl", in_channels=4, scheduler=EPSILON)
    write_tiny_sdxl(root / "xl_nine", in_channels=9, scheduler=EPSILON)
    families = {"sd2": "sd2", "xl": "sdxl", "xl_nine": "sdxl"}
    models = [
        {
            "name": name,
            "path": name,
            "family": families.get(name, "sd1"),
            "native_size_px": SIDE_PX,
            "guidance_scale": 3.0,
        }
        for name in MODELS
    ]
    loras = []
    for name in MODELS:
        write_unet_lora(root / f"{name}.safetensors", root / name, rank=4, seed=1)
        loras.append({"name": f"{name} lora", "kind": "lora", "path": f"{name}.safetensors"})
    content = {"default_model": "nine", "models": models, "sub_models": loras}
    (root / "models.yaml").write_text(yaml.safe_dump(content))
    return load_registry(root / "models.yaml")


@pytest.fixture(scope="module")
def engine(registry: Registry) -> Engine:
    return Engine(registry)


def fused_job(model: str = "nine", **changes: Any) -> GenerationJob:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (SIDE_PX, SIDE_PX, 4), dtype=np.uint8)
    pixels[..., 3] = 0
    pixels[16:48, 24:48, 3] = 255
    job = GenerationJob(
        job_id="job",
        model_name=model,
        foreground=Image.fromarray(pixels),
        reference=Image.fromarray(rng.integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)),
        strength=0.8,
        deep_fusion=True,
        prompt="blue sky",
        negative_prompt="night",
        seed=3,
        num_inference_steps=6,
    )
    return replace(job, **changes)


def plain(job: GenerationJob) -> GenerationJob:
    return replace(job, deep_fusion=False)


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
@pytest.mark.parametrize("model", MODELS)
def test_it_changes_the_background_of_every_kind_of_model(
    engine: Engine, model: str, guidance_scale: float
) -> None:
    job = fused_job(model, guidance_scale=guidance_scale)
    [fused], [without] = engine.generate(job), engine.generate(plain(job))
    alpha = np.asarray(job.foreground)[..., 3]
    difference = np.abs(array(fused) - array(without))
    # Law 3 lets a forward of more rows change 0.1 % by rounding.
    assert (difference[alpha == 0] > 0).mean() > 0.01
    assert difference[alpha == 255].max() == 0
    assert fused.parameters["deep_fusion"] is True
    assert without.parameters["deep_fusion"] is False


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_where_the_reference_is_all_or_nothing_it_has_no_effect_and_says_so(
    engine: Engine, strength: float
) -> None:
    job = fused_job(strength=strength)
    [fused], [without] = engine.generate(job), engine.generate(plain(job))
    assert fused.image.tobytes() == without.image.tobytes()
    assert not plan_job(job, engine.registry).use_deep_fusion
    note = f"DeepFusion has no effect at reference strength {1 - strength:g}"
    assert fused.parameters["notes"] == [note]
    assert without.parameters["notes"] == []


def test_it_needs_a_reference(engine: Engine) -> None:
    with pytest.raises(ParameterOutOfRange) as caught:
        plan_job(fused_job(reference=None, strength=1.0), engine.registry)
    assert caught.value.field == "deep_fusion"


def test_each_image_of_a_batch_is_that_of_its_own_seed(engine: Engine) -> None:
    batch = engine.generate(fused_job(num_images=3))
    for index, image in enumerate(batch):
        [alone] = engine.generate(fused_job(seed=3 + index))
        assert_same_image(image, alone)


def test_a_job_repeated_gives_the_same_bytes(engine: Engine) -> None:
    [first], [second] = engine.generate(fused_job()), engine.generate(fused_job())
    assert first.image.tobytes() == second.image.tobytes()


@pytest.mark.parametrize("model", ["nine", "xl"])
def test_a_lora_acts_beside_it(engine: Engine, model: str) -> None:
    job = fused_job(model)
    with_lora = replace(job, adapters=(AdapterWeight(f"{model} lora", 0.5),))
    results = [
        engine.generate(each)[0].image.tobytes()
        for each in (job, with_lora, plain(job), plain(with_lora))
    ]
    assert len(set(results)) == 4


def test_large_canvases_read_it_in_both_passes(engine: Engine) -> None:
    job = fused_job(width_px=4 * SIDE_PX, height_px=3 * SIDE_PX)
    passes = plan_job(job, engine.registry).passes
    assert [each.tile_px is None for each in passes] == [True, False]
    [fused], [without] = engine.generate(job), engine.generate(plain(job))
    assert fused.image.size == (4 * SIDE_PX, 3 * SIDE_PX)
    assert fused.image.tobytes() != without.image.tobytes()


# --- the rows of a forward ---


class Forwards:
    """What a UNet was asked, forward by forward."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.samples: list[torch.Tensor] = []
        self.timesteps: list[torch.Tensor] = []
        self.prompt_embeds: list[torch.Tensor] = []
        self.added: list[dict[str, torch.Tensor] | None] = []
        checkpoint.unet.register_forward_pre_hook(self._note, with_kwargs=True)

    def _note(self, _unet: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.samples.append(args[0])
        self.timesteps.append(args[1])
        self.prompt_embeds.append(kwargs["encoder_hidden_states"])
        self.added.append(kwargs["added_cond_kwargs"])


def loaded(registry: Registry, model: str) -> Checkpoint:
    found = registry.main_model(model)
    return load_checkpoint(found, device=torch.device("cpu"), dtype=torch.float32)


def lane_of(job: GenerationJob, registry: Registry, checkpoint: Checkpoint, **rest: int) -> Lane:
    return open_lane(prepare_job(plan_job(job, registry), checkpoint), 0, **rest)


def whole(lane: Lane) -> list[Piece]:
    return [Piece(lane, tile) for tile in lane.tiles]


@pytest.mark.parametrize("model", MODELS)
def test_a_reference_runs_as_one_more_row_told_what_its_lane_is_told(
    registry: Registry, model: str
) -> None:
    checkpoint = loaded(registry, model)
    lane = lane_of(fused_job(model), registry, checkpoint)
    other = lane_of(plain(fused_job(model, seed=9)), registry, checkpoint)
    forwards = Forwards(checkpoint)
    predict([*whole(other), *whole(lane)])
    [sample], [timesteps], [prompt_embeds] = (
        forwards.samples,
        forwards.timesteps,
        forwards.prompt_embeds,
    )
    assert len(sample) == 2 + 2 + 1
    assert timesteps[4] == timesteps[3]
    assert torch.equal(prompt_embeds[4], prompt_embeds[3])
    for told in (forwards.added[0] or {}).values():
        assert torch.equal(told[4], told[3])
    if checkpoint.needs_masked_image:
        assert (sample[4, 4] == 1).all(), "all of a reference is painted"


def test_a_reference_is_noised_to_the_level_of_its_lane_with_a_noise_of_its_own(
    registry: Registry,
) -> None:
    checkpoint = loaded(registry, "nine")
    lane = lane_of(fused_job(), registry, checkpoint)
    forwards = Forwards(checkpoint)
    while not lane.state.is_finished:
        for piece, output in zip(whole(lane), predict(whole(lane)), strict=True):
            lane.outputs[piece.tile] = output
        advance([lane])
    reference = lane.conditioning.reference_latents
    distances = []
    for index, sample in enumerate(forwards.samples):
        of_image, of_noise = lane.state.steps.noise_levels[index]
        scale = lane.state.steps.steps[index].input_scale
        noise = (sample[2:, :4] / scale - of_image * reference) / of_noise
        torch.testing.assert_close(noise, lane.reference_noise, atol=1e-3, rtol=0)
        distances.append(float((sample[2:, :4] - reference).norm()))
    assert distances == sorted(distances, reverse=True)
    assert not torch.allclose(lane.reference_noise, lane.noise)


def test_the_lanes_own_noise_is_that_without_it(registry: Registry) -> None:
    checkpoint = loaded(registry, "four")
    fused = lane_of(fused_job("four"), registry, checkpoint)
    without = lane_of(plain(fused_job("four")), registry, checkpoint)
    assert torch.equal(fused.noise, without.noise)
    assert torch.equal(fused.state.latents, without.state.latents)
    assert without.reference_noise is None


def test_a_tile_reads_the_matching_tile_of_the_reference(registry: Registry) -> None:
    checkpoint = loaded(registry, "nine")
    job = fused_job(width_px=4 * SIDE_PX, height_px=3 * SIDE_PX)
    prepared = prepare_job(plan_job(job, registry), checkpoint)
    start = torch.zeros_like(prepared.conditionings[1].image_latents)
    lane = open_lane(prepared, 0, 1, start_latents=start)
    forwards = Forwards(checkpoint)
    pieces = whole(lane)
    predict(pieces)
    of_image, of_noise = lane.state.steps.noise_levels[0]
    noised = of_image * lane.conditioning.reference_latents + of_noise * lane.reference_noise
    noised = noised * lane.state.steps.steps[0].input_scale
    references = forwards.samples[0][2 * len(pieces) :]
    assert len(references) == len(pieces) > 1
    for piece, row in zip(pieces, references, strict=True):
        torch.testing.assert_close(row[None, :4], piece.tile.crop(noised))


def test_a_job_without_it_runs_no_row_more(registry: Registry) -> None:
    checkpoint = loaded(registry, "nine")
    lane = lane_of(plain(fused_job()), registry, checkpoint)
    forwards = Forwards(checkpoint)
    predict(whole(lane))
    assert len(forwards.samples[0]) == 2
    assert lane.conditioning.reference_latents is None
    assert lane.conditioning.blank_latents is None


# --- what it is for ---


@pytest.mark.parametrize("example", ["rocket-dusk.jpg", "lake-pagoda.jpg"])
def test_backgrounds_of_the_embedded_model_take_the_references_colours(
    embedded_engine: Engine, product: Image.Image, examples: Path, example: str
) -> None:
    with Image.open(examples / example) as opened:
        reference = opened.convert("RGB").resize(product.size, Image.Resampling.BICUBIC)
    job = GenerationJob(
        job_id="job",
        model_name="PICPIK General",
        foreground=product,
        prompt="pink studio background",
        reference=reference,
        strength=0.9,
        deep_fusion=True,
        num_images=3,
        num_inference_steps=8,
    )
    is_background = np.asarray(product)[..., 3] == 0
    wanted = np.asarray(reference).reshape(-1, 3).mean(axis=0)

    def distance(job: GenerationJob) -> float:
        images = np.stack([array(each)[is_background] for each in embedded_engine.generate(job)])
        return float(np.linalg.norm(images.mean(axis=(0, 1)) - wanted))

    assert distance(job) < 0.85 * distance(plain(job))
