"""From the settings to a blob store."""

from __future__ import annotations

from api.blobs.interface import BlobStore
from api.blobs.local import LocalBlobs
from api.settings import Settings


def open_blobs(settings: Settings) -> BlobStore:
    """The blob store that the settings name: an object store, else a folder of the data folder."""
    if settings.s3_url is None:
        return LocalBlobs(settings.data_dir / "blobs")
    from api.blobs.s3 import open_s3  # obstore is an extra

    return open_s3(settings)
