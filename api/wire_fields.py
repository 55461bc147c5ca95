"""The engine's names of a job's fields -> where a client finds them in its request."""

from __future__ import annotations

from collections.abc import Mapping

WIRE_FIELDS: Mapping[str, str] = {
    "model_name": "MainModel.ModelCode",
    "foreground": "TransparentForeground",
    "prompt": "PositivePrompts",
    "negative_prompt": "NegativePrompts",
    "reference": "BackgroundImage2Image",
    "strength": "BackgroundImage2Image.ReferStrength",
    "foreground_resize_mode": "TransparentForeground.ResizeMode",
    "reference_resize_mode": "BackgroundImage2Image.ResizeMode",
    "deep_fusion": "BackgroundImage2Image.DeepFusion",
    "adapters": "SubModelList",
    "seed": "Seed",
    "num_images": "BatchSize",
    "width_px": "Width",
    "height_px": "Height",
    "num_inference_steps": "MainModel.InferenceParams.Steps",
    "sampler": "MainModel.InferenceParams.Sampler",
    "guidance_scale": "MainModel.InferenceParams.CFGScale",
    "clip_skip": "MainModel.InferenceParams.ClipSkip",
    "use_checkpoint_vae": "UseMainModelVAE",
    "icc_profile": "TransparentForeground",
    "preview": "Preview",
}
