"""A job on a pipeline model: its images one after the other, every step reported."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from PIL import Image

from engine.compose import bleed, compose
from engine.errors import EngineError, GpuOutOfMemory, NonFiniteResult, PipelineFailed, first_line
from engine.events import Event, ImageDone, ImageFailed, JobDone, StepDone
from engine.finish import finish_image, to_canvas
from engine.inpaint_pipeline import InpaintPipeline
from engine.mask import repaint_mask
from engine.pipeline_info import Guidance, PipelineInfo
from engine.pipeline_lora import loras_on
from engine.pipeline_plan import plain_prompt
from engine.plan import GenerationPlan, PassPlan
from engine.prepare import Canvas, at_pass_size

# Qwen-Image needs some negative prompt to be guided at all; its makers recommend a space.
_BLANK_PROMPT = " "


class MemoryWanted:
    """Reported in place of an event: the device is full, and the same image will be tried again."""


Report = Callable[[Event | MemoryWanted], None]


def run_pipeline_job(
    plan: GenerationPlan, canvas: Canvas, model: InpaintPipeline, report: Report
) -> None:
    """Makes every image of the job, seed by seed, and reports all that happens to `report`.

    Raises:
        EngineError: its LoRAs cannot be loaded; nothing was reported.
    """
    job_id = plan.job.job_id
    with _current(model.device), loras_on(model.pipeline, plan.loras) as notes:
        for index in range(plan.job.num_images):
            ended = _image(plan, canvas, model, index, report, notes)
            if isinstance(ended, ImageFailed) and isinstance(ended.error, GpuOutOfMemory):
                report(MemoryWanted())
                ended = _image(plan, canvas, model, index, report, notes)
            report(ended)
    report(JobDone(job_id))


def _current(device: torch.device) -> AbstractContextManager[object]:
    """The device libraries take where none is named; every thread has one of its own."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _image(
    plan: GenerationPlan,
    canvas: Canvas,
    model: InpaintPipeline,
    index: int,
    report: Report,
    notes: tuple[str, ...],
) -> ImageDone | ImageFailed:
    job_id = plan.job.job_id
    try:
        background = _paint(plan, canvas, model, index, report)
        return ImageDone(job_id, finish_image(background, canvas, plan, index, notes))
    except EngineError as exc:
        return ImageFailed(job_id, index, exc)


def _paint(
    plan: GenerationPlan, canvas: Canvas, model: InpaintPipeline, index: int, report: Report
) -> Image.Image:
    """The background of one image: RGB, sRGB, of the exact canvas.

    Raises:
        GpuOutOfMemory: the device could not hold it.
        NonFiniteResult: its pixels are not finite.
        PipelineFailed: the pipeline raised anything else.
    """
    generator = torch.Generator("cpu").manual_seed(plan.seeds[index])
    background: Image.Image | None = None
    num_done = 0
    for pass_plan in plan.passes:

        def on_step(_pipeline: Any, step: int, *_: Any, before: int = num_done) -> dict[str, Any]:
            report(StepDone(plan.job.job_id, index, before + step + 1, plan.total_steps))
            return {}

        background = _run_pass(
            plan, pass_plan, canvas, background, model, generator=generator, on_step=on_step
        )
        num_done += pass_plan.num_forwards
    assert background is not None, "a plan without passes paints nothing"
    return to_canvas(background, plan)


def _run_pass(
    plan: GenerationPlan,
    pass_plan: PassPlan,
    canvas: Canvas,
    background: Image.Image | None,
    model: InpaintPipeline,
    *,
    generator: torch.Generator,
    on_step: Callable[..., dict[str, Any]],
) -> Image.Image:
    """One call of the pipeline.

    Args:
        plan: of the job.
        pass_plan: of this call.
        canvas: the job's images.
        background: what the pass before painted; None in the first.
        model: what paints.
        generator: of the image, over all passes.
        on_step: called after every step.

    Returns:
        RGB, of the size of the pass.
    """
    image, mask = _inputs(plan, pass_plan, canvas, background, model.info)
    try:
        pixels = _call(
            model.pipeline,
            prompt=plain_prompt(plan.job.prompt),
            image=image,
            mask_image=mask,
            width=pass_plan.width_px,
            height=pass_plan.height_px,
            strength=pass_plan.strength,
            num_inference_steps=steps_to_ask(pass_plan.num_steps, pass_plan.strength),
            output_type="pt",
            callback_on_step_end=on_step,
            generator=generator,
            **_guidance_arguments(plan, model.info),
        )
        return _to_image(pixels)
    except NonFiniteResult:
        raise
    except torch.OutOfMemoryError:
        pass  # left here, for its traceback holds on to what fills the memory
    except torch.AcceleratorError:
        raise  # a device that failed cannot be trusted any more, nor this process
    except Exception as exc:
        raised = f"{type(exc).__name__}: {first_line(exc)}"
        raise PipelineFailed(f"{model.info.inpaint_class}: {raised}") from exc
    raise GpuOutOfMemory("the device ran out of memory")


def _call(pipeline: Any, **arguments: Any) -> torch.Tensor:
    """(3, H, W) in 0..1."""
    try:
        images: torch.Tensor = pipeline(**arguments).images
    except BaseException:
        # With offload a call that ends early leaves a component on the device.
        pipeline.maybe_free_model_hooks()
        raise
    return images[0]


def steps_to_ask(num_steps: int, strength: float) -> int:
    """The `num_inference_steps` of which pipelines run the last `num_steps` at `strength`.

    They make a schedule for the whole way and skip what lies above the strength; so a longer
    schedule is asked for, and a job gets the steps that it asks and pays for at any strength.
    """
    asked = int(num_steps / strength)
    while _steps_run(asked, strength) < num_steps:
        asked += 1
    while _steps_run(asked, strength) > num_steps:
        asked -= 1
    return asked


def _steps_run(num_inference_steps: int, strength: float) -> int:
    """As the pipelines count them (`get_timesteps`)."""
    kept = min(num_inference_steps * strength, num_inference_steps)
    return num_inference_steps - int(max(num_inference_steps - kept, 0))


def _inputs(
    plan: GenerationPlan,
    pass_plan: PassPlan,
    canvas: Canvas,
    background: Image.Image | None,
    info: PipelineInfo,
) -> tuple[Image.Image, Image.Image]:
    """Init image (RGB) and mask (L, 255 = repaint) of the size of the pass.

    The init image is the foreground over the result of the pass before, else over the reference,
    else over its own colours bled outward.
    """
    foreground, reference = at_pass_size(plan, pass_plan, canvas)
    if background is not None:
        under = background.resize(foreground.size, Image.Resampling.BICUBIC)
    else:
        under = bleed(foreground) if reference is None else reference
    cells = repaint_mask(np.asarray(foreground)[..., 3], info.mask_cell_px)
    mask = Image.fromarray((cells * 255).astype(np.uint8))
    return compose(foreground, under), mask.resize(foreground.size, Image.Resampling.NEAREST)


def _guidance_arguments(plan: GenerationPlan, info: PipelineInfo) -> dict[str, Any]:
    """How each class spells the guidance scale, of which 1 is none."""
    scale = plan.guidance_scale
    if info.guidance is not Guidance.CLASSIFIER_FREE:
        return {"guidance_scale": scale}
    negative_prompt = plain_prompt(plan.job.negative_prompt)
    if info.inpaint_class == "QwenImageInpaintPipeline":
        return {"true_cfg_scale": scale, "negative_prompt": negative_prompt or _BLANK_PROMPT}
    if info.inpaint_class == "ZImageInpaintPipeline":
        scale -= 1  # it adds the difference to the guided prediction, not to the unguided one
    return {"guidance_scale": scale, "negative_prompt": negative_prompt}


def _to_image(pixels: torch.Tensor) -> Image.Image:
    """(3, H, W) in 0..1 -> RGB.

    Raises:
        NonFiniteResult: they are not finite; never a black picture instead.
    """
    pixels = pixels.float().cpu()
    if not bool(torch.isfinite(pixels).all()):
        raise NonFiniteResult("the decoded image came out as NaN or infinity")
    array = (pixels * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(array.numpy()))
