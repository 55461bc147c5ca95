"""A store at work is copied and brought back as docs/storage.md says."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from pathlib import Path

from api.tasks import TaskStatus
from tests.api.supervised import Service

ROOT = Path(__file__).resolve().parents[2]


def follow(page: str, block: str, **variables: Path) -> None:
    """Run a block of commands of a page as it stands there."""
    text = (ROOT / "docs" / page).read_text()
    match = re.search(rf'```sh title="{block}"\n(.*?)```', text, re.DOTALL)
    assert match is not None
    environment = {**os.environ, **{name: str(path) for name, path in variables.items()}}
    subprocess.run(["sh", "-eu", "-c", match[1]], env=environment, check=True)


def test_a_store_at_work_is_backed_up_and_restored_whole(tmp_path: Path):
    service = Service(tmp_path / "old", lease_s=1.0)
    secret = service.store.secret()
    accepted: list[str] = []
    stop = threading.Event()

    def submit() -> None:
        while not stop.is_set():
            accepted.append(service.put(num_images=2, pause_s=0.3))  # slower than they come
            stop.wait(0.02)

    submitting = threading.Thread(target=submit)
    with service.supervisor():
        submitting.start()
        service.until(
            lambda: service.record(accepted[8]).status.is_final if accepted[8:] else False
        )
        before = list(accepted)
        done_before = [uid for uid in before if service.record(uid).status.is_final]
        follow(
            "storage.md", "backup", DATA_DIR=service.settings.data_dir, BACKUP=tmp_path / "backup"
        )
        stop.set()
        submitting.join()
    service.store.close()

    follow("storage.md", "restore", DATA_DIR=tmp_path / "new" / "data", BACKUP=tmp_path / "backup")
    restored = Service(tmp_path / "new", lease_s=1.0)
    assert restored.store.secret() == secret
    statuses = {uid: restored.record(uid).status for uid in before}
    assert {statuses[uid] for uid in done_before} == {TaskStatus.SUCCEEDED}
    assert {TaskStatus.QUEUED, TaskStatus.RUNNING} & set(statuses.values())
    with restored.supervisor():
        for uid in before:
            record = restored.wait(uid)
            assert record.status is TaskStatus.SUCCEEDED
            assert restored.blobs.get(record.inputs["foreground"]) == b"foreground"
            for output in record.outputs:
                assert len(restored.blobs.get(output.blob_key)) == output.size_bytes
    restored.store.close()
