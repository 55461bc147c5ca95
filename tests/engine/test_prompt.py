"""Prompts of any length become embeddings that depend on their own text alone."""

from __future__ import annotations

import pytest
import torch
from diffusers import StableDiffusionInpaintPipeline

from engine.checkpoint import Checkpoint, load_checkpoint
from engine.prompt import _tokens, encode_prompts
from engine.registry import PACKAGED_MODELS, Registry

LONG = ", ".join(["blue sky with white clouds over a sandy beach"] * 30)


@pytest.fixture(scope="module")
def checkpoint(embedded_registry: Registry) -> Checkpoint:
    model = embedded_registry.main_model("PICPIK General")
    return load_checkpoint(model, device=torch.device("cpu"), dtype=torch.float32)


def test_a_short_prompt_is_embedded_as_diffusers_does(checkpoint: Checkpoint) -> None:
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(
        PACKAGED_MODELS / "embedded", safety_checker=None, dtype=torch.float32
    )
    theirs = pipeline.encode_prompt("blue sky", torch.device("cpu"), 1, True, "night")
    for ours, expected in zip(_encode(checkpoint, "blue sky", "night"), theirs, strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("clip_skip", [2, 3])
def test_clip_skip_is_an_earlier_layer_under_the_final_norm(
    checkpoint: Checkpoint, clip_skip: int
) -> None:
    """Checked layer by layer: diffusers 0.42 cannot skip layers of transformers 5's class."""
    encoder = checkpoint.text_encoder
    ids = checkpoint.tokenizer("blue sky", padding="max_length", return_tensors="pt").input_ids
    outputs: list[torch.Tensor] = []
    handles = [
        layer.register_forward_hook(lambda _m, _i, out: outputs.append(out))
        for layer in encoder.encoder.layers
    ]
    encoder(ids)
    for handle in handles:
        handle.remove()
    expected = encoder.final_layer_norm(outputs[-clip_skip])
    ours, _ = _encode(checkpoint, "blue sky", "", clip_skip=clip_skip)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)
    assert not torch.allclose(ours, _encode(checkpoint, "blue sky", "")[0])


def test_a_long_prompt_keeps_every_token(checkpoint: Checkpoint) -> None:
    length = len(checkpoint.tokenizer(LONG, add_special_tokens=False, verbose=False).input_ids)
    chunks = -(-length // 75)
    assert chunks > 1
    positive, negative = _encode(checkpoint, LONG, "")
    assert positive.shape == negative.shape == (1, chunks * 77, 192)
    changed, _ = _encode(checkpoint, LONG + " night", "")
    assert not torch.equal(changed[:, -77:], positive[:, -77:])
    assert torch.equal(changed[:, :77], positive[:, :77])


def test_padding_a_short_negative_changes_nothing_in_its_first_chunk(
    checkpoint: Checkpoint,
) -> None:
    _, beside_long = _encode(checkpoint, LONG, "night")
    _, beside_short = _encode(checkpoint, "sky", "night")
    assert torch.equal(beside_long[:, :77], beside_short)


@pytest.mark.parametrize("text", ["蓝天 白云", "café", "\x00\x7f", "🌤", "<|endoftext|>"])
def test_any_text_can_be_embedded(checkpoint: Checkpoint, text: str) -> None:
    embeds, _ = _encode(checkpoint, text, "")
    assert embeds.isfinite().all()


@pytest.mark.parametrize("text", ["蓝天", "é", "🌤", "<|endoftext|>", "<|startoftext|>"])
def test_no_visible_text_vanishes(checkpoint: Checkpoint, text: str) -> None:
    """The tokenizer holds the whole byte alphabet: an unknown letter is no end of text."""
    with_text, _ = _encode(checkpoint, f"blue {text} night", "")
    without, _ = _encode(checkpoint, "blue", "")
    cut_off, _ = _encode(checkpoint, "blue  night", "")
    assert not torch.equal(with_text, without)
    assert not torch.equal(with_text, cut_off)
    ids = _tokens(text, checkpoint.tokenizer)
    assert ids
    assert not {checkpoint.tokenizer.eos_token_id, checkpoint.tokenizer.bos_token_id} & set(ids)


def _encode(
    checkpoint: Checkpoint, prompt: str, negative: str, clip_skip: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    return encode_prompts(
        prompt,
        negative,
        tokenizer=checkpoint.tokenizer,
        text_encoder=checkpoint.text_encoder,
        clip_skip=clip_skip,
    )
