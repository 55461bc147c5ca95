"""All checks of an installation in a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from api.doctor import machine, storage
from api.doctor.finding import Finding
from api.settings import Settings


def check_installation(
    settings: Settings, devices: Sequence[str], *, quick: bool = False
) -> Iterator[Finding]:
    """Each finding as soon as it is there.

    Args:
        settings: of the service.
        devices: those that it would run on.
        quick: leave out what has to load torch.
    """
    yield machine.check_python()
    yield machine.check_packages()
    yield machine.check_memory()
    yield machine.check_limits()
    yield machine.check_clock()
    yield from storage.check_models(settings)
    yield from storage.check_data_dir(settings)
    yield from storage.check_store(settings)
    yield storage.check_port(settings)
    if not quick:
        yield from machine.check_devices(devices)
