"""`backdrop models pull`: entries of models.yaml from the Hugging Face hub.

The one place of the product that fetches anything, and only in a process that was called for it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from engine.hub_source import HubLocation

T = TypeVar("T")

# Of a diffusers folder what the engine reads: repositories often hold the same weights five times.
_CONFIG_SUFFIXES = (".json", ".txt", ".model", ".spm")
_WEIGHT_SUFFIXES = (".safetensors", ".safetensors.index.json")
_PICKLED = ("pytorch_model.bin", "diffusion_pytorch_model.bin")
_UNREAD_FOLDERS = ("safety_checker", "feature_extractor")
_CHUNK_BYTES = 2**20


class PullFailed(Exception):
    """An entry could not be pulled; the message is one line."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a repository.

    Attributes:
        name: path inside the repository.
        sha256: of its content where the hub states it, which it does of weights; else None.
    """

    name: str
    sha256: str | None


def pull(location: HubLocation, path: Path) -> list[Path]:
    """Downloads a source to `path`, which appears only once all of it is there and verified.

    What an earlier call began, in `path` with ".part" appended, is taken up where it ended. The
    hub library shows a progress bar for each file on standard error and reads HF_ENDPOINT, HF_TOKEN
    and the proxy settings from the environment.

    Returns:
        The files.

    Raises:
        PullFailed: the revision is no commit, the hub cannot be reached or refuses, it has no such
            files, or a checksum differs.
        OSError: the disk refuses.
    """
    _allow_downloads()
    from huggingface_hub import hf_hub_download

    if not location.is_pinned:
        raise PullFailed(_unpinned(location))
    files = choose_files(location, _list_files(location))
    part = path.with_name(f"{path.name}.part")
    part.mkdir(parents=True, exist_ok=True)
    for file in files:
        _ask(
            location,
            lambda name=file.name: hf_hub_download(  # type: ignore[misc]
                location.repo, name, revision=location.revision, local_dir=part
            ),
        )
        _verify(part / file.name, file)
    return _move_in_place(part, path, location, files)


def choose_files(location: HubLocation, files: Sequence[HubFile]) -> list[HubFile]:
    """The files to download: the one that is named, or those of a diffusers or transformers folder.

    Of each component that is its configs and its weights as safetensors: the plain ones, else the
    fp16 variant. Other variants, single-file copies and, where there are others, pickled weights
    are left out.

    Raises:
        PullFailed: there is no such file, or no such folder.
    """
    if location.file is not None:
        chosen = [file for file in files if file.name == location.file]
        if not chosen:
            raise PullFailed(f"{location}: the repository has no such file at this revision")
        return chosen
    names = {file.name for file in files}
    folders: dict[PurePosixPath, list[HubFile]] = {}
    for file in files:
        folders.setdefault(PurePosixPath(file.name).parent, []).append(file)
    top = folders.pop(PurePosixPath(), [])
    if "model_index.json" in names:
        components = [
            its
            for folder, its in folders.items()
            if len(folder.parts) == 1 and folder.name not in _UNREAD_FOLDERS
        ]
        index = [file for file in top if file.name == "model_index.json"]
        return [*index, *(file for its in components for file in _needed(its))]
    if "config.json" in names:
        return _needed(top)
    raise PullFailed(
        f"{location}: holds neither model_index.json nor config.json, so it is no folder of"
        f" diffusers or transformers; name a file of it:"
        f" hf:{location.repo}@{location.revision}/FILE.safetensors"
    )


def _needed(files: Sequence[HubFile]) -> list[HubFile]:
    """Of one component."""
    weights = [file for file in files if file.name.endswith(_WEIGHT_SUFFIXES)]
    configs = [file for file in files if file.name.endswith(_CONFIG_SUFFIXES)]
    plain = [file for file in weights if _variant(file.name) == ""]
    chosen = plain or [file for file in weights if _variant(file.name) == "fp16"]
    if not chosen:
        chosen = [file for file in files if PurePosixPath(file.name).name in _PICKLED]
    return [*(file for file in configs if file not in weights), *chosen]


def _variant(name: str) -> str:
    """The fp16 of `model.fp16.safetensors` and `model.fp16-00001-of-00002.safetensors`."""
    stem = PurePosixPath(name).name.removesuffix(".index.json").removesuffix(".safetensors")
    _, _, variant = stem.partition(".")
    return variant.partition("-")[0]


def _allow_downloads() -> None:
    """Undoes, for this process, the offline mode that every process of the product begins with."""
    os.environ.update(HF_HUB_OFFLINE="0", TRANSFORMERS_OFFLINE="0")
    # A line for every request would tear the progress bars; what fails is told by this module.
    for name in ("httpx", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _unpinned(location: HubLocation) -> str:
    """What to write instead: the commit that the branch or tag is at now."""
    from huggingface_hub import HfApi

    info = _ask(location, lambda: HfApi().model_info(location.repo, revision=location.revision))
    pinned = HubLocation(location.repo, info.sha, location.file)
    what = f"{location.revision!r} may move" if location.revision else "no revision is named"
    return f"{location}: {what}; the commit it is at now is pinned by source: {pinned}"


def _list_files(location: HubLocation) -> list[HubFile]:
    from huggingface_hub import HfApi

    info = _ask(
        location,
        lambda: HfApi().model_info(location.repo, revision=location.revision, files_metadata=True),
    )
    return [
        HubFile(each.rfilename, each.lfs.sha256 if each.lfs else None)
        for each in info.siblings or ()
    ]


def _ask(location: HubLocation, call: Callable[[], T]) -> T:
    """Runs one call of the hub library and turns whatever it raises into one line."""
    try:
        return call()
    except Exception as exc:
        # Its errors have no common base, and those of the network belong to its HTTP client.
        reason = " ".join(str(exc).split())[:300] or type(exc).__name__
        raise PullFailed(f"{location}: {reason}") from exc


def _verify(path: Path, file: HubFile) -> None:
    """Compares a downloaded file with the checksum the hub states.

    Raises:
        PullFailed: they differ; the file is removed, so that the next call fetches it again.
    """
    if file.sha256 is None:
        return
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while chunk := content.read(_CHUNK_BYTES):
            digest.update(chunk)
    if digest.hexdigest() != file.sha256:
        path.unlink()
        raise PullFailed(f"{path}: its SHA-256 is not the one the hub states; pull it again")


def _move_in_place(
    part: Path, path: Path, location: HubLocation, files: Sequence[HubFile]
) -> list[Path]:
    if location.file is not None:
        (part / location.file).rename(path)
        shutil.rmtree(part)
        return [path]
    shutil.rmtree(part / ".cache")  # the hub library's notes on what was downloaded
    part.rename(path)
    return [path / file.name for file in files]
