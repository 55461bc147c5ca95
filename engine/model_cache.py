"""Loaded models in two tiers, the device and host memory; least recently used out first.

A checkpoint is here whatever is loaded as one: a pipeline of diffusers, too.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Literal

import torch

from engine.background import run_in_background
from engine.device_profile import default_device_bytes, default_host_bytes
from engine.errors import EngineError, GpuOutOfMemory
from engine.loaded_model import LoadedModel, bytes_on, copy_model, load_model
from engine.registry import MainModel

logger = logging.getLogger(__name__)

NONE: Collection[str] = frozenset()


class _Tier:
    """Checkpoints of one memory by name, the least recently used first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._checkpoints: OrderedDict[str, LoadedModel] = OrderedDict()

    @property
    def names(self) -> tuple[str, ...]:
        """Of all, sorted."""
        return tuple(sorted(self._checkpoints))

    def get(self, name: str) -> LoadedModel | None:
        """The checkpoint, which is now the most recently used."""
        if name in self._checkpoints:
            self._checkpoints.move_to_end(name)
        return self._checkpoints.get(name)

    def put(self, checkpoint: LoadedModel) -> None:
        self._checkpoints[checkpoint.name] = checkpoint

    def make_room(self, num_bytes: int, in_use: Collection[str] = NONE) -> bool:
        """Puts out what is needed for `num_bytes` more.

        Returns:
            False where those in use leave too little room; then nothing was put out. With none in
            use a checkpoint of any size is let in, alone.
        """
        sizes = {name: bytes_on(each, each.device) for name, each in self._checkpoints.items()}
        excess = sum(sizes.values()) + num_bytes - self._max_bytes
        victims = []
        for name, size in sizes.items():
            if excess > 0 and name not in in_use:
                victims.append(name)
                excess -= size
        if excess > 0 and len(victims) < len(sizes):
            return False
        for name in victims:
            del self._checkpoints[name]
        return True

    def keep_only(self, names: Collection[str]) -> bool:
        """Puts out all others; whether there were any."""
        others = self._checkpoints.keys() - set(names)
        for name in others:
            del self._checkpoints[name]
        return bool(others)


@dataclass(frozen=True, slots=True)
class _Loading:
    """What the background thread is doing: reading files into host memory, or copying from it."""

    name: str
    stage: Literal["read", "copy"]
    result: Future[LoadedModel]


class ModelCache:
    """The checkpoints of one engine, loaded in the background one after the other.

    Files are read into host memory and copied from there to the device; on a CPU the two are one.
    All decisions are made in the thread that calls, which is the engine's; the background thread
    only reads and copies. A checkpoint is never moved, only copied and let go of, so that none is
    ever seen half loaded, whatever fails.

    Args:
        device: where checkpoints run.
        dtype: of UNet and text encoders.
        device_bytes: what loaded checkpoints may take of the device; default a share of it.
        host_bytes: what their copies in host memory may take; default a share of it.
        load: reads a model as `load_model` does.
        signal: set whenever a stage of loading has ended.
    """

    def __init__(
        self,
        *,
        device: torch.device,
        dtype: torch.dtype,
        device_bytes: int | None = None,
        host_bytes: int | None = None,
        load: Callable[..., LoadedModel] = load_model,
        signal: threading.Event | None = None,
    ) -> None:
        self._signal = threading.Event() if signal is None else signal
        self._target = device
        self._dtype = dtype
        self._load = load
        if device_bytes is None:
            device_bytes = default_device_bytes(device)
        if host_bytes is None:
            host_bytes = default_host_bytes(device)
        self._device = _Tier(device_bytes)
        self._host = _Tier(host_bytes)
        self._loading: _Loading | None = None
        # Copies must not queue behind the kernels of the step loop.
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def get(self, model: MainModel) -> LoadedModel:
        """The loaded checkpoint of `model`, waited for; only while no other is in use.

        Raises:
            WeightsUnavailable, GpuOutOfMemory: see `request`.
        """
        while (checkpoint := self.request(model)) is None:
            self.wait()
        return checkpoint

    def request(self, model: MainModel, in_use: Collection[str] = NONE) -> LoadedModel | None:
        """The checkpoint of `model` if it is on the device; else it is loaded as soon as possible.

        Args:
            model: whose checkpoint.
            in_use: names of checkpoints that must stay on the device.

        Returns:
            None while it is loading, another one is, or those in use leave too little room: ask
            again.

        Raises:
            WeightsUnavailable: its files cannot be loaded; asked again, it is tried again.
            GpuOutOfMemory: the device cannot hold it, even with all others out that are not in use.
        """
        self._collect(model.name, in_use)
        checkpoint = self._device.get(model.name)
        if checkpoint is None and self._loading is None:
            self._begin(model, in_use)
        return checkpoint

    def loaded(self, model: MainModel) -> LoadedModel | None:
        """The checkpoint of `model` if it is on the device; changes nothing."""
        return self._device.get(model.name)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the checkpoints on the device, sorted."""
        return self._device.names

    def is_loading(self, model: MainModel) -> bool:
        """Whether `model` is being loaded right now, its place on the device taken."""
        return self._loading is not None and self._loading.name == model.name

    def wait(self, timeout_s: float | None = None) -> None:
        """Sleeps until what is loading is loaded, if anything is."""
        if self._loading is not None:
            wait([self._loading.result], timeout_s)

    def release(self, in_use: Collection[str]) -> bool:
        """Frees the device of all that is not in use; whether that was anything."""
        released = self._device.keep_only(in_use)
        if released:
            self._free()
        return released

    def _begin(self, model: MainModel, in_use: Collection[str]) -> None:
        """Starts the next stage of loading, unless there is no room for it."""
        if self._target.type == "cpu":
            self._start(model.name, "read", lambda: self._read(model))
            return
        in_host = self._host.get(model.name)
        if in_host is None:
            self._start(model.name, "read", lambda: self._read(model))
        elif self._device.make_room(bytes_on(in_host, self._target), in_use):
            self._free()
            self._start(model.name, "copy", lambda: self._copy(in_host))

    def _start(
        self, name: str, stage: Literal["read", "copy"], work: Callable[[], LoadedModel]
    ) -> None:
        result = run_in_background(work)
        result.add_done_callback(lambda _: self._signal.set())
        self._loading = _Loading(name, stage, result)

    def _collect(self, wanted: str, in_use: Collection[str]) -> None:
        """Takes in what the background thread has finished.

        Raises:
            EngineError: loading `wanted` failed. Of another one, which nobody waits for any more,
                it is only logged.
        """
        loading = self._loading
        if loading is None or not loading.result.done():
            return
        self._loading = None
        try:
            checkpoint = loading.result.result()
        except GpuOutOfMemory as exc:
            # Others took more than was measured; with them out the next request tries again.
            if not self.release(in_use) and loading.name == wanted:
                raise
            logger.warning("%s", exc)
        except EngineError as exc:
            if loading.name == wanted:
                raise
            logger.error("%s", exc)
        else:
            self._take_in(loading.stage, checkpoint, in_use)

    def _take_in(
        self, stage: Literal["read", "copy"], checkpoint: LoadedModel, in_use: Collection[str]
    ) -> None:
        if stage == "read" and self._target.type != "cpu":
            self._host.make_room(bytes_on(checkpoint, checkpoint.device))
            self._host.put(checkpoint)
            return
        # On a CPU the size is known only now: what is in use may leave too little room.
        if stage == "read" and not self._device.make_room(
            bytes_on(checkpoint, checkpoint.device), in_use
        ):
            self._device.keep_only(in_use)
        self._device.put(checkpoint)
        self._host.make_room(0)  # one that was let in above its limit has served its purpose

    def _read(self, model: MainModel) -> LoadedModel:
        return self._load(model, device=torch.device("cpu"), dtype=self._dtype)

    def _copy(self, checkpoint: LoadedModel) -> LoadedModel:
        if self._stream is None:
            return copy_model(checkpoint, self._target)
        with torch.cuda.stream(self._stream):
            copied = copy_model(checkpoint, self._target)
            self._stream.synchronize()
        return copied

    def _free(self) -> None:
        """Gives back what was let go of, once no kernel that was sent off still reads it."""
        if self._target.type == "cuda":
            torch.cuda.synchronize(self._target)
            torch.cuda.empty_cache()
