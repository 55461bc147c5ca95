"""Pages of the documentation that are generated from the code, by their place in the site."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from scripts.reference import commands, models_yaml, protocol, settings

PAGES: Mapping[str, Callable[[], str]] = {
    "reference/protocol.md": protocol.page,
    "reference/models_yaml.md": models_yaml.page,
    "reference/settings.md": settings.page,
    "reference/commands.md": commands.page,
}
