"""What goes into the engine and what comes out: plain frozen dataclasses, no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from PIL import Image

# Seeds are 0..2147483647 (protocol section 3); image i uses seed + i, wrapping.
SEED_MODULUS = 2**31


class ResizeMode(StrEnum):
    """How an image is brought to the canvas size (names after Stable Diffusion web UIs)."""

    JUST_RESIZE = "just_resize"  # stretch
    CROP_AND_RESIZE = "crop_and_resize"  # cover the canvas, crop the centre
    RESIZE_AND_FILL = "resize_and_fill"  # fit into the canvas, centre, fill the margin


class Sampler(StrEnum):
    """Samplers a job may ask for."""

    EULER = "euler"
    EULER_ANCESTRAL = "euler_ancestral"
    DPMPP_2M = "dpmpp_2m"
    DPMPP_2M_KARRAS = "dpmpp_2m_karras"
    UNIPC = "unipc"
    LMS = "lms"
    HEUN = "heun"
    DDIM = "ddim"


class DistilledSampler(StrEnum):
    """Samplers that only models distilled for them paint with; an entry's `few_steps` names them."""

    LCM = "lcm"  # latent consistency, arXiv 2310.04378
    TCD = "tcd"  # trajectory consistency, arXiv 2402.19159


AnySampler: TypeAlias = Sampler | DistilledSampler


@dataclass(frozen=True, slots=True)
class AdapterWeight:
    """One sub-model and its weight.

    Attributes:
        adapter_name: name of a sub-model in the registry.
        adapter_weight: of a LoRA, -1..2, 0 has no effect; None takes the sub-model's default. An
            embedding has no weight of its own.
    """

    adapter_name: str
    adapter_weight: float | None = None


@dataclass(frozen=True, slots=True)
class GenerationJob:
    """One request for `num_images` backgrounds around one foreground.

    Attributes:
        job_id: unique among the jobs an engine holds.
        model_name: name of a main model in the registry.
        foreground: mode RGBA, 8 bit, straight (not premultiplied) alpha, in the colour space of
            `icc_profile`.
        prompt: what to paint; may be empty.
        negative_prompt: what to avoid; may be empty.
        reference: background reference, mode RGB, 8 bit, sRGB; None for none.
        strength: 0..1, noise strength over the reference: 1 ignores it, 0 returns it unchanged
            under the foreground. Without a reference it must be 1.
        foreground_resize_mode: how the foreground is brought to the canvas.
        reference_resize_mode: how the reference is brought to the canvas.
        deep_fusion: takes palette and texture from the reference, too (see `engine.reference`);
            without effect at strength 0 and 1.
        adapters: weighted sub-models, applied in this order.
        seed: 0..2147483647; image i of the job uses `seed + i`, wrapping.
        num_images: 1..16.
        width_px: canvas width, 64..2560; None takes the foreground's (see `plan.default_canvas`).
        height_px: canvas height, likewise; both are given or neither.
        num_inference_steps: 6..100; None takes the model's default.
        sampler: None takes the model's default.
        guidance_scale: 1..30, 1 switches guidance off; None takes the model's default.
        clip_skip: 1..12; n uses the n-th from last layer of the text encoder.
        use_checkpoint_vae: the checkpoint's own VAE instead of the shared one of its entry.
        icc_profile: RGB ICC profile of the foreground; None means sRGB.
        preview: have the engine show what each image looks like so far, about once a second, by
            `ImagePreview`; without effect on what is painted, and on models of the pipeline kind.
    """

    job_id: str
    model_name: str
    foreground: Image.Image
    prompt: str = ""
    negative_prompt: str = ""
    reference: Image.Image | None = None
    strength: float = 1.0
    foreground_resize_mode: ResizeMode = ResizeMode.RESIZE_AND_FILL
    reference_resize_mode: ResizeMode = ResizeMode.RESIZE_AND_FILL
    deep_fusion: bool = False
    adapters: tuple[AdapterWeight, ...] = ()
    seed: int = 0
    num_images: int = 1
    width_px: int | None = None
    height_px: int | None = None
    num_inference_steps: int | None = None
    sampler: Sampler | None = None
    guidance_scale: float | None = None
    clip_skip: int = 1
    use_checkpoint_vae: bool = False
    icc_profile: bytes | None = None
    preview: bool = False


@dataclass(frozen=True, slots=True)
class GeneratedImage:
    """One finished image.

    Attributes:
        job_id: the job it belongs to.
        image_index: 0-based position in the job.
        seed: the seed this image was made with; the job repeated alone with it gives this image.
        image: mode RGB, 8 bit, (height_px, width_px) of the canvas, in the colour space of
            `icc_profile`.
        icc_profile: the foreground's profile; None means sRGB.
        parameters: every resolved setting, JSON-ready, for the result's text chunk.
    """

    job_id: str
    image_index: int
    seed: int
    image: Image.Image
    icc_profile: bytes | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
