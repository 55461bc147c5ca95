"""Trains the textual-inversion embedding that is shipped beside the embedded model.

    python -m scripts.train_embedded.train_embedding --model FOLDER --work DIR --minutes 15

Its word stands for morning mist. Nothing but its vectors is trained (arXiv 2208.01618); the file
holds them under the name web UIs use.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from engine.vae import LatentCodec
from scripts.train_embedded.adapter_parts import BasePart, load_base
from scripts.train_embedded.theme_data import ThemeData, theme_data
from scripts.train_embedded.themes import misty
from scripts.train_embedded.train_unet import weighted_velocity_loss

WORD = "morning-mist"
START = "white soft hazy"  # words whose vectors it begins with
NUM_VECTORS = 3
BATCH_SIZE = 12


def main() -> None:
    """Command line; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="exported folder")
    parser.add_argument("--work", type=Path, default=Path("training"))
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--learning-rate", type=float, default=5e-3)
    options = parser.parse_args()
    base = load_base(options.model)
    path = options.work / "themes" / f"{WORD}.npz"
    data = theme_data(path, misty, misty, LatentCodec(base.vae), options.pictures)
    vectors = train(base, data, options.minutes, options.learning_rate)
    target = options.work / "embeddings" / f"{WORD}.safetensors"
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file({"emb_params": vectors.half().contiguous()}, target, metadata={"format": "pt"})
    print(target, target.stat().st_size)


def train(base: BasePart, data: ThemeData, minutes: float, learning_rate: float) -> torch.Tensor:
    """The vectors, (NUM_VECTORS, D) float32."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    tokenizer = base.tokenizer
    names = [f"<{WORD}-{index}>" for index in range(NUM_VECTORS)]
    start = tokenizer(START, add_special_tokens=False).input_ids[:NUM_VECTORS]
    tokenizer.add_tokens(names)
    base.text_encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    table = base.text_encoder.get_input_embeddings().weight
    places = tokenizer.convert_tokens_to_ids(names)
    with torch.no_grad():
        for place, token in zip(places, start, strict=True):
            table[place] = table[token]
    frozen = table.detach().clone()
    table.requires_grad_(True)
    optimizer = torch.optim.AdamW([table], lr=learning_rate, weight_decay=0.0)
    others = torch.ones(len(table), dtype=torch.bool)
    others[places] = False
    began, step = time.monotonic(), 0
    losses: list[float] = []
    while (passed := (time.monotonic() - began) / 60 / minutes) < 1:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * (0.5 + 0.5 * np.cos(np.pi * passed))
        picked = rng.integers(len(data.captions), size=BATCH_SIZE)
        captions = [f"{data.captions[index]}, {''.join(names)}" for index in picked]
        loss = weighted_velocity_loss(
            base.unet,
            data.forward[picked],
            base.encode(captions),
            base.schedule,
            told=torch.cat([data.mask[picked], data.masked[picked]], dim=1),
        )[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            table[others] = frozen[others]
        losses.append(loss.item())
        step += 1
        if step % 50 == 0:
            print(f"step {step} loss {np.mean(losses):.4f}", flush=True)
            losses.clear()
    return table.detach()[places]


if __name__ == "__main__":
    main()
