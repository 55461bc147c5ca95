"""The judge: a small residual network that reads scene, colours, time and shadow off a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn import functional

from scripts.train_embedded.judge_labels import (
    HEADS,
    NUM_CLASSES,
    SPANS,
    Answer,
    most_probable,
)

SIDE_PX = 128
FEATURES = 128
_STEM_WIDTH = 24
_STAGES = ((24, 1), (56, 1), (112, 2), (160, 2))  # width, blocks; each but the first halves
_GROUPS = 8


class Judge(nn.Module):
    """(B, 3, 128, 128) in [-1, 1] -> features (B, 128) and logits (B, NUM_CLASSES).

    GroupNorm rather than BatchNorm: an answer depends on its picture alone, and averaged weights
    need no statistics of their own.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, _STEM_WIDTH, 3, stride=2, padding=1)]
        before = _STEM_WIDTH
        for stage, (width, blocks) in enumerate(_STAGES):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                layers.append(_Block(before, width, stride))
                before = width
        self.body = nn.Sequential(*layers, nn.GroupNorm(_GROUPS, before), nn.ReLU())
        # Four rows of means keep what is above and what is below apart: a wall and its floor.
        self.features = nn.Linear(5 * before, FEATURES)
        self.dropout = nn.Dropout(0.1)
        self.heads = nn.Linear(FEATURES, NUM_CLASSES)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See the class."""
        maps = self.body(images)
        rows = functional.adaptive_avg_pool2d(maps, (4, 1)).flatten(1)
        pooled = torch.cat([rows, maps.amax((2, 3))], dim=1)
        features = functional.relu(self.features(pooled))
        return features, self.heads(self.dropout(features))


class _Block(nn.Module):
    """Two convolutions beside a shortcut, normalised before each."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(_GROUPS, before)
        self.conv1 = nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(_GROUPS, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or before != width:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride) if stride > 1 else nn.Identity(),
                nn.Conv2d(before, width, 1, bias=False),
            )
        nn.init.zeros_(self.conv2.weight)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        hidden = self.conv1(functional.relu(self.norm1(maps)))
        hidden = self.conv2(functional.relu(self.norm2(hidden)))
        return hidden + self.shortcut(maps)


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """What the judge says about N pictures.

    Attributes:
        features: (N, FEATURES) float32.
        probabilities: head -> (N, classes) float32.
    """

    features: NDArray[np.float32]
    probabilities: dict[str, NDArray[np.float32]]

    def answer(self, index: int, head: str, count: int = 1) -> Answer:
        """The `count` most probable names of a head for one picture, best first."""
        return most_probable(head, self.probabilities[head][index], count)

    def is_right(self, index: int, head: str, truth: Answer) -> bool:
        """Whether the most probable names are the true ones, in any order."""
        return set(self.answer(index, head, len(truth))) == set(truth)


def judge_view(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) of any size -> (128, 128, 3), reduced without aliasing."""
    small = Image.fromarray(image).resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR)
    return np.asarray(small)


def as_input(views: NDArray[np.uint8]) -> torch.Tensor:
    """(N, 128, 128, 3) uint8 -> (N, 3, 128, 128) float32 in [-1, 1], channels last."""
    pixels = torch.from_numpy(np.ascontiguousarray(views)).permute(0, 3, 1, 2)
    return (pixels.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def read(judge: Judge, images: list[NDArray[np.uint8]], batch_size: int = 32) -> Readings:
    """What the judge says about pictures of any sizes, at least one."""
    judge.eval()
    features, logits = [], []
    for first in range(0, len(images), batch_size):
        views = np.stack([judge_view(image) for image in images[first : first + batch_size]])
        outputs = judge(as_input(views))
        features.append(outputs[0])
        logits.append(outputs[1])
    scores = torch.cat(logits)
    return Readings(
        torch.cat(features).numpy(),
        {head: scores[:, SPANS[head]].softmax(1).numpy() for head in HEADS},
    )


def load_judge(folder: Path) -> Judge:
    """The judge that `judge.py` left in `folder`.

    Raises:
        FileNotFoundError: it has not been trained yet.
    """
    judge = Judge()
    judge.load_state_dict(torch.load(folder / "judge.pt", weights_only=True))
    return judge.to(memory_format=torch.channels_last).eval()
