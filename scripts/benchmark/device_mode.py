"""The GPU mode: what batches, sizes, mixed LoRAs and compilation give on a card, and what they take.

Every setting has an engine of its own. Its first pictures load the model, choose kernels and
compile; they are thrown away.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

import torch

from engine.device_profile import Kernels
from engine.engine import Engine
from engine.job import AdapterWeight, GenerationJob
from scripts.benchmark.bench import Bench
from scripts.benchmark.engine_jobs import job_of, run_together
from scripts.benchmark.lora_set import LoraSet, write_lora_set
from scripts.benchmark.pairs import spread, timed
from scripts.benchmark.shapes import Shape
from scripts.benchmark.workload import request_of
from scripts.benchmark.yardsticks import Yardstick, load_pipeline

Loras = Literal["none", "one", "each"]  # each: every picture has a LoRA of its own

NUM_STEPS = 20


@dataclass(frozen=True, slots=True)
class Setting:
    """What is run.

    Attributes:
        batch: pictures at once, each a request of its own.
        side_px: of their square canvas.
        loras: whether they have LoRAs.
        kernels: how the UNet's blocks run.
    """

    batch: int
    side_px: int = 512
    loras: Loras = "none"
    kernels: Kernels = "eager"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a setting gave.

    Attributes:
        name: of the engine that painted: ours, or diffusers' pipeline.
        setting: what was run.
        seconds: of all its pictures together, in each round.
        first_s: of the first round, which loads and compiles.
        peak_bytes: device memory at its fullest, in the rounds that count; 0 on a CPU.
        error: why there are no numbers; "" for none.
    """

    name: str
    setting: Setting
    seconds: Sequence[float] = field(default_factory=tuple)
    first_s: float = 0.0
    peak_bytes: int = 0
    error: str = ""

    @property
    def pictures_per_s(self) -> float:
        """Of all lanes together."""
        return self.setting.batch / median(self.seconds) if self.seconds else 0.0

    @property
    def spread_per_s(self) -> float:
        """Half the distance between the quartiles of the same."""
        return spread([self.setting.batch / seconds for seconds in self.seconds])


BATCHES, SIDES_PX = (1, 2, 4, 8), (512, 768, 1024, 2560)


def settings() -> list[Setting]:
    """All that are measured, each once."""
    found = [
        *(Setting(batch) for batch in BATCHES),
        *(Setting(1, side_px) for side_px in SIDES_PX),
        *(Setting(8, loras=loras) for loras in ("one", "each")),
        *(Setting(batch, kernels="compiled") for batch in (1, 8)),
    ]
    return list(dict.fromkeys(found))


def measure_device(
    bench: Bench, device: str, shape_name: str, chosen: Sequence[Setting]
) -> list[Reading]:
    """Our engine in every setting, then diffusers' own pipeline with one picture after another.

    Args:
        bench: sizes and folder of the run.
        device: torch device.
        shape_name: of the model.
        chosen: settings, see `settings`.
    """
    shape = bench.shape(shape_name)
    loras = write_lora_set(shape, bench.model_folder(shape_name), bench.scratch("loras"))
    readings = []
    for setting in chosen:
        bench.say(str(setting))
        readings.append(_ours(bench, device, shape, loras, setting))
    for side_px in dict.fromkeys(each.side_px for each in chosen if each.batch == 1):
        bench.say(f"diffusers, {side_px} px")
        readings.append(_theirs(bench, device, shape_name, Setting(1, side_px)))
    return readings


def _ours(bench: Bench, device: str, shape: Shape, loras: LoraSet, setting: Setting) -> Reading:
    jobs = _jobs(shape, loras, setting)
    try:
        engine = Engine(loras.registry, device=device, kernels=setting.kernels)
        return _reading("ours", setting, device, bench, lambda: run_together(engine, jobs))
    except Exception as exc:  # one setting that a card cannot do is a result, not the end
        return Reading("ours", setting, error=f"{type(exc).__name__}: {exc}")
    finally:
        _clear(device)


def _theirs(bench: Bench, device: str, shape_name: str, setting: Setting) -> Reading:
    dtype = torch.float32 if torch.device(device).type == "cpu" else torch.float16
    request = request_of(bench.shape(shape_name).at(setting.side_px), num_steps=NUM_STEPS)
    try:
        folder = bench.model_folder(shape_name)
        yardstick = Yardstick(load_pipeline(folder, device=device, dtype=dtype))
        return _reading("diffusers", setting, device, bench, lambda: yardstick.b0(request))
    except Exception as exc:
        return Reading("diffusers", setting, error=f"{type(exc).__name__}: {exc}")
    finally:
        _clear(device)


def _reading(
    name: str, setting: Setting, device: str, bench: Bench, work: Callable[[], object]
) -> Reading:
    first_s = timed(work)()
    is_cuda = torch.device(device).type == "cuda"
    if is_cuda:
        torch.cuda.reset_peak_memory_stats(device)
    seconds = tuple(timed(work)() for _ in range(bench.sizes.few_rounds))
    peak = torch.cuda.max_memory_allocated(device) if is_cuda else 0
    return Reading(name, setting, seconds, first_s, peak)


def _jobs(shape: Shape, loras: LoraSet, setting: Setting) -> list[GenerationJob]:
    """One a picture; seeds, prompts and masks differ."""
    names = {
        "none": [None] * setting.batch,
        "one": [loras.names[0]] * setting.batch,
        "each": [loras.names[index % len(loras.names)] for index in range(setting.batch)],
    }[setting.loras]
    return [
        job_of(
            shape.at(setting.side_px),
            index,
            num_inference_steps=NUM_STEPS,
            adapters=() if name is None else (AdapterWeight(name, 0.8),),
        )
        for index, name in enumerate(names)
    ]


def _clear(device: str) -> None:
    """Gives the last engine's memory back before the next one loads."""
    gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
