"""Processes that do not outlive the one that started them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(death_signal: signal.Signals) -> None:
    """Have the kernel send this process `death_signal` when its parent dies, however it dies.

    The signal follows the *thread* that started this process: start such children from the main
    thread. Only Linux has it; elsewhere nothing happens and a closed pipe must do.
    """
    if sys.platform != "linux":
        return
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it died before the call above
        os.kill(os.getpid(), death_signal)
