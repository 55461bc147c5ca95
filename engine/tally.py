"""Counts what the step loop does, without ever waiting for the device."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Hashable, Sequence, Set
from dataclasses import replace
from typing import TypeAlias
from weakref import WeakKeyDictionary

import torch

from engine.adapters.host import AdapterHost
from engine.adapters.lora_cache import LoraCounts
from engine.counts import CacheCounts, CacheName, DeviceState, EngineCounts
from engine.encoding_cache import EncodingCache
from engine.events import Event, StepDone
from engine.lanes import Piece
from engine.memory import memory_bytes
from engine.model_cache import ModelCache

Moment: TypeAlias = float | torch.cuda.Event


class Tally:
    """The counts of one engine, kept by the thread that steps it.

    A step on a GPU is timed there, between two events of the stream: the calls return long before
    the kernels they send off have run.

    Args:
        device: of the engine.
        encodings: its cache of them.
        models: its cache of them.
    """

    def __init__(self, device: torch.device, encodings: EncodingCache, models: ModelCache) -> None:
        self._device = device
        self._encodings = encodings
        self._models = models
        self._counts = EngineCounts()
        self._loras = CacheCounts()
        self._seen: WeakKeyDictionary[AdapterHost, LoraCounts] = WeakKeyDictionary()
        self._mix: Set[Hashable] = frozenset()  # of LoRAs with their weights
        self._timed: deque[tuple[torch.cuda.Event, torch.cuda.Event]] = deque()

    def begin(self) -> Moment:
        """The start of a step, for `forward`."""
        if self._device.type != "cuda":
            return time.perf_counter()
        moment = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        moment.record(torch.cuda.current_stream(self._device))
        return moment

    def forward(self, begun: Moment, pieces: Sequence[Piece]) -> None:
        """A forward for `pieces`, and what the samplers did with it, is done or on its way."""
        self._end(begun)
        lanes = {piece.lane for piece in pieces}
        self._counts = replace(self._counts, lanes=self._counts.lanes.with_(len(lanes)))
        # By serials: the LoRAs themselves would be kept alive.
        mix: Set[Hashable] = {
            tuple((lora.serial, weight) for lora, weight in lane.conditioning.adapters)
            for lane in lanes
        } - {()}
        if mix != self._mix:
            self._counts = replace(self._counts, lora_switches=self._counts.lora_switches + 1)
            self._mix = mix

    def pipeline(self, begun: Moment, events: Sequence[Event]) -> None:
        """A pipeline of diffusers went on to `events`; it paints one image at a time."""
        if any(isinstance(event, StepDone) for event in events):
            self._end(begun)
            self._counts = replace(self._counts, lanes=self._counts.lanes.with_(1))

    def events(self, events: Sequence[Event]) -> None:
        """What a step of the engine reported."""
        steps = sum(isinstance(event, StepDone) for event in events)
        if steps:
            self._counts = replace(self._counts, steps=self._counts.steps + steps)

    def loras(self, host: AdapterHost) -> None:
        """A job was prepared with LoRAs of `host`, which goes with its checkpoint one day."""
        now, before = host.counts, self._seen.get(host, LoraCounts())
        self._seen[host] = now
        self._loras += CacheCounts(now.hits - before.hits, now.reads - before.reads)

    @property
    def counts(self) -> EngineCounts:
        """All so far."""
        self._collect()
        caches: dict[CacheName, CacheCounts] = {"loras": self._loras}
        caches.update(self._encodings.counts)
        return replace(self._counts, caches=caches)

    @property
    def state(self) -> DeviceState:
        """How the device stands now."""
        return DeviceState(*memory_bytes(self._device), self._models.names)

    def _end(self, begun: Moment) -> None:
        ended = self.begin()
        if isinstance(begun, torch.cuda.Event) and isinstance(ended, torch.cuda.Event):
            self._timed.append((begun, ended))
            self._collect()
        elif isinstance(begun, float) and isinstance(ended, float):
            self._took(ended - begun)

    def _collect(self) -> None:
        while self._timed and self._timed[0][1].query():  # type: ignore[no-untyped-call]
            begun, ended = self._timed.popleft()
            self._took(begun.elapsed_time(ended) / 1000)

    def _took(self, seconds: float) -> None:
        self._counts = replace(self._counts, step_s=self._counts.step_s.with_(seconds))
