"""Idempotency keys: a request that is sent again makes no second task. An extension, off by default.

A client whose connection broke cannot know whether its task was stored. It may send the request
again under the same `IdempotencyKey` and gets the TaskUID of the first, for as long as the task's
record is kept.
"""

from __future__ import annotations

from hashlib import sha256

from api.errors import MalformedRequest
from api.protocol import GenerateBackgroundsRequest
from api.service import Service
from api.tasks import IdempotencyKey

FIELD = "IdempotencyKey"
NOTE = f"{FIELD} is not switched on here: the request was not compared with earlier ones."


def idempotency_key(service: Service, request: GenerateBackgroundsRequest) -> IdempotencyKey | None:
    """The request's key; None where it has none or they are switched off."""
    if request.IdempotencyKey is None or not service.settings.idempotency_keys:
        return None
    return IdempotencyKey(request.IdempotencyKey, _digest(request))


def earlier_task(service: Service, tenant: str, key: IdempotencyKey | None) -> str | None:
    """Uid of the task that the tenant made under this key; None for none.

    Raises:
        MalformedRequest: it was made by another request.
    """
    found = None if key is None else service.store.find_idempotent(key.text, tenant=tenant)
    if found is None or key is None:
        return None
    uid, request_digest = found
    if request_digest != key.request_digest:
        raise MalformedRequest(FIELD, "it was used for another request")
    return uid


def _digest(request: GenerateBackgroundsRequest) -> str:
    """SHA-256 of what was asked: all but key pair, request_uuid and the key itself."""
    digest = sha256(request.model_dump_json().encode())
    for image in request.ImageList:
        digest.update(b"\0")  # in no Base64 text
        digest.update(image.encode())
    return digest.hexdigest()
