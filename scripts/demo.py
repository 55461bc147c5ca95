"""Four scenes painted by a real server: signed requests in, pictures and a contact sheet out.

Run it through `scripts/demo`. Reads as an example of the protocol: `signature`, `Client`, `SCENES`.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
from contact_sheet import Tile, contact_sheet
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
SERVER_START_TIMEOUT_S = 120
SCENE_TIMEOUT_S = 600


# The protocol ------------------------------------------------------------------------------------


def signed_text(value: Any) -> str:
    """A JSON value as the signature sees it (protocol section 2)."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return format(Decimal(repr(value)).normalize(), "f")  # 42.0 is "42", no exponent
    if isinstance(value, list):
        return "".join(signed_text(item) for item in value)
    if isinstance(value, dict):
        return "".join(name + signed_text(value[name]) for name in sorted(value))
    return str(value)


def signature(body: dict[str, Any], private_key: str) -> str:
    """SHA-1 over every field of the body, sorted by name, and the private key."""
    return hashlib.sha1((signed_text(body) + private_key).encode()).hexdigest()


class Client:
    """The two calls a client needs: one makes a task, the other asks how it is doing."""

    def __init__(self, base_url: str, public_key: str, private_key: str) -> None:
        self._http = httpx.Client(base_url=base_url, timeout=60, trust_env=False)
        self._public_key = public_key
        self._private_key = private_key

    def call(self, action: str, **fields: Any) -> dict[str, Any]:
        """Sends one signed request.

        Raises:
            RuntimeError: the answer's RetCode is not 0.
        """
        body = {"Action": action, "PublicKey": self._public_key, **fields}
        body["Signature"] = signature(body, self._private_key)
        response = self._http.post("/", json=body)
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        if answer["RetCode"] != 0:
            raise RuntimeError(f"{action}: RetCode {answer['RetCode']}, {answer['Message']}")
        return answer

    def details(self, task_uid: str) -> dict[str, Any]:
        """The TaskDetail of one task."""
        details: dict[str, Any] = self.call("ListTasksDetails", TaskUIDList=[task_uid])
        return details["TaskDetailList"][0]

    def download(self, url: str) -> bytes:
        """The bytes behind an entry of ImgList."""
        return self._http.get(url).raise_for_status().content


def image_field(name: str) -> str:
    """A file of examples/ as an entry of ImageList."""
    return base64.b64encode((EXAMPLES / name).read_bytes()).decode()


# The scenes --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scene:
    """One GenerateBackgrounds request: its pictures by name, and the rest of its fields."""

    name: str
    images: tuple[str, ...]
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What was asked for, in one line."""
        text = ", ".join(self.fields["PositivePrompts"])
        if "BackgroundImage2Image" in self.fields:
            strength = self.fields["BackgroundImage2Image"]["ReferStrength"]
            text += f" + {Path(self.images[1]).stem} at {strength}"
        return text


SCENES = (
    Scene(
        "blue-sky",  # the protocol page's own example, with a seed
        ("coffee-cup.png", "lake-pagoda.jpg"),
        {
            "MainModel": {"ModelCode": "PICPIK General", "InferenceParams": {"Steps": 10}},
            "BackgroundImage2Image": {
                "ImageIndex": 1,
                "ReferStrength": 0.3,
                "ResizeMode": "ResizeAndFill",
            },
            "NegativePrompts": [],
            "PositivePrompts": ["blue sky", "white cloud"],
            "TranslatePrompts": False,
            "TransparentImageIndexList": [0],
            "Seed": 9,
        },
    ),
    Scene(
        "wooden-table",
        ("coffee-cup.png",),
        {
            "MainModel": {"ModelCode": "PICPIK General", "InferenceParams": {"Steps": 20}},
            "PositivePrompts": ["light wood table", "blurred green leaves"],
            "TransparentForeground": {"ImageIndex": 0},
            "Seed": 1,
        },
    ),
    Scene(
        "sunset-beach",
        ("coffee-cup.png",),
        {
            "MainModel": {"ModelCode": "PICPIK General", "InferenceParams": {"Steps": 20}},
            "PositivePrompts": ["sandy beach", "sea", "sunset sky"],
            "TransparentForeground": {"ImageIndex": 0},
            "Seed": 4,
        },
    ),
    Scene(
        "pink-studio",
        ("dahlia.png",),
        {
            "MainModel": {"ModelCode": "PICPIK General", "InferenceParams": {"Steps": 20}},
            "PositivePrompts": ["pink studio background", "floor", "spotlight"],
            "TransparentForeground": {"ImageIndex": 0, "ResizeMode": "CropAndResize"},
            "Width": 600,
            "Height": 400,
            "Seed": 1,
        },
    ),
)


def run_scene(client: Client, scene: Scene, show: Progress) -> tuple[list[bytes], int]:
    """Sends one scene and waits for it; its images and the seed of the first.

    Raises:
        RuntimeError: the task ended as Error, or not in time.
    """
    images = [image_field(name) for name in scene.images]
    uid = client.call("GenerateBackgrounds", ImageList=images, **scene.fields)["TaskUID"]
    row = show.add_task(scene.label, total=1, status="Queuing")
    deadline = time.monotonic() + SCENE_TIMEOUT_S
    while time.monotonic() < deadline:
        task = client.details(uid)
        # Progress, 0 to 1, is a field of Backdrop's own.
        show.update(row, status=task["Status"], completed=task.get("Progress", 0))
        if task["Status"] == "Finished":
            show.update(row, completed=1)
            return [client.download(url) for url in task["ImgList"]], task["Seed"]
        if task["Status"] == "Error":
            raise RuntimeError(f"{scene.name}: {task['ErrorCode']} {task['ErrorMessage']}")
        time.sleep(0.2)
    raise RuntimeError(f"{scene.name}: not finished after {SCENE_TIMEOUT_S} s")


# The server --------------------------------------------------------------------------------------


@contextmanager
def running_server(folder: Path, key_pair: str) -> Iterator[str]:
    """A `backdrop serve` with its data in `folder`; gives its base URL, stops it afterwards."""
    environment = os.environ | {
        "BACKDROP_KEYS": key_pair,
        "BACKDROP_HOST": "127.0.0.1",
        "BACKDROP_PORT": "0",
        "BACKDROP_DATA_DIR": str(folder / "data"),
    }
    first_line = folder / "stdout"
    with first_line.open("w") as stdout, (folder / "server.log").open("w") as log:
        # A session of its own: Ctrl-C reaches the demo alone, which then stops the server.
        server = subprocess.Popen(
            [sys.executable, "-m", "backdrop", "serve"],
            env=environment,
            stdout=stdout,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield wait_for_base_url(server, first_line)
    finally:
        server.terminate()
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def wait_for_base_url(server: subprocess.Popen[bytes], first_line: Path) -> str:
    """The first line that the server prints.

    Raises:
        RuntimeError: the server ended, or printed nothing in time.
    """
    deadline = time.monotonic() + SERVER_START_TIMEOUT_S
    while time.monotonic() < deadline:
        line, newline, _ = first_line.read_text().partition("\n")
        if newline:
            return line.strip()
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with status {server.returncode}")
        time.sleep(0.1)
    raise RuntimeError(f"the server printed no address within {SERVER_START_TIMEOUT_S} s")


# The demo ----------------------------------------------------------------------------------------


def run(folder: Path, output: Path, console: Console) -> None:
    """Server up, scenes through, pictures and contact sheet written, server down."""
    private_key = secrets.token_hex(20)
    started = time.monotonic()
    tiles = []
    with running_server(folder, f"demo:{private_key}") as base_url:
        console.print(f"server at {base_url} after {time.monotonic() - started:.1f} s")
        client = Client(base_url, "demo", private_key)
        columns = (
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("[dim]{task.fields[status]}[/]"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=console) as show:
            for scene in SCENES:
                scene_started = time.monotonic()
                images, seed = run_scene(client, scene, show)
                seconds = time.monotonic() - scene_started
                for index, image in enumerate(images):
                    path = output / f"{scene.name}-{index}.png"
                    path.write_bytes(image)
                    tiles.append(Tile(path, scene.label, f"seed {seed + index}, {seconds:.1f} s"))
    sheet = output / "contact-sheet.png"
    contact_sheet(tiles).save(sheet)
    for tile in tiles:
        console.print(f"{tile.path.relative_to(output.parent)}  [dim]{tile.detail}[/]")
    console.print(f"{sheet.relative_to(output.parent)}")
    console.print(f"{time.monotonic() - started:.1f} s in all")


def main() -> int:
    """Runs the demo; 0 when every picture was made."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "demo-output")
    output: Path = parser.parse_args().output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    console = Console(highlight=False)
    folder = Path(tempfile.mkdtemp(prefix="backdrop-demo-"))
    # A plain kill ends like Ctrl-C: with the server stopped and the folder removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run(folder, output, console)
    except KeyboardInterrupt:
        console.print("stopped")
        return 130
    except (RuntimeError, httpx.HTTPError) as exc:
        log = folder / "server.log"
        if log.exists():
            console.print("\n".join(log.read_text().splitlines()[-25:]), style="dim", markup=False)
        console.print(f"demo failed: {exc}", style="red", markup=False)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
