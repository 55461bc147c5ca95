"""Two tiers of loaded checkpoints: what stays, what goes, and what a failure leaves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.checkpoint import Checkpoint, load_checkpoint
from engine.checkpoint_copy import copy_checkpoint
from engine.errors import GpuOutOfMemory, WeightsUnavailable
from engine.memory import checkpoint_bytes, modules_of
from engine.model_cache import ModelCache, _Tier
from engine.registry import MainModel, Registry
from tests.engine.tiny import EPSILON, write_registry, write_tiny_model

CPU = torch.device("cpu")
META = torch.device("meta")  # a device of its own that holds shapes alone


class Loads:
    """`load_checkpoint`, counted, and held up while `gate` is closed."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, model: MainModel, **where: Any) -> Checkpoint:
        self.gate.wait(60)
        self.names.append(model.name)
        return load_checkpoint(model, **where)


@pytest.fixture
def loads() -> Loads:
    return Loads()


@pytest.fixture
def checkpoint(tiny_registry: Registry) -> Checkpoint:
    model = tiny_registry.main_model("nine")
    return load_checkpoint(model, device=CPU, dtype=torch.float32)


@pytest.fixture
def make_cache(loads: Loads) -> Callable[..., ModelCache]:
    def make(device: torch.device = CPU, **budgets: int) -> ModelCache:
        return ModelCache(device=device, dtype=torch.float32, load=loads, **budgets)

    return make


@pytest.fixture(scope="module")
def sizes(tiny_registry: Registry) -> dict[str, int]:
    return {
        name: checkpoint_bytes(load_checkpoint(model, device=CPU, dtype=torch.float32))
        for name, model in tiny_registry.models.items()
    }


def test_the_least_recently_used_goes_first(
    tiny_registry: Registry, make_cache: Callable[..., ModelCache], loads: Loads, sizes: Any
) -> None:
    nine, four, four_kl = tiny_registry.models.values()
    cache = make_cache(device_bytes=sum(sizes.values()) - 1)
    for model in (nine, four, nine, four_kl):  # four_kl needs the place of four
        cache.get(model)
    assert loads.names == ["nine", "four", "four_kl"]
    first = cache.get(nine)
    assert loads.names == ["nine", "four", "four_kl"]
    cache.get(four)
    assert loads.names == ["nine", "four", "four_kl", "four"]
    assert first.name == "nine"


def test_what_is_in_use_stays(
    tiny_registry: Registry, make_cache: Callable[..., ModelCache], loads: Loads
) -> None:
    nine, four, _ = tiny_registry.models.values()
    cache = make_cache(META, device_bytes=1, host_bytes=10**9)
    held = cache.get(nine)
    for _ in range(10):
        assert cache.request(four, in_use={"nine"}) is None
        cache.wait()
    assert not cache.is_loading(four)  # its files are read, its place is taken
    assert cache.request(nine, in_use={"nine"}) is held
    while cache.request(four) is None:
        cache.wait()
    assert loads.names == ["nine", "four"]


def test_the_second_tier_spares_the_files(
    tiny_registry: Registry, make_cache: Callable[..., ModelCache], loads: Loads
) -> None:
    nine, four, _ = tiny_registry.models.values()
    cache = make_cache(META, device_bytes=1, host_bytes=10**9)
    for model in (nine, four, nine, four):
        checkpoint = cache.get(model)
        assert checkpoint.name == model.name
        assert checkpoint.device == checkpoint.unet.device == META
    assert loads.names == ["nine", "four"]


def test_a_checkpoint_above_the_second_tier_is_still_loaded(
    tiny_registry: Registry, make_cache: Callable[..., ModelCache], loads: Loads
) -> None:
    nine, four, _ = tiny_registry.models.values()
    cache = make_cache(META, device_bytes=1, host_bytes=0)
    for model in (nine, four, nine):
        assert cache.get(model).name == model.name
    assert loads.names == ["nine", "four", "nine"]


def test_a_request_never_waits_for_a_file(
    tiny_registry: Registry, make_cache: Callable[..., ModelCache], loads: Loads
) -> None:
    nine, four, _ = tiny_registry.models.values()
    cache = make_cache()
    cache.get(nine)
    loads.gate.clear()
    assert cache.request(four) is None
    assert cache.is_loading(four)
    assert cache.request(nine) is not None  # what is there is given meanwhile
    assert cache.request(four) is None
    loads.gate.set()
    cache.wait()
    assert cache.request(four) is not None
    assert not cache.is_loading(four)


def test_a_failed_load_is_told_once_and_leaves_the_others(
    tmp_path: Path, make_cache: Callable[..., ModelCache]
) -> None:
    for name in ("good", "broken"):
        write_tiny_model(tmp_path / name, in_channels=9, scheduler=EPSILON)
    weights = tmp_path / "broken" / "unet" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:5000])
    good, broken = write_registry(tmp_path, good={}, broken={}).models.values()
    cache = make_cache()
    kept = cache.get(good)
    with pytest.raises(WeightsUnavailable):
        cache.get(broken)
    assert cache.request(good) is kept
    cache.request(broken)
    cache.wait()
    assert cache.request(good) is kept  # nobody else is told of it
    weights.write_bytes(whole)
    assert cache.get(broken).name == "broken"  # mended, it loads


def test_a_fault_in_the_program_is_not_hidden(tiny_registry: Registry) -> None:
    def load(*_: object, **__: object) -> Checkpoint:
        raise ZeroDivisionError

    cache = ModelCache(device=CPU, dtype=torch.float32, load=load)
    nine, four, _ = tiny_registry.models.values()
    cache.request(nine)
    cache.wait()
    with pytest.raises(ZeroDivisionError):
        cache.request(four)


def test_a_copy_that_fails_half_way_leaves_the_original_whole(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: each.clone() for name, each in checkpoint.unet.state_dict().items()}
    with _MemoryFor(monkeypatch, tensors=20), pytest.raises(GpuOutOfMemory, match="nine"):
        copy_checkpoint(checkpoint, META)
    for name, tensor in checkpoint.unet.state_dict().items():
        assert tensor.device == CPU
        assert torch.equal(tensor, before[name])


def test_out_of_memory_on_the_device_puts_the_idle_ones_out(
    tiny_registry: Registry, make_cache: Callable[..., ModelCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    nine, four, _ = tiny_registry.models.values()
    cache = make_cache(META, device_bytes=10**9, host_bytes=10**9)
    kept = cache.get(nine)
    with _MemoryFor(monkeypatch, tensors=20):
        assert cache.request(four, in_use={"nine"}) is None
        cache.wait()
        assert cache.request(four, in_use={"nine"}) is None
        cache.wait()
        with pytest.raises(GpuOutOfMemory):  # nothing is idle: told to the caller
            cache.request(four, in_use={"nine"})
        assert cache.request(nine) is kept
        cache.request(four)
        cache.wait()
        assert cache.request(four) is None  # nine went out, and it is tried again
        cache.wait()
    with pytest.raises(GpuOutOfMemory):
        cache.get(four)
    assert cache.get(four).device == META


def test_a_copy_shares_what_the_original_shares(checkpoint: Checkpoint) -> None:
    copied = copy_checkpoint(checkpoint, CPU)
    assert copied.vae is copied.own_vae
    assert copied.tokenizers[0] is checkpoint.tokenizers[0]
    assert checkpoint_bytes(copied) == checkpoint_bytes(checkpoint)
    originals = {id(each) for module in modules_of(checkpoint) for each in module.modules()}
    pointers = {each.data_ptr() for each in checkpoint.unet.parameters()}
    for module, other in zip(modules_of(copied), modules_of(checkpoint), strict=True):
        assert not originals & {id(each) for each in module.modules()}
        assert not module.training
        for (name, ours), theirs in zip(
            module.state_dict().items(), other.state_dict().values(), strict=True
        ):
            assert torch.equal(ours, theirs), name
    assert not pointers & {each.data_ptr() for each in copied.unet.parameters()}


def test_room_is_made_all_or_nothing(checkpoint: Checkpoint) -> None:
    size = checkpoint_bytes(checkpoint)
    tier = _Tier(2 * size)
    tier.put(checkpoint)
    assert tier.make_room(size, in_use={"nine"})
    assert not tier.make_room(size + 1, in_use={"nine"})
    assert tier.get("nine") is checkpoint
    assert tier.make_room(size + 1)
    assert tier.get("nine") is None
    assert tier.make_room(9 * size)  # nothing left to put out: let in, alone


class _MemoryFor:
    """A device where copies fail after `tensors` tensors."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, tensors: int) -> None:
        self._monkeypatch = monkeypatch
        self._tensors = tensors

    def __enter__(self) -> None:
        original, left = torch.Tensor.to, [self._tensors]

        def to(tensor: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
            if args and args[0] == META:
                left[0] -= 1
                if left[0] < 0:
                    left[0] = self._tensors
                    raise torch.OutOfMemoryError("out of memory")
            return original(tensor, *args, **options)

        self._monkeypatch.setattr(torch.Tensor, "to", to)

    def __exit__(self, *_: object) -> None:
        self._monkeypatch.undo()
