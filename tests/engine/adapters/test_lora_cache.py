"""LoRAs kept in memory: each file read once, bounded, and read while forwards run."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextModel

from engine.adapters.host import AdapterHost
from engine.adapters.lora_cache import LoraCounts
from engine.errors import WeightsUnavailable
from tests.engine.adapters import lora_writer
from tests.engine.adapters.forwards import assert_close, forward, forward_with, inputs, merged
from tests.engine.adapters.lora_writer import modules_of, write_lora


@pytest.fixture(scope="module")
def files(
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    tmp_path_factory: pytest.TempPathFactory,
) -> list[Path]:
    """Three LoRAs for every module of UNet and text encoder."""
    folder = tmp_path_factory.mktemp("loras")
    stems = {f"unet.{path}": module.weight for path, module in modules_of(unet).items()}
    for path, module in modules_of(text_encoder).items():
        stems[f"text_encoder.text_model.{path}"] = module.weight
    files = [folder / f"{seed}.safetensors" for seed in range(3)]
    for seed, file in enumerate(files):
        write_lora(file, lora_writer.lora, stems, seed=seed)
    return files


@pytest.fixture
def host(unet: UNet2DConditionModel, text_encoder: CLIPTextModel) -> Iterator[AdapterHost]:
    host = AdapterHost(unet, (text_encoder,))
    yield host
    host.rest()


def test_what_is_kept_is_bounded_and_the_latest_used_stay(
    unet: UNet2DConditionModel, files: list[Path]
) -> None:
    size = AdapterHost(unet, ()).lora(files[0]).num_bytes
    assert size > 0
    host = AdapterHost(unet, (), max_bytes=2 * size)
    first, second = host.lora(files[0]), host.lora(files[1])
    assert host.num_bytes == 2 * size
    assert host.lora(files[0]) is first
    host.lora(files[2])
    assert host.num_bytes == 2 * size
    assert host.lora(files[0]) is first
    assert host.lora(files[1]) is not second
    assert host.counts == LoraCounts(hits=2, reads=4, evictions=2)
    tight = AdapterHost(unet, (), max_bytes=1)
    tight.lora(files[0])
    assert tight.num_bytes == size, "a single one is kept whatever it takes"
    tight.clear()
    assert tight.num_bytes == 0


def test_one_that_is_put_out_acts_on_while_it_is_held(
    unet: UNet2DConditionModel, files: list[Path]
) -> None:
    host = AdapterHost(unet, (), max_bytes=1)
    held = ((host.lora(files[0]), 1.0),)
    before = forward_with(host, unet, [held], inputs(1))
    host.lora(files[1])
    assert torch.equal(forward_with(host, unet, [held], inputs(1)), before)


def test_a_file_that_changed_is_loaded_again(unet: UNet2DConditionModel, tmp_path: Path) -> None:
    host, file = AdapterHost(unet, ()), tmp_path / "lora.safetensors"
    stems = {f"unet.{path}": module.weight for path, module in modules_of(unet).items()}
    write_lora(file, lora_writer.lora, stems, seed=1)
    first = host.lora(file)
    changed = write_lora(file, lora_writer.lora, stems, seed=2, max_rank=4)
    second = host.lora(file)
    assert second is not first
    deltas = {stem.removeprefix("unet."): delta for stem, delta in changed.items()}
    actual = forward_with(host, unet, [((second, 1.0),)], inputs(1))
    assert_close(actual, forward(merged(unet, (deltas, 1.0)), inputs(1)))


def test_a_file_under_two_names_is_read_once(
    host: AdapterHost, files: list[Path], tmp_path: Path
) -> None:
    other = tmp_path / "other.safetensors"
    os.link(files[0], other)
    assert host.lora(other) is host.lora(files[0])
    assert host.counts == LoraCounts(hits=1, reads=1)


def test_a_file_that_cannot_be_read_leaves_what_is_kept(
    host: AdapterHost, files: list[Path], tmp_path: Path
) -> None:
    kept = host.lora(files[0])
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(files[1].read_bytes()[:-1])
    for path in (broken, tmp_path / "missing.safetensors"):
        with pytest.raises(WeightsUnavailable, match=path.name):
            host.lora(path)
    assert host.lora(files[0]) is kept
    assert host.counts == LoraCounts(hits=1, reads=1)


def test_threads_that_want_the_same_file_read_it_once(host: AdapterHost, files: list[Path]) -> None:
    barrier = threading.Barrier(6)

    def ask(number: int) -> object:
        barrier.wait()
        return host.lora(files[number % 2])

    with ThreadPoolExecutor(6) as pool:
        loras = list(pool.map(ask, range(6)))
    assert len(set(loras)) == 2
    assert host.counts == LoraCounts(hits=4, reads=2)


def test_reading_and_text_encoding_on_another_thread_do_not_touch_the_forwards(
    unet: UNet2DConditionModel, text_encoder: CLIPTextModel, files: list[Path]
) -> None:
    host = AdapterHost(unet, (text_encoder,), max_bytes=1)  # every other one is read anew
    rows = [((host.lora(files[0]), 1.0),), (), ((host.lora(files[1]), 0.5),)]
    arguments, tokens = inputs(3), torch.tensor([[1, 5, 2]])
    expected = forward_with(host, unet, rows, arguments)
    plain = forward(unet, arguments)
    stop = threading.Event()

    @torch.inference_mode()
    def prepare() -> int:
        rounds = 0
        while not stop.is_set() or rounds == 0:
            lora = host.lora(files[rounds % 3])
            with host.text_encoding(((lora, 1.0),)):
                text_encoder(tokens)
            rounds += 1
        return rounds

    with ThreadPoolExecutor(1) as pool:
        rounds = pool.submit(prepare)
        try:
            for _ in range(20):
                with host.unet_rows(rows):
                    assert torch.equal(forward(unet, arguments), expected)
                with host.unet_rows([(), (), ()]):
                    assert torch.equal(forward(unet, arguments), plain)
        finally:
            stop.set()
        assert rounds.result() > 0
