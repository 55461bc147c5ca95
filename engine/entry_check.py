"""An entry of models.yaml compared with the headers and configs of the files it names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.checkpoint_info import CheckpointInfo
from engine.errors import MislabelledModel, UnsuitableSubModel
from engine.job import Sampler
from engine.pipeline_info import Guidance, PipelineInfo
from engine.step_spacing import why_not_align_your_steps
from engine.sub_models import check_fits

if TYPE_CHECKING:
    from engine.registry import MainModel

# What the entry of a pipeline model must leave out.
_UNET_KEYS = (
    "in_channels",
    "prediction_type",
    "rescale_betas_zero_snr",
    "timestep_spacing",
    "allow_pickle",
    "shared_vae",
    "step_spacing",
    "guidance_cutoff",
    "few_steps",
    "tile_size_px",
)


def check_files(model: MainModel) -> None:
    """Reads the configs or the header of the checkpoint.

    Raises:
        WeightsUnavailable: they are broken, contradict the entry, or leave a need open.
    """
    info = model.info
    if isinstance(info, PipelineInfo):
        _check_pipeline_entry(model, info)
    elif model.offload != "none":
        raise MislabelledModel(f"{model.path}: {info.family} models have no offload")
    elif not info.has_vae and model.shared_vae is None:
        raise MislabelledModel(f"{model.path}: holds no VAE: name one as shared_vae")


def check_steps(model: MainModel) -> None:
    """What an entry with good files says about steps must fit its checkpoint.

    Raises:
        MislabelledModel: a table of noise levels or the LoRA of `few_steps` is made for others.
        WeightsUnavailable: that LoRA is damaged.
    """
    info, few_steps = model.info, model.few_steps
    if not isinstance(info, CheckpointInfo):
        return
    spacings = {"step_spacing": model.step_spacing}
    if few_steps is not None:
        spacings["few_steps.step_spacing"] = few_steps.step_spacing
    reason = why_not_align_your_steps(info.noise_schedule, info.family)
    for key, spacing in spacings.items():
        if spacing == "align_your_steps" and reason is not None:
            raise MislabelledModel(f"{key}: {spacing}: {reason}")
    if few_steps is not None and few_steps.lora is not None:
        try:
            check_fits(few_steps.lora, model)
        except UnsuitableSubModel as exc:
            raise MislabelledModel(f"few_steps.lora: {exc}") from exc


def _check_pipeline_entry(model: MainModel, info: PipelineInfo) -> None:
    """An entry must not promise what its pipeline does not do.

    Raises:
        MislabelledModel: it does.
    """
    name = f"{model.path}: {info.inpaint_class}"
    if model.family not in (None, "pipeline"):
        raise MislabelledModel(f"{name} is of no UNet family, models.yaml says {model.family}")
    for key in _UNET_KEYS:
        if key in model.model_fields_set:
            raise MislabelledModel(f"{name} takes no {key}")
    if model.sampler is not Sampler.EULER:
        raise MislabelledModel(f"{name} has the sampler euler alone, not {model.sampler.value}")
    if info.guidance is Guidance.NONE and model.guidance_scale != 1:
        raise MislabelledModel(f"{name} takes no guidance: set guidance_scale to 1")
