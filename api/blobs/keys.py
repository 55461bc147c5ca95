"""Keys of blobs: `in/DAY/C/UID.ROLE` and `out/DAY/UID/tTOKEN/INDEX.png`.

DAY is the UTC day as yyyymmdd on which the task was made, C the first character of its UID.
"""

from __future__ import annotations

import re
import time

from api.blobs.interface import InvalidBlobKey

KINDS = ("in", "out")

_PART = r"[0-9A-Za-z_-][0-9A-Za-z._-]*"  # no leading dot: neither "..", nor our temporary files
_KEY = re.compile(rf"{_PART}(?:/{_PART})*")
_UID = re.compile(r"in/\d{8}/./([^/.]+)\.[^/]+|out/\d{8}/([^/]+)/.+")


def checked_key(key: str) -> str:
    """`key`, if it is one.

    Raises:
        InvalidBlobKey: it is not a relative path of plain names.
    """
    if not _KEY.fullmatch(key):
        raise InvalidBlobKey(f"{key!r} is no blob key")
    return key


def input_key(uid: str, role: str) -> str:
    """Key of an uploaded image; `role` is "foreground" or "reference".

    Tasks share 32 folders a day, by the first character of their uid: a folder of its own would be
    most of what a queued task takes on the disk, and two more syncs before it is accepted.
    """
    return f"in/{day_of(time.time())}/{uid[0]}/{uid}.{role}"


def output_key(uid: str, token: int, index: int, *, created_at: float | None = None) -> str:
    """Key of image `index` made under lease `token`: attempts never overwrite each other.

    Args:
        uid: of the task.
        token: of the lease.
        index: 0-based position of the image.
        created_at: Unix seconds of the task's creation, so that the key can be told from the
            record alone; None for now.
    """
    day = day_of(time.time() if created_at is None else created_at)
    return f"out/{day}/{uid}/t{token}/{index}.png"


def day_of(unix_s: float) -> str:
    """The UTC day, yyyymmdd: days sort as their texts do."""
    return time.strftime("%Y%m%d", time.gmtime(unix_s))


def uid_of(key: str) -> str | None:
    """The task that a blob of this key belongs to; None for a key of another form."""
    match = _UID.fullmatch(key)
    return None if match is None else match[1] or match[2]
