from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import backdrop


def test_every_name_is_there():
    assert backdrop._HOMES.keys() == set(backdrop.__all__) - {"__version__"}
    for name in set(backdrop.__all__) - {"Engine"}:  # that one brings torch
        assert getattr(backdrop, name) is not None
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        backdrop.nothing_of_the_kind  # noqa: B018


def test_the_client_loads_nothing_heavy(root: Path):
    heavy = ("torch", "diffusers", "numpy", "PIL", "pydantic", "fastapi", "sqlalchemy")
    program = f"import sys, backdrop.client; print(*set({heavy}) & sys.modules.keys())"
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    assert ran.stdout.split() == []
