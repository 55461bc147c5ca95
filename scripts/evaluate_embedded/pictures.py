"""Pictures made through the product's engine, many jobs at a time, and kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.engine import Engine
from engine.events import ImageDone, ImageFailed
from engine.job import AdapterWeight, GenerationJob, Sampler
from engine.registry import MainModel, Registry, load_registry

MODEL_NAME = "evaluated"
_MODEL_FILES = (".json", ".safetensors", ".txt")  # a changed model card changes no picture
_IN_FLIGHT = 32  # enough to fill every forward, few enough to lose little when stopped

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """One picture to make; see `GenerationJob` for the fields.

    Attributes:
        num_inference_steps: 10 by default, whatever the model's own default is.
        sampler: None takes the model's default, as does `guidance_scale`.
    """

    foreground: Image.Image
    prompt: str
    seed: int = 0
    negative_prompt: str = ""
    reference: Image.Image | None = None
    strength: float = 1.0
    deep_fusion: bool = False
    num_inference_steps: int = 10
    sampler: Sampler | None = None
    guidance_scale: float | None = None
    adapters: tuple[AdapterWeight, ...] = ()

    def key(self, fingerprint: str) -> str:
        """Names the picture that the model of that fingerprint makes of it."""
        reference = b"" if self.reference is None else self.reference.tobytes()
        settings = [
            fingerprint,
            self.prompt,
            self.negative_prompt,
            self.seed,
            self.strength,
            self.num_inference_steps,
            self.sampler,
            self.guidance_scale,
            [(each.adapter_name, each.adapter_weight) for each in self.adapters],
            self.foreground.size,
        ]
        if self.deep_fusion:
            settings.append("deep fusion")
        content = json.dumps(settings).encode() + self.foreground.tobytes() + reference
        return hashlib.sha256(content).hexdigest()[:24]

    def job(self, job_id: str) -> GenerationJob:
        """The job that makes it, on a canvas of the foreground's size."""
        return GenerationJob(
            job_id=job_id,
            model_name=MODEL_NAME,
            foreground=self.foreground,
            prompt=self.prompt,
            negative_prompt=self.negative_prompt,
            reference=self.reference,
            strength=self.strength,
            deep_fusion=self.deep_fusion,
            seed=self.seed,
            num_inference_steps=self.num_inference_steps,
            sampler=self.sampler,
            guidance_scale=self.guidance_scale,
            adapters=self.adapters,
        )


class PictureMaker:
    """Makes pictures or finds them on disk.

    Lanes of several jobs share a forward, so a picture may differ by a rounding from the one that
    another grouping makes (law 3 allows one level); once on disk it stays as it is.

    Attributes:
        registry: holds the one model, under MODEL_NAME.
        fingerprint: of the model's weights and defaults.
        folder: where the pictures are.
    """

    def __init__(self, model: MainModel, folder: Path) -> None:
        self.registry = Registry({MODEL_NAME: model}, MODEL_NAME)
        self.fingerprint = fingerprint(model)
        self.folder = folder
        self._engine = Engine(self.registry)

    def make(self, wanted: list[Wanted]) -> list[Pixels]:
        """(H, W, 3) uint8 of each, in order.

        Raises:
            EngineError: of the first picture that could not be made.
        """
        paths = [self.folder / f"{each.key(self.fingerprint)}.png" for each in wanted]
        missing = {
            path: each for path, each in zip(paths, wanted, strict=True) if not path.exists()
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        self._run(missing)
        return [_opened(path) for path in paths]

    def _run(self, missing: dict[Path, Wanted]) -> None:
        waiting = deque(missing.items())
        flying: dict[str, Path] = {}
        while waiting or flying:
            while waiting and len(flying) < _IN_FLIGHT:
                path, wanted = waiting.popleft()
                self._engine.add(wanted.job(path.stem))
                flying[path.stem] = path
            self._engine.wait()
            for event in self._engine.step():
                if isinstance(event, ImageFailed):
                    raise event.error
                if isinstance(event, ImageDone):
                    path = flying.pop(event.job_id)
                    partial = path.with_suffix(".partial")
                    event.image.image.save(partial, format="PNG")
                    partial.rename(path)


def find_model(model: str, models_file: Path) -> MainModel:
    """A folder's model with the defaults of the embedded one, or an entry of a models.yaml.

    Args:
        model: path of a diffusers folder, or the name of an entry.
        models_file: where entries are looked up.

    Raises:
        UnknownModel: it is neither.
    """
    folder = Path(model)
    if folder.is_dir():
        entry = {
            "name": MODEL_NAME,
            "path": str(folder.resolve()),
            "family": "sd1",
            "native_size_px": 256,
            "num_inference_steps": 10,
            "guidance_scale": 3.0,
        }
        return MainModel.model_validate(entry, context={"folder": Path.cwd()})
    found = load_registry(models_file).main_model(model)
    return found.model_copy(update={"name": MODEL_NAME})


def fingerprint(model: MainModel) -> str:
    """Of the model's weights and configs and of those defaults that reach a picture."""
    fields = ("family", "native_size_px", "sampler", "guidance_scale", "refine_strength")
    defaults = {name: str(getattr(model, name)) for name in fields}
    digest = hashlib.sha256(json.dumps(defaults).encode())
    for folder in (model.path, model.shared_vae):
        if folder is not None:
            for path in sorted(folder.rglob("*")):
                if path.suffix in _MODEL_FILES:
                    digest.update(str(path.relative_to(folder)).encode())
                    digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _opened(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
