"""What supervisor and compute child say to each other over their pipe, as pickled dataclasses.

Supervisor to child: one `Start`, then `Add` and `Cancel` in any order; closing the pipe ends the
child. Child to supervisor: one `Ready` after `Start`, then the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engine.counts import DeviceState, EngineCounts

DENOISING = "denoising"
FINISHING = "finishing"  # what is left of the task does not need the step loop


@dataclass(frozen=True, slots=True)
class Start:
    """Turns a warm spare into the worker of one device.

    Attributes:
        models_file: path of models.yaml.
        device: "cpu", "cuda:0", ...
        batch_invariant: pad every forward to one row count (law 3).
        write_parameters: put the generation parameters into each PNG.
        max_image_pixels: an input image that declares more is refused.
        device_cache_bytes: device memory for loaded checkpoints; None for a share of it.
        host_cache_bytes: host memory for copies of them; None for a share of it.
        encoding_cache_bytes: memory for encodings of images and prompts; None for the engine's own.
        dtype: float32, float16 or bfloat16; None for what suits the device.
        kernels: eager or compiled.
        max_latent_area: latent cells of one UNet forward; None for what suits the device.
    """

    models_file: Path
    device: str
    batch_invariant: bool
    write_parameters: bool
    max_image_pixels: int
    device_cache_bytes: int | None = None
    host_cache_bytes: int | None = None
    encoding_cache_bytes: int | None = None
    dtype: str | None = None
    kernels: Literal["eager", "compiled"] = "eager"
    max_latent_area: int | None = None


@dataclass(frozen=True, slots=True)
class Add:
    """Run this task: `params` as stored, images as uploaded."""

    uid: str
    params: Mapping[str, Any]
    foreground: bytes
    reference: bytes | None


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop this task at the next step; answered with `TaskEnded`."""

    uid: str


@dataclass(frozen=True, slots=True)
class Ready:
    """The child holds its device and waits for tasks."""

    device: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """The checkpoints the device holds now."""

    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """`progress` is 0..1 over all images of the task; `stage` is `DENOISING` or `FINISHING`."""

    uid: str
    progress: float
    stage: str


@dataclass(frozen=True, slots=True)
class PreviewBytes:
    """What an image of the task looks like so far, as a small PNG file."""

    uid: str
    image_index: int
    png: bytes


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """One finished image as a PNG file."""

    uid: str
    image_index: int
    seed: int
    png: bytes
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """No more messages about this task. `error_code` 0: every image was sent.

    `out_of_memory`: an image failed for want of the device's memory.
    """

    uid: str
    error_code: int = 0
    error_text: str = ""
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class EngineReport:
    """What the child's engine has counted since it was made, and how its device stands.

    Sent about once a second while the counts change.
    """

    counts: EngineCounts
    state: DeviceState


ToChild = Start | Add | Cancel
ToSupervisor = Ready | Loaded | Progress | PreviewBytes | ImageBytes | TaskEnded | EngineReport
