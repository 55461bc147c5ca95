"""The pages of the documentation, and the commands on them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/README.md")])
FENCE = re.compile(r"^```(?P<info>.*)\n(?P<text>(?:.*\n)*?)```$", re.MULTILINE)
TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """One fenced block: its page, its language, its title if it has one, and what stands in it."""

    page: str
    language: str
    title: str
    text: str


def blocks() -> list[Block]:
    """Those of all pages."""
    found: list[Block] = []
    for path in PAGES:
        for match in FENCE.finditer(path.read_text()):
            language, _, rest = match["info"].partition(" ")
            title = TITLE.search(rest)
            page = str(path.relative_to(ROOT))
            found.append(Block(page, language, title[1] if title else "", match["text"]))
    return found


def shell_blocks() -> list[Block]:
    """Those with commands."""
    return [block for block in blocks() if block.language in ("sh", "bash")]


def block_titled(title: str) -> Block:
    """The one of that title."""
    [block] = [block for block in blocks() if block.title == title]
    return block


def commands(block: Block) -> Iterator[list[str]]:
    """The words of each simple command of a block; an assignment before it is left out."""
    text = re.sub(r"<<(\w+)$.*?^\1$", "", block.text, flags=re.MULTILINE | re.DOTALL)
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for token in [*lexer, ";"]:
            if token.strip("&|;()"):
                words.append(token)
                continue
            while words and (re.match(r"\w+=", words[0]) or words[0] in ("do", "then")):
                words.pop(0)
            if words:
                yield words
            words = []
