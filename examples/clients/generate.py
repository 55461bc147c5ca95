"""Usage: python generate.py FOREGROUND OUTPUT [PROMPT], with Backdrop installed.

BACKDROP_URL, BACKDROP_PUBLIC_KEY and BACKDROP_PRIVATE_KEY say where and as whom.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from backdrop.client import Client, ClientError, Task


def show(task: Task) -> None:
    """Where the task is, in one line."""
    place = f", place {task.queue_position}" if task.queue_position else ""
    print(f"{task.status} {task.progress:.0%} {task.stage}{place}", file=sys.stderr)


def main(foreground: str, output: str, prompt: str = "blue sky") -> None:
    """Submit, wait, save."""
    keys = os.environ["BACKDROP_PUBLIC_KEY"], os.environ["BACKDROP_PRIVATE_KEY"]
    with Client(os.environ["BACKDROP_URL"], *keys) as client:
        uid = client.submit(foreground, prompts=prompt)
        task = client.wait(uid, on_progress=show)
        Path(output).write_bytes(client.images(task)[0])
    print(output)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except ClientError as error:
        sys.exit(str(error))
