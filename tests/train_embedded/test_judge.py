from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scripts.train_embedded.dataset import SceneRecord, SceneShard
from scripts.train_embedded.held_out import HeldOut, draw_held_out, held_out
from scripts.train_embedded.judge import judging_loss, new_state, train
from scripts.train_embedded.judge_accuracy import accuracy, questions
from scripts.train_embedded.judge_data import JudgeData, labelled_pictures, prepare, throws_shadow
from scripts.train_embedded.judge_labels import HEADS, NUM_CLASSES, SPANS, encode, true_answers
from scripts.train_embedded.judge_model import Judge, load_judge, read
from scripts.train_embedded.render import HELD_OUT_SEED, render_shard

SKY = SceneRecord(1, "sky", ("blue sky",), "day", (("sky", "blue"),), "can")


def test_a_render_is_labelled_by_what_it_shows() -> None:
    assert true_answers(SKY) == {"kind": ("sky",), "time": ("day",), "sky": ("blue",)}
    assert true_answers(SKY, shadow=False)["shadow"] == ("without",)


def test_what_cannot_be_told_is_left_out() -> None:
    clouds = replace(SKY, phrases=("blue sky", "white clouds"))
    assert "sky" not in true_answers(clouds)
    assert "sky" in true_answers(replace(SKY, phrases=("blue sky", "cloudless")))
    assert "time" not in true_answers(replace(SKY, phrases=("overcast sky",)))
    assert "time" not in true_answers(replace(SKY, kind="water"))


def test_two_colours_without_an_order_are_one_answer() -> None:
    colors = (("first", "red"), ("second", "navy"))
    abstract = replace(SKY, kind="abstract", time_of_day=None, colors=colors)
    target = encode(true_answers(abstract))
    assert target.shape == (NUM_CLASSES,)
    named = [HEADS["abstract"][i] for i in np.flatnonzero(target[SPANS["abstract"]])]
    assert set(named) == {"red", "navy"}
    assert target.sum() == 3


def test_heads_without_an_answer_cost_nothing() -> None:
    targets = torch.from_numpy(np.stack([encode({"kind": ("sky",)})]).astype(np.float32))
    logits = torch.zeros(1, NUM_CLASSES, requires_grad=True)
    judging_loss(logits, targets).backward()
    assert logits.grad is not None
    assert logits.grad[0, SPANS["kind"]].abs().sum() > 0
    assert logits.grad[0, SPANS["time"].start :].abs().sum() == 0


def test_an_answer_depends_on_its_picture_alone() -> None:
    torch.manual_seed(0)
    judge = Judge().eval()
    torch.nn.init.normal_(judge.heads.weight)
    images = [np.full((64, 96, 3), level, np.uint8) for level in (10, 120, 240)]
    together = read(judge, images)
    alone = read(judge, images[1:2])
    np.testing.assert_allclose(together.features[1], alone.features[0], atol=1e-4)
    assert together.answer(1, "kind") == alone.answer(0, "kind")


def test_the_judge_is_small() -> None:
    assert 0.5e6 < sum(weight.numel() for weight in Judge().parameters()) < 1.6e6


@pytest.fixture(scope="module")
def podium() -> HeldOut:
    return draw_held_out("podium", 0, 96, 96)


def test_held_out_seeds_are_beyond_those_of_training(podium: HeldOut) -> None:
    assert podium.record.seed >= HELD_OUT_SEED
    assert podium.record.kind == "podium"


def test_held_out_renders_are_kept_on_disk(tmp_path: Path) -> None:
    first, again = held_out(tmp_path, "studio", 1), held_out(tmp_path, "studio", 1)
    assert len(list(tmp_path.iterdir())) == 1
    assert np.array_equal(first.image, again.image)
    assert first.record == again.record == draw_held_out("studio", 1).record


def test_a_cut_out_keeps_the_opaque_pixels(podium: HeldOut) -> None:
    foreground = np.asarray(podium.foreground)
    opaque = podium.alpha == 255
    assert opaque.any()
    assert np.array_equal(foreground[opaque][:, :3], podium.image[opaque])
    assert np.array_equal(foreground[..., 3], podium.alpha)


def test_a_shadow_is_seen_where_one_is_drawn(podium: HeldOut) -> None:
    assert throws_shadow(podium.image, podium.alpha, podium.background)
    assert not throws_shadow(podium.without_shadow, podium.alpha, podium.background)


def test_a_bare_scene_gives_the_picture_without_its_shadow(podium: HeldOut) -> None:
    bare = replace(podium.record, product=None)
    shard = SceneShard(
        np.stack([podium.image, podium.background]),
        np.stack([podium.alpha, np.zeros_like(podium.alpha)]),
        [podium.record, bare],
    )
    said = [tuple(t[SPANS["shadow"]]) for _, t in labelled_pictures(shard)]
    assert said == [(0, 1), (1, 0), (0, 0)]


@pytest.mark.slow
def test_training_resumes_and_states_its_accuracy(tmp_path: Path) -> None:
    render_shard(0, folder=tmp_path / "scenes")
    prepare(tmp_path / "scenes", tmp_path / "pictures", None, limit=1, round_trips=0.5)
    data = JudgeData(tmp_path / "pictures")
    for _ in range(2):
        train(data, tmp_path, minutes=0.05, learning_rate=1e-3)
    state = new_state(1e-3)
    state.load(tmp_path / "state.pt")
    assert state.step >= 2
    found = accuracy(load_judge(tmp_path), questions([draw_held_out("sky", 0)], None))
    assert found["kind"]["asked"] == 1
