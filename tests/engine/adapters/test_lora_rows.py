"""Rows of one forward with different adapters; hooks and base weights before, during and after."""

from __future__ import annotations

import copy
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextModel

from engine.adapters.host import AdapterHost
from engine.adapters.load import Lora
from tests.engine.adapters import lora_writer
from tests.engine.adapters.forwards import (
    assert_close,
    digest,
    forward,
    forward_with,
    hooks_on,
    inputs,
    merged,
)
from tests.engine.adapters.lora_writer import dora, modules_of, write_lora

Deltas = dict[str, np.ndarray]


def write(folder: Path, name: str, kind, modules, **options) -> tuple[Path, Deltas]:  # type: ignore[no-untyped-def]
    file = folder / f"{name}.safetensors"
    stems = {f"unet.{path}": module.weight for path, module in modules.items()}
    dense = write_lora(file, kind, stems, **options)
    return file, {stem.removeprefix("unet."): delta for stem, delta in dense.items()}


@pytest.fixture(scope="module")
def host(unet: UNet2DConditionModel) -> AdapterHost:
    return AdapterHost(unet, ())


@pytest.fixture(scope="module")
def mix(
    unet: UNet2DConditionModel, host: AdapterHost, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Lora, Deltas]]:
    """One LoRA of each way of running, on overlapping parts of the UNet."""
    folder = tmp_path_factory.mktemp("mix")
    modules = modules_of(unet)
    attention = {path: each for path, each in modules.items() if "attentions" in path}
    resnets = {path: each for path, each in modules.items() if "resnets" in path}
    files = {
        "lora": write(folder, "lora", lora_writer.lora, modules, seed=1),
        "wide": write(folder, "wide", lora_writer.lora, attention, seed=2, max_rank=12),
        "dora": write(folder, "dora", dora(lora_writer.lora), modules, seed=3),
        "loha": write(folder, "loha", lora_writer.loha, resnets, seed=4, max_rank=9),
        "lokr": write(folder, "lokr", lora_writer.lokr, modules, seed=5),
        "dense": write(folder, "dense", dora(lora_writer.lokr), attention, seed=6),
    }
    return {name: (host.lora(file), deltas) for name, (file, deltas) in files.items()}


ROWS = {
    "two_loras_and_a_plain_row": [{"lora": 1.0}, {}, {"wide": 0.4}],
    "several_at_once": [{"lora": 0.3, "wide": -0.7, "dora": 0.5}] * 2,
    "every_kind": [{"lora": 1.0}, {"dora": 0.6}, {"loha": 0.9}, {"lokr": 0.2}, {"dense": 1.2}, {}],
    "pairs_in_any_order": [{"lokr": 0.3, "dense": 0.5}, {"dense": -0.5, "lora": 0.1, "loha": 0.2}],
    "same_lora_other_weight": [{"dora": 0.1}, {"dora": 1.0}, {"dora": -1.0}, {"dora": 2.0}],
    "dense_rows_apart": [{"dense": 0.5}, {}, {"dense": 1.0}, {"lora": 0.5}],
}


@pytest.mark.parametrize("name", ROWS)
def test_every_row_of_a_mixed_forward_gets_its_own_adapters(
    unet: UNet2DConditionModel, host: AdapterHost, mix: dict[str, tuple[Lora, Deltas]], name: str
) -> None:
    rows = ROWS[name]
    arguments = inputs(len(rows))
    sets = [tuple((mix[each][0], weight) for each, weight in row.items()) for row in rows]
    actual = forward_with(host, unet, sets, arguments)
    for number, row in enumerate(rows):
        alone = {key: value[number : number + 1] for key, value in arguments.items()}
        model = merged(unet, *((mix[each][1], weight) for each, weight in row.items()))
        assert_close(actual[number : number + 1], forward(model, alone))


@pytest.mark.parametrize("kind", ["lora", "dora", "loha", "lokr", "dense"])
def test_weight_zero_has_no_effect_at_all(
    unet: UNet2DConditionModel, host: AdapterHost, mix: dict[str, tuple[Lora, Deltas]], kind: str
) -> None:
    arguments = inputs(2)
    plain = forward(unet, arguments)
    with host.unet_rows([((mix[kind][0], 0.0),)] * 2):
        assert hooks_on(unet) == 0
        assert torch.equal(forward(unet, arguments), plain)


def test_a_row_without_adapters_is_bit_identical_beside_one_with(
    unet: UNet2DConditionModel, host: AdapterHost, mix: dict[str, tuple[Lora, Deltas]]
) -> None:
    arguments = inputs(3)
    plain = forward(unet, arguments)
    for name in mix:
        used = ((mix[name][0], 1.0),)
        actual = forward_with(host, unet, [(), used, ((mix["lora"][0], 0.0),)], arguments)
        assert torch.equal(actual[0], plain[0]), name
        assert torch.equal(actual[2], plain[2]), name
        assert not torch.equal(actual[1], plain[1]), name


def test_one_named_twice_counts_with_both_weights(
    unet: UNet2DConditionModel, host: AdapterHost, mix: dict[str, tuple[Lora, Deltas]]
) -> None:
    lora, arguments = mix["lora"][0], inputs(1)
    twice = forward_with(host, unet, [((lora, 0.5), (lora, 0.25))], arguments)
    assert torch.equal(twice, forward_with(host, unet, [((lora, 0.75),)], arguments))


def test_hooks_are_there_only_meanwhile_and_only_where_needed(
    unet: UNet2DConditionModel, host: AdapterHost, mix: dict[str, tuple[Lora, Deltas]]
) -> None:
    assert hooks_on(unet) == 0
    with host.unet_rows([((mix["wide"][0], 1.0),), ()]):
        hooked = [path for path, each in unet.named_modules() if each._forward_hooks]
        assert hooked == list(mix["wide"][1])
    assert hooks_on(unet) == 0


def test_base_weights_keep_every_byte_also_when_a_forward_fails_half_way(
    unet: UNet2DConditionModel, host: AdapterHost, mix: dict[str, tuple[Lora, Deltas]]
) -> None:
    before = digest(unet)
    every = tuple((lora, 0.7) for lora, _ in mix.values())
    forward_with(host, unet, [every, every[:2]], inputs(2))
    assert digest(unet) == before

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("half-way")

    handle = unet.mid_block.register_forward_pre_hook(fail)
    with pytest.raises(torch.OutOfMemoryError), host.unet_rows([every]):
        forward(unet, inputs(1))
    handle.remove()
    assert digest(unet) == before
    assert hooks_on(unet) == 0
    assert torch.equal(forward(unet, inputs(2)), forward_with(host, unet, [(), ()], inputs(2)))


def test_a_forward_on_another_thread_runs_without_adapters(
    unet: UNet2DConditionModel, host: AdapterHost, mix: dict[str, tuple[Lora, Deltas]]
) -> None:
    arguments = inputs(1)
    plain = forward(unet, arguments)
    seen: list[torch.Tensor] = []
    with host.unet_rows([((mix["lora"][0], 1.0),)]):
        thread = threading.Thread(target=lambda: seen.append(forward(unet, arguments)))
        thread.start()
        thread.join()
        assert not torch.equal(forward(unet, arguments), plain)
    assert torch.equal(seen[0], plain)


def test_the_unets_adapters_do_not_reach_a_text_encoder(
    unet: UNet2DConditionModel, text_encoder: CLIPTextModel, tmp_path: Path
) -> None:
    file = tmp_path / "both.safetensors"
    stems = {f"unet.{path}": module.weight for path, module in modules_of(unet).items()}
    stems |= {
        f"text_encoder.text_model.{path}": module.weight
        for path, module in modules_of(text_encoder).items()
    }
    write_lora(file, lora_writer.lora, stems)
    host = AdapterHost(unet, (text_encoder,))
    lora = host.lora(file)
    assert lora.num_matched == len(stems)
    tokens, arguments = torch.tensor([[1, 5, 2]]), inputs(1)
    with torch.inference_mode():
        plain_text, plain = text_encoder(tokens).last_hidden_state, forward(unet, arguments)
        with host.unet_rows([((lora, 1.0),)]):
            assert torch.equal(text_encoder(tokens).last_hidden_state, plain_text)
        with host.text_encoding(((lora, 1.0),)):
            assert torch.equal(forward(unet, arguments), plain)
            assert not torch.equal(text_encoder(tokens).last_hidden_state, plain_text)


def test_a_wrong_number_of_rows_is_never_taken_silently(
    unet: UNet2DConditionModel, host: AdapterHost, mix: dict[str, tuple[Lora, Deltas]]
) -> None:
    rows = [((mix["lora"][0], 1.0),), ()]
    with pytest.raises(AssertionError, match="row map"):
        forward_with(host, unet, rows, inputs(3))


def test_the_factors_kept_are_bounded_and_the_latest_used_stay(
    unet: UNet2DConditionModel, tmp_path: Path
) -> None:
    files = [
        write(tmp_path, f"lora{seed}", lora_writer.lora, modules_of(unet), seed=seed)[0]
        for seed in range(3)
    ]
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
    tight = AdapterHost(unet, (), max_bytes=1)
    tight.lora(files[0])
    assert tight.num_bytes == size, "a single one is kept whatever it takes"
    tight.clear()
    assert tight.num_bytes == 0


def test_stacks_of_several_loras_count_and_are_bounded(
    unet: UNet2DConditionModel, tmp_path: Path
) -> None:
    files = [
        write(tmp_path, f"lora{seed}", lora_writer.lora, modules_of(unet), seed=seed)[0]
        for seed in range(3)
    ]
    host = AdapterHost(unet, ())
    one, two, three = (host.lora(file) for file in files)
    factors = host.num_bytes
    forward_with(host, unet, [((one, 1.0),)], inputs(1))
    assert host.num_bytes == factors, "a single one is not copied"
    forward_with(host, unet, [((one, 1.0), (two, 1.0))], inputs(1))
    stack = host.num_bytes - factors
    assert stack >= one.num_bytes + two.num_bytes
    forward_with(host, unet, [((two, 1.0), (three, 1.0))], inputs(1))
    assert host.num_bytes == factors + 2 * stack
    tight = AdapterHost(unet, (), max_bytes=factors)
    loras = [tight.lora(file) for file in files]
    for pair in (loras[:2], loras[1:], loras[::2]):
        forward_with(tight, unet, [tuple((lora, 1.0) for lora in pair)], inputs(1))
    assert tight.num_bytes == factors + stack


def test_a_file_that_changed_is_loaded_again(unet: UNet2DConditionModel, tmp_path: Path) -> None:
    host = AdapterHost(unet, ())
    file, _ = write(tmp_path, "lora", lora_writer.lora, modules_of(unet), seed=1)
    first = host.lora(file)
    file, deltas = write(tmp_path, "lora", lora_writer.lora, modules_of(unet), seed=2, max_rank=4)
    second = host.lora(file)
    assert second is not first
    actual = forward_with(host, unet, [((second, 1.0),)], inputs(1))
    assert_close(actual, forward(merged(unet, (deltas, 1.0)), inputs(1)))


def test_a_copied_host_serves_the_copied_models_and_holds_nothing_yet(
    unet: UNet2DConditionModel, tmp_path: Path
) -> None:
    file, deltas = write(tmp_path, "lora", lora_writer.lora, modules_of(unet))
    host = AdapterHost(unet, ())
    host.lora(file)
    copied, copied_host = copy.deepcopy((unet, host))
    assert copied_host.num_bytes == 0
    actual = forward_with(copied_host, copied, [((copied_host.lora(file), 1.0),)], inputs(1))
    assert_close(actual, forward(merged(unet, (deltas, 1.0)), inputs(1)))
    assert hooks_on(copied) == 0
