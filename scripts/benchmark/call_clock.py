"""When a method was called and for how long, whoever calls it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from types import TracebackType
from typing import Any

from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel


@dataclass(frozen=True, slots=True)
class Call:
    """One call, in seconds of `time.perf_counter`."""

    started_s: float
    ended_s: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended_s - self.started_s


class CallClock:
    """Times the calls of a method of a class while it is entered.

    The method is replaced on the class, so that our engine and diffusers' pipelines are timed at
    exactly the same place without either being changed.

    Args:
        owner: the class.
        name: of its method.
        note_arguments: called with the arguments of each call before it, to keep them.
    """

    def __init__(
        self, owner: type, name: str, note_arguments: Callable[..., object] | None = None
    ) -> None:
        self.calls: list[Call] = []
        self._owner, self._name = owner, name
        self._original = getattr(owner, name)
        self._note = note_arguments

    def __enter__(self) -> CallClock:
        original, calls, note = self._original, self.calls, self._note

        def timed(*args: Any, **kwargs: Any) -> Any:
            if note is not None:
                note(*args, **kwargs)
            started = time.perf_counter()
            result = original(*args, **kwargs)
            calls.append(Call(started, time.perf_counter()))
            return result

        setattr(self._owner, self._name, timed)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        setattr(self._owner, self._name, self._original)

    @property
    def seconds(self) -> float:
        """Of all calls together."""
        return sum(call.seconds for call in self.calls)

    @property
    def pauses(self) -> tuple[float, ...]:
        """Seconds from the end of each call to the start of the next."""
        followers = zip(self.calls, self.calls[1:], strict=False)
        return tuple(after.started_s - before.ended_s for before, after in followers)

    @property
    def median_pause_s(self) -> float:
        """The middle one of the pauses."""
        return median(self.pauses)


def unet_clock(note_arguments: Callable[..., object] | None = None) -> CallClock:
    """Of every UNet forward."""
    return CallClock(UNet2DConditionModel, "forward", note_arguments)


def vae_encode_clock(*, tiny: bool) -> CallClock:
    """Of every encoding by AutoencoderTiny, or by AutoencoderKL."""
    return CallClock(AutoencoderTiny if tiny else AutoencoderKL, "encode")
