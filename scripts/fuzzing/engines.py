"""Where inputs come from: atheris under coverage, or a hypothesis strategy in batches."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from scripts.fuzzing.catalogue import Entry

# Only these are watched for coverage: instrumenting the libraries below would cost all the speed.
_WATCHED = [
    "api.media",
    "api.png",
    "api.rawjson",
    "api.signing",
    "engine.adapters",
    "engine.safetensors_header",
]
_MAX_LEN = 4096
_BATCH = 500  # hypothesis remembers all examples of a run and slows down with them


def load(entry: Entry) -> ModuleType:
    """The target's module, instrumented where its engine wants that."""
    if entry.engine != "atheris":
        return importlib.import_module(entry.module)
    import atheris

    with atheris.instrument_imports(include=_WATCHED):
        return importlib.import_module(entry.module)


def run(
    entry: Entry,
    module: ModuleType,
    judge: Callable[[bytes], None],
    *,
    count: int,
    seconds: float,
    seed: int,
    folder: Path,
) -> None:
    """Judges `count` inputs, fewer where the time is over before. May end the process (atheris)."""
    if entry.engine == "atheris":
        _run_atheris(module, judge, count=count, seconds=seconds, seed=seed, folder=folder)
    else:
        _run_strategy(module, judge, count=count, seconds=seconds, seed=seed)


def _run_atheris(
    module: ModuleType,
    judge: Callable[[bytes], None],
    *,
    count: int,
    seconds: float,
    seed: int,
    folder: Path,
) -> None:
    import atheris

    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for index, data in enumerate(module.seeds()):
        (corpus / f"seed-{index:03}").write_bytes(data)
    options = [
        f"-seed={seed}",
        f"-max_len={_MAX_LEN}",
        "-len_control=0",
        "-rss_limit_mb=0",  # memory and time are watched from outside
        "-timeout=86400",  # 0 is taken for no time at all
        "-verbosity=0",
        f"-artifact_prefix={folder}/",
    ]
    deadline, judged = time.monotonic() + seconds, 0

    def one(data: bytes) -> None:
        nonlocal judged
        judge(data)
        judged += 1
        if judged >= count or time.monotonic() > deadline:
            # libFuzzer would end with exit(), under which torch and Pillow crash on their way out.
            os._exit(0)

    atheris.Setup([entry_name(module), *options, str(corpus)], one)
    atheris.Fuzz()


def entry_name(module: ModuleType) -> str:
    """The target's name, as libFuzzer shows it."""
    return module.__name__.rpartition(".")[2]


def _run_strategy(
    module: ModuleType, judge: Callable[[bytes], None], *, count: int, seconds: float, seed: int
) -> None:
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded

    deadline, strategy, judged = time.monotonic() + seconds, module.inputs(), 0

    def one(data: bytes) -> None:
        nonlocal judged
        if judged < count and time.monotonic() < deadline:
            judged += 1
            judge(data)

    while judged < count and time.monotonic() < deadline:
        batch = settings(
            max_examples=min(_BATCH, count - judged),
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        seeded(seed)(batch(given(strategy)(one)))()
        seed += 1
