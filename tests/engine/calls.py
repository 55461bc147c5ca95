"""Counting what the engine does: calls of the models, and files opened."""

from __future__ import annotations

import ctypes
import os
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from transformers import CLIPTextModel

_IN_OPEN = 0x20
_EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows


@dataclass(slots=True)
class ModelCalls:
    """Calls of the models of every engine in this process; the rows of each."""

    unet: list[int] = field(default_factory=list)
    encode: list[int] = field(default_factory=list)
    decode: list[int] = field(default_factory=list)
    text: list[int] = field(default_factory=list)

    def clear(self) -> None:
        for rows in (self.unet, self.encode, self.decode, self.text):
            rows.clear()


@contextmanager
def counted_calls() -> Iterator[ModelCalls]:
    """The real methods run; what they are called with is noted before."""
    calls = ModelCalls()
    methods: list[tuple[type, str, list[int]]] = [
        (UNet2DConditionModel, "forward", calls.unet),
        (CLIPTextModel, "forward", calls.text),  # the variant with a projection calls it, too
    ]
    for vae in (AutoencoderKL, AutoencoderTiny):
        methods += [(vae, "encode", calls.encode), (vae, "decode", calls.decode)]
    with ExitStack() as stack:
        for owner, name, rows in methods:
            stack.enter_context(patch.object(owner, name, _noting(getattr(owner, name), rows)))
        yield calls


def _noting(method: Any, rows: list[int]) -> Any:
    def noted(self: Any, *args: Any, **kwargs: Any) -> Any:
        rows.append(len(next(iter((*args, *kwargs.values())))))
        return method(self, *args, **kwargs)

    return noted


class OpenedFiles:
    """How often each file of a folder was opened, by whatever library: the kernel tells."""

    def __init__(self, folder: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._notify = self._libc.inotify_init1(os.O_NONBLOCK)
        self._folders: dict[int, Path] = {}
        for path in (folder, *(each for each in folder.rglob("*") if each.is_dir())):
            watch = self._libc.inotify_add_watch(self._notify, os.fsencode(path), _IN_OPEN)
            if watch < 0:
                raise OSError(ctypes.get_errno(), f"{path} cannot be watched")
            self._folders[watch] = path.relative_to(folder)

    def take(self) -> Counter[str]:
        """Since the last call, by path within the folder."""
        opened: Counter[str] = Counter()
        while events := self._read():
            position = 0
            while position < len(events):
                watch, _, _, length = _EVENT.unpack_from(events, position)
                position += _EVENT.size
                name = os.fsdecode(events[position : position + length].rstrip(b"\0"))
                position += length
                if name:  # else the folder itself
                    opened[str(self._folders[watch] / name)] += 1
        return opened

    def close(self) -> None:
        os.close(self._notify)

    def _read(self) -> bytes:
        try:
            return os.read(self._notify, 1 << 16)
        except BlockingIOError:
            return b""
