"""What the processes of the service have in common: their environment and how they end."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import signal
import sys

# Nothing is ever fetched or told behind the operator's back; read by the libraries at import.
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
# libgomp's threads spin for milliseconds while they wait for each other. Where another process
# wants the cores too that starves the very thread that is waited for: two runs on two cores took
# 31 s each instead of 4 s. On idle cores giving way costs about a tenth.
_SPIN_COUNT = "1000"
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def set_library_environment() -> None:
    """Set what torch and the hub libraries read when they are imported; call it before that."""
    os.environ.update(OFFLINE)
    os.environ.setdefault("GOMP_SPINCOUNT", _SPIN_COUNT)


def die_with_parent(death_signal: signal.Signals, parent_pid: int) -> None:
    """Have the kernel send this process `death_signal` when its parent dies, however it dies.

    The signal follows the *thread* that started this process: start such children from the main
    thread. Only Linux has it; elsewhere nothing happens and a closed pipe must do.

    Args:
        death_signal: sent at once where the parent is dead already.
        parent_pid: as the parent itself gave it: `os.getppid()` may be of who adopted an orphan.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:  # it died before the call above
        os.kill(os.getpid(), death_signal)


def is_installed(module: str) -> bool:
    """Whether a module of an extra is there; the packages around it are imported to see that."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def num_cores() -> int:
    """CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
