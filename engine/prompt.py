"""Prompts -> prompt_embeds, any length, in chunks of 75 tokens."""

from __future__ import annotations

import torch
from transformers import CLIPTextModel, CLIPTokenizer


@torch.inference_mode()
def encode_prompts(
    prompt: str,
    negative_prompt: str,
    *,
    tokenizer: CLIPTokenizer,
    text_encoder: CLIPTextModel,
    clip_skip: int = 1,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeds a prompt and its negative, both padded to the same number of chunks.

    Every chunk is encoded in a batch of its own, so that an embedding depends on its text alone.

    Args:
        prompt: any length; empty gives one empty chunk.
        negative_prompt: likewise.
        tokenizer: of the checkpoint.
        text_encoder: of the checkpoint.
        clip_skip: n uses the n-th from last hidden layer and the final norm; 1 is the model's
            normal output.

    Returns:
        prompt_embeds and negative_prompt_embeds, each (1, k * 77, D) in the encoder's dtype.
    """
    token_lists = [_tokens(text, tokenizer) for text in (prompt, negative_prompt)]
    num_chunks = max(1, *(-(-len(tokens) // _chunk_length(tokenizer)) for tokens in token_lists))
    encoded: dict[tuple[int, ...], torch.Tensor] = {}  # a long prompt's negative repeats one chunk
    embeds = []
    for tokens in token_lists:
        chunks = _chunks(tokens, num_chunks, tokenizer)
        for chunk in chunks:
            if chunk not in encoded:
                encoded[chunk] = _encode_chunk(chunk, text_encoder, clip_skip)
        embeds.append(torch.cat([encoded[chunk] for chunk in chunks], dim=1))
    prompt_embeds, negative_prompt_embeds = embeds
    return prompt_embeds, negative_prompt_embeds


def _chunk_length(tokenizer: CLIPTokenizer) -> int:
    return int(tokenizer.model_max_length) - 2  # room for the start and end tokens


def _tokens(text: str, tokenizer: CLIPTokenizer) -> list[int]:
    # Special tokens written out in a prompt are text: "<|endoftext|>" must not end it.
    encoded = tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
    return list(encoded.input_ids)


def _chunks(tokens: list[int], num_chunks: int, tokenizer: CLIPTokenizer) -> list[tuple[int, ...]]:
    """77 token ids each: start, up to 75 tokens, end, padding."""
    length = _chunk_length(tokenizer)
    chunks = []
    for index in range(num_chunks):
        part = tokens[index * length : (index + 1) * length]
        padding = [tokenizer.pad_token_id] * (length - len(part))
        chunks.append((tokenizer.bos_token_id, *part, tokenizer.eos_token_id, *padding))
    return chunks


def _encode_chunk(
    chunk: tuple[int, ...], text_encoder: CLIPTextModel, clip_skip: int
) -> torch.Tensor:
    """(1, 77, D)."""
    input_ids = torch.tensor([chunk], dtype=torch.int64)
    output = text_encoder(
        input_ids.to(text_encoder.device), output_hidden_states=clip_skip > 1, return_dict=True
    )
    if clip_skip == 1:
        last: torch.Tensor = output.last_hidden_state
        return last
    normed: torch.Tensor = text_encoder.final_layer_norm(output.hidden_states[-clip_skip])
    return normed
