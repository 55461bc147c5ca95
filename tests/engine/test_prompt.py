"""Prompts of any length become embeddings that depend on their own text alone."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from diffusers import StableDiffusionInpaintPipeline
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from engine.checkpoint import Checkpoint, load_checkpoint
from engine.chunk_encoder import _weighted
from engine.embeddings import Embedding
from engine.errors import BadPrompt, IncompatibleAdapter, ParameterOutOfRange
from engine.prompt import encode_prompts
from engine.prompt_chunks import token_ids
from engine.registry import PACKAGED_MODELS, Registry

LONG = ", ".join(["blue sky with white clouds over a sandy beach"] * 30)


@pytest.fixture(scope="module")
def checkpoint(embedded_registry: Registry) -> Checkpoint:
    model = embedded_registry.main_model("PICPIK General")
    return load_checkpoint(model, device=torch.device("cpu"), dtype=torch.float32)


def encode(
    checkpoint: Checkpoint,
    prompt: str,
    negative: str = "",
    clip_skip: int = 1,
    **vectors: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    embeds = encode_prompts(
        prompt,
        negative,
        checkpoint=checkpoint,
        clip_skip=clip_skip,
        embeddings={word: Embedding((rows,)) for word, rows in vectors.items()},
    )
    assert embeds.pooled_prompt_embeds is embeds.negative_pooled_prompt_embeds is None
    return embeds.prompt_embeds, embeds.negative_prompt_embeds


def token_vectors(checkpoint: Checkpoint, text: str) -> torch.Tensor:
    """What the encoder itself looks up for a text, (n, D)."""
    table = checkpoint.text_encoders[0].embeddings.token_embedding.weight
    return table[token_ids(text, checkpoint.tokenizers[0])].detach().clone()


# Plain prompts -------------------------------------------------------------------------------------


def test_a_short_prompt_is_embedded_as_diffusers_does(checkpoint: Checkpoint) -> None:
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(
        PACKAGED_MODELS / "embedded", safety_checker=None, dtype=torch.float32
    )
    theirs = pipeline.encode_prompt("blue sky", torch.device("cpu"), 1, True, "night")
    for ours, expected in zip(encode(checkpoint, "blue sky", "night"), theirs, strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)


def test_padding_is_the_tokenizers_own(checkpoint: Checkpoint) -> None:
    """SD 2.x pads with "!" and not with the end token."""
    tokenizer = CLIPTokenizer.from_pretrained(
        PACKAGED_MODELS / "embedded" / "tokenizer", pad_token="!"
    )
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    ids = tokenizer("blue sky", padding="max_length", return_tensors="pt").input_ids
    expected = checkpoint.text_encoders[0](ids).last_hidden_state
    padded = dataclasses.replace(checkpoint, family="sd2", tokenizers=(tokenizer,))
    torch.testing.assert_close(encode(padded, "blue sky")[0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("clip_skip", [1, 2, 3])
def test_clip_skip_is_an_earlier_layer_under_the_final_norm(
    checkpoint: Checkpoint, clip_skip: int
) -> None:
    """Checked layer by layer: diffusers 0.42 cannot skip layers of transformers 5's class."""
    encoder = checkpoint.text_encoders[0]
    ids = checkpoint.tokenizers[0]("blue sky", padding="max_length", return_tensors="pt").input_ids
    outputs: list[torch.Tensor] = []
    handles = [
        layer.register_forward_hook(lambda _m, _i, out: outputs.append(out))
        for layer in encoder.encoder.layers
    ]
    encoder(ids)
    for handle in handles:
        handle.remove()
    expected = encoder.final_layer_norm(outputs[-clip_skip])
    ours, _ = encode(checkpoint, "blue sky", clip_skip=clip_skip)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("clip_skip", [0, 4])
def test_clip_skip_beyond_the_layers_is_refused(checkpoint: Checkpoint, clip_skip: int) -> None:
    with pytest.raises(ParameterOutOfRange, match=r"not 1\.\.3") as caught:
        encode(checkpoint, "sky", clip_skip=clip_skip)
    assert caught.value.field == "clip_skip"


def test_a_long_prompt_keeps_every_token(checkpoint: Checkpoint) -> None:
    """Thirteen tokens a phrase, five whole phrases a chunk, six chunks."""
    phrase = "blue sky with white clouds over a sandy beach,"
    assert len(token_ids(phrase, checkpoint.tokenizers[0])) == 13
    positive, negative = encode(checkpoint, LONG)
    assert positive.shape == negative.shape == (1, 6 * 77, 192)
    five = " ".join([phrase] * 5)
    expected = [five] * 5 + [five.removesuffix(",")]
    parts = [encode(checkpoint, part)[0] for part in expected]
    assert torch.equal(positive, torch.cat(parts, dim=1))


def test_break_begins_a_new_chunk(checkpoint: Checkpoint) -> None:
    whole, _ = encode(checkpoint, "blue sky BREAK sandy beach")
    parts = [encode(checkpoint, part)[0] for part in ("blue sky", "sandy beach")]
    assert torch.equal(whole, torch.cat(parts, dim=1))


@pytest.mark.parametrize("other", ["", "sky", LONG, "(mark:1.5) sea", "a BREAK b"])
def test_an_embedding_does_not_depend_on_its_neighbour(checkpoint: Checkpoint, other: str) -> None:
    vectors = token_vectors(checkpoint, "sea")
    alone, empty = encode(checkpoint, "(night:1.2) beach", mark=vectors)
    positive, _ = encode(checkpoint, "(night:1.2) beach", other, mark=vectors)
    _, negative = encode(checkpoint, other, "(night:1.2) beach", mark=vectors)
    padding = empty.repeat(1, positive.shape[1] // 77 - 1, 1)
    assert torch.equal(positive, torch.cat([alone, padding], dim=1))
    assert torch.equal(negative, positive)


@pytest.mark.parametrize(
    "text", ["蓝天 白云", "café", "\x00\x7f", "🌤", "<|endoftext|>", "\\", "(("]
)
def test_any_text_can_be_embedded(checkpoint: Checkpoint, text: str) -> None:
    embeds, _ = encode(checkpoint, text)
    assert embeds.isfinite().all()


@pytest.mark.parametrize("text", ["蓝天", "é", "🌤", "<|endoftext|>", "<|startoftext|>"])
def test_no_visible_text_vanishes(checkpoint: Checkpoint, text: str) -> None:
    """The tokenizer holds the whole byte alphabet: an unknown letter is no end of text."""
    with_text, _ = encode(checkpoint, f"blue {text} night")
    without, _ = encode(checkpoint, "blue")
    cut_off, _ = encode(checkpoint, "blue  night")
    assert not torch.equal(with_text, without)
    assert not torch.equal(with_text, cut_off)
    ids = token_ids(text, checkpoint.tokenizers[0])
    assert ids
    special = {checkpoint.tokenizers[0].eos_token_id, checkpoint.tokenizers[0].bos_token_id}
    assert not special & set(ids)


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
def test_a_lora_tag_is_refused_in_either_prompt(checkpoint: Checkpoint, field: str) -> None:
    prompts = {"prompt": "", "negative_prompt": ""} | {field: "<lora:x:1>"}
    with pytest.raises(BadPrompt) as caught:
        encode_prompts(**prompts, checkpoint=checkpoint)
    assert caught.value.field == field


# Emphasis ------------------------------------------------------------------------------------------


def test_emphasis_scales_its_tokens_and_restores_the_mean(checkpoint: Checkpoint) -> None:
    plain, _ = encode(checkpoint, "blue sky sandy beach")
    emphasised, _ = encode(checkpoint, "blue (sky sandy:1.5) beach")
    weights = torch.ones(77, dtype=torch.float64)
    weights[2:4] = 1.5  # after the start token and "blue"
    weighted = plain.double() * weights[:, None]
    expected = weighted * (plain.double().mean() / weighted.mean())
    torch.testing.assert_close(emphasised.double(), expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(emphasised.mean(), plain.mean(), rtol=1e-4, atol=1e-7)


def test_emphasis_in_one_chunk_leaves_the_others_bits(checkpoint: Checkpoint) -> None:
    plain, _ = encode(checkpoint, "blue sky BREAK sandy beach")
    emphasised, _ = encode(checkpoint, "blue (sky) BREAK sandy beach")
    assert not torch.equal(emphasised[:, :77], plain[:, :77])
    assert torch.equal(emphasised[:, 77:], plain[:, 77:])


def test_a_weight_of_one_changes_no_bit(checkpoint: Checkpoint) -> None:
    assert torch.equal(encode(checkpoint, "(sky:1.0)")[0], encode(checkpoint, "sky")[0])


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 10, width=32), min_size=6, max_size=6),
    st.sampled_from(["zero", "opposite", "level", "random"]),
    st.sampled_from([torch.float16, torch.float32]),
)
def test_no_weights_make_a_hidden_state_explode(
    weights: list[float], kind: str, dtype: torch.dtype
) -> None:
    states = {
        "zero": torch.zeros(1, 6, 4),
        "opposite": torch.tensor([1.0, -1.0] * 3)[None, :, None].expand(1, 6, 4),
        "level": torch.full((1, 6, 4), -0.1),
        "random": torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(0)),
    }[kind].to(dtype)
    weighted = _weighted(states, weights)
    assert weighted.dtype == dtype
    assert weighted.isfinite().all()
    assert weighted.abs().max() <= 101 * states.abs().max()


# Embeddings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [0, 1])
def test_the_vectors_of_words_act_as_these_words(checkpoint: Checkpoint, side: int) -> None:
    prompts = ("a night mark beach", "")
    plain = ("a night blue sky beach", "")
    if side == 1:
        prompts, plain = prompts[::-1], plain[::-1]
    vectors = token_vectors(checkpoint, "blue sky")
    ours = encode(checkpoint, *prompts, mark=vectors)
    for each, expected in zip(ours, encode(checkpoint, *plain), strict=True):
        assert torch.equal(each, expected)


@pytest.mark.parametrize("row", [0, 1, 2])
def test_an_embedding_changes_prompt_embeds_exactly_at_its_tokens(
    checkpoint: Checkpoint, row: int
) -> None:
    """The encoder is causal: what stands before a vector keeps every bit, its own place does not.

    Seen from the encoder's input, nothing but the embedding's own positions changes.
    """
    vectors = torch.randn(3, 192, generator=torch.Generator().manual_seed(1))
    changed = vectors.clone()
    changed[row] += 1
    seen: list[torch.Tensor] = []
    embeddings = checkpoint.text_encoders[0].embeddings
    handle = embeddings.register_forward_hook(lambda _m, _i, out: seen.append(out))
    before, _ = encode(checkpoint, "blue sky mark night BREAK sea", mark=vectors)
    after, _ = encode(checkpoint, "blue sky mark night BREAK sea", mark=changed)
    handle.remove()
    position = 3 + row  # after the start token, "blue" and "sky"
    assert torch.equal(after[:, :position], before[:, :position])
    assert not torch.equal(after[:, position], before[:, position])
    assert torch.equal(after[:, 77:], before[:, 77:])
    assert len(seen) == 6  # two chunks and the empty negative, twice
    first, second = seen[0], seen[3]
    assert (first != second).any(dim=-1).nonzero()[:, 1].tolist() == [position]
    expected = vectors + embeddings.position_embedding.weight[3:6]
    torch.testing.assert_close(first[0, 3:6], expected, rtol=0, atol=1e-6)


def test_an_unused_embedding_changes_nothing(checkpoint: Checkpoint) -> None:
    vectors = torch.randn(2, 192)
    assert torch.equal(
        encode(checkpoint, "blue sky", mark=vectors)[0], encode(checkpoint, "blue sky")[0]
    )


def test_an_embedding_leaves_the_encoder_as_it_was(checkpoint: Checkpoint) -> None:
    table = checkpoint.text_encoders[0].embeddings.token_embedding
    weight = table.weight.detach().clone()
    plain, _ = encode(checkpoint, "mark")
    encode(checkpoint, "mark mark", mark=torch.randn(2, 192))
    assert torch.equal(table.weight, weight)
    assert not table._forward_hooks
    assert torch.equal(encode(checkpoint, "mark")[0], plain)


def test_a_failing_forward_leaves_the_encoder_as_it_was(checkpoint: Checkpoint) -> None:
    encoder = checkpoint.text_encoders[0]
    plain, _ = encode(checkpoint, "mark")

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("full")

    handle = encoder.final_layer_norm.register_forward_hook(fail)
    with pytest.raises(torch.OutOfMemoryError):
        encode(checkpoint, "mark", mark=torch.randn(2, 192))
    handle.remove()
    assert torch.equal(encode(checkpoint, "mark")[0], plain)


@pytest.mark.parametrize("parts", [(torch.zeros(1, 768),), (torch.zeros(1, 192),) * 2])
def test_an_embedding_for_other_encoders_is_refused(
    checkpoint: Checkpoint, parts: tuple[torch.Tensor, ...]
) -> None:
    with pytest.raises(IncompatibleAdapter, match=r"'mark'.*need 192"):
        encode_prompts("", "", checkpoint=checkpoint, embeddings={"mark": Embedding(parts)})
