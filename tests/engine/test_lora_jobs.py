"""LoRAs as jobs use them: named as sub-models, with a weight, beside jobs that use others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from diffusers import UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from engine.checkpoint import Checkpoint
from engine.engine import Engine
from engine.errors import GpuOutOfMemory, IncompatibleAdapter
from engine.events import ImageFailed, StepDone
from engine.job import AdapterWeight, GeneratedImage, GenerationJob
from engine.registry import Registry, load_registry
from tests.engine.adapters import lora_writer
from tests.engine.adapters.forwards import digest, hooks_on
from tests.engine.adapters.lora_writer import Kind, dora, modules_of, write_lora
from tests.engine.runs import assert_same_image, drain, images
from tests.engine.tiny import EPSILON, V_ZERO_SNR, write_tiny_model, write_tiny_sdxl

CLASSES = {
    "unet": UNet2DConditionModel,
    "text_encoder": CLIPTextModel,
    "text_encoder_2": CLIPTextModelWithProjection,
}
LORAS: dict[str, tuple[Kind, int]] = {
    "plain": (lora_writer.lora, 3),
    "wide": (lora_writer.lora, 11),
    "dora": (dora(lora_writer.lora), 4),
    "loha": (lora_writer.loha, 9),
    "lokr": (lora_writer.lokr, 4),
}


def quiet(kind: Kind) -> Kind:
    """The kind at a quarter of its strength: what a random model paints stays a picture."""

    def make(rng: np.random.Generator, base: np.ndarray, rank: int) -> lora_writer.Made:
        parts, delta = kind(rng, base, rank)
        if ".dora_scale" in parts or ".lokr_w2" in parts:
            return parts, delta
        return parts | {".alpha": parts[".alpha"] / 4}, delta / 4

    return make


def stem_of(model: str, path: str) -> str:
    if model != "unet" and path.startswith("encoder."):  # as transformers 4 and kohya spell it
        path = f"text_model.{path}"
    return f"{model}.{path}"


def write_model_lora(file: Path, folder: Path, kind: Kind, max_rank: int, merged: Path) -> None:
    """A LoRA for every module of UNet and text encoders, and the models with it merged in."""
    for number, (name, model_class) in enumerate(CLASSES.items()):
        if not (folder / name).is_dir():
            continue
        model = model_class.from_pretrained(folder / name)
        modules = modules_of(model)
        stems = {stem_of(name, path): each.weight for path, each in modules.items()}
        part = file.with_name(f"{name}.part")
        deltas = write_lora(part, quiet(kind), stems, seed=number, max_rank=max_rank)
        for module, delta in zip(modules.values(), deltas.values(), strict=True):
            module.weight.data = (module.weight.double() + torch.from_numpy(delta)).float()
        model.save_pretrained(merged / name)
    tensors: dict[str, torch.Tensor] = {}
    for part in file.parent.glob("*.part"):
        tensors |= load_file(part)
        part.unlink()
    save_file(tensors, file)


def registry_of(folder: Path, models: dict[str, str], loras: list[str]) -> Registry:
    entries: list[dict[str, Any]] = [
        {"name": name, "path": name, "family": family, "native_size_px": 256, "min_area_ratio": 0}
        for name, family in models.items()
    ]
    subs = [{"name": name, "kind": "lora", "path": f"{name}.safetensors"} for name in loras]
    content = {"default_model": next(iter(models)), "models": entries, "sub_models": subs}
    file = folder / "models.yaml"
    file.write_text(yaml.safe_dump(content))
    return load_registry(file)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """A model and, for every LoRA, the same model with that LoRA merged into its weights."""
    root: Path = tmp_path_factory.mktemp("loras")
    write_tiny_model(root / "nine", in_channels=9, scheduler=V_ZERO_SNR)
    for name, (kind, max_rank) in LORAS.items():
        write_tiny_model(root / f"with_{name}", in_channels=9, scheduler=V_ZERO_SNR)
        file = root / f"{name}.safetensors"
        write_model_lora(file, root / "nine", kind, max_rank, root / f"with_{name}")
    save_file(
        {**_partial("lora_unet_conv_in"), **_partial("lora_unet_nowhere")},
        root / "part.safetensors",
    )
    save_file(_partial("lora_unet_nowhere"), root / "stranger.safetensors")
    models = {"nine": "sd1"} | {f"with_{name}": "sd1" for name in LORAS}
    return registry_of(root, models, [*LORAS, "part", "stranger"])


def _partial(stem: str) -> dict[str, torch.Tensor]:
    return {
        f"{stem}.lora_down.weight": torch.full((1, 9, 3, 3), 0.1),
        f"{stem}.lora_up.weight": torch.full((16, 1, 1, 1), 0.1),
    }


@pytest.fixture
def engine(registry: Registry) -> Iterator[Engine]:
    engine = Engine(registry)
    before = digests(engine)
    yield engine
    assert not engine.busy
    assert digests(engine) == before, "base weights keep every byte"


def checkpoint_of(engine: Engine) -> Checkpoint:
    return engine._models.get(engine.registry.main_model("nine"))


def digests(engine: Engine) -> str:
    checkpoint = checkpoint_of(engine)
    assert hooks_on(checkpoint.unet, *checkpoint.text_encoders) == 0
    return digest(checkpoint.unet, *checkpoint.text_encoders)


def using(job: GenerationJob, *names: str, weight: float = 1.0, **changes: Any) -> GenerationJob:
    adapters = tuple(AdapterWeight(name, weight) for name in names)
    return replace(job, adapters=adapters, prompt="blue sky", negative_prompt="night", **changes)


def pixels(image: GeneratedImage) -> bytes:
    return image.image.tobytes()


@pytest.mark.parametrize("name", LORAS)
def test_a_job_with_a_lora_paints_what_the_merged_model_paints(
    engine: Engine, job: GenerationJob, name: str
) -> None:
    (beside,) = engine.generate(using(job, name))
    (merged,) = engine.generate(using(job, model_name=f"with_{name}"))
    assert_same_image(beside, merged)
    (plain,) = engine.generate(using(job))
    assert pixels(beside) != pixels(plain)
    assert beside.parameters["adapters"] == [[name, 1.0]]
    assert beside.parameters["notes"] == []


def test_weight_zero_gives_the_bytes_of_no_lora(engine: Engine, job: GenerationJob) -> None:
    (plain,) = engine.generate(using(job))
    (zero,) = engine.generate(using(job, "plain", "dora", weight=0.0))
    assert pixels(zero) == pixels(plain)


def test_several_at_once_act_together(engine: Engine, job: GenerationJob) -> None:
    one, other = (pixels(engine.generate(using(job, name))[0]) for name in ("plain", "lokr"))
    both = pixels(engine.generate(using(job, "plain", "lokr"))[0])
    assert len({one, other, both}) == 3


@pytest.mark.parametrize("names", [("plain",), ("dora", "loha"), ("lokr",), ()])
def test_jobs_of_other_loras_share_the_forward_unharmed(
    engine: Engine, job: GenerationJob, names: tuple[str, ...]
) -> None:
    job = using(job, *names)
    (alone,) = engine.generate(job)
    engine.add(using(job, "wide", job_id="wide", seed=1))
    engine.add(using(job, "dora", job_id="dora", seed=2, weight=-0.5))
    engine.add(using(job, job_id="none", seed=3, guidance_scale=1.0))
    engine.step()
    engine.step()
    engine.add(job)
    assert_same_image(images(drain(engine), "job")[0], alone)


def test_batch_invariant_holds_to_the_byte_beside_other_loras(
    registry: Registry, job: GenerationJob
) -> None:
    engine = Engine(registry, batch_invariant=True, max_lanes=3)
    job = using(job, "plain", num_images=2)
    alone = engine.generate(job)
    engine.add(using(job, "wide", job_id="wide", seed=1))
    engine.add(using(job, job_id="none", seed=3))
    engine.add(job)
    for image, other in zip(images(drain(engine), "job"), alone, strict=True):
        assert pixels(image) == pixels(other)


@pytest.mark.parametrize("batch_invariant", [False, True])
def test_other_loras_share_a_forward_unless_rounding_must_not_depend_on_them(
    registry: Registry, job: GenerationJob, batch_invariant: bool
) -> None:
    engine = Engine(registry, batch_invariant=batch_invariant)
    checkpoint_of(engine)
    for name in ("plain", "wide"):
        engine.add(using(job, name, job_id=name))
    seen: list[set[str]] = []
    while engine.busy:
        engine.wait()
        seen.append({e.job_id for e in engine.step() if isinstance(e, StepDone)})
    assert ({"plain", "wide"} in seen) is not batch_invariant
    assert {"plain"} in seen


def test_a_failure_half_way_leaves_nothing_behind(engine: Engine, job: GenerationJob) -> None:
    (plain,) = engine.generate(using(job))

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("half-way through a forward")

    engine.add(using(job, "dora"))
    engine.step()
    handle = checkpoint_of(engine).unet.mid_block.register_forward_pre_hook(fail)
    (failed,) = [event for event in drain(engine) if isinstance(event, ImageFailed)]
    handle.remove()
    assert isinstance(failed.error, GpuOutOfMemory)
    assert pixels(engine.generate(using(job))[0]) == pixels(plain)


def test_a_cancelled_job_leaves_nothing_behind(engine: Engine, job: GenerationJob) -> None:
    (plain,) = engine.generate(using(job))
    engine.add(using(job, "plain"))
    engine.step()
    assert engine.cancel("job")
    assert pixels(engine.generate(using(job))[0]) == pixels(plain)


@pytest.mark.parametrize("cancel", [False, True])
def test_hooks_stay_while_a_lane_needs_them_and_go_with_the_last(
    engine: Engine, job: GenerationJob, cancel: bool
) -> None:
    unet = checkpoint_of(engine).unet
    engine.add(using(job, "plain", job_id="lora"))
    engine.add(using(job, job_id="base", num_inference_steps=20))
    hooked: dict[int, bool] = {}  # after each step of the LoRA's job
    while 6 not in hooked and engine.busy:
        engine.wait()
        events = [event for event in engine.step() if isinstance(event, StepDone)]
        if mine := [event.step for event in events if event.job_id == "lora"]:
            hooked[mine[0]] = hooks_on(unet) > 0
        if cancel and 3 in hooked:
            break
    if cancel:
        engine.cancel("lora")
    assert hooks_on(unet) == 0
    assert hooked == ({1: True, 2: True, 3: True} if cancel else {n: n < 6 for n in range(1, 7)})
    assert len(images(drain(engine), "base")) == 1


def test_a_partial_match_is_noted_in_the_result(engine: Engine, job: GenerationJob) -> None:
    (image,) = engine.generate(using(job, "part"))
    assert image.parameters["notes"] == [
        "part: 1 of its parts have no place in nine (first: lora_unet_nowhere), 1 modules act"
    ]


def test_a_lora_without_a_match_fails_its_job_and_no_other(
    engine: Engine, job: GenerationJob
) -> None:
    engine.add(using(job, "stranger", job_id="stranger"))
    engine.add(using(job, "plain"))
    events = drain(engine)
    (failed,) = [event for event in events if isinstance(event, ImageFailed)]
    assert failed.job_id == "stranger"
    assert isinstance(failed.error, IncompatibleAdapter)
    assert "\n" not in str(failed.error)
    assert len(images(events, "job")) == 1


def test_both_passes_of_a_large_canvas_use_the_lora(registry: Registry, job: GenerationJob) -> None:
    engine = Engine(registry)
    large = replace(job, width_px=400, height_px=400, foreground=Image.new("RGBA", (64, 64)))
    assert len(engine.add(using(large, "plain")).passes) == 2
    (beside,) = images(drain(engine), "job")
    (merged,) = engine.generate(using(large, model_name="with_plain"))
    assert_same_image(beside, merged)


def test_an_sdxl_lora_reaches_both_text_encoders(tmp_path: Path, job: GenerationJob) -> None:
    for name in ("nine", "merged"):
        write_tiny_sdxl(tmp_path / name, in_channels=9, scheduler=EPSILON)
    kind = dora(lora_writer.lora)
    write_model_lora(tmp_path / "xl.safetensors", tmp_path / "nine", kind, 4, tmp_path / "merged")
    registry = registry_of(tmp_path, {"nine": "sdxl", "merged": "sdxl"}, ["xl"])
    engine = Engine(registry)
    (beside,) = engine.generate(using(job, "xl"))
    (merged,) = engine.generate(using(job, model_name="merged"))
    assert_same_image(beside, merged)
    host = checkpoint_of(engine).adapters
    lora = host.lora(registry.sub_model("xl").path)
    assert set(lora.updates) == set(CLASSES)
    assert lora.unmatched == ()
