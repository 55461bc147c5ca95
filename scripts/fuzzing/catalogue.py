"""The targets and how the inputs of a run are shared between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Check = Callable[[bytes], bool]


class Garbage(AssertionError):
    """Something was accepted, or answered, that an independent check refuses."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A target as the run sees it; its module is imported in a process of its own.

    Attributes:
        name: of the module in `scripts.fuzzing.targets`.
        engine: where inputs come from: "atheris", or "hypothesis" for a module with a strategy.
        per_mille: of the inputs of a whole run.
        what: is attacked.
        judged_by: what is accepted is compared with this.
    """

    name: str
    engine: str
    per_mille: int
    what: str
    judged_by: str

    @property
    def module(self) -> str:
        """Full name of its module."""
        return f"scripts.fuzzing.targets.{self.name}"


ENTRIES = {
    entry.name: entry
    for entry in (
        Entry(
            "image_file",
            "atheris",
            230,
            "decoding of PNG, JPEG and WebP files",
            "the size Pillow reads; the same pixels after another round",
        ),
        Entry("image_text", "atheris", 150, "Base64 and data URLs", "Python's base64"),
        Entry("json_body", "atheris", 190, "raw JSON of a request", "pydantic's own JSON parser"),
        Entry(
            "signed_text",
            "atheris",
            140,
            "signatures",
            "a signer written from the rules alone; a changed body is refused",
        ),
        Entry(
            "safetensors_file", "atheris", 140, "the safetensors header", "the safetensors package"
        ),
        Entry("lora_file", "atheris", 65, "LoRA keys, shapes, metadata", "loading it into a layer"),
        Entry(
            "wire_models",
            "hypothesis",
            60,
            "the wire models of every action",
            "jsonschema with the published schema; the same after another round",
        ),
        Entry(
            "http_calls",
            "schemathesis",
            25,
            "the whole service by its OpenAPI description, signed",
            "jsonschema with the response's schema; the accepted task is there",
        ),
    )
}
