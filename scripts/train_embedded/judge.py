"""Trains the judge of generated pictures on rendered scenes, and says how far it can be trusted.

    python -m scripts.train_embedded.judge --work DIR --minutes 40
    python -m scripts.train_embedded.judge --work DIR --minutes 0     # only its accuracy again

It is no part of the product: its weights and its accuracy stay in the work folder. A further
sitting goes on where the last one stopped.
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
from torch.nn import functional

from engine.vae import LatentCodec
from scripts.train_embedded.checkpoint import TrainingState
from scripts.train_embedded.held_out import every_kind
from scripts.train_embedded.judge_accuracy import accuracy, as_table, questions
from scripts.train_embedded.judge_data import JudgeData, prepare
from scripts.train_embedded.judge_labels import HEADS, SPANS
from scripts.train_embedded.judge_model import Judge, load_judge

BATCH_SIZE = 32
EMA_DECAY = 0.998
SAVE_EVERY_S = 300
# The kind is what the judge is asked first and most.
_HEAD_WEIGHTS = {"kind": 2.0}


def main() -> None:
    """Command line; see the module's text."""
    diffusers.logging.set_verbosity_error()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("training"))
    parser.add_argument("--scenes", type=Path, help="rendered shards, WORK/scenes by default")
    parser.add_argument("--vae", type=Path, help="of the round trips, WORK/vae by default")
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--shards", type=int, default=120, help="at most so many")
    parser.add_argument("--round-trips", type=float, default=0.25, help="share of the pictures")
    parser.add_argument("--held-out", type=int, default=20, help="renders of each kind to ask it")
    options = parser.parse_args()
    folder: Path = options.work / "judge"
    codec = _codec(options.vae or options.work / "vae")
    if options.minutes > 0:
        prepare(
            options.scenes or options.work / "scenes",
            folder / "pictures",
            codec,
            limit=options.shards,
            round_trips=options.round_trips,
        )
        train(JudgeData(folder / "pictures"), folder, options.minutes, options.learning_rate)
    renders = list(every_kind(options.work / "held-out", range(options.held_out)))
    found = accuracy(load_judge(folder), questions(renders, codec))
    (folder / "accuracy.json").write_text(json.dumps(found, indent=1) + "\n")
    print(as_table(found))


def train(data: JudgeData, folder: Path, minutes: float, learning_rate: float) -> None:
    """One sitting of cosine-annealed AdamW; leaves state.pt to go on from and judge.pt to use."""
    state = new_state(learning_rate)
    if (folder / "state.pt").exists():
        state.load(folder / "state.pt")
    rng = np.random.default_rng((5, state.step))
    torch.manual_seed(state.step)
    judge = state.modules["judge"].train()
    began = saved = time.monotonic()
    before, first = state.minutes, state.step
    losses: list[float] = []
    while (progress := (time.monotonic() - began) / 60 / minutes) < 1:
        warm_up = min(1.0, (state.step - first + 1) / 100)
        rate = learning_rate * warm_up * (0.5 + 0.5 * math.cos(math.pi * progress))
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        images, targets = data.batch(rng, BATCH_SIZE)
        # In float32: with so few channels bfloat16 took three times as long.
        _, logits = judge(images)
        loss = judging_loss(logits, targets)
        state.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(state.parameters, 1.0)
        state.optimizer.step()
        state.step += 1
        state.minutes = before + progress * minutes
        state.update_ema(EMA_DECAY)
        losses.append(loss.item())
        if state.step % 50 == 0:
            entry = {"step": state.step, "minutes": round(state.minutes, 1)}
            entry["loss"] = round(float(np.mean(losses)), 4)
            with (folder / "log.jsonl").open("a") as lines:
                lines.write(json.dumps(entry) + "\n")
            print(entry, flush=True)
            losses.clear()
        if time.monotonic() - saved > SAVE_EVERY_S:
            state.save(folder / "state.pt")
            saved = time.monotonic()
    state.save(folder / "state.pt")
    state.use_ema()
    torch.save(judge.state_dict(), folder / "judge.pt")


def new_state(learning_rate: float) -> TrainingState:
    """A fresh judge and its optimiser."""
    torch.manual_seed(0)
    judge = Judge().to(memory_format=torch.channels_last)
    return TrainingState(
        {"judge": judge},
        torch.optim.AdamW(judge.parameters(), lr=learning_rate, weight_decay=2e-2, fused=True),
    )


def judging_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of every head over the pictures that have an answer to it, summed.

    Args:
        logits: (B, NUM_CLASSES) float32.
        targets: (B, NUM_CLASSES), 1 at the true names; a head of zeros has no answer.
    """
    total = logits.new_zeros(())
    for head in HEADS:
        target = targets[:, SPANS[head]]
        count = target.sum(1)
        answered = count > 0
        if answered.any():
            wanted = target[answered] / count[answered, None]
            # A share of the batch, not a mean over the answered: rare heads would jump about.
            loss = functional.cross_entropy(
                logits[answered, SPANS[head]], wanted, reduction="sum", label_smoothing=0.02
            ) / len(logits)
            total = total + _HEAD_WEIGHTS.get(head, 1.0) * loss
    return total


def _codec(folder: Path) -> LatentCodec | None:
    """The autoencoder of that folder; None, and so no round trips, where there is none."""
    if not (folder / "config.json").exists():
        print(f"{folder}: no autoencoder, so no round trips")
        return None
    vae = AutoencoderTiny.from_pretrained(folder).eval()
    return LatentCodec(vae.to(memory_format=torch.channels_last))


if __name__ == "__main__":
    main()
