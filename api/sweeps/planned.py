"""The outline of a sweep that an engine paints in this process."""

from __future__ import annotations

from api.sweeps.outline import Outline, Place, common_facts
from engine.plan import GenerationPlan
from engine.sweep import SweepPlan

_SECONDS_ARE = "share of the time its steps took, beside the points it shared forwards with"


def outline_of(plan: SweepPlan) -> Outline:
    """What the reports tell of it."""
    places = tuple(
        Place(
            index=point.index,
            coordinates=point.coordinates,
            width_px=point.plan.width_px,
            height_px=point.plan.height_px,
            foreground_resize_mode=point.job.foreground_resize_mode,
            reference_resize_mode=point.job.reference_resize_mode,
            forwards=point.plan.total_steps,
        )
        for point in plan.points
    )
    return Outline(
        axes=plan.axes,
        places=places,
        facts=common_facts(_facts(point.plan) for point in plan.points),
        seconds_are=_SECONDS_ARE,
        icc_profile=plan.job.icc_profile,
    )


def _facts(plan: GenerationPlan) -> dict[str, object]:
    job = plan.job
    return {
        "Prompt": job.prompt,
        "Negative prompt": job.negative_prompt,
        "Model": plan.model.name,
        "LoRAs": ", ".join(f"{lora.sub_model.name} {lora.weight:g}" for lora in plan.loras),
        "Steps": plan.num_inference_steps,
        "Sampler": plan.sampler.value,
        "CFGScale": f"{plan.guidance_scale:g}",
        "ReferStrength": f"{1 - job.strength:g}" if job.reference else "",
        "DeepFusion": "on" if job.deep_fusion else "",
        "Seed": job.seed,
        "Size": f"{plan.width_px}x{plan.height_px}",
    }
