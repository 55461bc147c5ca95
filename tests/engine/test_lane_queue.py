"""Whose turn it is: no lane starves, whatever comes and goes beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import ceil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.checkpoint import load_checkpoint
from engine.job import GenerationJob
from engine.lane_queue import LaneQueue
from engine.lanes import Lane, Piece, open_lane
from engine.plan import plan_job
from engine.prepare import PreparedJob, prepare_job
from tests.engine.tiny import V_ZERO_SNR, write_registry, write_tiny_model

# Sides of canvases: of one tile each, and one that is refined by several.
SMALL = tuple(range(64, 96, 8))
LARGE = 176


class Jobs(dict[int, PreparedJob]):
    """By the side of their canvas."""

    def __repr__(self) -> str:  # of the prepared jobs' tensors: too long for a report
        return f"Jobs of {list(self)}"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Jobs:
    """A job of a tiny model for each side."""
    root: Path = tmp_path_factory.mktemp("queue")
    write_tiny_model(root / "nine", in_channels=9, scheduler=V_ZERO_SNR)
    registry = write_registry(root, nine={"native_size_px": 64})
    model = registry.main_model("nine")
    checkpoint = load_checkpoint(model, device=torch.device("cpu"), dtype=torch.float32)
    jobs = {
        side: GenerationJob(
            job_id=str(side),
            model_name="nine",
            foreground=Image.new("RGBA", (side, side)),
            num_inference_steps=6,
        )
        for side in (*SMALL, LARGE)
    }
    return Jobs(
        {side: prepare_job(plan_job(job, registry), checkpoint) for side, job in jobs.items()}
    )


def lane_of(prepared: PreparedJob, pass_index: int = 0) -> Lane:
    start = torch.zeros(1) if pass_index else None
    return open_lane(prepared, 0, pass_index, start_latents=start)


def tiled_lane(prepared: Jobs) -> Lane:
    """In its refining pass, seen by several tiles."""
    lane = lane_of(prepared[LARGE], 1)
    assert len(lane.tiles) > 2
    return lane


def forward(queue: LaneQueue, steps: Counter[int]) -> list[Piece]:
    """One forward as the engine has it: a lane whose tiles all have outputs has done a step."""
    pieces = queue.next_pieces()
    assert len({piece.lane.group_key for piece in pieces}) == min(1, len(pieces))
    assert len({(id(piece.lane), piece.tile) for piece in pieces}) == len(pieces)
    for piece in pieces:
        assert piece.tile in piece.lane.open_tiles, "no tile is computed twice"
        piece.lane.outputs[piece.tile] = torch.zeros(1)
    for lane in {id(piece.lane): piece.lane for piece in pieces}.values():
        if not lane.open_tiles:
            lane.outputs.clear()
            steps[id(lane)] += 1
    return pieces


def forwards_until_served(queue: LaneQueue, lane: Lane, steps: Counter[int]) -> Iterator[int]:
    """Counts forwards up to the one with a piece of that lane."""
    for number in range(1, 10_000):
        if any(piece.lane is lane for piece in forward(queue, steps)):
            yield number
            return


@given(others=st.integers(0, 9), limit=st.integers(1, 5), before=st.integers(0, 7))
@settings(max_examples=60, deadline=None)
def test_a_newcomer_waits_for_each_lane_of_its_group_at_most_once(
    prepared: Jobs, others: int, limit: int, before: int
) -> None:
    queue, steps = LaneQueue(max_lanes=limit, max_latent_area=10**9), Counter[int]()
    for _ in range(others):
        queue.add(lane_of(prepared[64]))
    for _ in range(before):
        forward(queue, steps)
    newcomer = lane_of(prepared[64])
    queue.add(newcomer)
    (waited,) = forwards_until_served(queue, newcomer, steps)
    assert waited <= ceil((others + 1) / limit)


@given(others=st.integers(0, 5), limit=st.integers(1, 7), before=st.integers(0, 7))
@settings(max_examples=60, deadline=None)
def test_a_step_of_many_tiles_is_done_within_its_bound(
    prepared: Jobs, others: int, limit: int, before: int
) -> None:
    queue, steps = LaneQueue(max_lanes=limit, max_latent_area=10**9), Counter[int]()
    for _ in range(others):
        queue.add(tiled_lane(prepared))
    for _ in range(before):
        forward(queue, steps)
    newcomer = tiled_lane(prepared)
    queue.add(newcomer)
    for _ in range(ceil((others + 1) * len(newcomer.tiles) / limit)):
        forward(queue, steps)
    assert steps[id(newcomer)] >= 1


@given(
    groups=st.lists(st.sampled_from(SMALL), min_size=1, max_size=12),
    limit=st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_of_n_groups_each_has_every_nth_forward(
    prepared: Jobs, groups: list[int], limit: int
) -> None:
    queue, steps = LaneQueue(max_lanes=limit, max_latent_area=10**9), Counter[int]()
    for side in groups:
        queue.add(lane_of(prepared[side]))
    num_groups = len(set(groups))
    turns = [forward(queue, steps)[0].lane.group_key for _ in range(4 * num_groups)]
    for start in range(0, len(turns), num_groups):
        assert len(set(turns[start : start + num_groups])) == num_groups


@given(rounds=st.lists(st.lists(st.sampled_from(SMALL[1:])), min_size=10, max_size=40))
@settings(max_examples=60, deadline=None)
def test_groups_that_keep_coming_push_no_other_back(
    prepared: Jobs, rounds: list[list[int]]
) -> None:
    queue, steps = LaneQueue(max_lanes=4, max_latent_area=10**9), Counter[int]()
    lanes = [lane_of(prepared[64])]
    queue.add(lanes[0])
    waited = 0
    for sides in rounds:
        for side in sides:  # a new group each time the last one of that size has gone
            lanes.append(lane_of(prepared[side]))
            queue.add(lanes[-1])
        pieces = forward(queue, steps)
        waited = 0 if pieces[0].lane is lanes[0] else waited + 1
        # The other sizes are all there can be before it.
        assert waited <= len(SMALL) - 1
        for piece in pieces:
            if piece.lane is not lanes[0]:
                queue.remove(piece.lane)


def test_a_newcomer_of_another_size_goes_before_the_group_that_was_just_served(
    prepared: Jobs,
) -> None:
    queue, steps = LaneQueue(max_lanes=4, max_latent_area=10**9), Counter[int]()
    queue.add(lane_of(prepared[64]))
    forward(queue, steps)
    newcomer = lane_of(prepared[72])
    queue.add(newcomer)
    (waited,) = forwards_until_served(queue, newcomer, steps)
    assert waited == 1


def test_no_forward_is_larger_than_the_budget_but_a_tile_that_is_larger_itself(
    prepared: Jobs,
) -> None:
    cells = (64 // 8) ** 2
    for budget, expected in ((4 * cells, 4), (4 * cells - 1, 3), (1, 1)):
        queue = LaneQueue(max_lanes=16, max_latent_area=budget)
        for _ in range(9):
            queue.add(lane_of(prepared[64]))
        assert len(queue.next_pieces()) == expected


def test_what_room_others_leave_goes_to_more_tiles_of_the_same_lane(
    prepared: Jobs,
) -> None:
    queue = LaneQueue(max_lanes=100, max_latent_area=10**9)
    lane = tiled_lane(prepared)
    queue.add(lane)
    assert [piece.tile for piece in queue.next_pieces()] == list(lane.tiles)
