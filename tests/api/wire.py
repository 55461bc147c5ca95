"""A small service to talk to, and a signer written from the rules alone (protocol section 2)."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from decimal import Decimal
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

KEYS = {"alice": "alice-private", "bob": "bob-private"}


def flat_text(value: Any) -> str:
    """The signed text of one value."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case dict():
            return "".join(name + flat_text(value[name]) for name in sorted(value))
        case list():
            return "".join(flat_text(member) for member in value)
        case float() if value == int(value):
            return str(int(value))
        case float():
            return f"{Decimal(repr(value)):f}"
    return str(value)


def signature(fields: dict[str, Any], private_key: str) -> str:
    text = flat_text({name: value for name, value in fields.items() if name != "Signature"})
    return hashlib.sha1((text + private_key).encode()).hexdigest()


def signed(fields: dict[str, Any], user: str = "alice") -> dict[str, Any]:
    """`fields` with key and signature of `user`."""
    body = {"PublicKey": user, **fields}
    return {**body, "Signature": signature(body, KEYS[user])}


def png(width: int = 72, height: int = 64, mode: str = "RGBA") -> bytes:
    """A red square in a transparent field; without alpha in mode RGB."""
    image = Image.new("RGBA", (width, height))
    image.paste((200, 30, 40, 255), (width // 4, height // 4, 3 * width // 4, 3 * height // 4))
    file = io.BytesIO()
    image.convert(mode).save(file, "PNG")
    return file.getvalue()


def as_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def generate(**changes: Any) -> dict[str, Any]:
    """Fields of a small valid GenerateBackgrounds request; a change to None leaves one out."""
    fields = {
        "Action": "GenerateBackgrounds",
        "PositivePrompts": ["blue sky", "white cloud"],
        "TransparentForeground": {"ImageIndex": 0},
        "ImageList": [as_base64(png()), as_base64(png(80, 60, "RGB"))],
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not None}


class Caller:
    """Posts bodies to an application; every answer must have the protocol's shape."""

    def __init__(self, app: FastAPI) -> None:
        self.http = TestClient(app, raise_server_exceptions=False)

    def post(self, body: bytes | dict[str, Any]) -> dict[str, Any]:
        """The answer to a body sent as it is; HTTP 200 whatever its RetCode."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        response = self.http.post("/", content=data)
        assert response.status_code == 200, response.text
        return checked(response.json())

    def ask(self, fields: dict[str, Any], user: str = "alice") -> dict[str, Any]:
        """The answer to fields signed by `user`."""
        return self.post(signed(fields, user))

    def call(self, user: str = "alice", /, **fields: Any) -> dict[str, Any]:
        """The answer to fields signed by `user`, which must be a success."""
        answer = self.ask(fields, user)
        assert answer["RetCode"] == 0, answer
        return answer


def checked(answer: dict[str, Any]) -> dict[str, Any]:
    """`answer`, if it has the shape of a success or of an error."""
    assert type(answer["RetCode"]) is int
    assert type(answer["Action"]) is str
    assert type(answer["Message"]) is str
    assert (answer["RetCode"] == 0) == (answer["Message"] == "")
    return answer


def assert_refused(answer: dict[str, Any], ret_code: int, message: str = "") -> None:
    """`answer` is the protocol's error: code, text, and nothing but the common fields."""
    assert answer["RetCode"] == ret_code, answer
    assert message in answer["Message"], answer
    assert answer.keys() <= {"RetCode", "Action", "Message", "request_uuid"}


def subclasses(base: type) -> set[type]:
    """`base` and all below it."""
    return {base, *(deep for direct in base.__subclasses__() for deep in subclasses(direct))}
