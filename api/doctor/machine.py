"""Checks of the machine and of what is installed on it."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from api.doctor.finding import Finding, Verdict, fail, ok, warn

GIB = 2**30
MIN_PYTHON = (3, 11)
MIN_MEMORY_BYTES = 4 * GIB
MIN_FILES = 4096  # a request, a stream and a connection to the store take one each
TORCH_TIMEOUT_S = 180
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronized
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")

# Run in a process of its own: a driver that does not fit may end it.
_TRY_DEVICE = """
import json, sys, torch
device = torch.device(sys.argv[1])
ones = torch.ones(8, 8, device=device)
assert float((ones @ ones).sum()) == 512
found = {"torch": torch.__version__}
if device.type == "cuda":
    free, total = torch.cuda.mem_get_info(device)
    found |= {"name": torch.cuda.get_device_name(device), "free": free, "total": total}
print(json.dumps(found))
"""


def check_python() -> Finding:
    """The interpreter."""
    detail = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < MIN_PYTHON:
        return fail("python", detail, "install Python 3.11 or later")
    return ok("python", detail)


def check_packages(distribution: str = "backdrop") -> Finding:
    """Every package that is needed is there in a version that fits."""
    try:
        requirements = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return warn(
            "packages",
            f"{distribution} is not installed, so what it needs is not known here",
            "pip install -c constraints.txt . (or scripts/serve, which does it)",
        )
    wrong = [line for text in requirements if (line := _misfit(Requirement(text)))]
    if wrong:
        advice = "pip install -c constraints.txt --upgrade backdrop"
        return fail("packages", "; ".join(wrong), advice)
    return ok("packages", f"{distribution} {metadata.version(distribution)} has all it needs")


def _misfit(requirement: Requirement) -> str:
    """What is wrong with a requirement, empty for nothing; optional ones are not looked at."""
    if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
        return ""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is missing"
    if requirement.specifier.contains(version, prereleases=True):
        return ""
    return f"{requirement.name} is {version}, needed is {requirement.specifier}"


def check_memory() -> Finding:
    """Main memory, as far as this process may use it."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    where = "of the machine"
    limit = _CGROUP_LIMIT.read_text().strip() if _CGROUP_LIMIT.is_file() else "max"
    if limit.isdecimal() and int(limit) < total:
        total, where = int(limit), "by the container's limit"
    detail = f"{total / GIB:.1f} GiB {where}"
    if total < MIN_MEMORY_BYTES:
        advice = "give it at least 4 GiB; `backdrop models check` tells what each model takes"
        return warn("memory", detail, advice)
    return ok("memory", detail)


def check_limits() -> Finding:
    """Limits of the process (ulimit)."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    size, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if size != resource.RLIM_INFINITY:
        return fail("limits", f"files may have at most {size} bytes", "ulimit -f unlimited")
    if files != resource.RLIM_INFINITY and files < MIN_FILES:
        advice = f"ulimit -n {MIN_FILES}, or LimitNOFILE={MIN_FILES} in the service's unit"
        return warn("limits", f"at most {files} open files", advice)
    return ok("limits", f"{'no limit on' if files < 0 else files} open files")


def check_clock() -> Finding:
    """The clock is one that other machines would agree with."""
    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    if time.gmtime().tm_year < 2025:
        return fail("clock", now, "set the clock: URLs of results and leases rest on it")
    if sys.platform == "linux":
        buffer = ctypes.create_string_buffer(512)  # a zeroed timex: read, set nothing
        if ctypes.CDLL(None).adjtimex(buffer) == _TIME_ERROR:
            advice = "run an NTP client on the host (chrony, systemd-timesyncd)"
            return warn("clock", f"{now}, not synchronized", advice)
    return ok("clock", now)


def check_devices(devices: Sequence[str]) -> Iterator[Finding]:
    """Torch loads and computes on every device. Takes as long as torch takes to load."""
    for device in devices:
        yield _try_device(device)


def _try_device(device: str) -> Finding:
    check = f"device {device}"
    advice = "reinstall torch for this machine's driver, or set BACKDROP_DEVICES=cpu"
    try:
        tried = subprocess.run(
            [sys.executable, "-c", _TRY_DEVICE, device],
            capture_output=True,
            text=True,
            timeout=TORCH_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return fail(check, f"nothing came of it in {TORCH_TIMEOUT_S} s", advice)
    if tried.returncode != 0:
        last = (tried.stderr.strip().splitlines() or [f"status {tried.returncode}"])[-1]
        return fail(check, last, advice)
    found = json.loads(tried.stdout.splitlines()[-1])
    if "total" not in found:
        detail = f"torch {found['torch']} computes; without a GPU an image takes its time"
        return Finding(check, Verdict.OK, detail)
    detail = f"{found['name']}, {found['free'] / GIB:.1f} of {found['total'] / GIB:.1f} GiB free"
    if found["free"] < found["total"] / 2:
        return warn(check, detail, "another program takes most of its memory: see nvidia-smi")
    return ok(check, f"{detail}, torch {found['torch']}")
