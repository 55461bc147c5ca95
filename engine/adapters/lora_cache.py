"""LoRAs in memory, bounded in bytes, each read once for as long as its file stays the same."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from engine.adapters.load import Lora
from engine.errors import WeightsUnavailable


@dataclass(frozen=True, slots=True)
class LoraCounts:
    """What a cache has done since it was made.

    Attributes:
        hits: LoRAs asked for that were here.
        reads: files read.
        evictions: LoRAs put out for room.
    """

    hits: int = 0
    reads: int = 0
    evictions: int = 0


class LoraCache:
    """Parsed LoRAs by the identity of their files; least recently used out first.

    Thread-safe. Files are read one after the other, and what is here is answered meanwhile.

    Args:
        load: reads a file.
        max_bytes: memory of the LoRAs kept; a single larger one is kept alone.
        forget: is told of each that is put out, on the thread that asked for another.
    """

    def __init__(
        self, load: Callable[[Path], Lora], max_bytes: int, forget: Callable[[Lora], None]
    ) -> None:
        self._load = load
        self._max_bytes = max_bytes
        self._forget = forget
        self._loras: OrderedDict[tuple[int, ...], Lora] = OrderedDict()
        self._num_bytes = 0
        self._lock = Lock()
        self._reading = Lock()
        self._hits = self._reads = self._evictions = 0

    @property
    def num_bytes(self) -> int:
        """Memory of the LoRAs kept."""
        return self._num_bytes

    @property
    def counts(self) -> LoraCounts:
        """What was done so far."""
        with self._lock:
            return LoraCounts(self._hits, self._reads, self._evictions)

    def get(self, path: Path) -> Lora:
        """The LoRA of that file, read where it is not here or the file has changed.

        Raises:
            WeightsUnavailable: there is no such file.
            EngineError, torch.OutOfMemoryError: as `load`; what is kept is unchanged.
        """
        key = _version(path)
        lora = self._kept(key)
        if lora is not None:
            return lora
        with self._reading:
            lora = self._kept(key)  # while this thread waited another may have read it
            if lora is None:
                lora = self._load(path)
                self._keep(key, lora)
        return lora

    def clear(self) -> None:
        """Lets go of all."""
        with self._lock:
            self._loras.clear()
            self._num_bytes = 0

    def _kept(self, key: tuple[int, ...]) -> Lora | None:
        with self._lock:
            lora = self._loras.get(key)
            if lora is not None:
                self._loras.move_to_end(key)
                self._hits += 1
            return lora

    def _keep(self, key: tuple[int, ...], lora: Lora) -> None:
        victims = []
        with self._lock:
            self._reads += 1
            self._loras[key] = lora
            self._num_bytes += lora.num_bytes
            while len(self._loras) > 1 and self._num_bytes > self._max_bytes:
                _, victim = self._loras.popitem(last=False)
                self._num_bytes -= victim.num_bytes
                self._evictions += 1
                victims.append(victim)
        for victim in victims:
            self._forget(victim)


def _version(path: Path) -> tuple[int, ...]:
    """Of the file's content, as far as that can be told without reading it."""
    try:
        status = path.stat()
    except OSError as exc:
        raise WeightsUnavailable(f"{path}: cannot be read ({exc.strerror})") from exc
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size
