"""Rows of one forward with different adapters; hooks and base weights before, during and after."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
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


@pytest.fixture(autouse=True)
def no_hooks_left(unet: UNet2DConditionModel, host: AdapterHost) -> Iterator[None]:
    """Tests share the UNet; hooks stay on for a next forward that here is another test's."""
    yield
    host.rest()
    assert hooks_on(unet) == 0


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
    "unconditional_then_conditional": [{"lora": 1.0}, {"wide": 0.5}, {"dora": 1.0}] * 2,
    "neighbours_alike": [{"lora": 0.5}] * 2 + [{"dora": 1.0}] * 2 + [{"loha": 0.9}] * 2,
    "alike_in_twos_and_fours": [{"loha": 0.5}] * 2 + [{}] * 2 + [{"lora": 1.0}] * 4,
    "plain_around_one_kind": [{}, {"dora": 0.5}, {"dora": 0.5}, {}],
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


def test_a_plain_row_between_others_is_bit_identical_too(
    unet: UNet2DConditionModel, host: AdapterHost, mix: dict[str, tuple[Lora, Deltas]]
) -> None:
    arguments = inputs(4)
    plain = forward(unet, arguments)
    one, other = (((mix[name][0], 1.0),) for name in ("lora", "dora"))
    actual = forward_with(host, unet, [one, (), other, one], arguments)
    assert torch.equal(actual[1], plain[1])


def test_hooks_are_only_where_needed_and_stay_until_a_forward_without_adapters(
    unet: UNet2DConditionModel, host: AdapterHost, mix: dict[str, tuple[Lora, Deltas]]
) -> None:
    assert hooks_on(unet) == 0
    plain = forward(unet, inputs(2))
    wide, every = ([((mix[name][0], 1.0),), ()] for name in ("wide", "lora"))
    with host.unet_rows(wide):
        hooked = [path for path, each in unet.named_modules() if each._forward_hooks]
        assert hooked == list(mix["wide"][1])
    assert hooks_on(unet) == len(hooked)
    assert torch.equal(forward(unet, inputs(2)), plain), "they act within the context alone"
    with host.unet_rows(every):
        assert hooks_on(unet) == len(mix["lora"][1])
    with host.unet_rows(wide):
        assert hooks_on(unet) == len(mix["lora"][1]), "a switch leaves them where they are"
    with host.unet_rows([(), ()]):
        assert hooks_on(unet) == 0


def test_a_switch_and_back_gives_the_same_bytes(
    unet: UNet2DConditionModel, host: AdapterHost, mix: dict[str, tuple[Lora, Deltas]]
) -> None:
    arguments = inputs(2)
    sets = [((lora, 0.5),) for lora, _ in mix.values()]
    first = [forward_with(host, unet, [each, each], arguments) for each in sets]
    for each, expected in list(zip(sets, first, strict=True))[::-1]:
        with host.unet_rows([each, each]):
            assert torch.equal(forward(unet, arguments), expected)


def test_a_unet_laid_out_for_the_gpu_is_written_to_in_place(
    unet: UNet2DConditionModel, tmp_path: Path
) -> None:
    """The engine's own layout; the tests' UNet has the other one."""
    file, deltas = write(tmp_path, "lora", dora(lora_writer.lora), modules_of(unet))
    last = copy.deepcopy(unet).to(memory_format=torch.channels_last)
    host = AdapterHost(last, ())
    rows = [((host.lora(file), weight),) for weight in (1.0, 0.5, 1.0, 0.5)]
    arguments = inputs(4)
    arguments["sample"] = arguments["sample"].contiguous(memory_format=torch.channels_last)
    written: dict[torch.nn.Module, int] = {}
    for module in modules_of(last).values():
        module.register_forward_hook(lambda m, _, output: written.update({m: output.data_ptr()}))
    seen: dict[torch.nn.Module, int] = {}
    with host.unet_rows(rows):
        for module in modules_of(last).values():
            module.register_forward_hook(lambda m, _, output: seen.update({m: output.data_ptr()}))
        actual = forward(last, arguments)
    assert seen == written
    for number, weight in enumerate((1.0, 0.5, 1.0, 0.5)):
        alone = {key: value[number : number + 1] for key, value in arguments.items()}
        expected = forward(merged(unet, (deltas, weight)), alone)
        assert_close(actual[number : number + 1], expected)


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
    plain = forward(unet, inputs(2))
    assert torch.equal(plain, forward_with(host, unet, [(), ()], inputs(2)))
    assert hooks_on(unet) == 0


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
        assert hooks_on(text_encoder) == 0
    host.rest()


def test_a_wrong_number_of_rows_is_never_taken_silently(
    unet: UNet2DConditionModel, host: AdapterHost, mix: dict[str, tuple[Lora, Deltas]]
) -> None:
    rows = [((mix["lora"][0], 1.0),), ()]
    with pytest.raises(AssertionError, match="row map"):
        forward_with(host, unet, rows, inputs(3))


def test_stacks_of_several_loras_count_and_are_bounded(
    unet: UNet2DConditionModel, tmp_path: Path
) -> None:
    modules = {path: each for path, each in modules_of(unet).items() if "attn" in path}
    files = [
        write(tmp_path, f"lora{seed}", lora_writer.lora, modules, seed=seed)[0] for seed in range(3)
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
    host.clear()
    assert host.num_bytes == 0


def test_a_copied_host_serves_the_copied_models_and_holds_nothing_yet(
    unet: UNet2DConditionModel, tmp_path: Path
) -> None:
    file, deltas = write(tmp_path, "lora", lora_writer.lora, modules_of(unet))
    host = AdapterHost(unet, ())
    used = ((host.lora(file), 1.0),)
    with host.unet_rows([used]):
        with host.held():
            copied, copied_host = copy.deepcopy((unet, host))
        assert hooks_on(copied) == 0, "hooks stay with the original"
        assert_close(forward(unet, inputs(1)), forward(merged(unet, (deltas, 1.0)), inputs(1)))
    host.rest()
    assert copied_host.num_bytes == 0
    with copied_host.unet_rows([((copied_host.lora(file), 1.0),)]):
        actual = forward(copied, inputs(1))
    assert_close(actual, forward(merged(unet, (deltas, 1.0)), inputs(1)))
    copied_host.rest()
    assert hooks_on(copied) == 0
