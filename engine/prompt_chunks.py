"""Weighted text -> the token chunks a text encoder sees, at most 75 tokens each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from transformers import CLIPTokenizer

from engine.prompt_syntax import Section, trigger_pattern

# A full chunk ends at a comma among its last tokens, so that a phrase is not torn in two; further
# back it would waste more of the chunk than the phrase is worth.
COMMA_REACH = 20


@dataclass(frozen=True, slots=True)
class Token:
    """One position of a chunk.

    Attributes:
        token_id: of the tokenizer; under an embedding's vector a placeholder.
        weight: 0..10.
        vector: trigger word and row of the embedding that takes this position, else None.
    """

    token_id: int
    weight: float
    vector: tuple[str, int] | None = None


Chunk = tuple[Token, ...]
_Unit = tuple[Token, ...]  # what must stay in one chunk: a token, or all vectors of an embedding


def chunk_prompt(
    sections: Sequence[Section],
    tokenizer: CLIPTokenizer,
    num_vectors: Mapping[str, int],
) -> list[Chunk]:
    """Tokenizes a prompt and cuts it into chunks; every section begins a new one.

    Args:
        sections: of `parse_prompt`.
        tokenizer: of the text encoder the chunks are for.
        num_vectors: vectors of each usable embedding by its trigger word, 1..75.

    Returns:
        Chunks of 1..75 tokens, without start, end and padding; none for an empty prompt.
    """
    words = sorted(num_vectors, key=len, reverse=True)
    triggers = trigger_pattern(words)
    comma = token_ids(",", tokenizer)[-1]
    chunks: list[Chunk] = []
    for section in sections:
        units: list[_Unit] = []
        for piece in section:
            position = 0
            for match in triggers.finditer(piece.text):
                before = piece.text[position : match.start()]
                position = match.end()
                word = words[match.lastindex - 1] if match.lastindex else ""
                units += _text_units(before, piece.weight, tokenizer)
                units.append(_embedding_unit(word, num_vectors[word], piece.weight, tokenizer))
            units += _text_units(piece.text[position:], piece.weight, tokenizer)
        chunks += _pack(units, comma, chunk_length(tokenizer))
    return chunks


def chunk_length(tokenizer: CLIPTokenizer) -> int:
    """Tokens a chunk holds beside its start and end token: 75 for CLIP."""
    return int(tokenizer.model_max_length) - 2


def token_ids(text: str, tokenizer: CLIPTokenizer) -> list[int]:
    """The text's tokens; a special token written out in a prompt is text and must not end it."""
    encoded = tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
    return list(encoded.input_ids)


def _text_units(text: str, weight: float, tokenizer: CLIPTokenizer) -> list[_Unit]:
    return [(Token(token_id, weight),) for token_id in token_ids(text, tokenizer)]


def _embedding_unit(word: str, num_vectors: int, weight: float, tokenizer: CLIPTokenizer) -> _Unit:
    # Under the vectors stands the start token: unlike the end token nothing looks for it.
    placeholder = int(tokenizer.bos_token_id)
    return tuple(Token(placeholder, weight, (word, row)) for row in range(num_vectors))


def _pack(units: Sequence[_Unit], comma: int, length: int) -> Iterator[Chunk]:
    """Fills chunks in order; a full one is cut after a near comma, else where it is full."""
    pending: list[_Unit] = []
    for unit in units:
        assert len(unit) <= length, "an embedding fits into one chunk"
        while sum(map(len, pending)) + len(unit) > length:
            cut = len(pending) if unit[0].token_id == comma else _after_comma(pending, comma)
            yield _joined(pending[:cut])
            del pending[:cut]
        pending.append(unit)
    if pending:
        yield _joined(pending)


def _after_comma(units: Sequence[_Unit], comma: int) -> int:
    """How many units to keep: up to the last comma within reach, all where there is none."""
    moved_tokens = 0
    for index in range(len(units), 0, -1):
        if units[index - 1][0].token_id == comma:
            return index
        moved_tokens += len(units[index - 1])
        if moved_tokens >= COMMA_REACH:
            break
    return len(units)


def _joined(units: Sequence[_Unit]) -> Chunk:
    return tuple(token for unit in units for token in unit)
