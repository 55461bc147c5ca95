"""Engines and images shared by the engine's tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from engine.engine import Engine
from engine.job import GenerationJob
from engine.registry import Registry, load_registry
from tests.engine.tiny import EPSILON, V_ZERO_SNR, write_registry, write_tiny_model

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def embedded_registry() -> Registry:
    """The embedded model, painting small canvases as they are: a quarter of the work at 128 px."""
    registry = load_registry(REPOSITORY / "models.yaml")
    models = {
        name: model.model_copy(update={"min_area_ratio": 0.0})
        for name, model in registry.models.items()
    }
    return Registry(models, registry.default_model)


@pytest.fixture(scope="session")
def embedded_engine(embedded_registry: Registry) -> Engine:
    """One engine on the embedded model; tests leave it idle."""
    return Engine(embedded_registry)


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tiny")
    write_tiny_model(root / "nine", in_channels=9, scheduler=V_ZERO_SNR)
    write_tiny_model(root / "four", in_channels=4, scheduler=EPSILON)
    write_tiny_model(root / "four_kl", in_channels=4, scheduler=EPSILON, kl=True, seed=1)
    return root


@pytest.fixture(scope="session")
def tiny_registry(tiny_root: Path) -> Registry:
    return write_registry(tiny_root, nine={}, four={}, four_kl={})


@pytest.fixture
def tiny_engine(tiny_registry: Registry) -> Engine:
    return Engine(tiny_registry)


@pytest.fixture(scope="session")
def product() -> Image.Image:
    """A red bottle with a soft edge on a transparent canvas of 128x128."""
    large = Image.new("L", (512, 512), 0)
    draw = ImageDraw.Draw(large)
    draw.rounded_rectangle((190, 210, 320, 460), 30, fill=255)
    draw.rectangle((232, 130, 278, 230), fill=255)
    alpha = large.resize((128, 128), Image.Resampling.BICUBIC)
    shade = np.linspace(90, 220, 128, dtype=np.uint8)[None, :].repeat(128, axis=0)
    rgba = np.dstack([shade, shade // 5, shade // 4, np.asarray(alpha)])
    return Image.fromarray(rgba)


@pytest.fixture
def job(product: Image.Image) -> GenerationJob:
    return GenerationJob(
        job_id="job",
        model_name="nine",
        foreground=product,
        prompt="blue sky",
        seed=40,
        num_inference_steps=6,
    )
