"""Tiny pipeline models and jobs on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.engine import Engine
from engine.job import GenerationJob
from engine.registry import Registry
from tests.engine.pipelines.tiny_pipelines import (
    KINDS,
    write_pipeline_registry,
    write_tiny_pipeline,
)


@pytest.fixture(scope="session")
def pipelines_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one model of every kind; tests do not write into it."""
    root = tmp_path_factory.mktemp("pipelines")
    for kind in KINDS:
        write_tiny_pipeline(root / kind, kind)
    return root


@pytest.fixture(scope="session")
def registry(pipelines_root: Path) -> Registry:
    return write_pipeline_registry(pipelines_root, **{kind: {} for kind in KINDS})


@pytest.fixture(scope="session")
def engine(registry: Registry) -> Engine:
    """One engine on all of them; tests leave it idle."""
    return Engine(registry)


@pytest.fixture
def bottle() -> Image.Image:
    """Opaque blocks of 16 pixels with a soft line beside them, on an odd canvas."""
    rng = np.random.default_rng(0)
    rgba = rng.integers(0, 256, (72, 100, 4), dtype=np.uint8)
    rgba[..., 3] = 0
    rgba[16:48, 32:64, 3] = 255
    rgba[16:48, 64:66, 3] = 100
    return Image.fromarray(rgba)


@pytest.fixture(params=KINDS)
def job(request: pytest.FixtureRequest, bottle: Image.Image) -> GenerationJob:
    """On every kind of model in turn."""
    return GenerationJob("job", request.param, bottle, "blue sky", seed=7, num_inference_steps=6)


@pytest.fixture
def flux_job(bottle: Image.Image) -> GenerationJob:
    return GenerationJob("job", "flux", bottle, "blue sky", seed=7, num_inference_steps=6)
