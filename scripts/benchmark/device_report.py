"""Readings of the GPU mode as JSON, as a table and as a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from scripts.benchmark.device_mode import NUM_STEPS, Reading
from scripts.benchmark.machine import machine

_HEAD = "| painted by | batch | side px | LoRAs | kernels | pictures a second | first round s | peak GiB |"


def write_device_report(readings: Sequence[Reading], folder: Path, caveat: str) -> Path:
    """Writes device.json, device.md and device.png; the table's path."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "machine": machine(),
        "caveat": caveat,
        "num_steps": NUM_STEPS,
        "readings": [asdict(each) | {"pictures_per_s": each.pictures_per_s} for each in readings],
    }
    (folder / "device.json").write_text(json.dumps(content, indent=1) + "\n")
    table = folder / "device.md"
    table.write_text(device_table(readings, caveat))
    from scripts.benchmark.device_plot import draw_device  # matplotlib: only where it is needed

    draw_device(readings, folder / "device.png")
    return table


def device_table(readings: Sequence[Reading], caveat: str) -> str:
    """The readings as a page."""
    lines = [f"**{caveat}**", ""] if caveat else []
    lines += [f"- {name}: {value}" for name, value in machine().items()]
    lines += [f"- steps of a picture: {NUM_STEPS}", "", _HEAD, "|" + "---|" * 8]
    for each in readings:
        setting = each.setting
        told = f"failed: {each.error}"
        if not each.error:
            told = f"{each.pictures_per_s:.3g} ± {each.spread_per_s:.2g}"
        peak = f"{each.peak_bytes / 2**30:.2f}" if each.peak_bytes else ""
        cells = (
            each.name,
            setting.batch,
            setting.side_px,
            setting.loras,
            setting.kernels,
            told,
            f"{each.first_s:.1f}",
            peak,
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, ""])
