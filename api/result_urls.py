"""Result URLs: absolute, unguessable, expiring, and valid on every replica.

A URL carries its own expiry and an HMAC over task, image and expiry. The key is the store's secret,
so that each API process on the same store accepts the URLs of the others.
"""

from __future__ import annotations

import hmac
import math
import time
from typing import Protocol, runtime_checkable
from urllib.parse import urlencode

from api.blobs import BlobStore
from api.settings import Settings
from api.tasks import TaskRecord

MAX_PRESIGNED_S = 7 * 24 * 3600  # a limit of S3's signatures
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


@runtime_checkable
class SigningBlobs(Protocol):
    """A blob store whose blobs can be read by signed URLs."""

    def signed_urls(self, keys: list[str], *, expires_in_s: int) -> list[str]:
        """One URL for each key, valid so many seconds from now."""
        ...


class ResultUrls:
    """Makes and checks result URLs.

    Args:
        secret: shared by all replicas.
        base_url: of this service as clients reach it.
    """

    def __init__(self, secret: bytes, base_url: str) -> None:
        self._secret = secret
        self._base_url = base_url.rstrip("/")

    def of_record(self, record: TaskRecord) -> list[str]:
        """URLs of the task's images in order; none once they are gone."""
        if record.images_expire_at is None or record.images_expire_at <= time.time():
            return []
        expires = math.ceil(record.images_expire_at)
        return [self.url(record.uid, output.image_index, expires) for output in record.outputs]

    def url(self, uid: str, image_index: int, expires: int) -> str:
        """URL of one image.

        Args:
            uid: of the task.
            image_index: 0-based.
            expires: Unix seconds.
        """
        query = urlencode(
            {"expires": expires, "signature": self._signature(uid, str(image_index), str(expires))}
        )
        return f"{self._base_url}/results/{uid}/{image_index}.png?{query}"

    def is_valid(self, uid: str, image_index: str, *, expires: str, signature: str) -> bool:
        """Whether a URL with these parts was made here and has not expired; constant time."""
        expected = self._signature(uid, image_index, expires)
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            return False
        return int(expires) > time.time()

    def _signature(self, uid: str, image_index: str, expires: str) -> str:
        message = f"{uid}/{image_index}?expires={expires}"
        return hmac.digest(self._secret, message.encode(), "sha256").hex()


class PresignedUrls(ResultUrls):
    """Result URLs that lead to the object store itself.

    They are new with every poll and end with the images, if the clocks of this machine and of the
    store agree. Those of `ResultUrls` stay valid beside them.

    Args:
        secret: see `ResultUrls`.
        base_url: likewise.
        blobs: what signs.
    """

    def __init__(self, secret: bytes, base_url: str, blobs: SigningBlobs) -> None:
        super().__init__(secret, base_url)
        self._blobs = blobs

    def of_record(self, record: TaskRecord) -> list[str]:
        """See `ResultUrls.of_record`. Raises `BlobUnavailable` where there are no credentials."""
        if record.images_expire_at is None or not record.outputs:
            return []
        left_s = math.floor(record.images_expire_at - time.time())
        if left_s < 1:
            return []
        return self._blobs.signed_urls(
            [output.blob_key for output in record.outputs],
            expires_in_s=min(left_s, MAX_PRESIGNED_S),
        )


def result_urls(settings: Settings, secret: bytes, blobs: BlobStore) -> ResultUrls:
    """What makes result URLs as the settings say."""
    if settings.result_urls == "presigned":
        assert isinstance(blobs, SigningBlobs), "checked with the settings"
        return PresignedUrls(secret, base_url(settings), blobs)
    return ResultUrls(secret, base_url(settings))


def base_url(settings: Settings) -> str:
    """Base of result URLs: the setting, else the bound address, never a request's Host header."""
    return settings.public_base_url or bound_url(settings)


def bound_url(settings: Settings) -> str:
    """URL of the address the service listens on.

    Where that is every address of the machine, its loopback address stands in.
    """
    host = _WILDCARDS.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
