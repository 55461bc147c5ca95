"""One text encoder reading token chunks: start and end tokens, embeddings, ClipSkip, weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import CLIPTokenizer

from engine.checkpoint import TextEncoder, text_body
from engine.prompt_chunks import Chunk, chunk_length, chunk_prompt
from engine.prompt_syntax import MAX_WEIGHT, Section


@dataclass(frozen=True, slots=True)
class EncodedChunk:
    """What an encoder makes of a chunk.

    Attributes:
        hidden_states: (1, 77, D), weighted.
        pooled: (1, P), the projected end token; None where the encoder has no projection.
    """

    hidden_states: torch.Tensor
    pooled: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class ChunkEncoder:
    """A text encoder for one job.

    Attributes:
        text_encoder: CLIP text model, with or without a projection.
        tokenizer: its tokenizer.
        vectors: (n, D) of each usable embedding, by trigger word.
        hidden_layer: index into the n + 1 hidden states, from the end: -1 is the last layer's.
        final_norm: whether the final norm follows.
    """

    text_encoder: TextEncoder
    tokenizer: CLIPTokenizer
    vectors: Mapping[str, torch.Tensor]
    hidden_layer: int
    final_norm: bool
    _encoded: dict[Chunk, EncodedChunk] = field(default_factory=dict)

    def chunks(self, sections: Sequence[Section]) -> list[Chunk]:
        """The prompt in this encoder's tokens (see `chunk_prompt`)."""
        num_vectors = {word: len(rows) for word, rows in self.vectors.items()}
        return chunk_prompt(sections, self.tokenizer, num_vectors)

    def encode(self, chunk: Chunk) -> EncodedChunk:
        """Runs the encoder on one chunk alone; a chunk that repeats is run once."""
        if chunk not in self._encoded:
            self._encoded[chunk] = self._encode(chunk)
        return self._encoded[chunk]

    def _encode(self, chunk: Chunk) -> EncodedChunk:
        padding = [self.tokenizer.pad_token_id] * (chunk_length(self.tokenizer) - len(chunk))
        ids = [token.token_id for token in chunk]
        row = [self.tokenizer.bos_token_id, *ids, self.tokenizer.eos_token_id, *padding]
        input_ids = torch.tensor([row], dtype=torch.int64, device=self.text_encoder.device)
        body = text_body(self.text_encoder)
        with self._vectors_in_place(chunk, body.embeddings.token_embedding):
            output = self.text_encoder(input_ids, output_hidden_states=True, return_dict=True)
        if self.hidden_layer == -1 and self.final_norm:
            hidden_states = output.last_hidden_state
        else:
            hidden_states = output.hidden_states[self.hidden_layer]
            if self.final_norm:
                hidden_states = body.final_layer_norm(hidden_states)
        weights = [1.0, *(token.weight for token in chunk), 1.0, *(1.0 for _ in padding)]
        return EncodedChunk(_weighted(hidden_states, weights), getattr(output, "text_embeds", None))

    @contextmanager
    def _vectors_in_place(self, chunk: Chunk, token_embedding: Any) -> Iterator[None]:
        """Puts the chunk's embedding vectors over their placeholders while one forward runs."""
        vectors = {
            position: self.vectors[token.vector[0]][token.vector[1]]
            for position, token in enumerate(chunk, start=1)  # after the start token
            if token.vector is not None
        }
        if not vectors:
            yield
            return

        def replace(_module: Any, _args: Any, output: torch.Tensor) -> torch.Tensor:
            output = output.clone()
            output[0, list(vectors)] = torch.stack(list(vectors.values())).to(output)
            return output

        handle = token_embedding.register_forward_hook(replace)
        try:
            yield
        finally:
            handle.remove()


def _weighted(hidden_states: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
    """Multiplies each position by its weight and restores the mean of the whole chunk.

    Without that, a few heavy words would raise the level of everything cross-attention reads, which
    acts like more guidance; restored, only the proportions between the words change.

    Args:
        hidden_states: (1, 77, D).
        weights: 77 values in 0..10; all 1 leaves every bit as it is.
    """
    if all(weight == 1.0 for weight in weights):
        return hidden_states
    plain = hidden_states.float()
    weighted = plain * torch.tensor(weights, device=plain.device)[:, None]
    scale = plain.mean() / weighted.mean()
    # A mean so close to zero that the ratio leaves what weights can explain measures nothing.
    if 1 / MAX_WEIGHT <= scale <= MAX_WEIGHT:
        weighted = weighted * scale
    return weighted.to(hidden_states.dtype)
