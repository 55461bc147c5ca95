"""The step loop against diffusers' own StableDiffusionInpaintPipeline.

Block-aligned binary masks, a deterministic VAE, one float32 generator an image and the same
explicit timesteps and sigmas on both sides: the latents must agree within 1e-4.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    StableDiffusionInpaintPipeline,
)
from PIL import Image

from engine.checkpoint import Checkpoint, load_checkpoint
from engine.compose import bleed, compose
from engine.denoise import advance, predict
from engine.job import GenerationJob, Sampler
from engine.lanes import Lane, open_lane
from engine.plan import GenerationPlan, plan_job
from engine.prepare import prepare_canvas, prepare_conditioning, prepare_prompts
from engine.registry import Registry
from engine.schedule import StepSchedule
from tests.engine.tiny import EPSILON, V_ZERO_SNR, write_registry, write_tiny_model

SIZE_PX = 64
ORACLE_CLASSES = {
    Sampler.EULER: EulerDiscreteScheduler,
    Sampler.EULER_ANCESTRAL: EulerAncestralDiscreteScheduler,
    Sampler.DPMPP_2M: DPMSolverMultistepScheduler,
    Sampler.DDIM: DDIMScheduler,
}
MODELS = {
    "nine_epsilon": (9, EPSILON),
    "nine_v": (9, V_ZERO_SNR),
    "four_epsilon": (4, EPSILON),
    "four_v": (4, V_ZERO_SNR),
}


class ExplicitStepsPipeline(StableDiffusionInpaintPipeline):
    """diffusers' pipeline, told the exact steps instead of taking the tail of a longer schedule."""

    explicit_steps: StepSchedule

    def get_timesteps(self, num_inference_steps, strength, device):  # noqa: ARG002
        self.scheduler.timesteps = torch.tensor(self.explicit_steps.timesteps)
        self.scheduler.sigmas = torch.tensor(self.explicit_steps.sigmas)
        self.scheduler.set_begin_index(0)
        return self.scheduler.timesteps, num_inference_steps


@pytest.fixture(scope="module")
def model_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("oracle")
    for name, (channels, scheduler) in MODELS.items():
        write_tiny_model(root / name, in_channels=channels, scheduler=scheduler)
    return root


@pytest.fixture(scope="module")
def registry(model_root: Path) -> Registry:
    return write_registry(model_root, **{name: {} for name in MODELS})


@pytest.fixture(scope="module")
def foreground() -> Image.Image:
    """Random colours, opaque in a block of whole latent cells."""
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE_PX, SIZE_PX, 4), dtype=np.uint8)
    pixels[..., 3] = 0
    pixels[16:48, 24:56, 3] = 255
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def reference() -> Image.Image:
    pixels = np.random.default_rng(1).integers(0, 256, (SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("sampler", Sampler)
def test_full_strength_gives_the_latents_of_diffusers(
    name: str,
    sampler: Sampler,
    registry: Registry,
    foreground: Image.Image,
) -> None:
    job = _job(name, sampler, foreground, None, 1.0)
    plan, checkpoint, ours = _our_latents(job, registry)
    oracle = StableDiffusionInpaintPipeline.from_pretrained(plan.model.path, safety_checker=None)
    # The checkpoint's own config, so that its betas and spacing are checked too.
    config = dict(oracle.scheduler.config)
    if sampler is Sampler.DDIM and config["rescale_betas_zero_snr"]:
        # Alone among its siblings diffusers' DDIM takes the terminal SNR as exactly zero, not as
        # 2^-24; here one function computes the betas of every sampler.
        betas = list(plan.info.noise_schedule.betas)
        config |= {"trained_betas": betas, "rescale_betas_zero_snr": False}
    oracle.scheduler = ORACLE_CLASSES[sampler].from_config(config)
    theirs = _oracle_latents(oracle, plan, bleed(foreground))
    _assert_equal_latents(ours, theirs, checkpoint)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("sampler", Sampler)
@pytest.mark.parametrize("strength", [0.7, 0.1])
def test_reference_strength_gives_the_latents_of_diffusers(
    name: str,
    sampler: Sampler,
    strength: float,
    registry: Registry,
    foreground: Image.Image,
    reference: Image.Image,
) -> None:
    job = _job(name, sampler, foreground, reference, strength)
    plan, checkpoint, ours = _our_latents(job, registry)
    oracle = ExplicitStepsPipeline.from_pretrained(plan.model.path, safety_checker=None)
    # DDIM with eta 0 is Euler on the same sigmas.
    same = Sampler.EULER if sampler is Sampler.DDIM else sampler
    oracle.scheduler = ORACLE_CLASSES[same].from_config(oracle.scheduler.config)
    assert plan.passes[0].schedule is not None
    oracle.explicit_steps = plan.passes[0].schedule
    theirs = _oracle_latents(oracle, plan, reference)
    _assert_equal_latents(ours, theirs, checkpoint)


def test_guidance_of_one_gives_the_latents_of_diffusers(
    registry: Registry, foreground: Image.Image
) -> None:
    job = _job("nine_epsilon", Sampler.EULER, foreground, None, 1.0, guidance_scale=1.0)
    plan, checkpoint, ours = _our_latents(job, registry)
    oracle = StableDiffusionInpaintPipeline.from_pretrained(plan.model.path, safety_checker=None)
    oracle.scheduler = EulerDiscreteScheduler.from_config(oracle.scheduler.config)
    _assert_equal_latents(ours, _oracle_latents(oracle, plan, bleed(foreground)), checkpoint)


def _job(
    name: str,
    sampler: Sampler,
    foreground: Image.Image,
    reference: Image.Image | None,
    strength: float,
    guidance_scale: float = 5.0,
) -> GenerationJob:
    return GenerationJob(
        job_id="oracle",
        model_name=name,
        foreground=foreground,
        reference=reference,
        strength=strength,
        prompt="blue sky, white clouds",
        negative_prompt="night",
        seed=11,
        num_inference_steps=7,
        sampler=sampler,
        guidance_scale=guidance_scale,
    )


def _our_latents(
    job: GenerationJob, registry: Registry
) -> tuple[GenerationPlan, Checkpoint, torch.Tensor]:
    plan = plan_job(job, registry)
    checkpoint = load_checkpoint(plan.model, device=torch.device("cpu"), dtype=torch.float32)
    lane = _lane(plan, checkpoint)
    while not lane.is_finished:
        advance(lane, predict([lane])[0])
    return plan, checkpoint, lane.latents


def _lane(plan: GenerationPlan, checkpoint: Checkpoint) -> Lane:
    conditioning = prepare_conditioning(
        plan,
        plan.passes[0],
        prepare_canvas(plan),
        prepare_prompts(plan, checkpoint),
        checkpoint,
        checkpoint.vae,
    )
    return open_lane(
        job_id="oracle",
        image_index=0,
        pass_index=0,
        pass_plan=plan.passes[0],
        sampler=plan.sampler,
        noise_schedule=plan.info.noise_schedule,
        checkpoint=checkpoint,
        conditioning=conditioning,
        generator=torch.Generator().manual_seed(plan.seeds[0]),
    )


def _oracle_latents(
    oracle: StableDiffusionInpaintPipeline, plan: GenerationPlan, background: Image.Image
) -> torch.Tensor:
    oracle.set_progress_bar_config(disable=True)
    alpha = plan.job.foreground.getchannel("A")
    result = oracle(
        prompt=plan.job.prompt,
        negative_prompt=plan.job.negative_prompt,
        image=compose(plan.job.foreground, background),
        mask_image=alpha.point(lambda value: 0 if value == 255 else 255),
        width=plan.width_px,
        height=plan.height_px,
        strength=plan.job.strength,
        num_inference_steps=plan.num_inference_steps,
        guidance_scale=plan.guidance_scale,
        generator=torch.Generator().manual_seed(plan.seeds[0]),
        output_type="latent",
    )
    latents: torch.Tensor = result.images
    return latents


def _assert_equal_latents(ours: torch.Tensor, theirs: torch.Tensor, checkpoint: Checkpoint) -> None:
    assert ours.shape == theirs.shape
    assert checkpoint.dtype is torch.float32
    assert theirs.std() > 0.05, "a flat oracle would prove nothing"
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
