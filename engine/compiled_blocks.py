"""The UNet's repeated blocks compiled by torch: an option, for forwards that run them as they are.

Only the transformer blocks are compiled, one graph for all of equal width: compiling a whole UNet
takes minutes. Row counts, tile sizes and prompt lengths are symbols in it, or every new one would
stop the step loop for another compilation; guided and unguided forwards have a graph each.

A compiled block does not see hooks and processors that were put on after it was compiled: torch
leaves out the guards for them. So forwards with LoRAs or references run eagerly.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakSet

import torch
from diffusers import UNet2DConditionModel

from engine.errors import CompilerMissing, first_line

# A width, a dtype and one or more rows each; torch falls back to eager blocks beyond.
_MAX_GRAPHS = 64

_compiled: WeakSet[torch.nn.Module] = WeakSet()
_lock = threading.Lock()
_eager_forwards = 0


def compile_blocks(unet: UNet2DConditionModel) -> None:
    """Has the blocks compiled when they first run; once for all, however often it is asked.

    A copy of the UNet runs as it is.
    """
    if unet not in _compiled:
        unet.compile_repeated_blocks(dynamic=True, recompile_limit=_MAX_GRAPHS)
        _compiled.add(unet)


@contextmanager
def eager_blocks(unet: UNet2DConditionModel) -> Iterator[None]:
    """Within it the blocks of the UNet run as they are, compiled or not."""
    if unet not in _compiled:
        yield
        return
    _count(1)
    try:
        yield
    finally:
        _count(-1)


def require_compiler(device: torch.device) -> None:
    """Compiles a small function, so that a machine that cannot says so at the start.

    Raises:
        CompilerMissing: it cannot.
    """

    def one_more(values: torch.Tensor) -> torch.Tensor:
        return values.sin() + 1

    try:
        torch.compile(one_more)(torch.zeros(8, device=device))
    except Exception as exc:  # of torch's compiler, the C++ compiler or Triton, each with its own
        raise CompilerMissing(
            f"compiled kernels need a compiler that torch can use here: {first_line(exc)}"
        ) from exc


def _count(change: int) -> None:
    """Engines of one process may overlap, and torch has one stance for all of them."""
    global _eager_forwards
    with _lock:
        _eager_forwards += change
        torch.compiler.set_stance("force_eager" if _eager_forwards else "default")
