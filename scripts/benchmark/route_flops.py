"""Row 23: counted work of a 2560x2560 picture, by our route and in one pass over the whole canvas.

Counted on torch's meta device, which computes shapes alone, with the published UNet and VAE of
Stable Diffusion 1.5; how a canvas is cut is asked of the engine's own planning.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

from engine.checkpoint_info import CONFIGS
from engine.plan import GenerationPlan, PassPlan, plan_job
from engine.tiles import cover
from engine.vae_tiles import vae_tiles
from scripts.benchmark.bench import Bench
from scripts.benchmark.engine_jobs import engine_of, job_of
from scripts.benchmark.row import Limit, Measure

SIDE_PX = 2560
LIMIT = Limit(must=0.4, aim=0.25)
_CONFIGS = CONFIGS / "sd1"
_FACTOR = 8


class CountedModel:
    """Stable Diffusion 1.5 for inpainting, without weights: counts its multiplications.

    A multiply-add counts as two, as in torch's counter.
    """

    def __init__(self) -> None:
        with torch.device("meta"):
            self._unet = UNet2DConditionModel.from_config(_config("unet"), in_channels=9).eval()
            self._vae = AutoencoderKL.from_config(_config("vae")).eval()
        self._counted: dict[tuple[Any, ...], int] = {}

    def unet(self, rows: int, height: int, width: int) -> int:
        """One forward over a latent of that size."""

        def forward() -> None:
            self._unet(
                torch.empty(rows, 9, height, width, device="meta"),
                torch.empty(rows, device="meta"),
                torch.empty(rows, 77, 768, device="meta"),
            )

        return self._count(("unet", rows, height, width), forward)

    def encode(self, height: int, width: int) -> int:
        """One image of a latent of that size through the VAE's encoder."""
        shape = (1, 3, height * _FACTOR, width * _FACTOR)
        return self._count(
            ("encode", height, width), lambda: self._vae.encode(torch.empty(shape, device="meta"))
        )

    def decode(self, height: int, width: int) -> int:
        """One latent of that size through the VAE's decoder."""
        shape = (1, 4, height, width)
        return self._count(
            ("decode", height, width), lambda: self._vae.decode(torch.empty(shape, device="meta"))
        )

    def _count(self, key: tuple[Any, ...], forward: Any) -> int:
        if key not in self._counted:
            with torch.inference_mode(), FlopCounterMode(display=False) as counter:
                forward()
            self._counted[key] = counter.get_total_flops()
        return self._counted[key]


@dataclass(frozen=True)
class Route:
    """What a plan has a model of 9 channels do, or what one pass over the whole canvas would.

    Attributes:
        model: counts.
        passes: sizes, tiles, forwards and guidance.
        tiled_vae: whether the VAE takes large canvases by tiles.
    """

    model: CountedModel
    passes: Sequence[PassPlan]
    tiled_vae: bool

    @cached_property
    def unet_flops(self) -> int:
        """Of all forwards."""
        return sum(self._pass_flops(each) for each in self.passes)

    @cached_property
    def flops(self) -> int:
        """Forwards, the masked image's encoding of each pass, and the last decoding."""
        encoded = sum(self._vae_flops(each, self.model.encode) for each in self.passes)
        return self.unet_flops + encoded + self._vae_flops(self.passes[-1], self.model.decode)

    def _pass_flops(self, each: PassPlan) -> int:
        height, width = _cells(each)
        tile_width_px, tile_height_px = each.tile_px or (each.width_px, each.height_px)
        tiles = cover(height, width, tile_height_px // _FACTOR, tile_width_px // _FACTOR)
        return len(tiles) * sum(
            self.model.unet(1 if scale == 1 else 2, tiles[0].height, tiles[0].width)
            for scale in each.guidance_scales
        )

    def _vae_flops(self, each: PassPlan, count: Any) -> int:
        height, width = _cells(each)
        if not self.tiled_vae:
            return int(count(height, width))
        return sum(count(tile.height, tile.width) for tile in vae_tiles(height, width))


def our_route(model: CountedModel, plan: GenerationPlan) -> Route:
    """As planned."""
    return Route(model, plan.passes, tiled_vae=True)


def native_route(model: CountedModel, plan: GenerationPlan) -> Route:
    """The steps of the plan's first pass on its last one's canvas, all of it at once."""
    first, last = plan.passes[0], plan.passes[-1]
    whole = PassPlan(
        width_px=last.width_px,
        height_px=last.height_px,
        strength=first.strength,
        num_steps=first.num_steps,
        num_forwards=first.num_forwards,
        schedule=first.schedule,
        tile_px=None,
        guidance_scales=first.guidance_scales,
    )
    return Route(model, (whole,), tiled_vae=False)


def large_canvas(bench: Bench) -> Sequence[Measure]:
    """A request of the default 10 steps for a model of native size 512."""
    registry = engine_of(bench, "T").registry
    job = job_of(bench.shape("T"), width_px=SIDE_PX, height_px=SIDE_PX, num_inference_steps=10)
    plan = plan_job(job, registry)
    model = CountedModel()
    ours, native = our_route(model, plan), native_route(model, plan)
    return [
        Measure(
            "counted FLOPs of the 2560x2560 route / native",
            ours.flops / native.flops,
            limit=LIMIT,
            note="UNet forwards, VAE encodings and decoding of Stable Diffusion 1.5",
        ),
        Measure("UNet forwards alone", ours.unet_flops / native.unet_flops),
        Measure("counted work of our route", ours.flops / 1e12, "TFLOP"),
    ]


def _cells(each: PassPlan) -> tuple[int, int]:
    return each.height_px // _FACTOR, each.width_px // _FACTOR


def _config(part: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((_CONFIGS / part / "config.json").read_text())
    return config
