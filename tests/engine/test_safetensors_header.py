"""The header reader believes nothing that the file does not bear out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from engine.errors import WeightsUnavailable
from engine.safetensors_header import MAX_HEADER_BYTES, is_pickle, read_safetensors_header

PAIR = {
    "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
    "b": {"dtype": "F16", "shape": [2, 2], "data_offsets": [8, 16]},
}


def test_names_shapes_dtypes_and_metadata_are_read(tmp_path: Path) -> None:
    tensors = {
        "half": torch.ones(2, 3, dtype=torch.float16),
        "brain": torch.ones(4, dtype=torch.bfloat16),
        "whole": torch.ones((), dtype=torch.int64),
        "none": torch.ones(0),
        "eighth": torch.ones(2, dtype=torch.float8_e4m3fn),
    }
    save_file(tensors, tmp_path / "a.safetensors", metadata={"made by": "us"})
    header = read_safetensors_header(tmp_path / "a.safetensors")
    assert header.metadata == {"made by": "us"}
    assert {name: info.shape for name, info in header.tensors.items()} == {
        name: tuple(tensor.shape) for name, tensor in tensors.items()
    }
    for name, tensor in tensors.items():
        assert header.tensors[name].num_bytes == tensor.nbytes
        assert header.tensors[name].is_floating == tensor.is_floating_point()


@pytest.mark.parametrize("length", range(200, 330, 7))
def test_no_length_of_a_header_is_taken_for_another_format(tmp_path: Path, length: int) -> None:
    """Its first byte may be "<", or its first two those of a pickle."""
    for size in (length, 0x280, 0x3C):
        file = write(tmp_path / "a", {}, b"", pad_to=size)
        assert not is_pickle(file)
        assert read_safetensors_header(file).tensors == {}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "truncated: only 0 bytes"),
        (b"\x10\0\0\0", "truncated: only 4 bytes"),
        ((2**63 - 1).to_bytes(8, "little") + b"{}", "claims a header of 9223372036854775807"),
        ((MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b"{}", "claims a header"),
        ((100).to_bytes(8, "little") + b'{"a"', "truncated: its header needs 100 bytes"),
        (b"PK\x03\x04" + b"\0" * 40, "zip archive or a pickled"),
        (b"\x80\x02}q\x00." + b"\0" * 40, "pickled"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>", "HTML"),
        (b"GGUF" + b"\0" * 40, "GGUF"),
        (bytes(range(160, 168)) + b"no header at all", "not a safetensors file"),
    ],
)
def test_foreign_and_truncated_files_are_told(tmp_path: Path, content: bytes, told: str) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(content)
    assert told in refusal(file)


def tensor(**changes: Any) -> dict[str, Any]:
    return PAIR | {"b": PAIR["b"] | changes}


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (tensor(data_offsets=[4, 12]), "'b' overlaps its neighbour"),
        (tensor(data_offsets=[0, 8]), "'b' overlaps its neighbour"),
        (tensor(data_offsets=[9, 17]), "'b' leaves a gap"),
        (tensor(data_offsets=[8, 12]), "'b' needs 8 bytes and is given 4"),
        (tensor(data_offsets=[16, 8]), "'b' needs 8 bytes and is given -8"),
        (tensor(data_offsets=[-8, 0]), "no whole numbers"),
        (tensor(data_offsets=[8]), "unpack"),
        (tensor(shape=[2**62, 2**62]), "'b' needs"),
        (tensor(shape=[-2, -2]), "no whole numbers"),
        (tensor(shape=[2.0, 2]), "no whole numbers"),
        (tensor(shape=[True, 4]), "no whole numbers"),
        (tensor(shape="22"), "no whole numbers"),
        (tensor(shape=None), "broken"),
        (tensor(dtype="F128"), "unknown dtype 'F128'"),
        (tensor(dtype=[]), "broken"),
        (PAIR | {"b": {"dtype": "F32"}}, "broken: 'shape'"),
        (PAIR | {"b": 3}, "broken"),
        (PAIR | {"__metadata__": [1]}, "bad __metadata__"),
        (PAIR | {"__metadata__": {"format": [1]}}, "bad __metadata__"),  # safetensors refuses it
        ({"a": PAIR["a"]}, "bytes that belong to no tensor"),
        (PAIR | {"c": {"dtype": "U8", "shape": [9], "data_offsets": [16, 25]}}, "truncated"),
    ],
)
def test_a_header_that_does_not_describe_its_bytes_is_refused(
    tmp_path: Path, header: dict[str, Any], told: str
) -> None:
    assert told in refusal(write(tmp_path / "a.safetensors", header, b"\0" * 16))


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a": ' + b"[" * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a\xff": 1}',
        b'{"a": 1',
        b'{"__metadata__": {}, "__metadata__": {}}',
        json.dumps(PAIR).encode().replace(b'"b"', b'"a"'),
    ],
)
def test_broken_json_is_one_line(tmp_path: Path, raw: bytes) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(len(raw).to_bytes(8, "little") + raw + b"\0" * 16)
    assert "broken" in refusal(file)


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal(tmp_path / "pipe")
    assert "No such file" in refusal(tmp_path / "absent")
    assert "not a regular file" in refusal(tmp_path)


def refusal(file: Path) -> str:
    """The one line; it names the file."""
    with pytest.raises(WeightsUnavailable) as caught:
        read_safetensors_header(file)
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert "\n" not in message
    assert len(message) < 500
    return message


def write(file: Path, header: dict[str, Any], data: bytes, pad_to: int = 0) -> Path:
    raw = json.dumps(header).encode().ljust(pad_to)
    file.write_bytes(len(raw).to_bytes(8, "little") + raw + data)
    return file
