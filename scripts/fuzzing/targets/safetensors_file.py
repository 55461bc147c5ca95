"""Headers of weight files.

An input that begins with an odd byte is a header alone: its length goes before it and as many bytes
behind it as its tensors ask for, so that changes reach the checks behind the file's outline.
"""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, deserialize

from engine.errors import WeightsUnavailable
from engine.safetensors_header import SafetensorsHeader, read_safetensors_header
from scripts.fuzzing.catalogue import Check, Garbage

_MAX_DATA_BYTES = 2**16


def open_check(folder: Path) -> Check:
    """Reads the header of a file; the safetensors package must read the same from it."""
    path = folder / "model.safetensors"

    def check(data: bytes) -> bool:
        file = file_of(data)
        path.write_bytes(file)
        try:
            header = read_safetensors_header(path)
        except WeightsUnavailable:
            return False
        confirm(header, file)
        return True

    return check


def confirm(header: SafetensorsHeader, file: bytes) -> None:
    """Raises `Garbage` unless `header` is what the safetensors package reads."""
    try:
        expected = {
            name: (tensor["dtype"], tuple(tensor["shape"]), len(tensor["data"]))
            for name, tensor in deserialize(file)
        }
    except SafetensorError as exc:
        raise Garbage(f"accepted what safetensors refuses: {exc}") from exc
    told = {name: (t.dtype, t.shape, t.num_bytes) for name, t in header.tensors.items()}
    if told != expected:
        raise Garbage(f"read {told}, safetensors {expected}")


def file_of(data: bytes) -> bytes:
    """The file an input stands for."""
    if not data or data[0] % 2 == 0:
        return data[1:]
    header = data[1:]
    return len(header).to_bytes(8, "little") + header + bytes(_data_size(header))


def _data_size(header: bytes) -> int:
    try:
        ends = [
            entry["data_offsets"][1] for entry in json.loads(header).values() if "dtype" in entry
        ]
        return max(0, min(_MAX_DATA_BYTES, max(ends, default=0)))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return 0


def seeds() -> list[bytes]:
    """Good headers of several types and shapes, and files that are something else."""
    headers = [
        {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}},
        {
            "__metadata__": {"format": "pt"},
            "a": {"dtype": "BF16", "shape": [], "data_offsets": [0, 2]},
            "b": {"dtype": "I64", "shape": [0, 4], "data_offsets": [2, 2]},
            "c": {"dtype": "F8_E4M3", "shape": [1, 1, 5], "data_offsets": [2, 7]},
            "d": {"dtype": "BOOL", "shape": [3], "data_offsets": [7, 10]},
        },
        {},
    ]
    texts = [json.dumps(header).encode() for header in headers]
    whole = [b"\0" + file_of(b"\1" + text) for text in texts]
    others = [b"\0PK\x03\x04", b"\0\x80\x02", b"\0<html>", b"\0GGUF", b"\0version https://git-lfs"]
    return [*(b"\1" + text for text in texts), *whole, *others]
