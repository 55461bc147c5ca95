"""Weight files behind one small face: names and shapes at once, tensors one by one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open

from engine.errors import WeightsUnavailable
from engine.safetensors_header import TensorInfo, is_pickle, read_safetensors_header


class Weights(Protocol):
    """Tensors by name.

    Attributes:
        path: the file or folder they come from, for messages.
        tensors: what each of them is.
    """

    path: Path
    tensors: Mapping[str, TensorInfo]

    def get(self, name: str) -> torch.Tensor:
        """That tensor on the CPU in the file's dtype; read only, maybe still in the file."""
        ...


class SafetensorsWeights:
    """One safetensors file or the shards of one model, memory-mapped.

    Args:
        path: named in messages.
        files: the file itself, or the shards.

    Raises:
        WeightsUnavailable: a header is broken, or a name occurs in two shards.
    """

    def __init__(self, path: Path, files: list[Path]) -> None:
        self.path = path
        self._file_of: dict[str, Path] = {}
        tensors: dict[str, TensorInfo] = {}
        for file in files:
            for name, info in read_safetensors_header(file).tensors.items():
                if name in tensors:
                    raise WeightsUnavailable(f"{file}: {name!r} is in another shard as well")
                tensors[name] = info
                self._file_of[name] = file
        self.tensors: Mapping[str, TensorInfo] = tensors
        self._open: dict[Path, Any] = {}

    def get(self, name: str) -> torch.Tensor:
        """See `Weights`.

        Raises:
            WeightsUnavailable: the file changed since its header was read.
        """
        file = self._file_of[name]
        try:
            if file not in self._open:
                self._open[file] = safe_open(file, framework="pt")
            tensor: torch.Tensor = self._open[file].get_tensor(name)
        except (SafetensorError, OSError) as exc:
            reason = str(exc).partition("\n")[0]
            raise WeightsUnavailable(f"{file}: {name!r} cannot be read: {reason}") from exc
        return tensor


class PickledWeights:
    """A .ckpt, .pt or .bin through torch's weights-only loader.

    That loader builds tensors and plain containers and calls nothing else a pickle may name.

    Raises:
        WeightsUnavailable: the file holds other objects, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except Exception as exc:
            # Damaged files fail in any way: EOFError, AssertionError, struct.error and others.
            reason = str(exc).strip().partition("\n")[0]
            raise WeightsUnavailable(
                f"{path}: torch's weights-only loader refuses it: {reason}"
            ) from exc
        if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
            content = content["state_dict"]
        if not isinstance(content, dict):
            raise WeightsUnavailable(f"{path}: holds no dictionary of tensors")
        self._tensors = {str(k): v for k, v in content.items() if isinstance(v, torch.Tensor)}
        self.tensors: Mapping[str, TensorInfo] = {
            name: TensorInfo(
                "F" if tensor.is_floating_point() else "I", tuple(tensor.shape), tensor.nbytes
            )
            for name, tensor in self._tensors.items()
        }

    def get(self, name: str) -> torch.Tensor:
        """See `Weights`."""
        return self._tensors[name]


def open_file(path: Path, *, allow_pickle: bool) -> Weights:
    """Opens one weight file by what it holds, whatever its name.

    Raises:
        WeightsUnavailable: it is unreadable, of another format, or a pickle that is not allowed.
    """
    if not is_pickle(path):
        return SafetensorsWeights(path, [path])
    if not allow_pickle:
        raise WeightsUnavailable(
            f"{path}: is pickled, and a pickle can run code: convert it to safetensors, or set"
            " allow_pickle: true on its entry"
        )
    return PickledWeights(path)


def open_folder(folder: Path, stem: str, *, allow_pickle: bool) -> Weights:
    """Opens the weights of one component of a diffusers folder.

    Args:
        folder: of the component.
        stem: "model" or "diffusion_pytorch_model". Looked for in this order: STEM.safetensors,
            its shards, the fp16 variant and, where allowed, STEM.bin.
        allow_pickle: whether a .bin may be read.

    Raises:
        WeightsUnavailable: none of them is there, or one of its files is broken.
    """
    whole = folder / f"{stem}.safetensors"
    index = folder / f"{stem}.safetensors.index.json"
    if not whole.exists() and index.exists():
        return SafetensorsWeights(folder, _shards(index))
    pickled = [folder / f"{stem}.bin", folder / f"pytorch_{stem}.bin"]
    for file in (whole, folder / f"{stem}.fp16.safetensors", *pickled):
        if file.exists():
            return open_file(file, allow_pickle=allow_pickle)
    raise WeightsUnavailable(f"{whole}: no such file")


def _shards(index: Path) -> list[Path]:
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(weight_map.values()))
        if not all(Path(name).name == name for name in names):
            raise ValueError("a shard lies outside the folder")
    except OSError as exc:
        raise WeightsUnavailable(f"{index}: cannot be read ({exc.strerror})") from exc
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise WeightsUnavailable(f"{index}: not an index of shards ({exc})") from exc
    return [index.parent / name for name in names]
