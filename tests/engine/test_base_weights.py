"""Law 4: no switch of LoRAs changes a bit of the base weights, or of what they paint."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import pytest
import yaml
from PIL import Image

from engine.engine import Engine
from engine.job import AdapterWeight, GenerationJob
from engine.registry import Registry, load_registry
from tests.engine.adapters import lora_writer
from tests.engine.adapters.forwards import digest
from tests.engine.adapters.lora_writer import Kind, dora
from tests.engine.lora_files import write_unet_lora
from tests.engine.tiny import V_ZERO_SNR, write_tiny_model

KINDS: dict[str, Kind] = {
    "plain": lora_writer.lora,
    "dora": dora(lora_writer.lora),
    "loha": lora_writer.loha,
    "lokr": lora_writer.lokr,
}
# What follows on what: one after another, several at once, other weights, none.
SETS = (
    [("plain", 0.2)],
    [("dora", 0.2)],
    [],
    [("loha", -0.3), ("plain", 0.1)],
    [("lokr", 0.1)],
    [("plain", 0.4)],
    [("plain", 0.1), ("dora", 0.1), ("loha", 0.1), ("lokr", 0.05)],
)
NUM_SWITCHES = 100


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    root: Path = tmp_path_factory.mktemp("switches")
    write_tiny_model(root / "nine", in_channels=9, scheduler=V_ZERO_SNR)
    for number, (name, kind) in enumerate(KINDS.items()):
        file = root / f"{name}.safetensors"
        write_unet_lora(file, root / "nine", rank=4, seed=number, kind=kind)
    content = {
        "default_model": "nine",
        "models": [{"name": "nine", "path": "nine", "family": "sd1", "native_size_px": 64}],
        "sub_models": [
            {"name": name, "kind": "lora", "path": f"{name}.safetensors"} for name in KINDS
        ],
    }
    (root / "models.yaml").write_text(yaml.safe_dump(content))
    return load_registry(root / "models.yaml")


def weights(engine: Engine) -> str:
    checkpoint = engine._models.get(engine.registry.main_model("nine"))
    return digest(
        checkpoint.unet,
        checkpoint.vae.module,
        *checkpoint.text_encoders,
    )


def test_a_hundred_switches_leave_every_bit_of_the_base_weights(registry: Registry) -> None:
    engine = Engine(registry)
    before = weights(engine)
    plain = GenerationJob(
        job_id="job",
        model_name="nine",
        foreground=Image.new("RGBA", (64, 64)),
        prompt="blue sky",
        num_inference_steps=6,
        guidance_scale=1.0,
    )
    (first,) = engine.generate(plain)
    painted: dict[int, set[bytes]] = {}
    for number in islice(cycle(range(len(SETS))), NUM_SWITCHES):
        adapters = tuple(AdapterWeight(name, weight) for name, weight in SETS[number])
        (image,) = engine.generate(replace(plain, adapters=adapters))
        painted.setdefault(number, set()).add(image.image.tobytes())
    assert weights(engine) == before
    assert [len(each) for each in painted.values()] == [1] * len(SETS), "no switch leaves a trace"
    assert len(set.union(*painted.values())) == len(SETS), "every set acts"
    assert painted[2] == {first.image.tobytes()}
