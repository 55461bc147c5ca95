"""The request that was sent, in the forms in which it can be sent again: JSON, curl, Python."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from api.ui.choices import Choices
from backdrop.client.flows import signed_body

REQUEST_FILE = "request.json"
SHOWN_CHARS = 40  # of an image's Base64


def body_text(body: Mapping[str, Any]) -> str:
    """The JSON text of a request, as it is sent."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def shortened(body: Mapping[str, Any]) -> str:
    """A request for people to read: indented, and of each image only its beginning."""
    images = [
        f"{image[:SHOWN_CHARS]}... {len(image):,} characters in all"
        for image in body.get("ImageList", ())
    ]
    return json.dumps({**body, "ImageList": images}, ensure_ascii=False, indent=2)


def curl(base_url: str, uid: str, public_key: str, private_key: str) -> str:
    """Shell commands that send the request from its file, and ask for the task that it made.

    The file and the second command carry signatures, not the private key.
    """
    url = shlex.quote(base_url.rstrip("/") + "/")
    details = signed_body("ListTasksDetails", {"TaskUIDList": [uid]}, public_key, private_key)
    return (
        f"# {REQUEST_FILE} is the file offered beside this text\n"
        f"curl {url} -H 'Content-Type: application/json' --data-binary @{REQUEST_FILE}\n\n"
        f"# the task that was made here\n"
        f"curl {url} -H 'Content-Type: application/json' -d {shlex.quote(body_text(details))}\n"
    )


def python(base_url: str, choices: Choices, public_key: str) -> str:
    """A program that sends the same request, from files of the names that were uploaded."""
    options: dict[str, Any] = {**choices.options(preview=True)}
    if choices.reference is not None:
        options["reference"] = Path(choices.reference).name
    arguments = "".join(f"        {name}={value!r},\n" for name, value in options.items())
    return (
        "import os\n\n"
        "from backdrop.client import Client\n\n"
        'private_key = os.environ["BACKDROP_PRIVATE_KEY"]\n'
        f"with Client({base_url!r}, {public_key!r}, private_key) as client:\n"
        "    uid = client.submit(\n"
        f"        {Path(choices.foreground).name!r},\n"
        f"{arguments}"
        "    )\n"
        "    task = client.wait(uid, on_progress=print)\n"
        '    print(*client.save(task, "pictures"))\n'
    )
