"""What the settings are to the compute child of one device."""

from __future__ import annotations

from api.messages import Start
from api.settings import Settings


def start_of(settings: Settings, device: str) -> Start:
    """The message that makes a child the worker of `device`."""
    return Start(
        models_file=settings.models.absolute(),
        device=device,
        batch_invariant=settings.batch_invariant,
        write_parameters=settings.write_parameters,
        max_image_pixels=settings.max_image_pixels,
        device_cache_bytes=settings.device_cache_bytes,
        host_cache_bytes=settings.host_cache_bytes,
        encoding_cache_bytes=settings.encoding_cache_bytes,
        dtype=settings.dtype,
        kernels=settings.kernels,
        max_latent_area=settings.max_latent_area,
    )
