"""Compiled transformer blocks: the same numbers, and LoRAs that act all the same."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from diffusers import UNet2DConditionModel
from PIL import Image

from engine.compiled_blocks import compile_blocks, eager_blocks
from engine.engine import Engine
from engine.job import AdapterWeight, GenerationJob
from engine.registry import Registry, load_registry
from tests.engine.lora_files import write_unet_lora
from tests.engine.runs import assert_same_image

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated")
needs_compiler = [
    pytest.mark.slow,  # torch compiles for minutes on a busy machine
    pytest.mark.timeout(1200),
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch needs a C++ compiler on a CPU"),
]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, tiny_root: Path) -> Registry:
    folder = tmp_path_factory.mktemp("compiled")
    (folder / "four").symlink_to(tiny_root / "four")
    write_unet_lora(folder / "glow.safetensors", tiny_root / "four", rank=2, seed=1)
    model = {"name": "four", "path": "four", "native_size_px": 64}
    lora = {"name": "glow", "kind": "lora", "path": "glow.safetensors"}
    content = {"default_model": "four", "models": [model], "sub_models": [lora]}
    (folder / "models.yaml").write_text(yaml.safe_dump(content))
    return load_registry(folder / "models.yaml")


@pytest.fixture
def unet(tiny_root: Path) -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(tiny_root / "four" / "unet").eval()


def _output(unet: UNet2DConditionModel, rows: int, side: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(rows)
    with torch.inference_mode():
        output: torch.Tensor = unet(
            torch.randn(rows, 4, side, side, generator=generator),
            torch.full((rows,), 500.0),
            encoder_hidden_states=torch.randn(rows, 77, 32, generator=generator),
            return_dict=False,
        )[0]
    return output


def test_a_copy_of_a_compiled_unet_runs_as_it_is(unet: UNet2DConditionModel) -> None:
    expected = _output(unet, 2)
    compile_blocks(unet)
    assert torch.equal(_output(copy.deepcopy(unet), 2), expected)


def test_eager_blocks_are_those_of_before(unet: UNet2DConditionModel) -> None:
    expected = _output(unet, 2)
    compile_blocks(unet)
    with eager_blocks(unet), eager_blocks(unet):
        assert torch.equal(_output(unet, 2), expected)


@pytest.mark.slow
def test_a_machine_that_cannot_compile_says_so_at_the_start(tmp_path: Path) -> None:
    script = (
        "import torch\n"
        "from engine.compiled_blocks import require_compiler\n"
        "from engine.errors import CompilerMissing\n"
        "try:\n"
        "    require_compiler(torch.device('cpu'))\n"
        "except CompilerMissing as exc:\n"
        "    print(exc)\n"
    )
    environment = {"PATH": "", "CXX": "/nowhere/g++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    told = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    (line,) = told.stdout.splitlines()
    assert "compiled kernels need a compiler" in line


class TestCompiled:
    pytestmark = needs_compiler

    def test_any_rows_and_sizes_share_two_graphs(self, unet: UNet2DConditionModel) -> None:
        shapes = [(2, 8), (3, 8), (1, 8), (2, 12), (8, 8), (1, 16)]
        expected = [_output(unet, *shape) for shape in shapes]
        torch.compiler.reset()
        compile_blocks(unet)
        for shape, output in zip(shapes, expected, strict=True):
            torch.testing.assert_close(_output(unet, *shape), output, rtol=0, atol=1e-5)
        with torch.compiler.set_stance("fail_on_recompile"):
            _output(unet, 5, 10)
            _output(unet, 1, 10)

    def test_images_are_those_of_eager_kernels(
        self, registry: Registry, product: Image.Image
    ) -> None:
        job = GenerationJob("job", "four", product, num_inference_steps=6, num_images=2)
        job = replace(job, width_px=64, height_px=64)
        with_lora = replace(job, adapters=(AdapterWeight("glow", 1.0),))
        eager, compiled = Engine(registry), Engine(registry, kernels="compiled")
        assert compiled.profile.kernels == "compiled"
        plain = eager.generate(job)
        changed = eager.generate(with_lora)
        assert plain[0].image.tobytes() != changed[0].image.tobytes()
        for _ in range(2):  # a LoRA before and after the plain blocks are compiled
            for ours, theirs in zip(compiled.generate(with_lora), changed, strict=True):
                assert ours.image.tobytes() == theirs.image.tobytes()
            for ours, theirs in zip(compiled.generate(job), plain, strict=True):
                assert_same_image(ours, theirs)
