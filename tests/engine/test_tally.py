"""What an engine counts is what it did."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.counts import CacheCounts, Distribution, EngineCounts
from engine.engine import Engine
from engine.job import GenerationJob
from engine.registry import Registry


def num(distribution: Distribution) -> int:
    return sum(distribution.counts)


def test_an_observation_belongs_to_the_first_bound_it_does_not_exceed() -> None:
    seen = Distribution.empty((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.5):
        seen = seen.with_(value)
    assert (seen.counts, seen.total) == ((2, 1, 1), 5.5)
    assert (seen + seen).counts == (4, 2, 2)
    assert (seen + seen).total == 11.0


def test_counts_of_two_engines_add_up() -> None:
    one = EngineCounts(steps=2, lora_switches=1, caches={"loras": CacheCounts(1, 2)})
    both = one + replace(one, step_s=one.step_s.with_(0.3))
    assert (both.steps, both.lora_switches, num(both.step_s)) == (4, 2, 1)
    assert both.caches == {"loras": CacheCounts(2, 4)}


def test_a_batch_is_counted_by_steps_forwards_and_lanes(
    tiny_engine: Engine, job: GenerationJob
) -> None:
    assert tiny_engine.tally.counts == EngineCounts()
    tiny_engine.generate(replace(job, num_images=3))
    counts = tiny_engine.tally.counts
    forwards = num(counts.step_s)
    assert counts.steps % 3 == 0
    assert counts.steps == 3 * forwards
    assert num(counts.lanes) == forwards
    assert counts.lanes.total == counts.steps
    assert 0 < counts.step_s.total < 60
    assert counts.lora_switches == 0


def test_hits_and_misses_are_told_apart_by_what_was_encoded(
    tiny_engine: Engine, job: GenerationJob
) -> None:
    tiny_engine.generate(job)
    first = tiny_engine.tally.counts.caches
    assert first["prompts"] == CacheCounts(hits=0, misses=1)
    assert first["encodings"].misses > 0
    tiny_engine.generate(replace(job, prompt="another prompt"))
    second = tiny_engine.tally.counts.caches
    assert second["prompts"] == CacheCounts(hits=0, misses=2)
    assert second["encodings"].misses == first["encodings"].misses
    assert second["encodings"].hits > first["encodings"].hits
    assert second["loras"] == CacheCounts()


def test_the_state_names_the_loaded_models_and_their_memory(
    tiny_engine: Engine, job: GenerationJob
) -> None:
    assert tiny_engine.tally.state.models == ()
    tiny_engine.generate(job)
    state = tiny_engine.tally.state
    assert state.models == ("nine",)
    assert 2**20 < state.memory_used_bytes < state.memory_total_bytes


@pytest.mark.gpu
def test_a_step_on_a_gpu_is_timed_by_the_gpu(tiny_registry: Registry, job: GenerationJob) -> None:
    import torch

    engine = Engine(tiny_registry, device="cuda")
    engine.generate(job)
    torch.cuda.synchronize()
    counts = engine.tally.counts
    assert num(counts.step_s) == counts.steps
    assert 0 < counts.step_s.total < 60
