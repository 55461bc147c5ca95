"""Our step loop and diffusers' inpaint pipelines on the same job.

Block-aligned binary masks, a deterministic VAE, one float32 generator an image and the same
explicit timesteps and sigmas on both sides: the latents must agree within 1e-4.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    LMSDiscreteScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionXLInpaintPipeline,
    TCDScheduler,
    UniPCMultistepScheduler,
)
from PIL import Image

from engine.checkpoint import Checkpoint, load_checkpoint
from engine.compose import compose
from engine.denoise import advance, predict
from engine.job import AnySampler, DistilledSampler, GenerationJob, Sampler
from engine.lanes import Piece, open_lane
from engine.plan import GenerationPlan, plan_job
from engine.prepare import prepare_job
from engine.registry import MainModel, Registry
from engine.schedule import StepSchedule


class KarrasScheduler(DPMSolverMultistepScheduler):
    """DPM++ 2M Karras whose first sigma is at most 80, as in the paper."""

    def _convert_to_karras(self, in_sigmas, num_inference_steps):
        return super()._convert_to_karras(np.minimum(in_sigmas, 80.0), num_inference_steps)


class _Double(torch.Tensor):
    """A float64 tensor that cannot be cast down."""

    def to(self, *_args, **_kwargs):
        return self


class DoubleStep:
    """A step taken in float64.

    From the sigma 4096 of a zero terminal SNR these classes take the difference of two numbers of
    that size: in float32 that alone is worth 1e-4 in the end.
    """

    def step(self, model_output, timestep, sample, **arguments):
        sample = sample.double().as_subclass(_Double)
        result = super().step(model_output, timestep, sample, **arguments)[0]
        return (result.as_subclass(torch.Tensor).float(),)


class EulerScheduler(DoubleStep, EulerDiscreteScheduler):
    pass


class EulerAncestralScheduler(DoubleStep, EulerAncestralDiscreteScheduler):
    # The pipeline looks for an argument of this name.
    def step(self, model_output, timestep, sample, generator=None, **arguments):
        return super().step(model_output, timestep, sample, generator=generator, **arguments)


class LMSScheduler(DoubleStep, LMSDiscreteScheduler):
    pass


class ExplicitSteps:
    """A pipeline told the exact steps instead of taking the tail of a longer schedule."""

    explicit_steps: StepSchedule | None = None

    def get_timesteps(self, num_inference_steps, strength, device, **rest):
        if self.explicit_steps is None:
            return super().get_timesteps(num_inference_steps, strength, device, **rest)
        self.scheduler.timesteps = torch.tensor(self.explicit_steps.timesteps)
        self.scheduler.sigmas = torch.tensor(self.explicit_steps.sigmas)
        self.scheduler.set_begin_index(0)
        return self.scheduler.timesteps, num_inference_steps


class InpaintPipeline(ExplicitSteps, StableDiffusionInpaintPipeline):
    pass


class XLInpaintPipeline(ExplicitSteps, StableDiffusionXLInpaintPipeline):
    pass


CLASSES: dict[AnySampler, Any] = {
    Sampler.EULER: EulerScheduler,
    Sampler.EULER_ANCESTRAL: EulerAncestralScheduler,
    Sampler.DPMPP_2M: DPMSolverMultistepScheduler,
    Sampler.DPMPP_2M_KARRAS: KarrasScheduler,
    Sampler.UNIPC: UniPCMultistepScheduler,
    Sampler.LMS: LMSScheduler,
    Sampler.HEUN: HeunDiscreteScheduler,
    Sampler.DDIM: DDIMScheduler,
    DistilledSampler.LCM: LCMScheduler,
    DistilledSampler.TCD: TCDScheduler,
}
TCD_GAMMA = 0.3  # the default of diffusers' class, which its pipelines overrule
HEUN_EXPLODES = "diffusers' Heun explodes from zero terminal SNR, see tests/engine/test_samplers.py"
# DDIM takes a zero terminal SNR as exactly zero, not as 2^-24; LMS and Heun silently ignore it.
_NEED_TRAINED_BETAS = (Sampler.DDIM, Sampler.LMS, Sampler.HEUN)


def inpainting_job(
    name: str,
    sampler: Sampler,
    foreground: Image.Image,
    reference: Image.Image | None = None,
    strength: float = 1.0,
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


def random_foreground(width_px: int, height_px: int) -> Image.Image:
    """Random colours, opaque in a block of whole latent cells."""
    shape = (height_px, width_px, 4)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    pixels[..., 3] = 0
    pixels[16 : height_px - 16, 24 : width_px - 8, 3] = 255
    return Image.fromarray(pixels)


def random_reference(width_px: int, height_px: int) -> Image.Image:
    shape = (height_px, width_px, 3)
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8))


def assert_latents_of_diffusers(
    job: GenerationJob, registry: Registry, background: Image.Image
) -> None:
    """Runs `job` on both sides.

    Args:
        background: what lies around the foreground in the init image.
    """
    plan = plan_job(job, registry)
    checkpoint = _checkpoint(plan.model)
    assert checkpoint.dtype is torch.float32
    ours = _our_latents(plan, checkpoint)
    theirs = _their_latents(plan, background)
    assert ours.shape == theirs.shape
    assert theirs.std() > 0.05, "a flat oracle would prove nothing"
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


@cache
def _checkpoint(model: MainModel) -> Checkpoint:
    return load_checkpoint(model, device=torch.device("cpu"), dtype=torch.float32)


def _our_latents(plan: GenerationPlan, checkpoint: Checkpoint) -> torch.Tensor:
    lane = open_lane(prepare_job(plan, checkpoint), image_index=0)
    (tile,) = lane.tiles
    forwards = 0
    while not lane.state.is_finished:
        (lane.outputs[tile],) = predict([Piece(lane, tile)])
        advance([lane])
        forwards += 1
    assert forwards == plan.total_steps
    return lane.state.latents


@cache
def _pipeline(path: Path, is_xl: bool) -> Any:
    if is_xl:
        return XLInpaintPipeline.from_pretrained(path, add_watermarker=False)
    return InpaintPipeline.from_pretrained(path, safety_checker=None)


@cache
def _own_scheduler_config(path: Path, is_xl: bool) -> Mapping[str, Any]:
    return dict(_pipeline(path, is_xl).scheduler.config)


def _their_latents(plan: GenerationPlan, background: Image.Image) -> torch.Tensor:
    source = (plan.model.path, plan.info.family == "sdxl")
    oracle = _pipeline(*source)
    oracle.set_progress_bar_config(disable=True)
    oracle.explicit_steps = plan.passes[0].schedule
    oracle.scheduler = _scheduler(plan, _own_scheduler_config(*source))
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
        eta=TCD_GAMMA if plan.sampler is DistilledSampler.TCD else 0.0,
    )
    latents: torch.Tensor = result.images
    return latents


def _scheduler(plan: GenerationPlan, config: Mapping[str, Any]) -> Any:
    """diffusers' own class on the checkpoint's own config: that checks betas and spacing too."""
    sampler = plan.sampler
    if sampler is Sampler.DDIM and plan.job.strength < 1.0:
        sampler = Sampler.EULER  # the same with eta 0 on the same sigmas
    config = dict(config)
    if sampler in _NEED_TRAINED_BETAS and config["rescale_betas_zero_snr"]:
        betas = list(plan.info.noise_schedule.betas)
        config |= {"trained_betas": betas, "rescale_betas_zero_snr": False}
    karras = {"use_karras_sigmas": True} if sampler is Sampler.DPMPP_2M_KARRAS else {}
    return CLASSES[sampler].from_config(config, **karras)
