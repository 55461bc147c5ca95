"""What every row gets: sizes of the run, a folder, and the models of each shape."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from scripts.benchmark.shapes import SHAPES, Shape, write_shape


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured; the defaults make a run of about 40 minutes on two cores.

    Attributes:
        rounds: A/B pairs where a pair takes about a second.
        few_rounds: A/B pairs where it takes several.
        many: calls of something that takes milliseconds.
        requests: of a throughput measurement, in each of its pairs.
        lifetime_requests: that memory growth is watched over, per number of sizes.
        queue_depth: of the deep queue.
        polling_s: of one look at polling.
        full_shape: whether rows run on shape F too.
    """

    rounds: int = 9
    few_rounds: int = 5
    many: int = 200
    requests: int = 16
    lifetime_requests: int = 1000
    queue_depth: int = 10_000
    polling_s: float = 6.0
    full_shape: bool = True


QUICK = Sizes(
    rounds=2,
    few_rounds=1,
    many=10,
    requests=8,
    lifetime_requests=40,
    queue_depth=200,
    polling_s=1.0,
    full_shape=False,
)


@dataclass(slots=True)
class Bench:
    """One run of the benchmark.

    Attributes:
        folder: scratch, deleted after the run.
        sizes: how much is measured.
    """

    folder: Path
    sizes: Sizes
    _written: dict[str, Path] = field(default_factory=dict)
    _started_at: float = field(default_factory=time.monotonic)

    def shape(self, name: str) -> Shape:
        """The shape of that name; its model folder is written when it is first asked for."""
        shape = SHAPES[name]
        if name not in self._written:
            self._written[name] = write_shape(shape, self.folder / "models" / name)
        return shape

    def model_folder(self, name: str) -> Path:
        """The diffusers folder of a shape."""
        self.shape(name)
        return self._written[name]

    def scratch(self, name: str) -> Path:
        """A new empty folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        number = sum(path.name.startswith(f"{name}-") for path in self.folder.iterdir())
        path = self.folder / f"{name}-{number}"
        path.mkdir()
        return path

    def say(self, text: str) -> None:
        """A line of progress with the seconds since the start."""
        print(f"{time.monotonic() - self._started_at:6.0f} s  {text}", flush=True)
