"""What the rows on the engine rest on: clocks that change nothing, sides that do the same work."""

from __future__ import annotations

import time

import pytest
import torch
from diffusers import UNet2DConditionModel

from engine.adapters.host import AdapterHost
from engine.engine import Engine
from scripts.benchmark.bench import QUICK, Bench
from scripts.benchmark.call_clock import CallClock, unet_clock
from scripts.benchmark.engine_jobs import engine_of, job_of
from scripts.benchmark.loop_cost import loop_cost
from scripts.benchmark.lora_memory import MIB, growth_per_100
from scripts.benchmark.lora_set import LoraSet, write_lora_set
from scripts.benchmark.lora_throughput import WEIGHT
from scripts.benchmark.yardsticks import load_pipeline


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"), QUICK)


@pytest.fixture(scope="module")
def loras(bench: Bench) -> LoraSet:
    return write_lora_set(bench.shape("T"), bench.model_folder("T"), bench.scratch("loras"))


class Sleeper:
    def nap(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds


def test_a_clock_tells_how_long_calls_and_the_pauses_between_them_take() -> None:
    sleeper = Sleeper()
    with CallClock(Sleeper, "nap") as clock:
        assert sleeper.nap(0.03) == 0.03
        time.sleep(0.02)
        sleeper.nap(0.01)
    first, second = (call.seconds for call in clock.calls)
    (pause,) = clock.pauses
    assert first >= 0.03
    assert second >= 0.01
    assert pause >= 0.02
    assert clock.seconds == first + second


def test_a_clock_leaves_the_class_as_it_was_whatever_happens() -> None:
    def fail_while_timed() -> None:
        with unet_clock():
            assert UNet2DConditionModel.forward is not original
            raise ZeroDivisionError

    original = UNet2DConditionModel.forward
    with pytest.raises(ZeroDivisionError):
        fail_while_timed()
    assert UNet2DConditionModel.forward is original


def test_a_clock_changes_no_pixel(bench: Bench) -> None:
    engine, job = engine_of(bench, "T"), job_of(bench.shape("T"))
    (plain,) = engine.generate(job)
    with unet_clock() as clock:
        (timed,) = engine.generate(job)
    assert len(clock.calls) == job.num_inference_steps
    assert timed.image.tobytes() == plain.image.tobytes()


@torch.inference_mode()
def test_both_sides_make_the_same_of_a_lora_file(bench: Bench, loras: LoraSet) -> None:
    shape = bench.shape("T")
    pipeline = load_pipeline(loras.model)
    generator = torch.Generator().manual_seed(0)
    width = int(pipeline.unet.config.cross_attention_dim)
    sample = torch.randn(2, 9, shape.latent_px, shape.latent_px, generator=generator)
    inputs = (sample, 500.0, torch.randn(2, 77, width, generator=generator))
    unet = UNet2DConditionModel.from_pretrained(loras.model / "unet").eval()
    plain = unet(*inputs)[0]
    host = AdapterHost(unet, [])
    lora = host.lora(loras.files[0])
    assert lora.unmatched == ()
    with host.unet_rows([((lora, WEIGHT),)] * 2):
        ours = unet(*inputs)[0]
    pipeline.load_lora_weights(loras.files[0], adapter_name="one")
    pipeline.set_adapters(["one"], [WEIGHT])
    theirs = pipeline.unet(*inputs)[0]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert (ours - plain).abs().max() > 1e-3


def test_the_loras_of_a_set_are_known_by_the_names_of_their_files(loras: LoraSet) -> None:
    assert len(set(loras.names)) == len(loras.files) == 8
    for name, file in zip(loras.names, loras.files, strict=True):
        assert loras.registry.sub_model(name).path == file
    assert Engine(loras.registry).registry.default_model in loras.registry.models


def test_growth_is_the_slope_of_the_second_half() -> None:
    warming_up = [20 * MIB, 90 * MIB, 120 * MIB, 140 * MIB]
    steady = [140 * MIB + number * MIB // 4 for number in range(4)]
    assert growth_per_100(warming_up + steady) == pytest.approx(2.5)


def test_the_loop_cost_of_both_sides_is_a_short_time(bench: Bench) -> None:
    measures = {each.name: each.value for each in loop_cost(bench)}
    for side in ("ours", "diffusers"):
        assert 0.01 < measures[f"loop cost a step, {side}, one image"] < 100  # ms
