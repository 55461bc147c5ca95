"""What a device can do and how much of it the engine uses: chosen once, when it starts."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, TypedDict, TypeVar, Unpack

import torch

from engine.compiled_blocks import require_compiler

T = TypeVar("T")

# How the UNet's repeated blocks run: as they are, or compiled by torch (`engine.compiled_blocks`).
Kernels: TypeAlias = Literal["eager", "compiled"]

GIB = 2**30
# What loaded models may take of a device. The rest is for activations, LoRAs on their way in and
# what the CUDA context takes itself.
DEVICE_SHARE = 0.6
CPU_SHARE = 0.5
HOST_SHARE = 0.25
# Latent cells of one forward. On two CPU cores a row of 32x32 cells takes 70 ms of processor time
# in a forward of 2 rows, 50 in one of 8, 45 in one of 16, and no less beyond.
CPU_LATENT_AREA = 8 * 32 * 32
# 16 images of 512x512 pixels: with guidance 32 rows, beyond which a large GPU has no idle units.
GPU_LATENT_AREA = 16 * 64 * 64
# A guided image's forward holds 33 KiB a cell at its peak in float16 (counted on SD 1.5; SDXL 20);
# LoRAs and the rows of a reference come on top.
_BYTES_PER_CELL = 64 * 2**10
_ACTIVATION_SHARE = 0.25
# Float16 arithmetic at full speed came with Volta; on the Pascal generation it is far slower than
# float32.
_FLOAT16_CAPABILITY = (7, 0)
_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """How the engine uses one device.

    Attributes:
        device: torch device.
        name: of the hardware, for the log.
        dtype: of UNet and text encoders; samplers, latents and noise are float32 always.
        max_latent_area: latent cells of one forward; a larger tile goes alone.
        kernels: how the UNet's repeated blocks run.
        device_bytes: what loaded checkpoints may take of the device.
        host_bytes: what copies of them in host memory may take.
    """

    device: torch.device
    name: str
    dtype: torch.dtype
    max_latent_area: int
    kernels: Kernels
    device_bytes: int
    host_bytes: int

    def __str__(self) -> str:
        """One line."""
        parts = (
            f"{self.device} ({self.name})",
            _short(self.dtype),
            f"VAE {_short(vae_dtype(self.dtype))}",
            "channels last",
            f"{self.kernels} kernels",
            f"{self.max_latent_area} latent cells a forward",
            f"{self.device_bytes / GIB:.1f} GiB for models",
            f"{self.host_bytes / GIB:.1f} GiB for their copies",
        )
        return ", ".join(parts)


class ProfileOptions(TypedDict, total=False):
    """What may be chosen by hand; None, like leaving it out, takes what suits the device.

    Attributes:
        dtype: see `DeviceProfile`, like the others.
        max_latent_area: at least 1.
        kernels: default "eager"; "compiled" holds up the images of the first forwards for as long
            as torch compiles, seconds to minutes.
        device_bytes: default a share of the device's memory.
        host_bytes: default a share of the machine's.
    """

    dtype: torch.dtype | None
    max_latent_area: int | None
    kernels: Kernels | None
    device_bytes: int | None
    host_bytes: int | None


def device_profile(device: torch.device, **options: Unpack[ProfileOptions]) -> DeviceProfile:
    """The profile of a device.

    Raises:
        CompilerMissing: compiled kernels were asked for, and nothing here can compile them.
    """
    chosen = DeviceProfile(
        device=device,
        name=_name(device),
        dtype=_or(options.get("dtype"), _default_dtype, device),
        max_latent_area=_or(options.get("max_latent_area"), _default_latent_area, device),
        kernels=options.get("kernels") or "eager",
        device_bytes=_or(options.get("device_bytes"), default_device_bytes, device),
        host_bytes=_or(options.get("host_bytes"), default_host_bytes, device),
    )
    if chosen.kernels == "compiled":
        require_compiler(device)
    return chosen


def vae_dtype(dtype: torch.dtype) -> torch.dtype:
    """What a VAE computes in beside a UNet of `dtype`, if its config does not ask for float32.

    Never bfloat16: its 8 bits of precision show as bands in smooth areas of the picture.
    """
    return torch.float16 if dtype is torch.bfloat16 else dtype


def default_device_bytes(device: torch.device) -> int:
    """What loaded models may take of `device`: a share of all its memory."""
    if device.type == "cuda":
        return int(DEVICE_SHARE * _cuda_bytes(device))
    return int(CPU_SHARE * machine_bytes())


def default_host_bytes(device: torch.device) -> int:
    """What the copies in host memory may take, for the engine of one of the machine's devices."""
    if device.type == "cpu":
        return 0  # the device's own tier is in host memory already
    devices = max(1, torch.cuda.device_count())
    return int(HOST_SHARE * machine_bytes() / devices)


def machine_bytes() -> int:
    """Memory of this machine, or of its container where that has a lower limit."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for file in _CGROUP_LIMITS:
        try:
            limits.append(int(file.read_text(encoding="ascii")))
        except (OSError, ValueError):  # no such file; "max" means none
            continue
    return min(limits)


def _or(option: T | None, default: Callable[[torch.device], T], device: torch.device) -> T:
    return default(device) if option is None else option


def _default_dtype(device: torch.device) -> torch.dtype:
    """Float16 on a GPU: the precision these models are shared in, three bits finer than bfloat16.

    What overflows in it is painted once more in float32.
    """
    if device.type != "cuda":
        return torch.float32  # bfloat16 was measured 2.5 times slower on a CPU without units for it
    if torch.cuda.get_device_capability(device) < _FLOAT16_CAPABILITY:
        return torch.float32
    return torch.float16


def _default_latent_area(device: torch.device) -> int:
    if device.type != "cuda":
        return CPU_LATENT_AREA
    fitting = int(_ACTIVATION_SHARE * _cuda_bytes(device)) // _BYTES_PER_CELL
    return min(GPU_LATENT_AREA, fitting)


def _cuda_bytes(device: torch.device) -> int:
    _, total = torch.cuda.mem_get_info(device)
    return total


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} threads"


def _short(value: torch.dtype) -> str:
    return str(value).removeprefix("torch.")
