"""How the page listens to its components."""

from __future__ import annotations

from typing import Any


def on(event: Any, fn: Any = None, inputs: Any = None, outputs: Any = None, **options: Any) -> Any:
    """One listener; none is part of Gradio's own API."""
    return event(fn, inputs, outputs, show_progress="hidden", api_visibility="private", **options)
