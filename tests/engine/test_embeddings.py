"""Embedding files in every layout people publish, and those that are none."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.embeddings import EmbeddingInfo, load_embedding, read_embedding_info
from engine.errors import WeightsUnavailable


def rows(count: int, width: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(width)).to(dtype)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mark.safetensors"


@pytest.mark.parametrize(
    ("tensors", "info", "family"),
    [
        ({"emb_params": rows(2, 768)}, EmbeddingInfo(2, (768,)), "sd1"),
        ({"emb_params": rows(8, 1024, torch.float16)}, EmbeddingInfo(8, (1024,)), "sd2"),
        ({"<toy>": rows(1, 768, torch.bfloat16)}, EmbeddingInfo(1, (768,)), "sd1"),
        ({"<toy>": rows(1, 768)[0]}, EmbeddingInfo(1, (768,)), "sd1"),
        (
            {"clip_g": rows(3, 1280), "clip_l": rows(3, 768)},
            EmbeddingInfo(3, (768, 1280)),
            "sdxl",
        ),
        (
            {"text_encoders_0": rows(2, 768), "text_encoders_1": rows(2, 1280)},
            EmbeddingInfo(2, (768, 1280)),
            "sdxl",
        ),
        ({"emb_params": rows(75, 192)}, EmbeddingInfo(75, (192,)), None),
    ],
)
def test_every_layout_is_read(
    path: Path, tensors: dict[str, torch.Tensor], info: EmbeddingInfo, family: str | None
) -> None:
    save_file(tensors, path)
    assert read_embedding_info(path) == info
    assert info.family == family
    embedding = load_embedding(path)
    assert embedding.widths == info.widths
    for width, vectors in zip(info.widths, embedding.vectors, strict=True):
        (original,) = (each for each in tensors.values() if each.shape[-1] == width)
        assert vectors.dtype == torch.float32
        assert torch.equal(vectors, original.float().reshape(-1, width))


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({}, "holds nothing"),
        ({"a": rows(1, 8), "b": rows(1, 8)}, "holds 'a', 'b'"),
        ({"clip_l": rows(1, 768), "clip_g": rows(2, 1280)}, "different numbers"),
        ({"emb_params": rows(76, 768)}, r"\[76, 768\], not 1 to 75"),
        ({"emb_params": torch.zeros(0, 768)}, r"\[0, 768\]"),
        ({"emb_params": torch.zeros(1, 2, 768)}, r"\[1, 2, 768\]"),
        ({"emb_params": torch.tensor(1.0)}, r"shape \[\]"),
        ({"emb_params": torch.zeros(1, 768, dtype=torch.int32)}, "I32"),
    ],
)
def test_what_is_no_embedding_is_refused(
    path: Path, tensors: dict[str, torch.Tensor], reason: str
) -> None:
    save_file(tensors, path)
    for read in (read_embedding_info, load_embedding):
        with pytest.raises(WeightsUnavailable, match=reason) as caught:
            read(path)
        assert_one_line_naming(path, caught.value)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_vectors_are_finite(path: Path, bad: float) -> None:
    save_file({"emb_params": torch.tensor([[0.0, bad]])}, path)
    with pytest.raises(WeightsUnavailable, match="NaN or infinity"):
        load_embedding(path)


@pytest.mark.parametrize("content", [b"", b"\xff" * 40, b"<html>", b"\x08\0\0\0\0\0\0\0{}"])
@pytest.mark.parametrize("read", [read_embedding_info, load_embedding])
def test_a_damaged_file_is_one_clear_line(path: Path, content: bytes, read: object) -> None:
    path.write_bytes(content)
    with pytest.raises(WeightsUnavailable) as caught:
        read(path)
    assert_one_line_naming(path, caught.value)


@pytest.mark.parametrize("read", [read_embedding_info, load_embedding])
def test_a_missing_file_is_one_clear_line(path: Path, read: object) -> None:
    with pytest.raises(WeightsUnavailable) as caught:
        read(path)
    assert_one_line_naming(path, caught.value)


# Pickles -------------------------------------------------------------------------------------------

VECTORS = rows(2, 768)
WEB_UI = {"string_to_token": {"*": 265}, "string_to_param": {"*": VECTORS}, "name": "mark"}


@pytest.mark.parametrize(
    "content",
    [
        WEB_UI,
        WEB_UI | {"string_to_param": {"*": torch.nn.Parameter(VECTORS)}},
        {"<toy>": VECTORS},
        {"emb_params": VECTORS, "step": 500},
    ],
)
def test_a_pickle_is_read_only_where_it_is_allowed(path: Path, content: object) -> None:
    torch.save(content, path)
    for read in (read_embedding_info, load_embedding):
        with pytest.raises(WeightsUnavailable, match="allow_pickle") as caught:
            read(path)
        assert_one_line_naming(path, caught.value)
    assert read_embedding_info(path, allow_pickle=True) is None
    (vectors,) = load_embedding(path, allow_pickle=True).vectors
    assert torch.equal(vectors, VECTORS)
    assert not vectors.requires_grad


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle_runs_nothing(tmp_path: Path, path: Path, zipped: bool) -> None:
    target = tmp_path / "owned"
    if zipped:
        torch.save({"<toy>": Malicious(target)}, path)
    else:
        path.write_bytes(pickle.dumps({"<toy>": Malicious(target)}, protocol=2))
    with pytest.raises(WeightsUnavailable) as caught:
        load_embedding(path, allow_pickle=True)
    assert_one_line_naming(path, caught.value)
    assert not target.exists()


@pytest.mark.parametrize("content", [[VECTORS], {"a": 1}, VECTORS, {"string_to_param": VECTORS}])
def test_a_pickle_without_named_tensors_is_refused(path: Path, content: object) -> None:
    torch.save(content, path)
    with pytest.raises(WeightsUnavailable, match="not an embedding") as caught:
        load_embedding(path, allow_pickle=True)
    assert_one_line_naming(path, caught.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_damaged_pickle_is_one_clear_line(path: Path, zipped: bool) -> None:
    torch.save(WEB_UI, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    for length in range(9, len(content), len(content) // 60):
        path.write_bytes(content[:length])
        with pytest.raises(WeightsUnavailable) as caught:
            load_embedding(path, allow_pickle=True)
        assert_one_line_naming(path, caught.value)


def assert_one_line_naming(path: Path, error: WeightsUnavailable) -> None:
    assert str(error).startswith(f"{path}: ")
    assert "\n" not in str(error)
    assert len(str(error)) < len(str(path)) + 300
