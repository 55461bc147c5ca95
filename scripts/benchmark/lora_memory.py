"""Row 16: memory that stays behind switches of LoRAs, ours and diffusers', a process each.

As a program it makes the switches of one side and prints its memory as JSON:

    python -m scripts.benchmark.lora_memory ours|disk|diffusers MODEL_FOLDER SIDE SWITCHES LORA...
"""

from __future__ import annotations

import gc
import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import linear_regression
from typing import Any

import psutil
import torch

from scripts.benchmark.bench import Bench
from scripts.benchmark.lora_set import write_lora_set
from scripts.benchmark.row import Limit, Measure

LIMIT = Limit(must=5, aim=0.5)
MIB = 2**20
_BETWEEN_LOOKS = 10
_SIDES = {
    "ours": "resident memory growth per 100 LoRA switches, all in memory",
    "disk": "the same, each LoRA read from disk again",
    "diffusers": "the same with diffusers: load, set, unload",
}


def memory_growth(bench: Bench) -> Sequence[Measure]:
    """Slope of the resident memory over the second half of the switches, on T."""
    shape, model = bench.shape("T"), bench.model_folder("T")
    loras = write_lora_set(shape, model, bench.scratch("loras"))
    measures = []
    for side, name in _SIDES.items():
        command = [sys.executable, "-m", __spec__.name, side, str(model), str(shape.latent_px)]
        command += [str(max(40, 2 * bench.sizes.many)), *map(str, loras.files)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{side}: {done.stderr.strip().splitlines()[-1]}")
        resident = json.loads(done.stdout.splitlines()[-1])
        slope = growth_per_100(resident)
        limit = None if side == "diffusers" else LIMIT
        measures.append(Measure(name, slope, "MiB", limit, samples={"resident_bytes": resident}))
    return measures


def growth_per_100(resident: Sequence[int]) -> float:
    """MiB per 100 switches, from bytes at every tenth: of the second half, once all is warm."""
    warm = resident[len(resident) // 2 :]
    slope, _ = linear_regression(range(len(warm)), [each / MIB for each in warm])
    return slope * 100 / _BETWEEN_LOOKS


def _ours(model: Path, side: int, *, max_bytes: int | None) -> Callable[[Path], None]:
    from diffusers import UNet2DConditionModel

    from engine.adapters.host import DEFAULT_MAX_BYTES, AdapterHost

    unet = UNet2DConditionModel.from_pretrained(model / "unet").eval()
    host = AdapterHost(unet, [], max_bytes=max_bytes or DEFAULT_MAX_BYTES)
    inputs = _inputs(unet, side)

    @torch.inference_mode()
    def switch(file: Path) -> None:
        adapters = ((host.lora(file), 0.8),)
        with host.unet_rows([adapters, adapters]):
            unet(*inputs)

    return switch


def _theirs(model: Path, side: int) -> Callable[[Path], None]:
    from scripts.benchmark.yardsticks import load_pipeline

    pipeline = load_pipeline(model)
    inputs = _inputs(pipeline.unet, side)

    @torch.inference_mode()
    def switch(file: Path) -> None:
        pipeline.load_lora_weights(file, adapter_name=file.stem)
        pipeline.set_adapters([file.stem], [0.8])
        pipeline.unet(*inputs)
        pipeline.unload_lora_weights()

    return switch


def _inputs(unet: Any, side: int) -> tuple[Any, ...]:
    return (
        torch.zeros(2, int(unet.config.in_channels), side, side),
        500.0,
        torch.zeros(2, 77, int(unet.config.cross_attention_dim)),
    )


def _resident_bytes(switch: Callable[[Path], None], files: Sequence[Path], n: int) -> Iterator[int]:
    """Memory after every tenth of `n` switches."""
    process = psutil.Process()
    for number, file in enumerate(itertools.islice(itertools.cycle(files), n), start=1):
        switch(file)
        if number % _BETWEEN_LOOKS == 0:
            gc.collect()
            yield process.memory_info().rss


def main(side: str, model: str, latent_px: str, switches: str, *files: str) -> None:
    """Makes the switches and prints the memory after every tenth."""
    folder, size = Path(model), int(latent_px)
    match side:
        case "ours":
            switch = _ours(folder, size, max_bytes=None)
        case "disk":
            switch = _ours(folder, size, max_bytes=1)  # one is kept at a time
        case _:
            switch = _theirs(folder, size)
    print(json.dumps(list(_resident_bytes(switch, [Path(each) for each in files], int(switches)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
