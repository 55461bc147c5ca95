"""Where an entry of models.yaml comes from: `hf:OWNER/REPO[@REVISION][/FILE]`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator

_NAME = r"[A-Za-z0-9](?:[\w.-]{0,95})"
_SOURCE = re.compile(
    rf"hf:(?P<repo>{_NAME}/{_NAME})(?:@(?P<revision>[\w.-]{{1,100}}))?(?:/(?P<file>[^\\\0]{{1,500}}))?",
    re.ASCII,
)
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class HubLocation:
    """A repository of the Hugging Face hub, or one file in it.

    Attributes:
        repo: OWNER/REPO.
        revision: commit, branch or tag; None where none is given.
        file: path inside the repository; None for a whole diffusers folder.
    """

    repo: str
    revision: str | None
    file: str | None

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a full commit hash: a branch or a tag may move."""
        return self.revision is not None and _COMMIT.fullmatch(self.revision) is not None

    def __str__(self) -> str:
        """As it is written in models.yaml."""
        revision = f"@{self.revision}" if self.revision else ""
        file = f"/{self.file}" if self.file else ""
        return f"hf:{self.repo}{revision}{file}"


def parse_source(value: str) -> HubLocation:
    """Reads a source.

    Raises:
        ValueError: it is not written as one.
    """
    match = _SOURCE.fullmatch(value)
    file = match and match["file"]
    if match is None or (file and any(part in ("", ".", "..") for part in file.split("/"))):
        raise ValueError("is not written as hf:OWNER/REPO@REVISION or hf:OWNER/REPO@REVISION/FILE")
    return HubLocation(match["repo"], match["revision"], match["file"])


def _validated(value: Any) -> HubLocation:
    if isinstance(value, HubLocation):
        return value
    if not isinstance(value, str):
        raise ValueError("must be text")
    return parse_source(value)


HubSource = Annotated[HubLocation, BeforeValidator(_validated)]
