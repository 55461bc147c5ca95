"""From the settings to a blob store."""

from __future__ import annotations

from api.blobs.impatient import ImpatientBlobs
from api.blobs.interface import BlobStore
from api.blobs.local import LocalBlobs
from api.settings import Settings


def open_blobs(settings: Settings) -> BlobStore:
    """The blob store that the settings name: an object store, else a folder of the data folder."""
    if settings.s3_url is None:
        return LocalBlobs(settings.data_dir / "blobs")
    from api.blobs.s3 import open_s3  # obstore is an extra

    return open_s3(settings)


def for_requests(blobs: BlobStore, settings: Settings) -> BlobStore:
    """`blobs` as opened, for who answers requests: an object store that is away holds up none."""
    if settings.s3_url is None:
        return blobs
    from api.blobs.s3 import S3Blobs

    assert isinstance(blobs, S3Blobs), "what open_blobs opens for an s3_url"
    return ImpatientBlobs(blobs, answer_s=settings.s3_answer_s)
