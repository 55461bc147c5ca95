"""What the sources may not do, whatever they compute."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.source_rules import (
    blocking_calls,
    blocking_functions,
    environment_reads,
    forbidden_imports,
    routes_without_await,
)

ROOT = Path(__file__).resolve().parent.parent
ENGINE = sorted((ROOT / "engine").rglob("*.py"))
API = sorted((ROOT / "api").rglob("*.py"))
SOURCES = sorted(
    path
    for folder in ("api", "backdrop", "engine", "scripts", "tests")
    for path in (ROOT / folder).rglob("*")
    if path.suffix == ".py" or (folder == "scripts" and path.is_file() and not path.suffix)
)
MAX_LINES = 400


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", ENGINE, ids=name)
def test_the_engine_imports_no_web_or_database_code(path: Path) -> None:
    assert forbidden_imports(path.read_text()) == []


@pytest.mark.parametrize("path", ENGINE, ids=name)
def test_the_engine_reads_no_environment(path: Path) -> None:
    assert environment_reads(path.read_text()) == []


@pytest.mark.parametrize("path", API, ids=name)
def test_no_coroutine_of_the_service_blocks(path: Path) -> None:
    known = blocking_functions(source.read_text() for source in API)
    assert blocking_calls(path.read_text(), known) == []


@pytest.mark.parametrize("path", API, ids=name)
def test_an_async_route_awaits_something(path: Path) -> None:
    assert routes_without_await(path.read_text()) == []


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_every_file_is_short(path: Path) -> None:
    lines = path.read_text().count("\n")
    assert lines < MAX_LINES


@pytest.mark.parametrize("module", ["backdrop", "engine.plan", "api.app", "api.cli"])
def test_planning_and_serving_load_no_torch(module: str) -> None:
    program = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


# The rules can fail: each finds its fault in a small bad source ------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "import fastapi",
        "import sqlalchemy.orm as orm",
        "from urllib.request import urlopen",
        "from urllib import request",
        "from api.tasks import TaskRecord",
        "from ..api import tasks",
        "def late():\n    import httpx",
        "import importlib\nimportlib.import_module('sqlite3')",
        "__import__('requests')",
    ],
)
def test_the_import_rule_finds(source: str) -> None:
    assert forbidden_imports(source)


def test_the_import_rule_lets_the_engines_own_imports_pass() -> None:
    source = "from . import plan\nfrom engine.job import GenerationJob\nimport urllib.parse, apiary"
    assert forbidden_imports(source) == []


@pytest.mark.parametrize(
    "source",
    ["import os\nos.environ['X']", "import os as o\no.getenv('X')", "from os import environ as e"],
)
def test_the_environment_rule_finds(source: str) -> None:
    assert environment_reads(source)


@pytest.mark.parametrize(
    "call",
    [
        "time.sleep(1)",
        "pause(1)",
        "open('f')",
        "subprocess.run(['ls'])",
        "path.read_bytes()",
        "self._store.put(task)",
        "request.app.state.blobs.get(key)",
        "await to_thread(store.put(task))",
        "save()",
        "indirectly()",
    ],
)
def test_the_blocking_rule_finds(call: str) -> None:
    source = f"""
import time, subprocess
from time import sleep as pause
def save(): store.put(1)
def indirectly(): save()
async def route():
    return {call}
"""
    assert blocking_calls(source, blocking_functions([source]))


@pytest.mark.parametrize(
    "call",
    [
        "await asyncio.sleep(1)",
        "await to_thread(store.put, task)",
        "await to_thread(lambda: store.put(task))",
        "await run_in_threadpool(save, 1)",
        "body.get('Action')",
        "quick()",
    ],
)
def test_the_blocking_rule_lets_pass(call: str) -> None:
    source = f"""
def save(task): store.put(task)
def quick(): return 1
async def route():
    def in_a_thread(): save(1)
    return {call}
"""
    assert blocking_calls(source, blocking_functions([source])) == []


@pytest.mark.parametrize(
    "source",
    [
        "@router.get('/x')\nasync def x():\n    return 1",
        "async def x():\n    return 1\napp.add_api_route('/x', x)",
        "async def x():\n    async def inner():\n        await y()\nRoute('/x', endpoint=x)",
    ],
)
def test_the_route_rule_finds(source: str) -> None:
    assert routes_without_await(source)


@pytest.mark.parametrize(
    "source",
    [
        "@router.get('/x')\ndef x():\n    return 1",
        "@router.get('/x')\nasync def x():\n    return await y()",
        "async def x():\n    async for part in y:\n        pass\nRoute('/x', x)",
    ],
)
def test_the_route_rule_lets_pass(source: str) -> None:
    assert routes_without_await(source) == []
