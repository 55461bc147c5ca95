"""What pydantic finds wrong in models.yaml -> lines for the one who wrote it."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError


def readable_lines(path: Path, content: dict[str, object], exc: ValidationError) -> list[str]:
    """A line for each mistake; of a list and its entries only the entries are told."""
    errors = exc.errors()
    deepest = [
        error
        for error in errors
        if not any(
            other["loc"][: len(error["loc"])] == error["loc"] and other["loc"] != error["loc"]
            for other in errors
        )
    ]
    return [_readable(path, content, error["loc"], error["msg"]) for error in deepest]


def _readable(
    path: Path, content: dict[str, object], location: tuple[int | str, ...], message: str
) -> str:
    """One line: file, entry by its name where it has one, key, what is wrong."""
    where = ".".join(str(part) for part in location)
    section = str(location[0]) if location else ""
    entries = content.get(section)
    if len(location) >= 2 and isinstance(entries, list):
        entry = entries[int(location[1])]
        name = entry.get("name") if isinstance(entry, dict) else None
        label = f"entry {name!r}" if name else f"entry {int(location[1]) + 1}"
        key = ".".join(str(part) for part in location[2:])
        where = f"{section}: {label}" + (f": {key}" if key else "")
    return f"{path}: {where}: {message.removeprefix('Value error, ')}"
