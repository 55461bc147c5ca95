"""From a validated request to a durable task: nothing is answered before everything is checked."""

from __future__ import annotations

import base64
import logging
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from api.blobs import input_key
from api.credits import points_of
from api.errors import (
    IllegalMove,
    MalformedRequest,
    MissingParameter,
    ModelNotFound,
    ServiceUnavailable,
)
from api.idempotency import NOTE as IDEMPOTENCY_NOTE
from api.idempotency import earlier_task, idempotency_key
from api.instruments.context import current_call
from api.media import DecodedImage, decode_foreground, decode_reference, image_bytes
from api.prompts_used import PromptsUsed, prompts_used
from api.protocol import GenerateBackgroundsRequest
from api.service import Service
from api.spool import store_task
from api.tasks import NewTask
from api.wire_fields import WIRE_FIELDS
from engine.errors import BadImage, EngineFault, JobError, UnknownLora, UnknownModel
from engine.plan import GenerationPlan, default_canvas, plan_job
from engine.prompt_syntax import parse_prompt, trigger_pattern
from engine.registry import Registry
from engine.sub_models import SubModel

logger = logging.getLogger(__name__)

ACTION = "GenerateBackgrounds"


@dataclass(frozen=True, slots=True)
class _Inputs:
    """The images a request refers to, as uploaded and decoded; role to either."""

    files: dict[str, bytes]
    foreground: DecodedImage
    reference: DecodedImage | None


def submit(service: Service, tenant: str, request: GenerateBackgroundsRequest) -> str:
    """Accepts a request as a task.

    Returns:
        The TaskUID. The task and its images are durable by then.

    Raises:
        MissingParameter: no images were sent.
        MalformedRequest: an image, or the job as a whole, cannot be used.
        ModelNotFound: the main model or a sub-model is not registered.
        QueueFull: see `api.back_pressure`, told before any image is decoded; or the images cannot
            be stored for now.
        TooFewCredits: the tenant's account does not cover it.
        ServiceUnavailable: the model is registered, but cannot be used.
    """
    key = idempotency_key(service, request)
    if (earlier := earlier_task(service, tenant, key)) is not None:
        return earlier
    service.back_pressure.require_room(tenant)
    uid = new_uid()
    used = prompts_used(request, service.translator, service.registry)
    with service.decoding:
        files, resolved, plan = _accept(service, request, used, uid)
    task = NewTask(
        uid=uid,
        tenant=tenant,
        action=ACTION,
        params=resolved.pinned(plan).stored() | used.stored(),
        inputs={role: input_key(uid, role) for role in files},
        model_key=plan.model_key,
        compat_key=plan.compat_key,
        seed=plan.seeds[0],
        num_images=len(plan.seeds),
        points=_points(plan, base=service.settings.points_per_megapixel_step),
        note=_note(resolved, used, plan, idempotent=key is not None),
        est_cost=_cost(plan),
    )
    try:
        store_task(service.store, service.blobs, task, files, idempotency_key=key)
    except IllegalMove:  # its twin was quicker
        if (earlier := earlier_task(service, tenant, key)) is None:
            raise
        return earlier
    service.back_pressure.added(task)
    current_call().task_uid = uid
    logger.info("task %s: accepted", uid)
    return uid


def _accept(
    service: Service, request: GenerateBackgroundsRequest, used: PromptsUsed, uid: str
) -> tuple[dict[str, bytes], GenerateBackgroundsRequest, GenerationPlan]:
    """Decodes and plans: the files to keep, the resolved request, the plan."""
    inputs = _decode_images(request, max_pixels=service.settings.max_image_pixels)
    resolved = request.resolved(
        default_model=service.registry.default_model,
        default_canvas=_canvas_of(inputs.foreground, service.settings.default_size_px),
    )
    plan = _plan(used.in_place(resolved), inputs, uid=uid, registry=service.registry)
    return inputs.files, resolved, plan


def new_uid() -> str:
    """12 random bytes in xid's alphabet: 20 unguessable characters of 0-9a-v."""
    return base64.b32hexencode(secrets.token_bytes(12)).decode().rstrip("=").lower()


def _decode_images(request: GenerateBackgroundsRequest, *, max_pixels: int) -> _Inputs:
    if not request.ImageList:
        raise MissingParameter("ImageList")
    named_by = "TransparentForeground.ImageIndex"
    if request.TransparentForeground is None:
        named_by = "TransparentImageIndexList[0]"
    files = {"foreground": _file(request.ImageList, request.foreground.ImageIndex, named_by)}
    with _named_by_image(request.foreground.ImageIndex):
        foreground = decode_foreground(
            files["foreground"], max_pixels=max_pixels, field="foreground"
        )
    reference = None
    if request.BackgroundImage2Image is not None:
        index = request.BackgroundImage2Image.ImageIndex
        files["reference"] = _file(request.ImageList, index, "BackgroundImage2Image.ImageIndex")
        with _named_by_image(index):
            reference = decode_reference(
                files["reference"], max_pixels=max_pixels, field="reference"
            )
    return _Inputs(files, foreground, reference)


def _file(image_list: Sequence[str], index: int, named_by: str) -> bytes:
    if index >= len(image_list):
        raise MalformedRequest(named_by, f"ImageList has {len(image_list)} images, counted from 0")
    with _named_by_image(index):
        return image_bytes(image_list[index])


@contextmanager
def _named_by_image(index: int) -> Iterator[None]:
    try:
        yield
    except BadImage as exc:
        raise MalformedRequest(f"ImageList[{index}]", str(exc)) from exc


def _canvas_of(foreground: DecodedImage, default_size_px: int | None) -> tuple[int, int]:
    if default_size_px is not None:
        return default_size_px, default_size_px
    return default_canvas(*foreground.image.size)


def _plan(
    request: GenerateBackgroundsRequest, inputs: _Inputs, *, uid: str, registry: Registry
) -> GenerationPlan:
    job = request.to_job(job_id=uid, foreground=inputs.foreground, reference=inputs.reference)
    try:
        return plan_job(job, registry)
    except UnknownModel as exc:
        raise ModelNotFound(job.model_name) from exc
    except UnknownLora as exc:
        names = dict.fromkeys(adapter.adapter_name for adapter in job.adapters)
        unknown = [name for name in names if name not in registry.sub_models]
        raise ModelNotFound(", ".join(unknown)) from exc
    except JobError as exc:
        raise MalformedRequest(WIRE_FIELDS[exc.field], str(exc)) from exc
    except EngineFault as exc:
        logger.exception("a request for the model %r cannot be planned", job.model_name)
        raise ServiceUnavailable from exc


def _points(plan: GenerationPlan, *, base: float) -> int:
    return points_of(
        width_px=plan.width_px,
        height_px=plan.height_px,
        num_inference_steps=plan.num_inference_steps,
        num_images=len(plan.seeds),
        base_points_per_megapixel_step=base,
        deep_fusion=plan.use_deep_fusion,
    )


def _cost(plan: GenerationPlan) -> float:
    """Megapixel steps; those that read a reference denoise it as well."""
    megapixels = plan.width_px * plan.height_px * len(plan.seeds) / 1e6
    return megapixels * plan.num_inference_steps * (2.0 if plan.use_deep_fusion else 1.0)


def _note(
    request: GenerateBackgroundsRequest,
    used: PromptsUsed,
    plan: GenerationPlan,
    *,
    idempotent: bool,
) -> str:
    """What was asked and has no effect, for the caller."""
    notes = [used.note] if used.note else []
    if request.IdempotencyKey is not None and not idempotent:
        notes.append(IDEMPOTENCY_NOTE)
    notes += [
        _unused_note(embedding) for embedding in plan.embeddings if not _is_used(embedding, plan)
    ]
    notes += [f"{note}." for note in plan.notes]
    return " ".join(notes)


def _is_used(embedding: SubModel, plan: GenerationPlan) -> bool:
    """Whether a prompt holds one of the embedding's words."""
    pattern = trigger_pattern(embedding.prompt_words)
    prompts = (plan.job.prompt, plan.job.negative_prompt)
    pieces = (text for prompt in prompts for section in parse_prompt(prompt) for text in section)
    return any(pattern.search(piece.text) for piece in pieces)


def _unused_note(embedding: SubModel) -> str:
    words = " or ".join(repr(word) for word in embedding.prompt_words)
    return f"{embedding.name} had no effect: no prompt holds {words}."
