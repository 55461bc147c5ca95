"""The header of a safetensors file, read with suspicion: names, shapes, metadata; no torch.

A file is eight bytes of header length, a JSON header and the tensors' bytes, without gaps. Every
claim of the header is checked against the size of the file before anything is allocated or mapped.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from engine.errors import WeightsUnavailable

# A checkpoint's header takes about 0.5 MB; LoRAs with every training caption in their metadata
# reach some megabytes.
MAX_HEADER_BYTES = 32 * 2**20

_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64"), 64),
}

# What people download by mistake, by its first bytes.
_FOREIGN = {
    b"PK\x03\x04": "a zip archive or a pickled checkpoint (.ckpt, .pt)",
    b"\x80\x02": "a pickled checkpoint (.ckpt, .pt)",
    b"version https://git-lfs": "a Git LFS pointer; the weights themselves were not downloaded",
    b"<": "an HTML or XML page, saved in place of the weights",
    b"GGUF": "a GGUF file",
    b"\x89HDF": "an HDF5 file",
    b"\x1f\x8b": "a gzip archive",
}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor as the header states it.

    Attributes:
        dtype: safetensors' spelling: "F32", "F16", "BF16" and so on.
        shape: empty for a scalar.
        num_bytes: its size in the file.
    """

    dtype: str
    shape: tuple[int, ...]
    num_bytes: int

    @property
    def is_floating(self) -> bool:
        """Whether it can be a weight."""
        return self.dtype.startswith(("F", "BF"))


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """Tensors by name in the order of the header, and the file's free-form metadata."""

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]


def read_safetensors_header(path: Path) -> SafetensorsHeader:
    """Reads and checks the header of `path`; the tensors' bytes are not touched.

    Raises:
        WeightsUnavailable: no such file, another format, or a header that does not describe
            exactly the bytes behind it. The message is one line and names the file.
    """
    try:
        with _open_regular(path) as file:
            file_size = os.fstat(file.fileno()).st_size
            start = file.read(32)
            header_size = int.from_bytes(start[:8], "little")
            _check_start(path, start, header_size, file_size)
            file.seek(8)
            raw = file.read(header_size)
    except OSError as exc:
        raise WeightsUnavailable(f"{path}: cannot be read ({exc.strerror})") from exc
    try:
        content = json.loads(raw.decode("utf-8"), object_pairs_hook=_without_duplicates)
        metadata = content.pop("__metadata__", {})
        tensors = {name: _tensor(name, entry) for name, entry in content.items()}
        _check_offsets(content, file_size - 8 - header_size)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as exc:
        reason = " ".join(str(exc).split())[:200]
        raise WeightsUnavailable(f"{path}: its safetensors header is broken: {reason}") from exc
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise WeightsUnavailable(f"{path}: its safetensors header is broken: bad __metadata__")
    return SafetensorsHeader(tensors, metadata)


def is_pickle(path: Path) -> bool:
    """Whether `path` starts as torch's pickled formats do, whatever its name.

    Raises:
        WeightsUnavailable: it cannot be read.
    """
    try:
        with _open_regular(path) as file:
            start = file.read(9)
    except OSError as exc:
        raise WeightsUnavailable(f"{path}: cannot be read ({exc.strerror})") from exc
    return start.startswith((b"PK\x03\x04", b"\x80\x02")) and start[8:] != b"{"


def _open_regular(path: Path) -> BinaryIO:
    """Opens regular files only: a pipe or a device would block or never end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return os.fdopen(descriptor, "rb")


def _check_start(path: Path, start: bytes, header_size: int, file_size: int) -> None:
    if start[8:9] != b"{":
        # Asked only now: the length bytes of a good file may look like any of these.
        kinds = [kind for magic, kind in _FOREIGN.items() if start.lstrip().startswith(magic)]
        if file_size < 10 and not kinds:
            raise WeightsUnavailable(f"{path}: truncated: only {file_size} bytes long")
        what = f"not a safetensors file but {kinds[0]}" if kinds else "not a safetensors file"
        raise WeightsUnavailable(f"{path}: {what}")
    if header_size > MAX_HEADER_BYTES:
        raise WeightsUnavailable(
            f"{path}: claims a header of {header_size} bytes, above the {MAX_HEADER_BYTES} allowed"
        )
    if 8 + header_size > file_size:
        raise WeightsUnavailable(
            f"{path}: truncated: its header needs {header_size} bytes, the file has {file_size}"
        )


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise ValueError("a name occurs twice")
    return unique


def _tensor(name: str, entry: Any) -> TensorInfo:
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if dtype not in _BITS:
        raise ValueError(f"{name!r} has the unknown dtype {dtype!r}")
    if not all(type(number) is int and number >= 0 for number in (*shape, *offsets)):
        raise ValueError(f"{name!r} has a shape or offsets that are no whole numbers")
    begin, end = offsets
    num_bytes = math.prod(shape) * _BITS[dtype] // 8
    if end - begin != num_bytes:
        raise ValueError(f"{name!r} needs {num_bytes} bytes and is given {end - begin}")
    return TensorInfo(dtype, tuple(shape), num_bytes)


def _check_offsets(content: dict[str, Any], data_size: int) -> None:
    """The tensors must cover the data exactly: no overlap, no gap, nothing missing or left over."""
    position = 0
    for name, (begin, end) in sorted(
        ((name, entry["data_offsets"]) for name, entry in content.items()), key=lambda item: item[1]
    ):
        if begin != position:
            kind = "overlaps its neighbour" if begin < position else "leaves a gap before it"
            raise ValueError(f"{name!r} {kind} (begins at {begin}, expected {position})")
        position = end
    if position != data_size:
        kind = "truncated" if position > data_size else "has bytes that belong to no tensor"
        raise ValueError(f"{kind}: its tensors take {position} bytes, the file holds {data_size}")
