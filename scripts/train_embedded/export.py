"""Writes the averaged weights as one diffusers folder in float16.

python -m scripts.train_embedded.export --work DIR --output FOLDER
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import diffusers
import torch
from diffusers import AutoencoderTiny, StableDiffusionInpaintPipeline
from transformers import CLIPTokenizer

from scripts.train_embedded.train_unet import new_state
from scripts.train_embedded.unet_model import noise_schedule


def main() -> None:
    """Command line; see the module's text."""
    diffusers.logging.set_verbosity_error()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("training"))
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    export(options.work, options.output)


def export(work: Path, output: Path) -> None:
    """The model of a work folder, as `StableDiffusionInpaintPipeline.from_pretrained` opens it."""
    tokenizer = CLIPTokenizer.from_pretrained(work / "unet" / "tokenizer")
    state = new_state(tokenizer, learning_rate=0.0)
    state.load(work / "unet" / "state.pt")
    state.use_ema()
    vae = AutoencoderTiny.from_pretrained(work / "vae")
    settings = json.loads((work / "unet" / "settings.json").read_text())
    vae.register_to_config(scaling_factor=settings["scaling_factor"])
    pipeline = StableDiffusionInpaintPipeline(
        vae=vae,
        text_encoder=state.modules["text_encoder"],
        tokenizer=tokenizer,
        unet=state.modules["unet"],
        scheduler=noise_schedule(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(torch.float16).save_pretrained(output, safe_serialization=True)


if __name__ == "__main__":
    main()
