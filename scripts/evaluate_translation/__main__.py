"""`python -m scripts.evaluate_translation` writes the tables into docs/translation.md."""

from __future__ import annotations

from pathlib import Path

from scripts.evaluate_translation.table import markdown, read_cases, translated

PAGE = Path(__file__).resolve().parents[2] / "docs" / "translation.md"
MARK = "<!-- written by python -m scripts.evaluate_translation -->\n\n"


def with_tables(page: str) -> str:
    """The page with fresh tables below the mark."""
    text, _, _ = page.partition(MARK)
    return f"{text}{MARK}{markdown(translated(read_cases()))}"


def main() -> None:
    """Rewrites the page."""
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
