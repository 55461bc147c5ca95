"""A client written from the protocol page alone: nothing of Backdrop is imported here."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import time
from decimal import Decimal
from typing import Any

import httpx
from PIL import Image

FINAL = ("Finished", "Error")


def flat_text(value: Any) -> str:
    """Protocol section 2: the text of one value."""
    match value:
        case None:
            return ""
        case True | False:
            return str(value).lower()
        case dict():
            return "".join(f"{name}{flat_text(member)}" for name, member in sorted(value.items()))
        case list() | tuple():
            return "".join(map(flat_text, value))
        case float():
            return str(int(value)) if value.is_integer() else f"{Decimal(repr(value)):f}"
        case _:
            return str(value)


def sign(fields: dict[str, Any], private_key: str) -> str:
    """Protocol section 2: names and values in byte order of the names, then the private key."""
    signed = {name: value for name, value in fields.items() if name != "Signature"}
    return hashlib.sha1(f"{flat_text(signed)}{private_key}".encode()).hexdigest()


def as_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def as_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


class PicpikClient:
    """One key pair at one base URL."""

    def __init__(self, base_url: str, public_key: str, private_key: str) -> None:
        self.public_key = public_key
        self.private_key = private_key
        self.http = httpx.Client(base_url=base_url, timeout=60, trust_env=False)

    def post(self, body: dict[str, Any]) -> dict[str, Any]:
        """Sends `body` as it is; every answered request has HTTP status 200."""
        response = self.http.post(
            "/", content=json.dumps(body), headers={"Content-Type": "application/json"}
        )
        assert response.status_code == 200, response.text
        return response.json()

    def ask(self, action: str, **fields: Any) -> dict[str, Any]:
        """Sends one signed request; the answer whatever its RetCode."""
        body = {"Action": action, "PublicKey": self.public_key, **fields}
        return self.post({**body, "Signature": sign(body, self.private_key)})

    def call(self, action: str, **fields: Any) -> dict[str, Any]:
        """Sends one signed request that must succeed."""
        answer = self.ask(action, **fields)
        assert answer["RetCode"] == 0, answer
        assert answer["Action"] == action
        return answer

    def submit(self, images: list[bytes], **fields: Any) -> str:
        """Makes a GenerateBackgrounds task; its TaskUID."""
        return self.call(
            "GenerateBackgrounds", ImageList=[as_base64(data) for data in images], **fields
        )["TaskUID"]

    def detail(self, uid: str) -> dict[str, Any]:
        return self.call("ListTasksDetails", TaskUIDList=[uid])["TaskDetailList"][0]

    def wait(self, uid: str, timeout_s: float = 180) -> dict[str, Any]:
        """Polls until the task has ended; its TaskDetail."""
        deadline = time.monotonic() + timeout_s
        while (detail := self.detail(uid))["Status"] not in FINAL:
            assert time.monotonic() < deadline, f"still {detail['Status']} after {timeout_s} s"
            time.sleep(0.1)
        return detail

    def download(self, url: str) -> Image.Image:
        """The picture behind a result URL, decoded."""
        response = self.http.get(url)
        assert response.status_code == 200, f"{url}: {response.status_code}"
        assert response.headers["Content-Type"] == "image/png"
        image = Image.open(io.BytesIO(response.content))
        image.load()
        return image

    def generate(
        self, images: list[bytes], **fields: Any
    ) -> tuple[dict[str, Any], list[Image.Image]]:
        """Submits, waits, downloads: the TaskDetail and the pictures of a task that must finish."""
        detail = self.wait(self.submit(images, **fields))
        assert detail["Status"] == "Finished", detail
        return detail, [self.download(url) for url in detail["ImgList"]]
