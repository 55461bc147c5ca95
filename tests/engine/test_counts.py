"""What a request costs, counted: forwards of the models and files opened."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from PIL import Image

from engine.counts import CacheCounts
from engine.engine import Engine
from engine.job import AdapterWeight, GenerationJob, Sampler
from engine.registry import load_registry
from tests.engine.calls import ModelCalls, OpenedFiles, counted_calls
from tests.engine.lora_files import write_unet_lora
from tests.engine.runs import drain, images
from tests.engine.tiny import EPSILON, V_ZERO_SNR, write_tiny_model, write_tiny_sdxl

REFERENCE = Image.new("RGB", (64, 64), "orange")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("counts")
    write_tiny_model(root / "nine", in_channels=9, scheduler=V_ZERO_SNR)
    write_tiny_model(root / "four", in_channels=4, scheduler=EPSILON)
    write_tiny_sdxl(root / "xl", in_channels=9, scheduler=EPSILON)
    families = {"nine": "sd1", "four": "sd1", "xl": "sdxl"}
    for number in range(2):
        write_unet_lora(root / f"lora{number}.safetensors", root / "nine", rank=3, seed=number)
    content = {
        "default_model": "nine",
        "models": [
            {"name": name, "path": name, "family": family, "native_size_px": 64}
            for name, family in families.items()
        ],
        "sub_models": [
            {"name": f"lora{number}", "kind": "lora", "path": f"lora{number}.safetensors"}
            for number in range(2)
        ],
    }
    (root / "models.yaml").write_text(yaml.safe_dump(content))
    return root


@pytest.fixture
def engine(folder: Path) -> Engine:
    """On models that are loaded, with nothing encoded."""
    return Engine(load_registry(folder / "models.yaml"))


@pytest.fixture
def job() -> GenerationJob:
    foreground = Image.new("RGBA", (64, 64), (200, 30, 30, 255))
    foreground.paste((0, 0, 0, 0), (0, 0, 64, 24))
    return GenerationJob(
        job_id="job",
        model_name="nine",
        foreground=foreground,
        prompt="blue sky",
        negative_prompt="night",
        seed=40,
        num_inference_steps=6,
        guidance_scale=5.0,
    )


@pytest.fixture
def calls() -> Iterator[ModelCalls]:
    with counted_calls() as counted:
        yield counted


def test_a_guided_request_takes_one_forward_of_two_rows_a_step(
    engine: Engine, calls: ModelCalls, job: GenerationJob
) -> None:
    engine.generate(job)
    assert calls.unet == [2] * 6
    assert calls.encode == [1]
    assert calls.decode == [1]
    assert calls.text == [1, 1]


def test_without_guidance_it_takes_one_row(
    engine: Engine, calls: ModelCalls, job: GenerationJob
) -> None:
    engine.generate(replace(job, guidance_scale=1.0))
    assert calls.unet == [1] * 6


@pytest.mark.parametrize("sampler", Sampler)
def test_a_sampler_takes_the_forwards_its_plan_says(
    engine: Engine, calls: ModelCalls, job: GenerationJob, sampler: Sampler
) -> None:
    forwards = 11 if sampler is Sampler.HEUN else 6
    job = replace(job, sampler=sampler, reference=REFERENCE, strength=0.6)
    assert engine.add(job).total_steps == forwards
    drain(engine)
    assert calls.unet == [2] * forwards


def test_the_images_of_a_request_share_forwards_and_encodings(
    engine: Engine, calls: ModelCalls, job: GenerationJob
) -> None:
    engine.generate(replace(job, num_images=4))
    assert calls.unet == [8] * 6
    assert calls.encode == [1]
    assert calls.text == [1, 1]
    assert sum(calls.decode) == 4


@pytest.mark.parametrize(
    ("model_name", "strength", "encodings"),
    [
        ("nine", 1.0, 1),  # masked image
        ("nine", 0.6, 2),  # and the init image
        ("four", 1.0, 1),  # init image
        ("four", 0.6, 1),
        ("nine", 0.0, 0),
    ],
)
def test_only_what_the_model_sees_is_encoded(
    engine: Engine,
    calls: ModelCalls,
    job: GenerationJob,
    model_name: str,
    strength: float,
    encodings: int,
) -> None:
    reference = None if strength == 1.0 else REFERENCE
    engine.generate(replace(job, model_name=model_name, reference=reference, strength=strength))
    assert calls.encode == [1] * encodings


def test_strength_zero_runs_no_model(engine: Engine, calls: ModelCalls, job: GenerationJob) -> None:
    engine.generate(replace(job, reference=REFERENCE, strength=0.0))
    assert calls == ModelCalls()


def test_sdxl_reads_a_prompt_once_with_each_encoder(
    engine: Engine, calls: ModelCalls, job: GenerationJob
) -> None:
    engine.generate(replace(job, model_name="xl", num_images=2))
    assert calls.unet == [4] * 6
    assert calls.text == [1, 1, 1, 1]


def test_a_large_canvas_takes_one_encoding_a_pass_and_every_tile_once_a_step(
    engine: Engine, calls: ModelCalls, job: GenerationJob
) -> None:
    plan = engine.add(replace(job, width_px=256, height_px=256))
    drain(engine)
    composing, refining = plan.passes
    assert refining.tile_px is not None
    tiles = [rows // 2 for rows in calls.unet[composing.num_forwards :]]
    assert calls.unet[: composing.num_forwards] == [2] * composing.num_forwards
    assert sum(tiles) % refining.num_forwards == 0
    assert sum(tiles) // refining.num_forwards > (256 * 256) // (plan.passes[1].tile_px[0] ** 2)
    assert calls.encode == [1, 1]
    assert sum(calls.decode) == 1


def test_a_new_prompt_on_the_same_image_encodes_no_image(
    engine: Engine, calls: ModelCalls, job: GenerationJob
) -> None:
    engine.generate(replace(job, reference=REFERENCE, strength=0.6))
    calls.clear()
    engine.generate(replace(job, reference=REFERENCE, strength=0.7, prompt="a beach", seed=9))
    assert calls.encode == []
    assert len(calls.text) > 0


def test_a_new_image_under_the_same_prompts_encodes_no_text(
    engine: Engine, calls: ModelCalls, job: GenerationJob
) -> None:
    engine.generate(job)
    calls.clear()
    other = Image.new("RGBA", (64, 64), (20, 90, 30, 255))
    other.paste((0, 0, 0, 0), (0, 0, 32, 64))
    engine.generate(replace(job, foreground=other))
    assert calls.text == []
    assert calls.encode == [1]


def test_a_changed_pixel_or_mask_is_encoded_anew(
    engine: Engine, calls: ModelCalls, job: GenerationJob
) -> None:
    engine.generate(job)
    pixel, mask = job.foreground.copy(), job.foreground.copy()
    pixel.putpixel((40, 40), (201, 30, 30, 255))
    mask.putpixel((40, 40), (200, 30, 30, 0))
    calls.clear()
    for changed in (pixel, mask):
        engine.generate(replace(job, foreground=changed))
    assert calls.encode == [1, 1]


def test_requests_in_flight_together_compute_no_row_twice(
    engine: Engine, calls: ModelCalls, job: GenerationJob
) -> None:
    steps = {"a": 6, "b": 7, "c": 9}
    for name, num_steps in steps.items():
        engine.add(replace(job, job_id=name, num_inference_steps=num_steps, seed=num_steps))
    events = drain(engine)
    assert all(len(images(events, name)) == 1 for name in steps)
    assert sum(calls.unet) == 2 * sum(steps.values())
    assert calls.encode == [1]


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux which files are opened")
class TestFiles:
    @pytest.fixture
    def opened(self, folder: Path) -> Iterator[OpenedFiles]:
        files = OpenedFiles(folder)
        yield files
        files.close()

    def test_a_request_on_a_loaded_model_opens_no_file(
        self, engine: Engine, job: GenerationJob, opened: OpenedFiles
    ) -> None:
        engine.generate(job)
        assert opened.take()["nine/unet/diffusion_pytorch_model.safetensors"] > 0
        engine.generate(replace(job, prompt="a beach", seed=3, num_images=2))
        assert opened.take() == {}

    def test_a_lora_is_read_at_its_first_use_alone(
        self, engine: Engine, job: GenerationJob, opened: OpenedFiles
    ) -> None:
        both = [replace(job, adapters=(AdapterWeight(f"lora{n}", 0.2),)) for n in range(2)]
        # Planning the first job with any LoRA reads the width of the model's prompts.
        engine.generate(replace(job, adapters=(AdapterWeight("lora0", 0.0),)))
        opened.take()
        engine.generate(both[0])
        assert opened.take() == {"lora0.safetensors": 1}
        engine.generate(both[1])
        assert opened.take() == {"lora1.safetensors": 1}
        for again in (*both, replace(both[0], adapters=both[0].adapters + both[1].adapters)):
            engine.generate(again)
        assert opened.take() == {}

    def test_a_lora_of_weight_zero_is_not_read(
        self, engine: Engine, job: GenerationJob, opened: OpenedFiles
    ) -> None:
        engine.generate(job)
        opened.take()
        engine.generate(replace(job, adapters=(AdapterWeight("lora0", 0.0),)))
        assert "lora0.safetensors" not in opened.take()

    def test_a_lora_that_changed_on_disk_is_read_again(
        self, engine: Engine, job: GenerationJob, opened: OpenedFiles, folder: Path
    ) -> None:
        using = replace(job, adapters=(AdapterWeight("lora0", 0.2),))
        engine.generate(using)
        write_unet_lora(folder / "lora0.safetensors", folder / "nine", rank=2, seed=7)
        opened.take()
        engine.generate(using)
        assert opened.take()["lora0.safetensors"] > 0


def test_lora_files_and_changes_of_loras_are_counted(engine: Engine, job: GenerationJob) -> None:
    def paint(*names: str) -> None:
        adapters = tuple(AdapterWeight(name, 0.5) for name in names)
        engine.generate(replace(job, adapters=adapters))

    paint()
    assert engine.tally.counts.lora_switches == 0
    paint("lora0")
    paint("lora0")
    assert engine.tally.counts.lora_switches == 1
    paint("lora1")
    paint()
    paint("lora0")
    assert engine.tally.counts.lora_switches == 4
    assert engine.tally.counts.caches["loras"] == CacheCounts(hits=2, misses=2)
