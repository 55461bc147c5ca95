"""Encodings of images and prompts that were encoded before, by their content."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Literal, TypeVar

import torch
from PIL import Image

from engine.counts import CacheCounts, CacheName

T = TypeVar("T")
Kind = Literal["encodings", "prompts"]  # of images, by a VAE; of texts

# A thousand prompts of SD 1.5 in float16, or as many encodings of 512x512 pixels.
DEFAULT_MAX_BYTES = 256 * 2**20


class EncodingCache:
    """Tensors, or dataclasses of tensors, in bounded memory; the least recently used goes first.

    What is encoded depends on the content and the encoder alone, so that a cached one equals a new
    one bit by bit. Belongs to the preparation thread.

    Attributes:
        counts: how often an encoding was there already and how often it had to be made, by kind.
        num_bytes: memory of what is kept.

    Args:
        max_bytes: memory of what is kept; a single larger encoding is not kept.
    """

    def __init__(self, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self.counts: dict[CacheName, CacheCounts] = {
            "encodings": CacheCounts(),
            "prompts": CacheCounts(),
        }
        self.num_bytes = 0
        self._max_bytes = max_bytes
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    @property
    def hits(self) -> int:
        """Of all kinds."""
        return sum(each.hits for each in self.counts.values())

    @property
    def misses(self) -> int:
        """Of all kinds."""
        return sum(each.misses for each in self.counts.values())

    def get(self, key: Hashable, make: Callable[[], T], *, kind: Kind = "encodings") -> T:
        """What is kept under `key`, made by `make` where nothing is."""
        if key in self._kept:
            self.counts[kind] += CacheCounts(hits=1)
            self._kept.move_to_end(key)
            found: T = self._kept[key]
            return found
        self.counts[kind] += CacheCounts(misses=1)
        made = make()
        if _num_bytes(made) <= self._max_bytes:
            self._kept[key] = made
            self.num_bytes += _num_bytes(made)
        while self.num_bytes > self._max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self.num_bytes -= _num_bytes(oldest)
        return made

    def clear(self) -> None:
        """Lets go of everything."""
        self._kept.clear()
        self.num_bytes = 0


def image_digest(image: Image.Image) -> bytes:
    """Names an image by mode, size and pixels."""
    digest = hashlib.sha256(f"{image.mode} {image.width} {image.height} ".encode())
    digest.update(image.tobytes())
    return digest.digest()


def _num_bytes(value: object) -> int:
    if isinstance(value, torch.Tensor):
        return value.nbytes
    assert dataclasses.is_dataclass(value), "a tensor, or a dataclass of tensors"
    members = (getattr(value, each.name) for each in dataclasses.fields(value))
    return sum(_num_bytes(member) for member in members if member is not None)
