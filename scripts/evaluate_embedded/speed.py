"""How long the first picture takes, and how much of that is the networks' own time."""

from __future__ import annotations

import time
from statistics import median

import torch

from engine.checkpoint import Checkpoint, load_checkpoint
from engine.engine import Engine
from engine.job import GenerationJob
from engine.plan import GenerationPlan, plan_job
from scripts.evaluate_embedded.evaluation import Evaluation, Result
from scripts.evaluate_embedded.pictures import MODEL_NAME

SIDE_PX, STEPS = 512, 10


def speed(evaluation: Evaluation) -> Result:
    """First 512x512 picture of a warm engine at 10 steps, and the same work with nothing around.

    Warm is: libraries imported, weights loaded, one tiny picture made.
    """
    case = evaluation.cases[0]
    foreground = case.foreground.resize((SIDE_PX, SIDE_PX))
    registry = evaluation.maker.registry
    job = GenerationJob(
        "first", MODEL_NAME, foreground, prompt=case.prompt, num_inference_steps=STEPS
    )
    tiny = GenerationJob(
        "tiny", MODEL_NAME, case.foreground.resize((64, 64)), num_inference_steps=6
    )
    firsts = []
    for _ in range(evaluation.sizes.repeats):
        engine = Engine(registry)
        engine.generate(tiny)
        started = time.perf_counter()
        engine.generate(job)
        firsts.append(time.perf_counter() - started)
    plan = plan_job(job, registry)
    checkpoint = load_checkpoint(
        registry.main_model(MODEL_NAME), device=torch.device("cpu"), dtype=torch.float32
    )
    networks = [_networks_alone(plan, checkpoint) for _ in range(evaluation.sizes.repeats)]
    return {
        "first_picture_s": round(median(firsts), 2),
        "networks_alone_s": round(median(networks), 2),
        "ratio": round(median(firsts) / median(networks), 3),
        "threads": torch.get_num_threads(),
        "passes": [f"{p.width_px}x{p.height_px}, {p.num_forwards} forwards" for p in plan.passes],
    }


@torch.inference_mode()
def _networks_alone(plan: GenerationPlan, checkpoint: Checkpoint) -> float:
    """Seconds of the forwards of UNet and autoencoder that the plan takes."""
    factor, channels = plan.info.vae_scale_factor, int(checkpoint.unet.config.in_channels)
    prompt_embeds = torch.zeros(2, 77, checkpoint.unet.config.cross_attention_dim)
    started = time.perf_counter()
    latents = torch.zeros(1, checkpoint.vae.latent_channels, 8, 8)
    for each in plan.passes:
        if checkpoint.needs_masked_image:
            checkpoint.vae.encode(torch.zeros(1, 3, each.height_px, each.width_px))
        rows = 2 if plan.guidance_scale > 1 else 1
        height, width = each.height_px // factor, each.width_px // factor
        inputs = torch.randn(rows, channels, height, width)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        for _ in range(each.num_forwards):
            checkpoint.unet(inputs, torch.tensor(500.0), prompt_embeds[:rows])
        latents = inputs[:1, : checkpoint.vae.latent_channels]
    checkpoint.vae.decode(latents)
    return time.perf_counter() - started
