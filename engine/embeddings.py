"""Textual-inversion embeddings (arXiv 2208.01618): files of vectors that stand for a trigger word.

`read_embedding_info` reads a header alone, for planning; torch is imported only where vectors are
loaded.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from engine.errors import WeightsUnavailable
from engine.safetensors_header import is_pickle, read_safetensors_header

if TYPE_CHECKING:
    import torch

    from engine.families import Family

MAX_VECTORS = 75  # what a chunk has room for: an embedding is never split over two

_FAMILIES: dict[tuple[int, ...], Family] = {(768,): "sd1", (1024,): "sd2", (768, 1280): "sdxl"}
# Names of SDXL's two parts, CLIP-L first: the web UIs' and those of diffusers' training script.
_TWO_PARTS = (("clip_l", "clip_g"), ("text_encoders_0", "text_encoders_1"))


@dataclass(frozen=True, slots=True)
class EmbeddingInfo:
    """Shape facts of an embedding file.

    Attributes:
        num_vectors: token positions it takes, 1..75.
        widths: of its vectors, one for each text encoder.
    """

    num_vectors: int
    widths: tuple[int, ...]

    @property
    def family(self) -> Family | None:
        """The family whose published text encoders have these widths; None: none of them."""
        return _FAMILIES.get(self.widths)


@dataclass(frozen=True, slots=True)
class Embedding:
    """An embedding's vectors.

    Attributes:
        vectors: finite float32 (n, D) on the CPU, n equal in all, one for each text encoder.
    """

    vectors: tuple[torch.Tensor, ...]

    @property
    def widths(self) -> tuple[int, ...]:
        """D of each text encoder it was made for."""
        return tuple(int(each.shape[1]) for each in self.vectors)


def read_embedding_info(path: Path, *, allow_pickle: bool = False) -> EmbeddingInfo | None:
    """Reads what an embedding file holds; no vectors, no torch.

    Args:
        path: a .safetensors file with one tensor (of any name) or SDXL's two.
        allow_pickle: accept a pickled file (.pt, .bin) too; it is not opened here.

    Returns:
        None for a pickled file: what it holds shows when a job first uses it.

    Raises:
        WeightsUnavailable: it cannot be read or holds no embedding; the message names the file.
    """
    if is_pickle(path):
        _check_pickle_allowed(path, allow_pickle)
        return None
    tensors = read_safetensors_header(path).tensors
    names = _parts(path, {name: tensor.shape for name, tensor in tensors.items()})
    for name in names:
        if tensors[name].dtype not in ("F16", "BF16", "F32"):
            raise WeightsUnavailable(f"{path}: {name!r} is {tensors[name].dtype}, not 16 or 32 bit")
    shapes = [_as_rows(tensors[name].shape) for name in names]
    return EmbeddingInfo(shapes[0][0], tuple(width for _, width in shapes))


def load_embedding(path: Path, *, allow_pickle: bool = False) -> Embedding:
    """Loads an embedding's vectors.

    Args:
        path: as for `read_embedding_info`.
        allow_pickle: accept a pickled file, read by torch's weights-only loader, which builds
            tensors and plain containers and runs nothing.

    Raises:
        WeightsUnavailable: as `read_embedding_info`, or a vector is not finite.
    """
    import torch

    if is_pickle(path):
        _check_pickle_allowed(path, allow_pickle)
        tensors = _unpickled(path)
    else:
        read_embedding_info(path)
        tensors = _safetensors(path)
    vectors = []
    for name in _parts(path, {name: tuple(each.shape) for name, each in tensors.items()}):
        tensor = tensors[name].detach().to("cpu", torch.float32)
        if not tensor.isfinite().all():
            raise WeightsUnavailable(f"{path}: {name!r} holds NaN or infinity")
        vectors.append(tensor.reshape(_as_rows(tuple(tensor.shape))).clone())
    return Embedding(tuple(vectors))


def _parts(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """Names of the tensors to use, one for each text encoder, their shapes checked."""
    names = next((pair for pair in _TWO_PARTS if set(pair) == set(shapes)), tuple(shapes))
    if len(names) != 1 and names not in _TWO_PARTS:
        shown = ", ".join(repr(name) for name in names[:3]) or "nothing"
        raise WeightsUnavailable(f"{path}: not an embedding: it holds {shown[:200]}")
    for name in names:
        shape = shapes[name]
        if len(shape) not in (1, 2) or 0 in shape or _as_rows(shape)[0] > MAX_VECTORS:
            raise WeightsUnavailable(
                f"{path}: not an embedding: {name[:60]!r} has shape {list(shape)}, not 1 to"
                f" {MAX_VECTORS} vectors"
            )
    if len({_as_rows(shapes[name])[0] for name in names}) != 1:
        raise WeightsUnavailable(f"{path}: its two parts have different numbers of vectors")
    return names


def _as_rows(shape: tuple[int, ...]) -> tuple[int, int]:
    """(D,) is one vector."""
    return (1, shape[0]) if len(shape) == 1 else (shape[0], shape[1])


def _check_pickle_allowed(path: Path, allow_pickle: bool) -> None:
    if not allow_pickle:
        raise WeightsUnavailable(
            f"{path}: a pickled file; convert it to .safetensors, or set allow_pickle in its entry"
        )


def _safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as exc:
        raise WeightsUnavailable(f"{path}: cannot be loaded: {exc}") from exc


def _unpickled(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a pickled dict; the web UIs keep theirs one level down."""
    import torch

    try:
        with path.open("rb") as file:  # given a path, torch goes by the name's ending
            content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as exc:
        raise WeightsUnavailable(
            f"{path}: holds more than weights; convert it to .safetensors"
        ) from exc
    except Exception as exc:  # damaged files fail in any way: struct.error, AssertionError, ...
        reason = str(exc).strip().partition("\n")[0][:200]
        raise WeightsUnavailable(f"{path}: cannot be loaded: {reason}") from exc
    if isinstance(content, dict):
        content = content.get("string_to_param", content)
    if not isinstance(content, dict):
        raise WeightsUnavailable(f"{path}: not an embedding: it holds no named tensors")
    return {
        str(name): each
        for name, each in content.items()
        if isinstance(each, torch.Tensor) and each.is_floating_point()
    }
