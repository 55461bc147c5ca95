"""Trains the LoRAs that are shipped beside the embedded model.

    python -m scripts.train_embedded.train_lora golden_hour --model FOLDER --work DIR --minutes 20

Weight -1 is taught the opposite of weight 1, and what lies between is taught as a blend, so that
the weight acts like a slider. The file is written as kohya's trainer names its tensors.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file

from engine.vae import LatentCodec
from scripts.train_embedded.adapter_parts import BasePart, load_base
from scripts.train_embedded.theme_data import ThemeData, theme_data
from scripts.train_embedded.themes import THEMES
from scripts.train_embedded.train_unet import weighted_velocity_loss

RANK = 8
BATCH_SIZE = 12
CAPTION_DROPOUT = 0.1
TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2")
ADAPTER = "default"


def main() -> None:
    """Command line; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("theme", choices=THEMES)
    parser.add_argument("--model", type=Path, required=True, help="exported folder")
    parser.add_argument("--work", type=Path, default=Path("training"))
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--pictures", type=int, default=800)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    options = parser.parse_args()
    base = load_base(options.model)
    theme = THEMES[options.theme]
    path = options.work / "themes" / f"{options.theme}.npz"
    data = theme_data(path, theme.forward, theme.backward, LatentCodec(base.vae), options.pictures)
    unet = train(base, data, options.minutes, options.learning_rate)
    target = options.work / "loras" / f"{options.theme}.safetensors"
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(kohya_tensors(unet), target, metadata=_metadata(options.theme))
    print(target, target.stat().st_size)


def train(
    base: BasePart, data: ThemeData, minutes: float, learning_rate: float
) -> UNet2DConditionModel:
    """One sitting; the rate falls to zero along a cosine."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    unet = base.unet
    unet.requires_grad_(False)
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=list(TARGETS)), ADAPTER)
    weights = [weight for weight in unet.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=learning_rate, weight_decay=1e-3)
    began, step = time.monotonic(), 0
    losses: list[float] = []
    while (passed := (time.monotonic() - began) / 60 / minutes) < 1:
        for group in optimizer.param_groups:
            rate = 0.5 + 0.5 * np.cos(np.pi * passed)
            group["lr"] = learning_rate * rate * min(1.0, (step + 1) / 20)
        weight = float(rng.choice((-1, 1)) * rng.choice((0.5, 1.0), p=(0.25, 0.75)))
        _set_weight(unet, weight)
        picked = rng.integers(len(data.captions), size=BATCH_SIZE)
        captions = ["" if rng.random() < CAPTION_DROPOUT else data.captions[i] for i in picked]
        with torch.no_grad():
            prompt_embeds = base.encode(captions)
        loss = weighted_velocity_loss(
            unet,
            data.target(picked, weight),
            prompt_embeds,
            base.schedule,
            told=torch.cat([data.mask[picked], data.masked[picked]], dim=1),
        )[0]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        losses.append(loss.item())
        step += 1
        if step % 50 == 0:
            print(f"step {step} loss {np.mean(losses):.4f}", flush=True)
            losses.clear()
    return unet


def kohya_tensors(unet: UNet2DConditionModel) -> dict[str, torch.Tensor]:
    """The trained factors in float16 under the names of kohya's trainer."""
    tensors: dict[str, torch.Tensor] = {}
    for name, module in unet.named_modules():
        if isinstance(module, BaseTunerLayer):
            prefix = "lora_unet_" + name.replace(".", "_")
            tensors[f"{prefix}.lora_down.weight"] = module.lora_A[ADAPTER].weight
            tensors[f"{prefix}.lora_up.weight"] = module.lora_B[ADAPTER].weight
            tensors[f"{prefix}.alpha"] = torch.tensor(float(RANK))
    return {name: each.detach().half().contiguous() for name, each in tensors.items()}


def _set_weight(unet: UNet2DConditionModel, weight: float) -> None:
    for module in unet.modules():
        if isinstance(module, BaseTunerLayer):
            module.set_scale(ADAPTER, weight)


def _metadata(theme: str) -> dict[str, str]:
    return {
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(RANK),
        "ss_network_alpha": str(RANK),
        "ss_output_name": theme,
        "ss_base_model_version": "sd_v1",
    }


if __name__ == "__main__":
    main()
