from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

from api.process import set_library_environment

set_library_environment()

# No deadline: a shared machine may stall any example. In CI the same examples run every time.
hypothesis.settings.register_profile(
    "backdrop", deadline=None, derandomize="CI" in os.environ, print_blob=True
)
hypothesis.settings.load_profile("backdrop")

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session")
def root() -> Path:
    """Top of the source tree."""
    return ROOT


@pytest.fixture(scope="session")
def examples(root: Path) -> Path:
    """The folder of sample pictures."""
    return root / "examples"
