"""Which devices to run on, found without importing torch: the server has no use for it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

CPU = "cpu"
_DRIVER_GPUS = Path("/proc/driver/nvidia/gpus")
_TIMEOUT_S = 20


def find_devices(environment: Mapping[str, str]) -> list[str]:
    """Every CUDA device torch will see, else the CPU.

    Args:
        environment: of the process; CUDA_VISIBLE_DEVICES is honoured.

    Returns:
        Names as torch takes them: ["cuda:0", "cuda:1"] or ["cpu"].
    """
    if metadata.version("torch").endswith("+cpu"):
        return [CPU]
    count = _visible(environment.get("CUDA_VISIBLE_DEVICES"), _installed_gpus())
    return [f"cuda:{index}" for index in range(count)] or [CPU]


def _visible(visible_devices: str | None, installed: int) -> int:
    """How many devices are left by CUDA_VISIBLE_DEVICES; an invalid entry ends the list."""
    if visible_devices is None:
        return installed
    count = 0
    for entry in visible_devices.split(","):
        name = entry.strip()
        if not name or (name.lstrip("-").isdecimal() and not 0 <= int(name) < installed):
            break
        count += 1
    return count if installed else 0


def _installed_gpus() -> int:
    """GPUs of this machine or container, by the driver's own tool, else its folder in /proc."""
    tool = shutil.which("nvidia-smi")
    if tool is not None:
        try:
            listed = subprocess.run(
                [tool, "-L"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return 0
        return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    return len(list(_DRIVER_GPUS.iterdir())) if _DRIVER_GPUS.is_dir() else 0
