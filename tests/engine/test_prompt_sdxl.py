"""SDXL's two text encoders, compared with diffusers' own pipeline."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from engine.checkpoint import Checkpoint, load_checkpoint
from engine.embeddings import Embedding
from engine.errors import IncompatibleAdapter
from engine.prompt import PromptEmbeds, encode_prompts
from engine.prompt_chunks import token_ids
from engine.registry import PACKAGED_MODELS, Registry

TOKENIZER_FOLDER = PACKAGED_MODELS / "embedded" / "tokenizer"
WIDTHS = (16, 24)


@pytest.fixture(scope="module")
def checkpoint(embedded_registry: Registry) -> Checkpoint:
    """The embedded model with two random text encoders of SDXL's classes in place of its own."""
    model = embedded_registry.main_model("PICPIK General")
    embedded = load_checkpoint(model, device=torch.device("cpu"), dtype=torch.float32)
    first = CLIPTokenizer.from_pretrained(TOKENIZER_FOLDER)
    second = CLIPTokenizer.from_pretrained(TOKENIZER_FOLDER, pad_token="!")
    torch.manual_seed(0)
    encoders = (
        CLIPTextModel(_config(first, hidden_size=WIDTHS[0], num_hidden_layers=3)),
        CLIPTextModelWithProjection(_config(second, hidden_size=WIDTHS[1], num_hidden_layers=4)),
    )
    for encoder in encoders:
        encoder.eval().requires_grad_(False)
    return dataclasses.replace(
        embedded, family="sdxl", text_encoders=encoders, tokenizers=(first, second)
    )


def _config(tokenizer: CLIPTokenizer, **sizes: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        **sizes,
        intermediate_size=32,
        num_attention_heads=4,
        projection_dim=20,
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def theirs(
    checkpoint: Checkpoint, prompt: str, negative: str | None, clip_skip: int | None = None
) -> PromptEmbeds:
    pipeline = StableDiffusionXLPipeline(
        vae=None,
        text_encoder=checkpoint.text_encoders[0],
        text_encoder_2=checkpoint.text_encoders[1],
        tokenizer=checkpoint.tokenizers[0],
        tokenizer_2=checkpoint.tokenizers[1],
        unet=checkpoint.unet,
        scheduler=None,
        add_watermarker=False,
    )
    return PromptEmbeds(
        *pipeline.encode_prompt(
            prompt, device=torch.device("cpu"), negative_prompt=negative, clip_skip=clip_skip
        )
    )


def assert_close(ours: PromptEmbeds, expected: PromptEmbeds) -> None:
    for field in dataclasses.fields(PromptEmbeds):
        torch.testing.assert_close(
            getattr(ours, field.name), getattr(expected, field.name), rtol=0, atol=1e-6
        )


@pytest.mark.parametrize("prompts", [("blue sky", "night"), ("", "sea, sand"), ("sky", "a")])
def test_plain_prompts_are_embedded_as_diffusers_does(
    checkpoint: Checkpoint, prompts: tuple[str, str]
) -> None:
    ours = encode_prompts(*prompts, checkpoint=checkpoint)
    assert ours.prompt_embeds.shape == (1, 77, sum(WIDTHS))
    assert_close(ours, theirs(checkpoint, *prompts))


def test_an_empty_negative_prompt_is_zeros_as_in_diffusers(checkpoint: Checkpoint) -> None:
    for blank in ("", "  ", "BREAK"):
        assert_close(
            encode_prompts("blue sky", blank, checkpoint=checkpoint),
            theirs(checkpoint, "blue sky", None),
        )


@pytest.mark.parametrize("clip_skip", [2, 3])
def test_clip_skip_counts_from_the_last_layer_but_one(
    checkpoint: Checkpoint, clip_skip: int
) -> None:
    """diffusers counts what it skips beyond its normal output, from 0."""
    ours = encode_prompts("blue sky", "night", checkpoint=checkpoint, clip_skip=clip_skip)
    expected = theirs(checkpoint, "blue sky", "night", clip_skip - 1)
    torch.testing.assert_close(ours.prompt_embeds, expected.prompt_embeds, rtol=0, atol=1e-6)
    normal = encode_prompts("blue sky", "night", checkpoint=checkpoint)
    assert not torch.allclose(ours.prompt_embeds, normal.prompt_embeds)
    assert torch.equal(ours.pooled_prompt_embeds, normal.pooled_prompt_embeds)


def test_the_pooled_output_is_the_first_chunks(checkpoint: Checkpoint) -> None:
    one = encode_prompts("blue sky", "night", checkpoint=checkpoint)
    two = encode_prompts("blue sky BREAK sea", "night", checkpoint=checkpoint)
    assert two.prompt_embeds.shape == two.negative_prompt_embeds.shape == (1, 154, sum(WIDTHS))
    assert torch.equal(two.prompt_embeds[:, :77], one.prompt_embeds)
    assert torch.equal(two.pooled_prompt_embeds, one.pooled_prompt_embeds)
    assert torch.equal(two.negative_pooled_prompt_embeds, one.negative_pooled_prompt_embeds)


def test_emphasis_restores_the_mean_of_either_encoder(checkpoint: Checkpoint) -> None:
    plain = encode_prompts("blue sky", "night", checkpoint=checkpoint)
    emphasised = encode_prompts("blue (sky:1.4)", "night", checkpoint=checkpoint)
    weights = torch.ones(77)
    weights[2] = 1.4
    for part in (slice(None, WIDTHS[0]), slice(WIDTHS[0], None)):
        before, after = plain.prompt_embeds[..., part], emphasised.prompt_embeds[..., part]
        weighted = before * weights[:, None]
        expected = weighted * (before.mean() / weighted.mean())
        torch.testing.assert_close(after, expected, rtol=1e-3, atol=1e-5)
    assert torch.equal(emphasised.pooled_prompt_embeds, plain.pooled_prompt_embeds)


def test_an_embedding_of_two_parts_acts_in_both_encoders(checkpoint: Checkpoint) -> None:
    """The vectors of "blue sky" in either encoder act as these words, in the pooled output too."""
    ids = token_ids("blue sky", checkpoint.tokenizers[0])
    first, second = checkpoint.text_encoders
    embedding = Embedding(
        (
            first.embeddings.token_embedding.weight[ids].clone(),
            second.text_model.embeddings.token_embedding.weight[ids].clone(),
        )
    )
    ours = encode_prompts(
        "a mark sea", "mark", checkpoint=checkpoint, embeddings={"mark": embedding}
    )
    expected = encode_prompts("a blue sky sea", "blue sky", checkpoint=checkpoint)
    for field in dataclasses.fields(PromptEmbeds):
        assert torch.equal(getattr(ours, field.name), getattr(expected, field.name))


def test_an_embedding_of_one_part_is_refused(checkpoint: Checkpoint) -> None:
    embedding = Embedding((torch.zeros(1, WIDTHS[0]),))
    with pytest.raises(IncompatibleAdapter, match=r"width 16, .* need 16 and 24"):
        encode_prompts("mark", "", checkpoint=checkpoint, embeddings={"mark": embedding})
