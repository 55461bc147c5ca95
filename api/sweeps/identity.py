"""What a sweep's pictures depend on, part by part, so that another sweep is told from this one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import BaseModel

from backdrop import __version__
from engine.plan import GenerationPlan
from engine.sweep import SweepPlan

_NOT_SETTINGS = ("job_id", "foreground", "reference", "icc_profile", "adapters", "preview")


def identity_of(plan: SweepPlan, *, device: str, batch_invariant: bool) -> Mapping[str, str]:
    """A digest of each part, by what a message calls it.

    Model files count by size and time of change, since a checkpoint takes minutes to read. One
    device of a kind is like the other.
    """
    job = plan.job
    settings = {
        field.name: getattr(job, field.name)
        for field in dataclasses.fields(job)
        if field.name not in _NOT_SETTINGS
    }
    settings["adapters"] = [[each.adapter_name, each.adapter_weight] for each in job.adapters]
    parts = {
        "axes": [[axis.setting, axis.values] for axis in plan.axes],
        "settings": settings,
        "foreground": [_pixels(job.foreground), _digest(job.icc_profile or b"")],
        "reference": None if job.reference is None else _pixels(job.reference),
        "model files": [_entry_and_files(entry) for entry in _entries(plan)],
        "device": [device.partition(":")[0], batch_invariant],
        "version of Backdrop": __version__,
    }
    return {name: _digest(json.dumps(part).encode()) for name, part in parts.items()}


def _entries(plan: SweepPlan) -> list[BaseModel]:
    """Entries of models.yaml that the points use, each once."""
    plans: Iterator[GenerationPlan] = (point.plan for point in plan.points)
    used: dict[str, BaseModel] = {}
    for each in plans:
        used[f"model {each.model.name}"] = each.model
        used |= {f"lora {lora.sub_model.name}": lora.sub_model for lora in each.loras}
        used |= {f"embedding {embedding.name}": embedding for embedding in each.embeddings}
    return [entry for _, entry in sorted(used.items())]


def _entry_and_files(entry: BaseModel) -> list[Any]:
    paths = [value for _, value in entry if isinstance(value, Path)]
    return [entry.model_dump(mode="json"), [_stats(path) for path in paths]]


def _stats(path: Path) -> list[list[object]]:
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    stats = [(file.name, file.stat()) for file in files]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]


def _pixels(image: Image.Image) -> list[object]:
    return [image.mode, image.size, _digest(image.tobytes())]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
