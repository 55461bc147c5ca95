"""`backdrop generate`: the whole line in this process, files in and files out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from api.media import decode_foreground, decode_reference, encode_png
from api.prompts_used import prompts_used
from api.protocol import GenerateBackgroundsRequest
from api.settings import Settings
from api.wire_types import validate
from engine.errors import EngineError
from engine.events import ImageDone, ImageFailed, StepDone
from engine.job import GeneratedImage, GenerationJob
from engine.plan import default_canvas
from engine.registry import Registry
from engine.translate import translator_for

if TYPE_CHECKING:
    from engine.engine import Engine


def job_from_files(
    fields: Mapping[str, Any],
    *,
    foreground: Path,
    reference: Path | None,
    settings: Settings,
    registry: Registry,
) -> GenerationJob:
    """The job of a request whose images lie in files.

    Args:
        fields: of a GenerateBackgrounds request, without images and what names them.
        foreground: PNG with alpha.
        reference: background reference, asked for by BackgroundImage2Image.
        settings: the pixel limit and the default size.
        registry: gives the default model and the translator.

    Raises:
        ApiError: a field is wrong.
        JobError: an image cannot be used.
        OSError: a file cannot be read.
    """
    request = validate(GenerateBackgroundsRequest, fields)
    used = prompts_used(request, translator_for(registry.translation), registry)
    max_pixels = settings.max_image_pixels
    item = decode_foreground(foreground.read_bytes(), max_pixels=max_pixels, field="foreground")
    background = None
    if reference is not None:
        background = decode_reference(
            reference.read_bytes(), max_pixels=max_pixels, field="reference"
        )
    size_px = settings.default_size_px
    canvas = default_canvas(*item.image.size) if size_px is None else (size_px, size_px)
    resolved = used.in_place(request).resolved(
        default_model=registry.default_model, default_canvas=canvas
    )
    return resolved.to_job(job_id="generate", foreground=item, reference=background)


def write_images(
    job: GenerationJob, *, registry: Registry, device: str, folder: Path, settings: Settings
) -> Iterator[Path | EngineError]:
    """Runs `job` with a progress bar; gives the file or the error of each image as it ends.

    Files are named by their seed: SEED.png, and SEED-1.png and so on where that is taken.

    Raises:
        EngineError: the job as a whole cannot be done.
        OSError: a file cannot be written.
    """
    engine = local_engine(registry, device=device, settings=settings)
    plan = engine.add(job)
    folder.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("painting", total=plan.total_steps * len(plan.seeds) or None)
        while engine.busy:
            for event in engine.step():
                match event:
                    case StepDone():
                        progress.advance(bar)
                    case ImageDone(image=image):
                        yield _write(image, folder, settings)
                    case ImageFailed(error=error):
                        yield error


def local_engine(registry: Registry, *, device: str, settings: Settings) -> Engine:
    """An engine for commands that paint in this process."""
    from engine.engine import Engine  # imports torch

    return Engine(registry, device=device, batch_invariant=settings.batch_invariant)


def _write(image: GeneratedImage, folder: Path, settings: Settings) -> Path:
    parameters = image.parameters if settings.write_parameters else None
    png = encode_png(image.image, icc_profile=image.icc_profile, parameters=parameters)
    path, number = folder / f"{image.seed}.png", 0
    while True:
        try:
            file = path.open("xb")
        except FileExistsError:
            number += 1
            path = folder / f"{image.seed}-{number}.png"
        else:
            with file:
                file.write(png)
            return path
