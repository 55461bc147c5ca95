from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from transformers import CLIPTokenizer

from engine.compose import masked_image
from engine.mask import repaint_mask
from engine.vae import LatentCodec
from scripts.train_embedded.checkpoint import TrainingState
from scripts.train_embedded.dataset import SceneRecord, SceneShard, read_shard, write_shard
from scripts.train_embedded.encode import encode_shard
from scripts.train_embedded.masks import random_alpha
from scripts.train_embedded.scenes import KINDS
from scripts.train_embedded.tokenizer import train_tokenizer
from scripts.train_embedded.vae_model import new_vae


def record(seed: int = 0, *, product: str | None = "can") -> SceneRecord:
    return SceneRecord(seed, "sky", ("blue sky", "clouds"), "day", (("sky", "blue"),), product)


@pytest.fixture(scope="module")
def shard() -> SceneShard:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 64, 48, 3), np.uint8)
    alphas = np.zeros((3, 64, 48), np.uint8)
    alphas[0, 11:40, 9:30] = 255
    alphas[1, 20:50, 8:40] = rng.integers(0, 256, (30, 32))
    return SceneShard(images, alphas, [record(0), record(1), record(2, product=None)])


def test_a_shard_is_read_as_it_was_written(tmp_path: Path, shard: SceneShard) -> None:
    write_shard(tmp_path, "48x64-00000", shard)
    again = read_shard(tmp_path / "48x64-00000.json")
    assert np.array_equal(again.images, shard.images)
    assert np.array_equal(again.alphas, shard.alphas)
    assert again.records == shard.records


def test_pictures_are_masked_as_the_engine_masks_them(shard: SceneShard) -> None:
    torch.manual_seed(0)
    codec = LatentCodec(new_vae().eval())
    encoded = encode_shard(shard, codec, seed=5)
    rng = np.random.default_rng((11, 5))
    for index, (image, alpha) in enumerate(zip(shard.images, shard.alphas, strict=True)):
        has_product = shard.records[index].product is not None
        kept = random_alpha(alpha, rng, has_product=has_product)
        assert np.array_equal(encoded["repaint_mask"][index], repaint_mask(kept, codec.factor))
        seen = masked_image(Image.fromarray(np.dstack([image, kept])))
        latents = codec.encode(torch.from_numpy(seen).permute(2, 0, 1)[None])[0].numpy()
        np.testing.assert_allclose(encoded["masked_image_latents"][index], latents, atol=0.02)


@pytest.mark.parametrize("seed", range(20))
def test_the_product_is_always_kept(shard: SceneShard, seed: int) -> None:
    kept = random_alpha(shard.alphas[0], np.random.default_rng(seed), has_product=True)
    assert (kept >= shard.alphas[0]).all()


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return train_tokenizer([f"{kind}, blue sky" for kind in KINDS] * 10, vocab_size=700)


@pytest.mark.parametrize(
    "text",
    ["blue sky", "", "qqq zzz", "ünïcode", "天空", "🦊 fox", "\x00\x01", "0123 !?;:'\"", "a" * 300],
)
def test_no_input_becomes_the_end_token(tokenizer: CLIPTokenizer, text: str) -> None:
    ids = tokenizer(text).input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.eos_token_id not in ids[1:-1]


def test_every_byte_has_a_token_of_its_own(tokenizer: CLIPTokenizer) -> None:
    words = [chr(code) for code in range(0x21, 0x250) if chr(code).isprintable()]
    for word in words:
        assert tokenizer.eos_token_id not in tokenizer(word).input_ids[1:-1]


def test_common_words_are_learnt(tokenizer: CLIPTokenizer) -> None:
    assert len(tokenizer("blue sky").input_ids) == 4


def test_a_resumed_training_goes_on_bit_equal(tmp_path: Path) -> None:
    straight, stopped = new_state(), new_state()
    advance(straight, 7)
    advance(stopped, 4)
    stopped.save(tmp_path / "state.pt")
    resumed = new_state(seed=99)
    resumed.load(tmp_path / "state.pt")
    assert resumed.step == 4
    advance(resumed, 3)
    assert resumed.step == straight.step
    for kept, gone_on in zip(straight.parameters, resumed.parameters, strict=True):
        assert torch.equal(kept, gone_on)
    for kept, gone_on in zip(straight.ema, resumed.ema, strict=True):
        assert torch.equal(kept, gone_on)


def test_a_broken_save_leaves_the_old_state(tmp_path: Path) -> None:
    state = new_state()
    state.save(tmp_path / "state.pt")
    (tmp_path / "state.partial").write_bytes(b"half")
    new_state(seed=1).load(tmp_path / "state.pt")


def test_the_average_lags_behind_the_weights() -> None:
    state = new_state()
    advance(state, 5)
    start = new_state()
    for average, weight, first in zip(state.ema, state.parameters, start.parameters, strict=True):
        assert not torch.equal(average, weight)
        assert not torch.equal(average, first)


def new_state(seed: int = 0) -> TrainingState:
    torch.manual_seed(seed)
    modules: dict[str, nn.Module] = {"one": nn.Linear(6, 5), "two": nn.Linear(5, 2)}
    weights = [weight for module in modules.values() for weight in module.parameters()]
    return TrainingState(modules, torch.optim.AdamW(weights, lr=1e-2))


def advance(state: TrainingState, steps: int) -> None:
    for _ in range(steps):
        torch.manual_seed(state.step)
        output = state.modules["two"](torch.relu(state.modules["one"](torch.randn(8, 6))))
        state.optimizer.zero_grad()
        output.square().mean().backward()
        state.optimizer.step()
        state.step += 1
        state.update_ema(0.99)
