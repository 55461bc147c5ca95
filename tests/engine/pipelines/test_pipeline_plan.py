"""What pipeline models cannot do is refused while planning, with the field named."""

from __future__ import annotations

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from engine import pipeline_plan
from engine.errors import (
    BadPrompt,
    JobError,
    ParameterOutOfRange,
    RegistryError,
    UnsuitableSubModel,
    UnsupportedByModel,
)
from engine.job import AdapterWeight, GenerationJob, Sampler
from engine.pipeline_info import Guidance
from engine.plan import plan_job
from engine.registry import Registry
from tests.engine.pipelines.tiny_pipelines import write_pipeline_registry
from tests.engine.tiny import EPSILON, write_tiny_model


def test_what_a_folder_holds_is_read_from_its_configs(registry: Registry) -> None:
    facts = {
        name: (model.info.inpaint_class, model.info.guidance, model.info.mask_cell_px)
        for name, model in registry.models.items()
    }
    assert facts == {
        "sd3": ("StableDiffusion3InpaintPipeline", Guidance.CLASSIFIER_FREE, 8),
        "flux": ("FluxInpaintPipeline", Guidance.DISTILLED, 8),
        "schnell": ("FluxInpaintPipeline", Guidance.NONE, 8),
        "flux_fill": ("FluxFillPipeline", Guidance.DISTILLED, 1),
        "qwen_image": ("QwenImageInpaintPipeline", Guidance.CLASSIFIER_FREE, 8),
        "z_image": ("ZImageInpaintPipeline", Guidance.CLASSIFIER_FREE, 8),
    }
    for model in registry.models.values():
        assert model.info.family == "pipeline"
        assert model.info.size_multiple_px == 16


def test_every_class_named_is_one_of_diffusers(registry: Registry) -> None:
    diffusers = importlib.import_module("diffusers")
    for model in registry.models.values():
        assert hasattr(diffusers, model.info.inpaint_class)


def test_the_plan_pads_to_what_the_pipeline_can_paint(
    registry: Registry, job: GenerationJob
) -> None:
    plan = plan_job(job, registry)
    assert (plan.width_px, plan.height_px) == (100, 72)
    (only,) = plan.passes
    assert (only.width_px, only.height_px, only.strength) == (112, 80, 1.0)
    assert plan.total_steps == 6
    assert plan.sampler is Sampler.EULER
    assert plan.guidance_scale == 1.0


def test_the_defaults_written_out_plan_alike(registry: Registry, job: GenerationJob) -> None:
    plan = plan_job(job, registry)
    explicit = replace(
        job,
        sampler=plan.sampler,
        guidance_scale=plan.guidance_scale,
        num_inference_steps=plan.num_inference_steps,
        use_checkpoint_vae=True,  # it has no other
    )
    assert plan_job(explicit, registry).passes == plan.passes


REFUSED: dict[str, dict[str, Any]] = {
    "sampler": {"sampler": Sampler.UNIPC},
    "clip_skip": {"clip_skip": 2},
    "deep_fusion": {"deep_fusion": True},
}


@pytest.mark.parametrize("field", REFUSED)
def test_settings_no_pipeline_has_are_refused(
    registry: Registry, job: GenerationJob, field: str
) -> None:
    with pytest.raises(UnsupportedByModel) as caught:
        plan_job(replace(job, **REFUSED[field]), registry)
    assert caught.value.field == field


def test_a_negative_prompt_is_refused_where_there_is_none(
    registry: Registry, job: GenerationJob
) -> None:
    asked = replace(job, negative_prompt="people")
    if job.model_name in ("flux", "schnell", "flux_fill"):
        with pytest.raises(UnsupportedByModel) as caught:
            plan_job(asked, registry)
        assert caught.value.field == "negative_prompt"
        plan_job(replace(job, negative_prompt="  "), registry)
    else:
        plan_job(asked, registry)


def test_guidance_is_refused_where_there_is_none(registry: Registry, job: GenerationJob) -> None:
    asked = replace(job, guidance_scale=3.5)
    if job.model_name == "schnell":
        with pytest.raises(UnsupportedByModel) as caught:
            plan_job(asked, registry)
        assert caught.value.field == "guidance_scale"
        plan_job(replace(job, guidance_scale=1.0), registry)
    else:
        assert plan_job(asked, registry).guidance_scale == 3.5


@pytest.mark.parametrize(
    ("change", "error", "field"),
    [
        ({"prompt": "sky <lora:one:1>"}, BadPrompt, "prompt"),
        ({"num_inference_steps": 5}, ParameterOutOfRange, "num_inference_steps"),
        ({"guidance_scale": 31.0}, ParameterOutOfRange, "guidance_scale"),
        ({"width_px": 2561, "height_px": 64}, ParameterOutOfRange, "width_px"),
        ({"strength": 0.5}, ParameterOutOfRange, "strength"),
    ],
)
def test_what_every_model_refuses_is_refused_here(
    registry: Registry,
    flux_job: GenerationJob,
    change: dict[str, Any],
    error: type[JobError],
    field: str,
) -> None:
    with pytest.raises(error) as caught:
        plan_job(replace(flux_job, **change), registry)
    assert caught.value.field == field


def test_emphasis_and_breaks_are_taken_out_of_a_prompt() -> None:
    prompt = r"a (red:1.3) house BREAK [dark] \(old\) wood"
    assert pipeline_plan.plain_prompt(prompt) == "a red house dark (old) wood"
    assert pipeline_plan.plain_prompt("") == ""


# --- sub-models ---


def lora_keys(down: str, up: str, width: int = 32) -> dict[str, torch.Tensor]:
    return {down: torch.ones(2, width), up: torch.ones(width, 2)}


SUB_MODELS: dict[str, tuple[dict[str, torch.Tensor], str | None]] = {
    "plain": (
        lora_keys("transformer.a.lora_A.weight", "transformer.a.lora_B.weight"),
        None,
    ),
    "sd1": (
        lora_keys(
            "lora_unet_x_attn2_to_k.lora_down.weight", "lora_unet_x_attn2_to_k.lora_up.weight", 768
        ),
        "is made for sd1 models, 'flux' is pipeline",
    ),
    "dora": (
        lora_keys("transformer.a.lora_A.weight", "transformer.a.lora_B.weight")
        | {"transformer.a.lora_magnitude_vector": torch.ones(32)},
        "it is of the kind dora",
    ),
    "lokr": (
        {
            "lora_unet_double_blocks_0_img_mlp_0.lokr_w1": torch.ones(4, 4),
            "lora_unet_double_blocks_0_img_mlp_0.lokr_w2": torch.ones(8, 8),
        },
        "it is of the kind lokr",
    ),
}


@pytest.fixture
def with_sub_models(pipelines_root: Path, tmp_path: Path) -> Registry:
    shutil.copytree(pipelines_root / "flux", tmp_path / "flux")
    for name, (tensors, _) in SUB_MODELS.items():
        save_file(tensors, tmp_path / f"{name}.safetensors")
    return write_pipeline_registry(tmp_path, flux={})


@pytest.mark.parametrize("name", SUB_MODELS)
def test_sub_models_that_cannot_act_are_refused(
    with_sub_models: Registry, flux_job: GenerationJob, name: str
) -> None:
    job = replace(flux_job, adapters=(AdapterWeight(name, 1.0),))
    reason = SUB_MODELS[name][1]
    if reason is None:
        assert plan_job(job, with_sub_models).loras[0].sub_model.name == name
        return
    with pytest.raises(UnsuitableSubModel, match=reason) as caught:
        plan_job(job, with_sub_models)
    assert caught.value.field == "adapters"


def test_an_embedding_is_refused(
    pipelines_root: Path, tmp_path: Path, flux_job: GenerationJob
) -> None:
    shutil.copytree(pipelines_root / "flux", tmp_path / "flux")
    save_file({"emb_params": torch.ones(2, 40)}, tmp_path / "word.safetensors")
    registry = write_pipeline_registry(tmp_path, kinds={"word": "embedding"}, flux={})
    with pytest.raises(UnsuitableSubModel, match="take no embeddings") as caught:
        plan_job(replace(flux_job, adapters=(AdapterWeight("word"),)), registry)
    assert caught.value.field == "adapters"


def test_without_peft_a_lora_is_refused_with_what_to_install(
    with_sub_models: Registry, flux_job: GenerationJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        pipeline_plan, "find_spec", lambda name: None if name == "peft" else found(name)
    )
    job = replace(flux_job, adapters=(AdapterWeight("plain", 1.0),))
    with pytest.raises(UnsuitableSubModel, match=r"pip install 'backdrop\[peft\]'"):
        plan_job(job, with_sub_models)
    plan_job(flux_job, with_sub_models)


# --- models.yaml ---

ENTRIES: dict[str, tuple[dict[str, Any], str]] = {
    "family": ({"family": "sdxl"}, "is of no UNet family, models.yaml says sdxl"),
    "sampler": ({"sampler": "unipc"}, "has the sampler euler alone, not unipc"),
    "in_channels": ({"in_channels": 9}, "takes no in_channels"),
    "prediction_type": ({"prediction_type": "epsilon"}, "takes no prediction_type"),
    "allow_pickle": ({"allow_pickle": True}, "takes no allow_pickle"),
    "shared_vae": ({"shared_vae": "schnell/vae"}, "takes no shared_vae"),
    "tile_size_px": ({"tile_size_px": 768}, "takes no tile_size_px"),
    "guidance_scale": ({"guidance_scale": 3.5}, "takes no guidance: set guidance_scale to 1"),
    "offload": ({"offload": "disk"}, "offload"),
}


@pytest.fixture
def schnell_root(pipelines_root: Path, tmp_path: Path) -> Path:
    shutil.copytree(pipelines_root / "schnell", tmp_path / "schnell")
    return tmp_path


@pytest.mark.parametrize("key", ENTRIES)
def test_an_entry_that_promises_too_much_stops_the_start(schnell_root: Path, key: str) -> None:
    fields, reason = ENTRIES[key]
    with pytest.raises(RegistryError) as caught:
        write_pipeline_registry(schnell_root, schnell=fields)
    assert reason in str(caught.value)
    assert "entry 'schnell'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_family_and_offload_may_be_written(schnell_root: Path) -> None:
    fields = {"family": "pipeline", "offload": "model", "sampler": "euler"}
    registry = write_pipeline_registry(schnell_root, schnell=fields)
    assert registry.main_model("schnell").offload == "model"


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


INDEXES: dict[str, tuple[dict[str, object], str]] = {
    "no inpainting": ({"_class_name": "PixArtSigmaPipeline"}, "no inpainting with 'PixArtSigma"),
    "code of its own": ({"_class_name": ["pipeline", "Mine"]}, "no inpainting with ['pipeline'"),
    "foreign library": ({"transformer": ["evil", "Model"]}, "transformer is of the library 'evil'"),
    "other scheduler": (
        {"scheduler": ["diffusers", "FlowMatchHeunDiscreteScheduler"]},
        "the scheduler is FlowMatchHeunDiscreteScheduler",
    ),
    "no scheduler": ({"scheduler": [None, None]}, "the scheduler is none"),
    "odd component": ({"vae": ["diffusers"]}, "unusable config"),
}


@pytest.mark.parametrize("case", INDEXES)
def test_a_folder_that_cannot_be_run_stops_the_start(schnell_root: Path, case: str) -> None:
    changes, reason = INDEXES[case]
    edit(schnell_root / "schnell" / "model_index.json", **changes)
    with pytest.raises(RegistryError) as caught:
        write_pipeline_registry(schnell_root, schnell={})
    assert reason in str(caught.value)
    assert "model_index.json" in str(caught.value) or case == "odd component"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("folder", ["transformer", "vae"])
def test_a_missing_config_stops_the_start(schnell_root: Path, folder: str) -> None:
    file = schnell_root / "schnell" / folder / "config.json"
    file.unlink()
    with pytest.raises(RegistryError, match=str(file)):
        write_pipeline_registry(schnell_root, schnell={})


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"family": "pipeline"}, "models.yaml says family pipeline"),
        ({"offload": "model"}, "have no offload"),
    ],
)
def test_a_unet_checkpoint_has_neither_the_family_nor_offload(
    tmp_path: Path, fields: dict[str, Any], reason: str
) -> None:
    write_tiny_model(tmp_path / "nine", in_channels=9, scheduler=EPSILON)
    with pytest.raises(RegistryError, match=reason):
        write_pipeline_registry(tmp_path, nine=fields)
