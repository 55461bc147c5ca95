"""What an engine has counted since it was made: plain numbers, for whoever shows them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

CacheName: TypeAlias = Literal["encodings", "prompts", "loras"]

# From the embedded model on an idle CPU (4 ms) to 2560x2560 pixels of SDXL on a slow one.
STEP_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
LANE_BOUNDS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)


@dataclass(frozen=True, slots=True)
class Distribution:
    """How many observations were how large.

    Attributes:
        bounds: rising; an observation belongs to the first bound that it does not exceed.
        counts: of each bound, and last of what exceeds them all.
        total: the sum of all observations.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float = 0.0

    @classmethod
    def empty(cls, bounds: tuple[float, ...]) -> Distribution:
        """Without observations."""
        return cls(bounds, (0,) * (len(bounds) + 1))

    def with_(self, value: float) -> Distribution:
        """With one observation more."""
        counts = list(self.counts)
        counts[bisect_left(self.bounds, value)] += 1
        return Distribution(self.bounds, tuple(counts), self.total + value)

    def __add__(self, other: Distribution) -> Distribution:
        assert self.bounds == other.bounds, "of one kind"
        counts = tuple(map(sum, zip(self.counts, other.counts, strict=True)))
        return Distribution(self.bounds, counts, self.total + other.total)


@dataclass(frozen=True, slots=True)
class CacheCounts:
    """How often something was in a cache, and how often it had to be made."""

    hits: int = 0
    misses: int = 0

    def __add__(self, other: CacheCounts) -> CacheCounts:
        return CacheCounts(self.hits + other.hits, self.misses + other.misses)


def _no_caches() -> Mapping[CacheName, CacheCounts]:
    return {"encodings": CacheCounts(), "prompts": CacheCounts(), "loras": CacheCounts()}


@dataclass(frozen=True, slots=True)
class EngineCounts:
    """What was done; two of them add up.

    Attributes:
        steps: of images: what `StepDone` reported.
        step_s: seconds of a step of the loop, the forward and what the samplers do with it.
        lanes: images that shared a forward.
        lora_switches: forwards whose LoRAs were others than those of the forward before.
        caches: encodings of images, encoded prompts, LoRA files.
    """

    steps: int = 0
    step_s: Distribution = field(default_factory=lambda: Distribution.empty(STEP_BOUNDS_S))
    lanes: Distribution = field(default_factory=lambda: Distribution.empty(LANE_BOUNDS))
    lora_switches: int = 0
    caches: Mapping[CacheName, CacheCounts] = field(default_factory=_no_caches)

    def __add__(self, other: EngineCounts) -> EngineCounts:
        return EngineCounts(
            steps=self.steps + other.steps,
            step_s=self.step_s + other.step_s,
            lanes=self.lanes + other.lanes,
            lora_switches=self.lora_switches + other.lora_switches,
            caches={name: counts + other.caches[name] for name, counts in self.caches.items()},
        )


@dataclass(frozen=True, slots=True)
class DeviceState:
    """How an engine stands at this moment.

    Attributes:
        memory_used_bytes: of the device, by whomever; on the CPU by this process.
        memory_total_bytes: of the device.
        models: names of the loaded checkpoints, sorted.
    """

    memory_used_bytes: int = 0
    memory_total_bytes: int = 0
    models: tuple[str, ...] = ()
