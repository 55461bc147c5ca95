"""Loading pipeline models: from local files alone, whole or not at all, counted and copied."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.checkpoint import Checkpoint
from engine.engine import Engine
from engine.errors import GpuOutOfMemory, WeightsUnavailable
from engine.inpaint_pipeline import InpaintPipeline, copy_pipeline, load_pipeline, module_bytes
from engine.job import GenerationJob
from engine.loaded_model import bytes_on, load_model
from engine.model_cache import ModelCache
from engine.registry import MainModel, Registry
from tests.engine.pipelines.tiny_pipelines import KINDS, write_pipeline_registry
from tests.engine.runs import array

CPU = torch.device("cpu")
META = torch.device("meta")  # a device of its own that holds shapes alone


@pytest.fixture
def schnell(pipelines_root: Path, tmp_path: Path) -> Path:
    """A folder to damage."""
    return Path(shutil.copytree(pipelines_root / "schnell", tmp_path / "schnell"))


@pytest.fixture
def loaded(registry: Registry) -> InpaintPipeline:
    return load(registry.main_model("schnell"))


def load(model: MainModel, dtype: torch.dtype = torch.float32) -> InpaintPipeline:
    return load_pipeline(model, device=CPU, dtype=dtype)


def load_folder(folder: Path) -> InpaintPipeline:
    return load(write_pipeline_registry(folder.parent, schnell={}).main_model("schnell"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_of_the_folder_arrives(registry: Registry, kind: str) -> None:
    model = registry.main_model(kind)
    loaded = load(model)
    for part in ("transformer", "vae"):
        file = model.path / part / "diffusion_pytorch_model.safetensors"
        state = getattr(loaded.pipeline, part).state_dict()
        stored = load_file(file)
        assert state.keys() == stored.keys()
        for name, tensor in stored.items():
            assert torch.equal(state[name], tensor), name
    for module in loaded.modules:
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())


def drop(name: str) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        tensors = load_file(file)
        del tensors[name]
        save_file(tensors, file, metadata={"format": "pt"})

    return damage


def add(name: str) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        save_file(load_file(file) | {name: torch.ones(3)}, file, metadata={"format": "pt"})

    return damage


def reshape(name: str) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        save_file(load_file(file) | {name: torch.ones(3)}, file, metadata={"format": "pt"})

    return damage


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:5000])


def remove(file: Path) -> None:
    file.unlink()


def garble(file: Path) -> None:
    file.write_text("{")


_TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"
_T5_LAYER = "encoder.block.0.layer.0.SelfAttention.q.weight"
DAMAGES: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "missing": (_TRANSFORMER, drop("x_embedder.bias"), "missing 'x_embedder.bias'"),
    "extra": (_TRANSFORMER, add("y_embedder.bias"), "unexpected 'y_embedder.bias'"),
    "misshaped": (_TRANSFORMER, reshape("x_embedder.bias"), "'x_embedder.bias' has the shape"),
    "truncated": (_TRANSFORMER, truncate, "transformer"),
    "no weights": (_TRANSFORMER, remove, "no such file"),
    "VAE": ("vae/diffusion_pytorch_model.safetensors", truncate, "vae"),
    "text encoder": ("text_encoder_2/model.safetensors", drop(_T5_LAYER), _T5_LAYER),
    "text encoder truncated": ("text_encoder/model.safetensors", truncate, "text_encoder"),
    "tokenizer": ("tokenizer_2/tokenizer.json", garble, "tokenizer_2"),
    "scheduler": ("scheduler/scheduler_config.json", garble, "scheduler"),
    "config": ("text_encoder/config.json", remove, "text_encoder"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_part_is_named_in_one_line(schnell: Path, case: str) -> None:
    file, damage, named = DAMAGES[case]
    damage(schnell / file)
    with pytest.raises(WeightsUnavailable) as caught:
        load_folder(schnell)
    assert named in str(caught.value)
    assert str(schnell) in str(caught.value)
    assert "\n" not in str(caught.value)


def edit_index(folder: Path, **changes: object) -> None:
    file = folder / "model_index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_class_that_is_not_installed_is_named(schnell: Path) -> None:
    edit_index(schnell, transformer=["diffusers", "FluxTransformer9DModel"])
    with pytest.raises(WeightsUnavailable, match="has no 'FluxTransformer9DModel'"):
        load_folder(schnell)


def test_a_component_too_few_is_named(schnell: Path) -> None:
    index = json.loads((schnell / "model_index.json").read_text())
    del index["tokenizer_2"]
    (schnell / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsUnavailable, match="tokenizer_2"):
        load_folder(schnell)


def test_a_pickle_is_not_read(schnell: Path) -> None:
    folder = schnell / "text_encoder"
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsUnavailable, match="text_encoder"):
        load_folder(schnell)


def test_a_damaged_model_fails_its_job_and_no_other(
    schnell: Path, pipelines_root: Path, flux_job: GenerationJob
) -> None:
    truncate(schnell / _TRANSFORMER)
    shutil.copytree(pipelines_root / "flux", schnell.parent / "flux")
    engine = Engine(write_pipeline_registry(schnell.parent, flux={}, schnell={}))
    with pytest.raises(WeightsUnavailable, match="schnell"):
        engine.generate(replace(flux_job, model_name="schnell"))
    assert len(engine.generate(flux_job)) == 1


def test_weights_are_no_views_of_their_files(schnell: Path) -> None:
    loaded = load_folder(schnell)
    before = loaded.pipeline.transformer.x_embedder.weight.clone()
    text_before = loaded.pipeline.text_encoder_2.shared.weight.clone()
    for file in schnell.rglob("*.safetensors"):
        size = file.stat().st_size
        with file.open("r+b") as opened:  # in place, as a careless copy does
            opened.write(b"\xff" * size)
    assert torch.equal(loaded.pipeline.transformer.x_embedder.weight, before)
    assert torch.equal(loaded.pipeline.text_encoder_2.shared.weight, text_before)


def test_float16_becomes_bfloat16(registry: Registry, flux_job: GenerationJob) -> None:
    loaded = load(registry.main_model("schnell"), torch.float16)
    assert {parameter.dtype for module in loaded.modules for parameter in module.parameters()} == {
        torch.bfloat16
    }
    (image,) = Engine(registry, dtype=torch.float16).generate(flux_job)
    assert array(image).std() > 0


# --- memory ---


def test_a_copy_is_of_new_modules_and_the_original_stays(loaded: InpaintPipeline) -> None:
    before = loaded.pipeline.transformer.x_embedder.weight.clone()
    copied = copy_pipeline(loaded, META)
    assert (copied.device, loaded.device) == (META, CPU)
    for module in copied.modules:
        assert {parameter.device for parameter in module.parameters()} == {META}
    assert torch.equal(loaded.pipeline.transformer.x_embedder.weight, before)
    assert copied.pipeline.tokenizer is loaded.pipeline.tokenizer
    assert copied.num_bytes_on(META) == loaded.num_bytes_on(CPU)


def test_a_copy_paints_the_same(registry: Registry, flux_job: GenerationJob) -> None:
    engine = Engine(registry)
    (original,) = engine.generate(flux_job)
    tier = engine._models._device
    loaded = tier.get("flux")
    assert isinstance(loaded, InpaintPipeline)
    tier.put(copy_pipeline(loaded, CPU))
    (image,) = engine.generate(flux_job)
    assert tier.get("flux") is not loaded
    assert image.image.tobytes() == original.image.tobytes()


def test_memory_that_runs_out_half_way_leaves_the_original(
    loaded: InpaintPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, left = torch.Tensor.to, [20]

    def to(tensor: torch.Tensor, *args: object, **options: object) -> torch.Tensor:
        if args and args[0] == META:
            left[0] -= 1
            if left[0] < 0:
                raise torch.OutOfMemoryError("out of memory")
        return original(tensor, *args, **options)

    monkeypatch.setattr(torch.Tensor, "to", to)
    with pytest.raises(GpuOutOfMemory, match="'schnell' does not fit"):
        copy_pipeline(loaded, META)
    monkeypatch.undo()
    for module in loaded.modules:
        assert {parameter.device for parameter in module.parameters()} == {CPU}


def test_what_is_offloaded_counts_by_what_is_on_the_device(loaded: InpaintPipeline) -> None:
    cuda = torch.device("cuda")
    sizes = [module_bytes(module) for module in loaded.modules]
    assert loaded.num_bytes_on(cuda) == sum(sizes)
    assert replace(loaded, offload="model").num_bytes_on(cuda) == max(sizes)
    assert replace(loaded, offload="sequential").num_bytes_on(cuda) == 0
    assert replace(loaded, offload="model").num_bytes_on(CPU) == sum(sizes)
    assert sum(sizes) > 2 * max(sizes) > 0


def test_the_cache_holds_pipelines_and_checkpoints_side_by_side(
    registry: Registry, tiny_registry: Registry
) -> None:
    schnell, nine = registry.main_model("schnell"), tiny_registry.main_model("nine")
    size = bytes_on(load_model(schnell, device=CPU, dtype=torch.float32), CPU)
    names = []

    def counted(model: MainModel, **where: object) -> Checkpoint | InpaintPipeline:
        names.append(model.name)
        return load_model(model, **where)

    cache = ModelCache(
        device=META, dtype=torch.float32, device_bytes=size, host_bytes=10**9, load=counted
    )
    for model in (schnell, nine, schnell):
        held = cache.get(model)
        assert (held.name, held.device) == (model.name, META)
    assert isinstance(cache.get(schnell), InpaintPipeline)
    assert isinstance(cache.get(nine), Checkpoint)
    assert names == ["schnell", "nine"]


@pytest.mark.gpu
@pytest.mark.parametrize("offload", ["none", "model", "sequential"])
@pytest.mark.parametrize("kind", KINDS)
def test_on_a_gpu_every_kind_paints_at_every_offload(
    pipelines_root: Path, flux_job: GenerationJob, kind: str, offload: str
) -> None:
    engine = Engine(
        write_pipeline_registry(pipelines_root, **{kind: {"offload": offload}}),
        device="cuda",
        dtype=torch.float32,
    )
    job = replace(flux_job, model_name=kind)
    first, second = (engine.generate(job)[0] for _ in range(2))
    assert first.image.tobytes() == second.image.tobytes()
    (on_cpu,) = Engine(write_pipeline_registry(pipelines_root, **{kind: {}})).generate(job)
    assert abs(array(first) - array(on_cpu)).mean() < 2
