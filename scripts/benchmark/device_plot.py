"""The GPU mode's readings as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot

from scripts.benchmark.device_mode import Reading


def draw_device(readings: Sequence[Reading], path: Path) -> None:
    """Pictures a second of every setting, ours and diffusers' own."""
    figure, axes = pyplot.subplots(figsize=(8, 1 + 0.35 * max(1, len(readings))), dpi=100)
    for place, each in enumerate(readings):
        color = "#2a7d4f" if each.name == "ours" else "#808080"
        axes.barh(place, each.pictures_per_s, xerr=each.spread_per_s, color=color, height=0.6)
    axes.set_yticks(range(len(readings)), [_label(each) for each in readings], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("pictures a second")
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def _label(reading: Reading) -> str:
    setting = reading.setting
    loras = {"none": "", "one": ", one LoRA", "each": ", a LoRA each"}[setting.loras]
    compiled = ", compiled" if setting.kernels == "compiled" else ""
    return f"{reading.name}: {setting.batch} x {setting.side_px} px{loras}{compiled}"
