"""The device profile: what is chosen, and that it is used and told."""

from __future__ import annotations

import pytest
import torch

from engine.device_profile import device_profile, machine_bytes, vae_dtype
from engine.engine import Engine
from engine.registry import Registry

CPU = torch.device("cpu")


def test_a_cpu_computes_in_float32_and_keeps_no_second_copies() -> None:
    profile = device_profile(CPU)
    assert profile.dtype is torch.float32
    assert profile.kernels == "eager"
    assert profile.host_bytes == 0
    assert 0 < profile.device_bytes < machine_bytes()


def test_what_is_chosen_by_hand_stays() -> None:
    profile = device_profile(
        CPU, dtype=torch.bfloat16, max_latent_area=7, device_bytes=0, host_bytes=3
    )
    assert (profile.dtype, profile.max_latent_area) == (torch.bfloat16, 7)
    assert (profile.device_bytes, profile.host_bytes) == (0, 3)


def test_none_takes_what_suits_the_device() -> None:
    options = dict.fromkeys(("dtype", "max_latent_area", "kernels", "device_bytes", "host_bytes"))
    assert device_profile(CPU, **options) == device_profile(CPU)


def test_it_is_one_line_for_the_log() -> None:
    line = str(device_profile(CPU, device_bytes=3 * 2**30, max_latent_area=4096))
    assert "\n" not in line
    for part in ("cpu", "float32", "eager", "4096 latent cells", "3.0 GiB"):
        assert part in line


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.float32, torch.float32),
        (torch.float16, torch.float16),
        (torch.bfloat16, torch.float16),
    ],
)
def test_no_vae_runs_in_bfloat16(dtype: torch.dtype, expected: torch.dtype) -> None:
    assert vae_dtype(dtype) is expected


def test_the_engine_tells_its_profile(tiny_registry: Registry) -> None:
    engine = Engine(tiny_registry, dtype=torch.bfloat16, max_latent_area=99)
    assert engine.profile == device_profile(CPU, dtype=torch.bfloat16, max_latent_area=99)


def test_the_measured_memory_of_the_machine_is_plausible() -> None:
    assert 2**28 < machine_bytes() < 2**46
