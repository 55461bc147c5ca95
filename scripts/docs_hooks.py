"""What MkDocs does here besides its own: generated pages, files of the repository, absent pages."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from scripts.reference import PAGES

log = logging.getLogger("mkdocs.hooks.backdrop")  # below mkdocs, so that --strict counts warnings
ROOT = Path(__file__).resolve().parent.parent
LINK_OUT_OF_DOCS = re.compile(r"\[([^\]]*)\]\(\.\./([^)#]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Leaves pages out of the navigation that this tree does not have.

    A wrong name is noticed all the same: its page is then missing from the navigation, which a
    strict build refuses.
    """
    config.nav = _present(config.nav, Path(config.docs_dir))
    return config


def _present(entries: Any, folder: Path) -> list[Any]:
    kept: list[Any] = []
    for entry in entries:
        (title, target), *_ = entry.items()
        if isinstance(target, list):
            kept.append({title: _present(target, folder)})
        elif target in PAGES or (folder / target).is_file():
            kept.append(entry)
    return kept


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages."""
    for path, page in PAGES.items():
        files.append(File.generated(config, path, content=page()))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Names files of the repository, which links out of the site's folder lead to."""
    if page.file.src_uri in PAGES:
        return markdown

    def named(link: re.Match[str]) -> str:
        text, target = link.groups()
        if not (ROOT / target).exists():
            log.warning("%s links to %s, which does not exist", page.file.src_uri, target)
        return text if target in text else f"{text} (`{target}`)"

    return LINK_OUT_OF_DOCS.sub(named, markdown)
