"""Where image bytes lie: one interface, a local folder, and S3-compatible object stores."""

from api.blobs.interface import (
    BlobError,
    BlobNotFound,
    BlobStore,
    BlobUnavailable,
    DiskFull,
    InvalidBlobKey,
)
from api.blobs.keys import input_key, output_key
from api.blobs.local import LocalBlobs
from api.blobs.opening import for_requests, open_blobs

__all__ = [
    "BlobError",
    "BlobNotFound",
    "BlobStore",
    "BlobUnavailable",
    "DiskFull",
    "InvalidBlobKey",
    "LocalBlobs",
    "for_requests",
    "input_key",
    "open_blobs",
    "output_key",
]
