"""Requests as spelled on the wire, and their way to a `GenerationJob` (protocol sections 3 to 6).

Wire spellings stop here. What a field means, its range and its default stand in its `Field`, from
where the OpenAPI page takes them too.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from api.wire_types import Bool, Float, Int, List, String, Url, WireModel
from engine.job import SEED_MODULUS, AdapterWeight, GenerationJob, ResizeMode, Sampler

if TYPE_CHECKING:
    from api.media import DecodedImage
    from engine.plan import GenerationPlan

RANDOM_SEED = -1
MAX_PROMPT_CHARS = 10_000
PROMPT_SEPARATOR = ", "

SAMPLERS: Mapping[str, Sampler] = {
    "Euler": Sampler.EULER,
    "Euler a": Sampler.EULER_ANCESTRAL,
    "DPM++ 2M": Sampler.DPMPP_2M,
    "DPM++ 2M Karras": Sampler.DPMPP_2M_KARRAS,
    "UniPC": Sampler.UNIPC,
    "LMS": Sampler.LMS,
    "Heun": Sampler.HEUN,
    "DDIM": Sampler.DDIM,
}
SAMPLER_NAMES: Mapping[Sampler, str] = {sampler: name for name, sampler in SAMPLERS.items()}


class ResizeModeName(StrEnum):
    """How an image is brought to the canvas size."""

    JUST_RESIZE = "JustResize"
    CROP_AND_RESIZE = "CropAndResize"
    RESIZE_AND_FILL = "ResizeAndFill"


RESIZE_MODES: Mapping[ResizeModeName, ResizeMode] = {
    ResizeModeName.JUST_RESIZE: ResizeMode.JUST_RESIZE,
    ResizeModeName.CROP_AND_RESIZE: ResizeMode.CROP_AND_RESIZE,
    ResizeModeName.RESIZE_AND_FILL: ResizeMode.RESIZE_AND_FILL,
}


def _available_sampler(name: str) -> str:
    if name not in SAMPLERS:
        raise ValueError(f"no such sampler; available are {', '.join(SAMPLERS)}")
    return name


def _bounded_prompts(prompts: list[str]) -> list[str]:
    if len(PROMPT_SEPARATOR.join(prompts)) > MAX_PROMPT_CHARS:
        raise ValueError(f"more than {MAX_PROMPT_CHARS} characters in all")
    return prompts


SamplerName = Annotated[
    String, AfterValidator(_available_sampler), Field(json_schema_extra={"enum": [*SAMPLERS]})
]
Prompts = Annotated[List[String], AfterValidator(_bounded_prompts)]
ModelName = Annotated[String, Field(min_length=1, max_length=200)]


class Envelope(WireModel):
    """What every request carries besides its own fields."""

    PublicKey: String = Field(description="Public half of the key pair.")
    Signature: String = Field(
        description="SHA1, lower-case hex, over the names and values of all other fields sent, "
        "sorted by name, followed by the private key. `signature` is taken as a fallback."
    )
    request_uuid: String | None = Field(None, description="Made by the client; echoed back.")


class InferenceSettings(WireModel):
    """How a model is run."""

    Steps: Int | None = Field(
        None,
        ge=6,
        le=100,
        description="Denoising steps, 6 to 100; default the model's (see ListModels).",
    )
    LoraWeight: Float | None = Field(
        None,
        ge=-1,
        le=2,
        description="Weight of a LoRA, -1 to 2; default the model's (see ListModels).",
    )
    Sampler: SamplerName | None = Field(
        None, description="Default the model's (see ListModels); not part of the hosted action."
    )
    ClipSkip: Int | None = Field(
        None,
        ge=1,
        le=12,
        description="n takes the n-th from last layer of the text encoder, 1 to 12; default 1.",
    )
    CFGScale: Float | None = Field(
        None,
        ge=1,
        le=30,
        description="Guidance, 1 to 30, 1 switches it off; default the model's (see ListModels).",
    )


class _ModelFields(WireModel):
    InferenceParams: InferenceSettings = Field(
        default_factory=InferenceSettings, description="How the model is run."
    )
    Name: String | None = Field(None, description="As ListModels returns it; without effect.")
    IsOfficial: Bool | None = Field(None, description="As ListModels returns it; without effect.")
    TriggerWordList: List[String] = Field(
        default_factory=list, description="As ListModels returns it; without effect."
    )


class MainModelChoice(_ModelFields):
    """The checkpoint that paints; a model of ListModels may be passed back whole."""

    ModelCode: ModelName | None = Field(
        None, description="Key of a main model of ListModels; default PICPIK General."
    )


class SubModelChoice(_ModelFields):
    """A weighted LoRA, or an embedding for the prompts; a model of ListModels as it stands."""

    ModelCode: ModelName = Field(description="Key of a sub-model of ListModels.")

    def weighing(self, weights: Mapping[str, float]) -> Self:
        """The same with its weight written out where `weights` has one by its ModelCode."""
        if self.ModelCode not in weights:
            return self
        update = {"LoraWeight": weights[self.ModelCode]}
        inference = self.InferenceParams.model_copy(update=update)
        return self.model_copy(update={"InferenceParams": inference})


class BackgroundImageParam(WireModel):
    """The background reference."""

    ImageIndex: Int = Field(ge=0, description="Position in ImageList, from 0.")
    ReferStrength: Float = Field(
        0.3,
        ge=0,
        le=1,
        description="0 to 1; 0 leaves the reference unused, 1 stays as close as possible.",
    )
    ResizeMode: ResizeModeName = Field(
        ResizeModeName.RESIZE_AND_FILL,
        description="JustResize stretches; CropAndResize covers the canvas and crops the centre; "
        "ResizeAndFill fits, centres and fills the margins with the edge pixels.",
    )
    DeepFusion: Bool = Field(
        False,
        description="Takes palette and texture from the reference, too, at 6 more points per "
        "million pixels, step and image. At ReferStrength 0 and 1 it has no effect and costs "
        "nothing, and the task's Note says so.",
    )


class Foreground(WireModel):
    """The item that is kept."""

    ImageIndex: Int = Field(ge=0, description="Position in ImageList, from 0.")
    ResizeMode: ResizeModeName = Field(
        ResizeModeName.RESIZE_AND_FILL,
        description="JustResize stretches; CropAndResize covers the canvas and crops the centre; "
        "ResizeAndFill fits, centres and leaves the margins transparent.",
    )


class GenerateBackgroundsRequest(WireModel):
    """Paints backgrounds around a cut-out; answered at once with a TaskUID."""

    # The envelope is checked before and is no part of it, so that a stored task's `params`
    # validate as well: there the ImageList is gone, and model, seed and sizes are filled in.

    MainModel: MainModelChoice = Field(
        default_factory=MainModelChoice, description="The checkpoint."
    )
    SubModelList: List[SubModelChoice] = Field(
        default_factory=list,
        description="Sub-models on top of it, at most 16: weighted LoRAs, and embeddings that the "
        "prompts use by their trigger words.",
    )
    PositivePrompts: Prompts = Field(
        default_factory=list,
        description="What to paint; joined with commas, at most 10000 characters in all.",
    )
    NegativePrompts: Prompts = Field(
        default_factory=list,
        description="What to avoid; joined with commas, at most 10000 characters in all.",
    )
    TranslatePrompts: Bool = Field(
        True,
        description="Translate prompts of the documented languages to English; what is English, "
        "brackets, weights and the models' own words stay. A task's detail shows the text used.",
    )
    BackgroundImage2Image: BackgroundImageParam | None = Field(
        None, description="Background reference; default none."
    )
    TransparentForeground: Foreground | None = Field(
        None,
        description="The item to keep, a PNG with alpha. Required, unless "
        "TransparentImageIndexList names it.",
    )
    TransparentImageIndexList: List[Annotated[Int, Field(ge=0)]] = Field(
        default_factory=list,
        max_length=1,
        description="Older way to name the foreground: one position in ImageList. Ignored beside "
        "TransparentForeground.",
    )
    Seed: Int = Field(
        RANDOM_SEED,
        ge=RANDOM_SEED,
        lt=SEED_MODULUS,
        description="-1 to 2147483647; -1 draws one. Image i of a batch uses Seed + i, wrapping.",
    )
    Width: Int | None = Field(
        None,
        ge=64,
        le=2560,
        description="64 to 2560 pixels; default the foreground's own width, brought into range "
        "with its ratio kept. Width and Height default independently of each other.",
    )
    Height: Int | None = Field(
        None, ge=64, le=2560, description="64 to 2560 pixels; default as Width."
    )
    UseMainModelVAE: Bool = Field(
        False, description="Use the checkpoint's own VAE instead of the one shared by default."
    )
    BatchSize: Int = Field(1, ge=1, le=16, description="Number of images, 1 to 16.")
    Preview: Bool = Field(
        False,
        # Left out where it is not asked for: the digests of idempotency keys stay what they were.
        exclude_if=lambda asked: not asked,
        description="Show how each image comes along while the task runs: see GetTaskPreviews (an "
        "addition). Models of other families than Stable Diffusion's show nothing.",
    )
    WebhookUrl: Url | None = Field(
        None, exclude=True, description="Is told when the task has ended (an addition)."
    )
    ImageList: List[String] = Field(
        default_factory=list,
        exclude=True,
        description="Required: images as plain Base64 or data URLs; PNG, JPEG or WebP.",
    )
    IdempotencyKey: Annotated[String, Field(min_length=1, max_length=255)] | None = Field(
        None,
        exclude=True,
        description="Again the same: the same TaskUID; an addition, off by default.",
    )

    @model_validator(mode="before")
    @classmethod
    def _has_one_foreground(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        if data.get("TransparentForeground") is not None:
            return {**data, "TransparentImageIndexList": None}
        if data.get("TransparentImageIndexList") in (None, []):
            field = {"field": "TransparentForeground"}
            raise PydanticCustomError("missing", "Field required", field)
        return data

    @property
    def foreground(self) -> Foreground:
        """The item, whichever way the request names it."""
        return self.TransparentForeground or Foreground(
            ImageIndex=self.TransparentImageIndexList[0]
        )

    def resolved(self, *, default_model: str, default_canvas: tuple[int, int]) -> Self:
        """The request with nothing left to chance or to later settings.

        Args:
            default_model: name of the main model used when none is named.
            default_canvas: (width, height) in pixels used for a side that is not given.

        Returns:
            The same request with model, seed, width and height filled in.
        """
        main_model = self.MainModel.model_copy(
            update={"ModelCode": self.MainModel.ModelCode or default_model}
        )
        seed = secrets.randbelow(SEED_MODULUS) if self.Seed == RANDOM_SEED else self.Seed
        return self.model_copy(
            update={
                "MainModel": main_model,
                "Seed": seed,
                "Width": self.Width or default_canvas[0],
                "Height": self.Height or default_canvas[1],
            }
        )

    def pinned(self, plan: GenerationPlan) -> Self:
        """The request with the models' defaults written out.

        A task that waits through an edit of models.yaml keeps the steps, sampler, guidance and
        LoRA weights it was accepted and priced with. Sampler and guidance of a model's few-step
        settings stay open: named, they would be a wish against those settings.
        """
        settings: dict[str, Any] = {"Steps": plan.num_inference_steps}
        if isinstance(plan.sampler, Sampler) and plan.sampling.few_steps is None:
            settings |= {"Sampler": SAMPLER_NAMES[plan.sampler], "CFGScale": plan.guidance_scale}
        inference = self.MainModel.InferenceParams.model_copy(update=settings)
        main_model = self.MainModel.model_copy(update={"InferenceParams": inference})
        weights = {lora.sub_model.name: lora.weight for lora in plan.loras}
        sub_models = [sub_model.weighing(weights) for sub_model in self.SubModelList]
        return self.model_copy(update={"MainModel": main_model, "SubModelList": sub_models})

    def stored(self) -> dict[str, Any]:
        """The JSON-ready form a task keeps, without images; it validates to this request again."""
        return self.model_dump(mode="json", exclude_none=True)

    def to_job(
        self, *, job_id: str, foreground: DecodedImage, reference: DecodedImage | None
    ) -> GenerationJob:
        """The engine's job of a resolved request.

        Args:
            job_id: unique among the jobs an engine holds.
            foreground: mode RGBA, with its ICC profile.
            reference: mode RGB, sRGB; given exactly when BackgroundImage2Image is.
        """
        background = self.BackgroundImage2Image
        assert self.MainModel.ModelCode is not None
        assert self.Seed != RANDOM_SEED
        assert (background is None) == (reference is None)
        params = self.MainModel.InferenceParams
        return GenerationJob(
            job_id=job_id,
            model_name=self.MainModel.ModelCode,
            foreground=foreground.image,
            prompt=PROMPT_SEPARATOR.join(self.PositivePrompts),
            negative_prompt=PROMPT_SEPARATOR.join(self.NegativePrompts),
            reference=None if reference is None else reference.image,
            strength=1.0 if background is None else 1.0 - background.ReferStrength,
            foreground_resize_mode=RESIZE_MODES[self.foreground.ResizeMode],
            reference_resize_mode=RESIZE_MODES[
                ResizeModeName.RESIZE_AND_FILL if background is None else background.ResizeMode
            ],
            deep_fusion=background is not None and background.DeepFusion,
            adapters=tuple(_adapter(sub_model) for sub_model in self.SubModelList),
            seed=self.Seed,
            num_images=self.BatchSize,
            width_px=self.Width,
            height_px=self.Height,
            num_inference_steps=params.Steps,
            sampler=None if params.Sampler is None else SAMPLERS[params.Sampler],
            guidance_scale=params.CFGScale,
            clip_skip=1 if params.ClipSkip is None else params.ClipSkip,
            use_checkpoint_vae=self.UseMainModelVAE,
            icc_profile=foreground.icc_profile,
            preview=self.Preview,
        )


def _adapter(sub_model: SubModelChoice) -> AdapterWeight:
    return AdapterWeight(sub_model.ModelCode, sub_model.InferenceParams.LoraWeight)
