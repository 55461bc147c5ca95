"""What a model that runs through a pipeline of diffusers cannot honour, found while planning.

Imports no torch: the API plans every request before it accepts it.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from engine.adapters.lora_info import read_lora_info
from engine.errors import UnsupportedByModel
from engine.job import GenerationJob, Sampler
from engine.pipeline_info import Guidance, PipelineInfo
from engine.prompt_syntax import parse_prompt

# diffusers leaves out the magnitudes of a DoRA and does not know the other two.
_FOREIGN_KINDS = ("loha", "lokr", "dora")


def check_pipeline_job(job: GenerationJob, info: PipelineInfo) -> None:
    """Refuses settings that would be ignored.

    Raises:
        UnsupportedByModel: the model has no such setting.
    """
    if job.sampler not in (None, Sampler.EULER):
        raise _unsupported("sampler", f"has one sampler, {Sampler.EULER.value}")
    if job.clip_skip != 1:
        raise _unsupported("clip_skip", "has no ClipSkip: leave it at 1")
    if job.deep_fusion:
        raise _unsupported("deep_fusion", "has no DeepFusion")
    if job.negative_prompt.strip() and info.guidance is not Guidance.CLASSIFIER_FREE:
        raise _unsupported("negative_prompt", "takes no negative prompt: leave it empty")
    if job.guidance_scale not in (None, 1.0) and info.guidance is Guidance.NONE:
        raise _unsupported("guidance_scale", "takes no guidance: leave it at 1")


def pipeline_notes(
    job: GenerationJob, guidance_scale: float, info: PipelineInfo
) -> tuple[str, ...]:
    """What a result's reader must know of settings that had no effect."""
    notes = []
    prompts = (job.prompt, job.negative_prompt)
    pieces = (piece for text in prompts for section in parse_prompt(text) for piece in section)
    if any(piece.weight != 1.0 for piece in pieces):
        notes.append("emphasis in prompts has no effect on this model")
    is_guided = info.guidance is not Guidance.CLASSIFIER_FREE or guidance_scale > 1
    if job.negative_prompt.strip() and not is_guided:
        notes.append("the negative prompt has no effect at guidance 1")
    return tuple(notes)


def plain_prompt(prompt: str) -> str:
    """A prompt without the syntax of emphasis and BREAK, which these text encoders do not know."""
    sections = ("".join(piece.text for piece in section) for section in parse_prompt(prompt))
    return " ".join(section.strip() for section in sections)


def why_no_pipeline_lora(path: Path) -> str | None:
    """Why the LoRA file cannot be used with any pipeline model; None where it can.

    Raises:
        WeightsUnavailable: the file is damaged.
    """
    kinds = read_lora_info(path).kinds
    if foreign := [kind for kind in _FOREIGN_KINDS if kind in kinds]:
        return f"it is of the kind {foreign[0]}, and these models take plain LoRAs alone"
    if find_spec("peft") is None:
        return "LoRAs of these models need the optional extra: pip install 'backdrop[peft]'"
    return None


def _unsupported(field: str, reason: str) -> UnsupportedByModel:
    return UnsupportedByModel(f"this main model {reason}", field=field)
