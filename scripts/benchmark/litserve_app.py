"""B2: LitServe around diffusers' own inpaint pipeline, with its batching on.

python -m scripts.benchmark.litserve_app --model FOLDER --port N
"""

from __future__ import annotations

import argparse
import base64
from io import BytesIO
from typing import Any

import litserve
import torch
from PIL import Image

from scripts.benchmark.yardsticks import load_pipeline, mask_of

MAX_BATCH_SIZE = 8
BATCH_TIMEOUT_S = 0.01  # it waits so long to fill a batch; eight clients fill it at once


class InpaintApi(litserve.LitAPI):
    """Signs nothing, keeps nothing: a picture comes with the request and goes with the answer."""

    def __init__(self, model_folder: str) -> None:
        super().__init__(max_batch_size=MAX_BATCH_SIZE, batch_timeout=BATCH_TIMEOUT_S)
        self._model_folder = model_folder

    def setup(self, device: str) -> None:
        """Loads the pipeline in the worker."""
        self._pipeline = load_pipeline(self._model_folder, device=device)

    # LitServe takes annotations of these two for types to parse and to answer with.
    def decode_request(self, request):
        """JSON with a PNG in Base64 to a picture and its settings."""
        foreground = Image.open(BytesIO(base64.b64decode(request["image"])))
        foreground.load()
        return {**request, "image": foreground}

    def batch(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """As they are: the pipeline takes lists."""
        return inputs

    def predict(self, requests: list[dict[str, Any]]) -> list[Image.Image]:
        """One call of the pipeline for all; they share size, steps and guidance."""
        first = requests[0]
        return self._pipeline(
            prompt=[request["prompt"] for request in requests],
            negative_prompt=[request["negative_prompt"] for request in requests],
            image=[request["image"].convert("RGB") for request in requests],
            mask_image=[mask_of(request["image"]) for request in requests],
            width=first["side_px"],
            height=first["side_px"],
            num_inference_steps=first["num_steps"],
            guidance_scale=first["guidance_scale"],
            strength=1.0,
            generator=[torch.Generator().manual_seed(request["seed"]) for request in requests],
        ).images

    def unbatch(self, output: list[Image.Image]) -> list[Image.Image]:
        """As they are."""
        return output

    def encode_response(self, output):
        """The picture as a PNG in Base64."""
        file = BytesIO()
        output.save(file, "PNG")
        return {"image": base64.b64encode(file.getvalue()).decode("ascii")}


def main() -> None:
    """Serves until it is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    server = litserve.LitServer(InpaintApi(options.model), accelerator="cpu", timeout=300)
    server.run(host="127.0.0.1", port=options.port, generate_client_file=False, log_level="error")


if __name__ == "__main__":
    main()
