"""The text side's vocabulary: CLIP's byte-pair format, learnt from captions."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

_SPECIAL = ("<|startoftext|>", "<|endoftext|>")
_END_OF_WORD = "</w>"
_MAX_LENGTH = 77


def train_tokenizer(captions: Iterable[str], *, vocab_size: int) -> CLIPTokenizer:
    """A CLIPTokenizer of at most `vocab_size` entries.

    All 256 bytes are in it, within and at the end of a word: no input maps to the end token,
    which would cut a prompt short.
    """
    bytes_ = sorted(pre_tokenizers.ByteLevel.alphabet())
    alphabet = [*bytes_, *(byte + _END_OF_WORD for byte in bytes_)]
    learner = Tokenizer(models.BPE(end_of_word_suffix=_END_OF_WORD))
    pipeline = _from_files({token: i for i, token in enumerate((*_SPECIAL, *alphabet))}, [])
    learner.normalizer = pipeline.backend_tokenizer.normalizer
    learner.pre_tokenizer = pipeline.backend_tokenizer.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(alphabet),  # most of the alphabet never occurs in captions
        end_of_word_suffix=_END_OF_WORD,
        min_frequency=8,
        show_progress=False,
    )
    learner.train_from_iterator(captions, trainer)
    merges = json.loads(learner.to_str())["model"]["merges"]
    vocabulary = {token: i for i, token in enumerate((*_SPECIAL, *alphabet))}
    for left, right in merges:
        vocabulary.setdefault(left + right, len(vocabulary))
    return _from_files(vocabulary, merges)


def _from_files(vocabulary: dict[str, int], merges: list[list[str]]) -> CLIPTokenizer:
    with tempfile.TemporaryDirectory() as folder:
        vocab_file, merges_file = Path(folder, "vocab.json"), Path(folder, "merges.txt")
        vocab_file.write_text(json.dumps(vocabulary))
        lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
        merges_file.write_text("\n".join(lines) + "\n")
        return CLIPTokenizer(str(vocab_file), str(merges_file), model_max_length=_MAX_LENGTH)
