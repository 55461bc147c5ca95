"""Prompts -> prompt_embeds: any length, emphasis, embeddings, one or two text encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch

from engine.checkpoint import Checkpoint, text_body
from engine.chunk_encoder import ChunkEncoder
from engine.embeddings import Embedding
from engine.errors import IncompatibleAdapter, ParameterOutOfRange
from engine.prompt_chunks import Chunk
from engine.prompt_syntax import parse_prompt

NO_EMBEDDINGS: Mapping[str, Embedding] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class PromptEmbeds:
    """A job's prompts as its UNet sees them, in the encoders' dtype.

    Attributes:
        prompt_embeds: (1, k * 77, D); k is the number of chunks of the longer prompt, D the sum of
            the encoders' widths.
        negative_prompt_embeds: likewise.
        pooled_prompt_embeds: (1, P), the second encoder's projected end token of the first chunk;
            None where there is one encoder.
        negative_pooled_prompt_embeds: likewise.
    """

    prompt_embeds: torch.Tensor
    negative_prompt_embeds: torch.Tensor
    pooled_prompt_embeds: torch.Tensor | None = None
    negative_pooled_prompt_embeds: torch.Tensor | None = None


@torch.inference_mode()
def encode_prompts(
    prompt: str,
    negative_prompt: str,
    *,
    checkpoint: Checkpoint,
    clip_skip: int = 1,
    embeddings: Mapping[str, Embedding] = NO_EMBEDDINGS,
) -> PromptEmbeds:
    """Embeds a prompt and its negative, the shorter one padded with empty chunks.

    Every chunk is encoded in a batch of its own, so that an embedding depends on its text alone.
    On SDXL an empty negative prompt is all zeros: those models were trained to paint without a
    prompt from zeros, not from the encoding of an empty text.

    Args:
        prompt: any length, in the syntax of `prompt_syntax`; empty gives one empty chunk.
        negative_prompt: likewise.
        checkpoint: whose encoders read them.
        clip_skip: 1 takes what the family was trained on: the last layer under the final norm, on
            SDXL the last but one as it is. Each n beyond takes one layer earlier.
        embeddings: by the trigger word that stands for them in a prompt.

    Raises:
        BadPrompt: a prompt holds a LoRA tag.
        ParameterOutOfRange: a weight, or a `clip_skip` beyond an encoder's layers.
        IncompatibleAdapter: an embedding was made for other text encoders.
    """
    is_sdxl = checkpoint.family == "sdxl"
    _check_clip_skip(clip_skip, checkpoint)
    _check_embeddings(embeddings, checkpoint)
    encoders = [
        ChunkEncoder(
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            vectors={word: each.vectors[index] for word, each in embeddings.items()},
            hidden_layer=-clip_skip - 1 if is_sdxl else -clip_skip,
            final_norm=not is_sdxl,
        )
        for index, (text_encoder, tokenizer) in enumerate(
            zip(checkpoint.text_encoders, checkpoint.tokenizers, strict=True)
        )
    ]
    sections = parse_prompt(prompt, field="prompt")
    negative_sections = parse_prompt(negative_prompt, field="negative_prompt")
    chunks = [encoder.chunks(sections) for encoder in encoders]
    negative_chunks = [encoder.chunks(negative_sections) for encoder in encoders]
    num_chunks = max(1, *(len(each) for each in chunks + negative_chunks))
    prompt_embeds, pooled = _embed(encoders, chunks, num_chunks)
    negative_embeds, negative_pooled = _embed(encoders, negative_chunks, num_chunks)
    if is_sdxl and not any(negative_chunks):
        negative_embeds = torch.zeros_like(negative_embeds)
        negative_pooled = None if pooled is None else torch.zeros_like(pooled)
    return PromptEmbeds(prompt_embeds, negative_embeds, pooled, negative_pooled)


def _embed(
    encoders: Sequence[ChunkEncoder], chunks: Sequence[Sequence[Chunk]], num_chunks: int
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """One prompt through all encoders: (1, num_chunks * 77, D) and the last encoder's (1, P)."""
    hidden_states = []
    pooled = None
    for encoder, its_chunks in zip(encoders, chunks, strict=True):
        padded: list[Chunk] = [*its_chunks, *[()] * (num_chunks - len(its_chunks))]
        encoded = [encoder.encode(chunk) for chunk in padded]
        hidden_states.append(torch.cat([each.hidden_states for each in encoded], dim=1))
        pooled = encoded[0].pooled
    return torch.cat(hidden_states, dim=-1), pooled


def _check_clip_skip(clip_skip: int, checkpoint: Checkpoint) -> None:
    layers = min(int(each.config.num_hidden_layers) for each in checkpoint.text_encoders)
    if not 1 <= clip_skip <= layers:
        raise ParameterOutOfRange(f"clip_skip is {clip_skip}, not 1..{layers}", field="clip_skip")


def _check_embeddings(embeddings: Mapping[str, Embedding], checkpoint: Checkpoint) -> None:
    widths = tuple(
        text_body(each).embeddings.token_embedding.embedding_dim
        for each in checkpoint.text_encoders
    )
    for word, embedding in embeddings.items():
        if embedding.widths != widths:
            raise IncompatibleAdapter(
                f"the embedding {word!r} has vectors of width {_listed(embedding.widths)}, the"
                f" text encoders of {checkpoint.name!r} need {_listed(widths)}"
            )


def _listed(widths: Sequence[int]) -> str:
    return " and ".join(str(width) for width in widths)
