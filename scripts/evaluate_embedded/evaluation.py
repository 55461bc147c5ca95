"""What every part of an evaluation works with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from scripts.evaluate_embedded.cases import COMPARED_FROM, Case, main_cases
from scripts.evaluate_embedded.pictures import PictureMaker, Pixels
from scripts.evaluate_embedded.statistics import share, standard_error
from scripts.train_embedded.held_out import HeldOut, every_kind
from scripts.train_embedded.judge_labels import COLOR_HEADS
from scripts.train_embedded.judge_model import Judge, Readings, load_judge, read

Result = dict[str, Any]
Part = Callable[["Evaluation"], Result]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many pictures each part takes.

    Attributes:
        per_kind: main cases of each kind, and renders to compare them with.
        binding: prompts of each two-part kind.
        curve: main cases at each point of a curve; the kinds take turns.
        seeds: pictures of one prompt, for diversity, and of one negative prompt.
        diversity: kinds whose diversity is measured.
        reference: references.
        fusion: renders that DeepFusion reads.
        sheet_rows: of each group of references on its contact sheet.
        repeats: runs of each timing.
    """

    per_kind: int = 16
    binding: int = 60
    curve: int = 87
    seeds: int = 6
    diversity: int = 29
    reference: int = 12
    fusion: int = 29
    sheet_rows: int = 3
    repeats: int = 5


QUICK = Sizes(
    per_kind=1, binding=2, curve=2, seeds=2, diversity=2, reference=1, fusion=1, repeats=1
)


class Evaluation:
    """The model, the judge and the renders; a part that asks no judge runs without one.

    Attributes:
        maker: of pictures.
        sizes: how many.
        adapter_names: sub-models whose weights are to be measured.
    """

    def __init__(
        self,
        maker: PictureMaker,
        work: Path,
        judge_folder: Path,
        sizes: Sizes,
        adapter_names: tuple[str, ...] = (),
    ) -> None:
        self.maker = maker
        self.sizes = sizes
        self.adapter_names = adapter_names
        self._renders = work / "held-out"
        self._judge_folder = judge_folder

    @property
    def renders_folder(self) -> Path:
        """Where held-out renders are kept."""
        return self._renders

    @cached_property
    def cases(self) -> list[Case]:
        """Natural captions of every kind."""
        return main_cases(self._renders, self.sizes.per_kind)

    @cached_property
    def pictures(self) -> list[Pixels]:
        """Of the main cases, at 10 steps and the model's own defaults."""
        return self.maker.make([case.wanted() for case in self.cases])

    @cached_property
    def compared(self) -> list[HeldOut]:
        """As many renders as main cases, of other scenes."""
        return list(
            every_kind(
                self._renders, range(COMPARED_FROM, COMPARED_FROM + max(self.sizes.per_kind, 2))
            )
        )

    @cached_property
    def _judge(self) -> Judge:
        return load_judge(self._judge_folder)

    def read(self, pictures: list[Pixels]) -> Readings:
        """What the judge says about them."""
        return read(self._judge, pictures)

    def judge_accuracy(self) -> Result:
        """What the judge's own training said of it; empty if nothing."""
        path = self._judge_folder / "accuracy.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def settings(self) -> Result:
        """All that a part's numbers depend on, so that a later run knows what it can keep."""
        judge = self._judge_folder / "judge.pt"
        return {
            "model": self.maker.fingerprint,
            "judge": hashlib.sha256(judge.read_bytes()).hexdigest()[:16] if judge.exists() else "",
            "sizes": asdict(self.sizes),
            "adapters": list(self.adapter_names),
        }


def adherence(readings: Readings, cases: list[Case]) -> Result:
    """Share of the pictures that show what their prompts say.

    Returns:
        kind, color and time, each {right, error, asked, names: {name: right}}; a colour counts as
        right if all the names of its part are.
    """
    asked: dict[str, list[tuple[str, bool]]] = {"kind": [], "color": [], "time": []}
    for index, case in enumerate(cases):
        for head, names in case.truth.items():
            right = readings.is_right(index, head, names)
            group = "color" if head in COLOR_HEADS else head
            asked[group] += [(name, right) for name in names]
    found = {}
    for group, answers in asked.items():
        rights = [right for _, right in answers]
        names = sorted({name for name, _ in answers})
        found[group] = {
            "right": share(rights),
            "error": standard_error(rights),
            "asked": len(rights),
            "names": {name: share([r for n, r in answers if n == name]) for name in names},
        }
    return found


def layout(image: Pixels, cells: int = 16) -> np.ndarray:
    """Mean colour of each cell of a coarse grid, one vector of shares of full scale."""
    rows = np.array_split(image.astype(np.float32) / 255, cells, axis=0)
    means = [part.mean((0, 1)) for row in rows for part in np.array_split(row, cells, axis=1)]
    return np.concatenate(means)
