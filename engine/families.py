"""The families of models."""

from __future__ import annotations

from typing import Literal

# Those the engine's own step loop knows.
Family = Literal["sd1", "sd2", "sdxl"]
# "pipeline" stands for all others, which run through pipelines of diffusers.
ModelFamily = Literal["sd1", "sd2", "sdxl", "pipeline"]
