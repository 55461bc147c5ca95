"""Trains the denoiser and its text encoder on encoded scenes; resumes where it stopped.

    python -m scripts.train_embedded.train_unet --work DIR --minutes 110
    python -m scripts.train_embedded.train_unet --work DIR --minutes 60 --anneal
    python -m scripts.train_embedded.train_unet --work DIR --minutes 60 --channels 4

The learning rate is constant, so that a sitting can be of any length; the last one anneals it.
With 4 channels the smaller ordinary sibling is trained, on the finished model's text encoder.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from scripts.train_embedded.checkpoint import TrainingState
from scripts.train_embedded.latent_data import LatentBatch, LatentData
from scripts.train_embedded.precision import fast_precision
from scripts.train_embedded.tokenizer import train_tokenizer
from scripts.train_embedded.unet_model import (
    new_text_encoder,
    new_unet,
    noise_schedule,
    start_from,
)
from scripts.train_embedded.words import caption

FOLDERS = {9: "unet", 4: "sibling"}  # by the denoiser's input channels
BATCH_SIZE = 16
CAPTION_DROPOUT = 0.1
EMA_DECAY = 0.9995
MIN_SNR_GAMMA = 5.0
# v-prediction's min-SNR weight is zero at zero SNR, where the first of few sampling steps starts.
MIN_WEIGHT = 0.1
SAVE_EVERY_S = 420


def main() -> None:
    """Command line; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("training"))
    parser.add_argument("--minutes", type=float, default=110)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--anneal", action="store_true", help="cosine to zero over this sitting")
    parser.add_argument("--start", type=Path, help="model folder of the same shape to begin with")
    parser.add_argument("--channels", type=int, choices=FOLDERS, default=9)
    options = parser.parse_args()
    folder: Path = options.work / FOLDERS[options.channels]
    folder.mkdir(parents=True, exist_ok=True)
    data, tokenizer = load_data(options.work)
    state = new_state(tokenizer, options.learning_rate)
    text_encoder = state.modules["text_encoder"]
    if options.channels == 4:
        text_encoder = finished_text_encoder(options.work, tokenizer)
        state = new_sibling_state(options.learning_rate)
    if (folder / "state.pt").exists():
        state.load(folder / "state.pt")
    elif options.start:
        start_from(options.start, state.modules["unet"], text_encoder, tokenizer)
        state.ema = [weight.detach().clone() for weight in state.parameters]
    train(state, text_encoder, data, tokenizer, options, folder)


def load_data(work: Path) -> tuple[LatentData, CLIPTokenizer]:
    """Latents and tokenizer; the first call trains the tokenizer and fixes the latents' scale."""
    folder = work / "unet"
    settings = folder / "settings.json"
    scale = json.loads(settings.read_text())["scaling_factor"] if settings.exists() else None
    data = LatentData(work, scaling_factor=scale)
    if scale is None:
        rng = np.random.default_rng(0)
        words = [caption(rng, r.phrases, r.time_of_day) for r in data.records for _ in range(2)]
        train_tokenizer(words, vocab_size=1100).save_pretrained(folder / "tokenizer")
        settings.write_text(json.dumps({"scaling_factor": data.scaling_factor}))
    return data, CLIPTokenizer.from_pretrained(folder / "tokenizer")


def new_state(tokenizer: CLIPTokenizer, learning_rate: float) -> TrainingState:
    """Fresh denoiser and text encoder, trained together, and their optimiser."""
    torch.manual_seed(0)
    unet = new_unet(9).to(memory_format=torch.channels_last)
    return _state({"unet": unet, "text_encoder": new_text_encoder(tokenizer)}, learning_rate)


def new_sibling_state(learning_rate: float) -> TrainingState:
    """A fresh 4-channel denoiser and its optimiser; the text encoder is given."""
    torch.manual_seed(0)
    return _state({"unet": new_unet(4).to(memory_format=torch.channels_last)}, learning_rate)


def finished_text_encoder(work: Path, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """The averaged text encoder of the inpainting model, frozen."""
    base = new_state(tokenizer, learning_rate=0.0)
    base.load(work / FOLDERS[9] / "state.pt")
    base.use_ema()
    return base.modules["text_encoder"].requires_grad_(False).eval()


def _state(modules: dict[str, nn.Module], learning_rate: float) -> TrainingState:
    weights = [weight for module in modules.values() for weight in module.parameters()]
    optimizer = torch.optim.AdamW(
        weights, lr=learning_rate, betas=(0.9, 0.99), weight_decay=1e-2, fused=True
    )
    return TrainingState(modules, optimizer)


def train(
    state: TrainingState,
    text_encoder: CLIPTextModel,
    data: LatentData,
    tokenizer: CLIPTokenizer,
    options: argparse.Namespace,
    folder: Path,
) -> None:
    """One sitting."""
    schedule = noise_schedule()
    rng = np.random.default_rng((3, state.step))
    torch.manual_seed(state.step)
    for module in state.modules.values():
        module.train()
    began, before, saved, first = time.monotonic(), state.minutes, time.monotonic(), state.step
    losses: list[float] = []
    while (elapsed := (time.monotonic() - began) / 60) < options.minutes:
        rate = options.learning_rate * min(1.0, (state.step - first + 1) / 200)
        if options.anneal:
            rate *= 0.5 + 0.5 * math.cos(math.pi * elapsed / options.minutes)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        batch = data.batch(rng, BATCH_SIZE, dropout=CAPTION_DROPOUT)
        loss, plain = denoising_loss(
            state.modules["unet"], text_encoder, batch, tokenizer, schedule
        )
        state.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(state.parameters, 1.0)
        state.optimizer.step()
        state.step += 1
        state.minutes = before + elapsed
        state.update_ema(EMA_DECAY)
        losses.append(plain)
        if state.step % 100 == 0:
            entry = {
                "step": state.step,
                "minutes": round(state.minutes, 1),
                "loss": round(float(np.mean(losses)), 4),
                "learning_rate": float(f"{rate:.2e}"),
            }
            with (folder / "log.jsonl").open("a") as lines:
                lines.write(json.dumps(entry) + "\n")
            print(entry, flush=True)
            losses.clear()
        if time.monotonic() - saved > SAVE_EVERY_S:
            state.save(folder / "state.pt")
            saved = time.monotonic()
    state.save(folder / "state.pt")


def denoising_loss(
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    batch: LatentBatch,
    tokenizer: CLIPTokenizer,
    schedule: DDIMScheduler,
) -> tuple[torch.Tensor, float]:
    """Min-SNR weighted v-prediction loss (arXiv 2303.09556) and its unweighted value.

    A denoiser of 9 channels sees mask and masked image too; one of 4 the noisy latents alone.
    """
    tokens = tokenizer(
        batch.captions, padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids
    told = None
    if unet.config.in_channels == 9:
        told = torch.cat([batch.repaint_mask, batch.masked_image_latents], dim=1)
    with fast_precision():
        prompt_embeds = text_encoder(tokens).last_hidden_state.float()
    return weighted_velocity_loss(unet, batch.image_latents, prompt_embeds, schedule, told=told)


def weighted_velocity_loss(
    unet: UNet2DConditionModel,
    latents: torch.Tensor,
    prompt_embeds: torch.Tensor,
    schedule: DDIMScheduler,
    *,
    told: torch.Tensor | None,
) -> tuple[torch.Tensor, float]:
    """The loss at random timesteps and its unweighted value.

    Args:
        unet: the denoiser.
        latents: (B, 4, h, w) float32, scaled: what it should paint.
        prompt_embeds: (B, 77, D).
        schedule: its noise.
        told: (B, 5, h, w), mask and masked image, for a denoiser of 9 channels.
    """
    timesteps = torch.randint(0, schedule.config.num_train_timesteps, (len(latents),))
    noise = torch.randn_like(latents)
    noisy = schedule.add_noise(latents, noise, timesteps)
    target = schedule.get_velocity(latents, noise, timesteps)
    inputs = noisy if told is None else torch.cat([noisy, told], dim=1)
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    with fast_precision():
        output = unet(inputs, timesteps, prompt_embeds).sample.float()
    errors = (output - target).square().mean((1, 2, 3))
    alphas = schedule.alphas_cumprod[timesteps]
    snr = alphas / (1 - alphas)
    weights = (snr.clamp(max=MIN_SNR_GAMMA) / (snr + 1)).clamp(min=MIN_WEIGHT)
    return (errors * weights).mean() / weights.mean(), errors.mean().item()


if __name__ == "__main__":
    main()
