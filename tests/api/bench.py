"""A service on a real SQLite store and a real blob folder, to talk to and to work for."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from api.app import create_app
from api.blobs import open_blobs
from api.database import open_database
from api.keys import KeyRing
from api.settings import Settings
from api.store import SqlTaskStore
from api.tasks import Claimant, Lease, TaskOutput, TaskRecord
from engine.registry import load_registry
from tests.api.wire import KEYS, Caller, generate, png

MODELS = """
default_model: PICPIK General
models:
  - name: PICPIK General
    path: package:embedded
    family: sd1
    native_size_px: 256
    min_area_ratio: 0
    num_inference_steps: 12
    trigger_words: [scene]
"""
QUERIES: dict[str, dict[str, Any]] = {
    "ListTasksDetails": {"TaskUIDList": []},
    "ListRunningTasks": {},
    "ListGenerateTaskDetail": {"TaskUIDs": []},
    "GetGenerateTaskDetail": {"TaskUID": "x"},
    "ListModels": {},
    "GetCreditBalance": {},
    "CancelTask": {"TaskUID": "x"},
    "WatchTask": {"TaskUID": "x"},
    "GetTaskPreviews": {"TaskUID": "x"},
}


class Bench:
    """A real store, real blobs and the application over them."""

    def __init__(self, folder: Path, *, database_url: str | None = None, **changes: Any) -> None:
        models = folder / "models.yaml"
        few_steps = changes.pop("few_steps", None)
        models.write_text(MODELS if few_steps is None else f"{MODELS}    few_steps: {few_steps}\n")
        self.settings = Settings(
            data_dir=folder,
            models=models,
            keys=",".join(f"{public}:{private}" for public, private in KEYS.items()),
            min_free_disk_bytes=changes.pop("min_free_disk_bytes", 0),
            **changes,
        )
        self.store = SqlTaskStore(
            open_database(database_url or f"sqlite:///{folder / 'tasks.sqlite3'}"),
            max_queued_per_key=self.settings.max_queued_per_key,
        )
        self.blobs = open_blobs(self.settings)
        keys = KeyRing(self.store.database, self.settings.keys)
        registry = load_registry(models)
        self.app = create_app(self.settings, self.store, self.blobs, keys, registry)
        self.caller = Caller(self.app)

    def submit(self, user: str = "alice", **changes: Any) -> str:
        return self.caller.call(user, **generate(**changes))["TaskUID"]

    def record(self, uid: str) -> TaskRecord:
        record = self.store.get(uid)
        assert record is not None
        return record

    def detail(self, uid: str, user: str = "alice") -> dict[str, Any]:
        answer = self.caller.call(user, Action="ListTasksDetails", TaskUIDList=[uid])
        [detail] = answer["TaskDetailList"]
        return detail

    def run(self, uid: str, indexes: list[int], **failure: Any) -> None:
        """Ends the only queued task as a worker would, with images of these indexes."""
        [claimed] = self.store.claim(Claimant("w"), limit=1, lease_s=60)
        assert claimed.uid == uid
        outputs = []
        for index in indexes:
            data = png(64 + index, 64, "RGB")
            key = f"out/{uid}/{index}.png"
            self.blobs.put(key, data)
            digest = hashlib.sha256(data).hexdigest()
            seed = (claimed.seed + index) % 2**31
            outputs.append(
                TaskOutput(index, key, digest, "image/png", 64 + index, 64, len(data), seed)
            )
        lease = Lease(uid, "w", claimed.token)
        if failure:
            self.store.fail(lease, outputs=outputs, **failure)
        else:
            self.store.finish(lease, outputs)

    def files(self) -> list[Path]:
        return [path for path in (self.settings.data_dir / "blobs").rglob("*") if path.is_file()]
