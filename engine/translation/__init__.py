"""Prompts in the documented languages -> English, offline. `engine.translate` is the way in."""
