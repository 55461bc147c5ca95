"""One module of a checkpoint: built without memory, compared with its file, then filled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from engine.errors import GpuOutOfMemory, WeightsUnavailable
from engine.original_keys import KeyMap, Source
from engine.weights import Weights


@dataclass(frozen=True, slots=True)
class Mismatches:
    """Where a file and a module disagree; all empty where they fit.

    Attributes:
        missing: tensors the module needs and the file lacks.
        extra: tensors of this component in the file that the module has no place for.
        misshaped: sentences on tensors of another shape or of no floating dtype.
    """

    missing: tuple[str, ...]
    extra: tuple[str, ...]
    misshaped: tuple[str, ...]

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.missing or self.extra or self.misshaped)

    def __str__(self) -> str:
        """The first of each kind, and how many more there are, in one line."""
        parts = [
            f"{word}{names[0]}" + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")
            for word, names in (
                ("missing ", [repr(name) for name in self.missing]),
                ("unexpected ", [repr(name) for name in self.extra]),
                ("", self.misshaped),
            )
            if names
        ]
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Component:
    """A module and where its parameters lie.

    Attributes:
        name: "unet", "vae", "text_encoder" or "text_encoder_2".
        module: on the meta device: shapes without memory.
        weights: the opened file or folder.
        prefix: what the names of its tensors begin with.
        key_map: parameter -> tensor, without the prefix.
        is_ignored: whether a tensor, without the prefix, is known to be of no use.
        dtype: the parameters' where it must not be the engine's, else None.
    """

    name: str
    module: Any
    weights: Weights
    prefix: str
    key_map: KeyMap
    is_ignored: Callable[[str], bool]
    dtype: torch.dtype | None = None

    def num_bytes(self, dtype: torch.dtype) -> int:
        """Memory of the loaded module."""
        size = torch.empty((), dtype=self.dtype or dtype).element_size()
        return size * sum(int(each.numel()) for each in self.module.parameters())

    def mismatches(self) -> Mismatches:
        """Compares names and shapes with the file's header."""
        missing, misshaped = [], []
        used = set()
        for name, parameter in self.module.state_dict().items():
            source = self._source(name)
            used.add(source.name)
            found = self.weights.tensors.get(source.name)
            expected = _shape_in_file(tuple(parameter.shape), source)
            if found is None:
                missing.append(source.name)
            elif not found.is_floating:
                misshaped.append(f"{source.name!r} has the dtype {found.dtype}")
            elif _squeezed(found.shape) != _squeezed(expected):
                misshaped.append(
                    f"{source.name!r} has the shape {list(found.shape)}, expected {list(expected)}"
                )
        extra = (
            name
            for name in self.weights.tensors
            if name.startswith(self.prefix)
            and name not in used
            and not self.is_ignored(name.removeprefix(self.prefix))
        )
        return Mismatches(*(tuple(dict.fromkeys(names)) for names in (missing, extra, misshaped)))

    def check(self) -> None:
        """Compares with the file.

        Raises:
            WeightsUnavailable: they do not fit; one line that names file and tensors.
        """
        if mismatches := self.mismatches():
            raise WeightsUnavailable(
                f"{self.weights.path}: does not fit as {self.name}: {mismatches}"
            )

    def load(self, device: torch.device, dtype: torch.dtype) -> Any:
        """The module with its weights on `device`, in eval mode. `check` comes first.

        Every parameter is a copy: on a CPU in the file's own dtype it would otherwise stay a view
        of the mapped file and change, or crash the process, when somebody overwrites that file.

        Raises:
            WeightsUnavailable: the file changed meanwhile.
            GpuOutOfMemory: the device cannot hold it.
        """
        dtype = self.dtype or dtype
        try:
            state = {
                name: self._tensor(name, parameter.shape).to(device, dtype, copy=True).contiguous()
                for name, parameter in self.module.state_dict().items()
            }
            self.module.load_state_dict(state, strict=True, assign=True)
            _make_position_ids(self.module, device)
            return self.module.to(device).eval().requires_grad_(False)
        except torch.OutOfMemoryError as exc:
            raise GpuOutOfMemory(
                f"{self.weights.path}: does not fit into the device's memory"
            ) from exc

    def _source(self, name: str) -> Source:
        source = self.key_map(name)
        return Source(self.prefix + source.name, source.third, source.transposed)

    def _tensor(self, name: str, shape: torch.Size) -> torch.Tensor:
        source = self._source(name)
        tensor = self.weights.get(source.name)
        if source.third is not None:
            tensor = tensor.chunk(3)[source.third]
        if source.transposed:
            tensor = tensor.T
        return tensor.reshape(shape)  # a 1x1 convolution of the original VAE is a Linear here


def _shape_in_file(shape: tuple[int, ...], source: Source) -> tuple[int, ...]:
    if source.third is not None:
        return (3 * shape[0], *shape[1:])
    return shape[::-1] if source.transposed else shape


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(C, D, 1, 1) -> (C, D): the same numbers in the same order."""
    return shape[:2] if shape[2:] == (1, 1) else shape


def _make_position_ids(module: torch.nn.Module, device: torch.device) -> None:
    """CLIP counts positions in a buffer that no file holds."""
    for owner in module.modules():
        buffer = getattr(owner, "position_ids", None)
        if isinstance(buffer, torch.Tensor) and buffer.is_meta:
            ids = torch.arange(buffer.shape[-1], device=device).expand(buffer.shape)
            owner.register_buffer("position_ids", ids, persistent=False)
