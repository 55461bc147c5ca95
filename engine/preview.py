"""What images look like so far, for those who asked: small pictures, made beside the step loop.

The preview of a step is what the model takes the finished latents to be, in the rough colours of
`engine.latent_colors`. It reads what the step has computed anyway and changes nothing of it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from PIL import Image

from engine.checkpoint_info import CheckpointInfo
from engine.events import Event, ImagePreview
from engine.lanes import Lane
from engine.open_job import OpenJob, Part
from engine.plan import GenerationPlan
from engine.prepare import padded_size
from engine.sampler_state import SamplerState
from engine.stage import Stage
from engine.vae import LatentCodec

PERIOD_S = 1.0  # an image is shown no more often
MAX_SIDE_PX = 64  # 512 pixels at factor 8; a PNG of that is at most 12 KB


class Previews:
    """Makes the previews of an engine's images, for jobs that ask for them.

    The step loop only sends off a few operations on latents; a thread waits for the device and
    makes the picture.

    Args:
        signal: set whenever one is ready.
    """

    def __init__(self, signal: threading.Event) -> None:
        self._stage: Stage[Part, Image.Image] = Stage("preview", signal)

    def look(self, jobs: Mapping[str, OpenJob], lanes: Sequence[Lane]) -> None:
        """Takes note of lanes whose preview is due, when their outputs are there and not yet used.

        Args:
            jobs: of the lanes, by id.
            lanes: all tiles of which have outputs.
        """
        for lane in lanes:
            if lane.prepared.plan.job.preview:
                self._look_if_due(jobs[lane.job_id], lane)

    def collect(self, jobs: Mapping[str, OpenJob]) -> list[Event]:
        """Previews made since the last call, of images that are still being painted.

        Args:
            jobs: those under way, by id.
        """
        events: list[Event] = []
        for outcome in self._stage.collect():
            job, (index,) = outcome.key.job, outcome.key.images
            if jobs.get(job.job_id) is not job or index not in job.open_images:
                continue
            try:
                picture = outcome.result()
            except torch.OutOfMemoryError:
                continue  # the image itself may well succeed
            events.append(ImagePreview(job.job_id, index, picture))
        return events

    def _look_if_due(self, job: OpenJob, lane: Lane) -> None:
        now = time.monotonic()
        if now < job.preview_due_at.get(lane.image_index, 0.0):
            return
        job.preview_due_at[lane.image_index] = now + PERIOD_S
        plan = lane.prepared.plan
        assert isinstance(plan.info, CheckpointInfo), "pipelines have no lanes"
        prediction_type = plan.info.noise_schedule.prediction_type
        try:
            latents = clean_latents(lane.state, lane.model_output(), prediction_type)
        except torch.OutOfMemoryError:
            return
        work = partial(preview_picture, latents, lane.prepared.vae, plan)
        self._stage.submit(Part(job, (lane.image_index,)), work)


@torch.inference_mode()
def clean_latents(
    state: SamplerState, model_output: torch.Tensor, prediction_type: str
) -> torch.Tensor:
    """What a forward takes the finished latents to be.

    Args:
        state: before the step that uses `model_output`.
        model_output: float32 (1, C, h, w), guided.
        prediction_type: "epsilon", "v_prediction" or "sample".

    Returns:
        float32 (1, C, h, w).
    """
    if prediction_type == "sample":
        return model_output
    # The sample is of_image * image + of_noise * noise, with factors of the sampler's own scale.
    of_image, of_noise = state.steps.noise_levels[state.step_index]
    if prediction_type == "epsilon":
        return (state.latents - of_noise * model_output) / of_image
    length = math.hypot(of_image, of_noise)  # 1 at the scale that velocities are defined at
    return (of_image / length**2) * state.latents - (of_noise / length) * model_output


def preview_picture(latents: torch.Tensor, vae: LatentCodec, plan: GenerationPlan) -> Image.Image:
    """Clean latents -> RGB of at most `MAX_SIDE_PX` a side, with the proportions of the canvas.

    Args:
        latents: float32 (1, C, h, w) of any pass, as large as the padded canvas or in proportion.
        vae: what decodes them at the end.
        plan: of their job.
    """
    picture = vae.colors.picture(latents[0].cpu().numpy())
    padded_width, padded_height = padded_size(plan)
    width = picture.width * plan.width_px / padded_width
    height = picture.height * plan.height_px / padded_height
    scale = min(1.0, MAX_SIDE_PX / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return picture.resize(size, Image.Resampling.BILINEAR, box=(0, 0, width, height))
