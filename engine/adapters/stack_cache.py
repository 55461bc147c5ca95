"""The stacks of the last mixes of LoRAs, for the next steps mostly use the same."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock

from torch import nn

from engine.adapters.layers import Layer, Stack, stack_layers
from engine.adapters.load import Lora
from engine.adapters.rows import AdapterSet

# Mixes come and go with the lanes, and their stacks are copies; a single LoRA costs no copy.
_MAX_COPIES = 4
_MAX_STACKS = 64


class StackCache:
    """Stacks for one forward of `models` by the sets they are made of; thread-safe.

    Args:
        models: by the key of `Lora.updates`.
        max_bytes: memory of the copies kept; a single larger stack is kept alone.
    """

    def __init__(self, models: Mapping[str, nn.Module], max_bytes: int) -> None:
        self._modules = {name: dict(model.named_modules()) for name, model in models.items()}
        self._max_bytes = max_bytes
        self._stacks: OrderedDict[tuple[AdapterSet, ...], Stack] = OrderedDict()
        self._lock = Lock()

    @property
    def num_bytes(self) -> int:
        """Memory of the copies kept."""
        with self._lock:
            return sum(stack.num_bytes for stack in self._stacks.values())

    def get(self, sets: tuple[AdapterSet, ...]) -> Mapping[nn.Module, Layer]:
        """What `sets` do to the models, by module.

        Raises:
            torch.OutOfMemoryError: the device has no room for the copies.
        """
        with self._lock:
            stack = self._stacks.get(sets)
            if stack is None:
                stack = stack_layers(sets, self._modules)
                self._stacks[sets] = stack
            self._stacks.move_to_end(sets)
            while len(self._stacks) > 1 and self._is_over():
                self._stacks.popitem(last=False)
            return stack.layers

    def forget(self, lora: Lora) -> None:
        """Lets go of all stacks with `lora` in them."""
        with self._lock:
            for sets in [each for each in self._stacks if _uses(each, lora)]:
                del self._stacks[sets]

    def clear(self) -> None:
        """Lets go of all."""
        with self._lock:
            self._stacks.clear()

    def _is_over(self) -> bool:
        sizes = [stack.num_bytes for stack in self._stacks.values()]
        num_copies = sum(size > 0 for size in sizes)
        return len(sizes) > _MAX_STACKS or num_copies > _MAX_COPIES or sum(sizes) > self._max_bytes


def _uses(sets: tuple[AdapterSet, ...], lora: Lora) -> bool:
    return any(each is lora for adapters in sets for each, _ in adapters)
