"""Blobs in an S3-compatible object store, through obstore."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from api.blobs.interface import BlobNotFound, BlobUnavailable, DiskFull
from api.blobs.keys import checked_key
from api.s3_settings import S3Settings

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

_CONTENT_TYPES = {"png": "image/png"}
_FIRST_BACKOFF = timedelta(milliseconds=100)
_MAX_BACKOFF = timedelta(seconds=2)
_MAX_RETRIES = 20  # the time ends it before
_NO_BUCKET = "NoSuchBucket"
_CHARS_TOLD = 300
# Of various services; the first is the HTTP status.
_NO_ROOM = ("507 Insufficient Storage", "InsufficientStorage", "QuotaExceeded", "StorageFull")


class S3Blobs:
    """Blobs as objects of a bucket; a `put` has returned once the service has confirmed it.

    Args:
        store: the bucket, its prefix and how long it is waited for.
    """

    def __init__(self, store: S3Store) -> None:
        self._store = store

    def put(self, key: str, data: bytes) -> None:
        """See `BlobStore.put`.

        One request: a blob is small against S3's limit of 5 GB, and parts of an upload that was
        broken off would stay and cost for ever.
        """
        content_type = _CONTENT_TYPES.get(key.rpartition(".")[2], "application/octet-stream")
        with _faults_named(f"cannot write {key}"):
            obstore.put(
                self._store,
                checked_key(key),
                data,
                attributes={"Content-Type": content_type},
                use_multipart=False,
            )

    def get(self, key: str) -> bytes:
        """See `BlobStore.get`."""
        with _faults_named(f"cannot read {key}"):
            try:
                return bytes(obstore.get(self._store, checked_key(key)).bytes())
            except FileNotFoundError as exc:
                if _NO_BUCKET in str(exc):  # the operator's fault: no blob is known to be gone
                    raise
                raise BlobNotFound(key) from exc

    def delete(self, keys: Iterable[str]) -> None:
        """See `BlobStore.delete`."""
        checked = [checked_key(key) for key in keys]
        with _faults_named(f"cannot delete {len(checked)} blobs"):
            if checked:
                _delete(self._store, checked)

    def folders(self, folder: str) -> list[str]:
        """See `BlobStore.folders`."""
        with _faults_named(f"cannot list {folder}"):
            listed = obstore.list_with_delimiter(self._store, checked_key(folder))
        return [prefix.rstrip("/").rpartition("/")[2] for prefix in listed["common_prefixes"]]

    def keys(self, folder: str) -> Iterator[str]:
        """See `BlobStore.keys`."""
        with _faults_named(f"cannot list {folder}"):
            for page in obstore.list(self._store, checked_key(folder)):
                yield from (listed["path"] for listed in page)

    def tidy(self, folder: str) -> None:
        """See `BlobStore.tidy`: a service keeps nothing of a request that was broken off."""

    def free_bytes(self) -> int | None:
        """See `BlobStore.free_bytes`: an object store does not tell."""
        return None

    def signed_urls(self, keys: list[str], *, expires_in_s: int) -> list[str]:
        """URLs by which anybody can read these blobs, without a request to the service.

        Args:
            keys: of blobs, which need not exist.
            expires_in_s: 1 to 604800, a limit of S3. Temporary credentials may end it earlier.
        """
        checked = [checked_key(key) for key in keys]
        with _faults_named("cannot sign URLs"):
            return list(obstore.sign(self._store, "GET", checked, timedelta(seconds=expires_in_s)))


def open_s3(settings: S3Settings) -> S3Blobs:
    """The bucket that the settings name; it is not asked for anything yet.

    Raises:
        BlobUnavailable: obstore does not take the settings.
    """
    url = urlsplit(settings.s3_url or "")
    client: ClientConfig = {
        "allow_http": settings.s3_allow_http,
        "connect_timeout": timedelta(seconds=min(5.0, settings.s3_timeout_s)),
        "timeout": timedelta(seconds=settings.s3_timeout_s),
    }
    retry: RetryConfig = {
        "backoff": {"init_backoff": _FIRST_BACKOFF, "max_backoff": _MAX_BACKOFF},
        "max_retries": _MAX_RETRIES if settings.s3_retry_s else 0,
        "retry_timeout": timedelta(seconds=settings.s3_retry_s),
    }
    options: dict[str, Any] = {
        "endpoint": settings.s3_endpoint,
        "region": settings.s3_region,
        "virtual_hosted_style_request": settings.s3_virtual_hosted or None,
    }
    for name in ("access_key_id", "secret_access_key", "session_token"):
        secret = getattr(settings, f"s3_{name}")
        options[name] = secret and secret.get_secret_value()
    given = {name: value for name, value in options.items() if value is not None}
    prefix = url.path.strip("/") or None
    with _faults_named("cannot use the object store"):
        store = S3Store(
            url.netloc, prefix=prefix, client_options=client, retry_config=retry, **given
        )
    return S3Blobs(store)


def _delete(store: S3Store, keys: list[str]) -> None:
    try:
        obstore.delete(store, keys)
    except FileNotFoundError as exc:  # some services tell so of keys that are not there
        if _NO_BUCKET in str(exc):
            raise


@contextlib.contextmanager
def _faults_named(what: str) -> Iterator[None]:
    """Turns what obstore raises into the store's own errors; its texts go into the log alone."""
    try:
        yield
    except (BaseError, OSError) as exc:
        text = " ".join(str(exc).partition("Debug source")[0].split())[:_CHARS_TOLD]
        error = DiskFull if any(sign in text for sign in _NO_ROOM) else BlobUnavailable
        raise error(f"{what}: {text}") from exc
