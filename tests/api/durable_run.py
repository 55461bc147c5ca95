"""A run that is traced: tasks are accepted over HTTP, run and published; it says what it promised.

Each line on standard output is a promise that a power cut right after it must not break.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from api.messages import ImageBytes, TaskEnded
from api.publish import Publisher, RunningTask
from api.tasks import Claimant, Lease
from tests.api.bench import Bench
from tests.api.wire import png


def promise(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def main() -> None:
    bench = Bench(Path(sys.argv[1]))
    publisher = Publisher(bench.store, bench.blobs)
    for number in range(3):
        uid = bench.submit(Seed=number, BatchSize=2)
        promise(f"accepted {uid}")
        [record] = bench.store.claim(Claimant("w"), limit=1, lease_s=60)
        task = RunningTask(record, Lease(uid, "w", record.token))
        for index in range(record.num_images):
            image = png(64 + index, 64, "RGB")
            publisher.write_image(task, ImageBytes(uid, index, 7, image, 64 + index, 64))
        if number != 1:
            publisher.store_ending(task, TaskEnded(uid, 0, ""))
            promise(f"published {uid}")
        if number == 1:
            with bench.store.database._engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    bench.store.close()


if __name__ == "__main__":
    main()
