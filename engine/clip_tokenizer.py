"""CLIP's tokenizer for checkpoints that bring none: single files.

The merges are OpenAI's; the vocabulary follows from them by CLIP's own rule: the byte alphabet, the
alphabet again at the end of a word, one token a merge, then start and end of text.
"""

from __future__ import annotations

import gzip
from functools import lru_cache
from pathlib import Path

from transformers import CLIPTokenizer

_MERGES = Path(__file__).resolve().parent / "configs" / "clip_merges.txt.gz"
_END_OF_WORD = "</w>"


def clip_tokenizer(pad_token: str) -> CLIPTokenizer:
    """The tokenizer of CLIP and OpenCLIP, 77 tokens a text.

    Args:
        pad_token: "<|endoftext|>" for CLIP; "!" (id 0) for OpenCLIP.
    """
    vocabulary, merges = _vocabulary()
    return CLIPTokenizer(
        vocab=dict(vocabulary), merges=list(merges), pad_token=pad_token, model_max_length=77
    )


@lru_cache(maxsize=1)
def _vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    lines = gzip.decompress(_MERGES.read_bytes()).decode("utf-8").splitlines()
    merges = []
    for line in lines:
        left, right = line.split(" ")
        merges.append((left, right))
    alphabet = _byte_alphabet()
    tokens = [
        *alphabet,
        *(letter + _END_OF_WORD for letter in alphabet),
        *(left + right for left, right in merges),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    return {token: index for index, token in enumerate(tokens)}, merges


def _byte_alphabet() -> list[str]:
    """A printable character for each byte: itself where it is printable, else from 256 up."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1)]
    printable += range(ord("®"), ord("ÿ") + 1)
    others = 256 - len(printable)
    return [chr(code) for code in (*printable, *range(256, 256 + others))]
