"""Trains the autoencoder on rendered scenes, resumes where it stopped, and writes it for use.

    python -m scripts.train_embedded.train_vae --work DIR --minutes 40
    python -m scripts.train_embedded.train_vae --work DIR --minutes 40 --decoder-only

The second form keeps the encoder, and with it every latent on disk, and teaches the decoder
texture.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import AutoencoderTiny

from scripts.train_embedded.dataset import read_shards
from scripts.train_embedded.precision import fast_precision
from scripts.train_embedded.vae_data import crop_batch
from scripts.train_embedded.vae_losses import latent_loss, reconstruction_loss, texture_loss
from scripts.train_embedded.vae_model import new_vae, start_from

BATCH_SIZE = 8
CROP_PX = 128
LATENT_NOISE = 0.03  # the decoder must forgive what a denoised latent is off


def main() -> None:
    """Command line; see the module's text."""
    diffusers.logging.set_verbosity_error()  # AutoencoderTiny warns about its own config key
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("training"))
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--texture", type=float, default=0.0, help="weight of the texture loss")
    parser.add_argument("--start", type=Path, help="folder of a narrower VAE to begin with")
    parser.add_argument("--decoder-only", action="store_true")
    options = parser.parse_args()
    folder: Path = options.work / "vae"
    if (folder / "config.json").exists():
        vae = AutoencoderTiny.from_pretrained(folder)
    else:
        vae = new_vae()
        if options.start:
            start_from(vae, options.start)
    train(vae, options, folder)


def train(vae: AutoencoderTiny, options: argparse.Namespace, folder: Path) -> None:
    """One sitting of cosine-annealed AdamW; saved every 500 steps and at the end."""
    log = folder.with_name("vae-log.jsonl")
    past = log.read_text().splitlines() if log.exists() else []
    step = json.loads(past[-1])["step"] if past else 0
    rng = np.random.default_rng(step)
    torch.manual_seed(step)
    shards = read_shards(options.work / "scenes")
    vae = vae.train()  # in bfloat16 channels_last was measured 1.6 times slower here
    vae.encoder.requires_grad_(not options.decoder_only)
    weights = [weight for weight in vae.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=options.learning_rate, weight_decay=1e-4)
    started, first, recent = time.monotonic(), step, []
    while (progress := (time.monotonic() - started) / (options.minutes * 60)) < 1:
        rate = options.learning_rate * min(1.0, (step - first + 1) / 100)
        for group in optimizer.param_groups:
            group["lr"] = rate * (0.5 + 0.5 * math.cos(math.pi * progress)) + 1e-6
        images = crop_batch(shards, rng, BATCH_SIZE, CROP_PX)
        with fast_precision():
            latents = vae.encoder(images).float()
            output = vae.decoder(latents + LATENT_NOISE * torch.randn_like(latents)).float()
        loss = reconstruction_loss(output, images) + options.texture * texture_loss(output, images)
        if not options.decoder_only:
            loss = loss + 0.005 * latent_loss(latents)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        step += 1
        recent.append((loss.item(), (output - images).square().mean().item()))
        if step % 50 == 0:
            losses, errors = zip(*recent, strict=True)
            entry = {
                "step": step,
                "minutes": round((time.monotonic() - started) / 60, 1),
                "loss": round(float(np.mean(losses)), 4),
                "psnr_db": round(10 * math.log10(4 / float(np.mean(errors))), 2),
                "latent_std": [round(x, 2) for x in latents.std((0, 2, 3)).tolist()],
                "latent_max": round(latents.abs().max().item(), 2),
            }
            with log.open("a") as lines:
                lines.write(json.dumps(entry) + "\n")
            print(entry, flush=True)
            recent.clear()
        if step % 500 == 0:
            vae.save_pretrained(folder)
    vae.save_pretrained(folder)


if __name__ == "__main__":
    main()
