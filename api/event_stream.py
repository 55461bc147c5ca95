"""A task's progress as server-sent events (the WHATWG HTML standard's EventSource)."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from anyio import to_thread
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response, StreamingResponse

from api.control import TaskPreview, previews_of
from api.errors import QueueFull, TaskStoreError
from api.outage import warn_of
from api.queries import detail_of
from api.responses import TaskDetail
from api.routes import TheService
from api.service import Service
from api.task_watch import Glance
from api.tasks import TaskRecord

logger = logging.getLogger(__name__)
router = APIRouter()

PROGRESS_FIELDS = {
    "TaskUID",
    "Status",
    "Progress",
    "Stage",
    "QueuePosition",
    "StepsDone",
    "StepsTotal",
}
END_ID = "end"  # an EventSource reconnects with the last id, and stops at 204
RECONNECT_MS = 2000
HEARTBEAT = ": still here\n\n"
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would keep events until its buffer is full
    # The URL is the right to read; there is no cookie that another site could misuse.
    "Access-Control-Allow-Origin": "*",
}


@router.get(
    "/events/{uid}",
    tags=["extensions"],
    response_class=Response,
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "The events."},
        204: {"description": "The stream has ended; do not reconnect."},
        404: {"description": "No such stream, or no longer."},
        503: {"description": "Too many streams."},
    },
)
async def task_events(
    uid: str,
    service: TheService,
    request: Request,
    key: str = "",
    expires: str = "",
    signature: str = "",
) -> Response:
    """Progress of a task as server-sent events, by the URL that WatchTask gives."""
    if not service.event_urls.is_valid(uid, key, expires=expires, signature=signature):
        raise HTTPException(404, "No such stream, or no longer")
    if request.headers.get("last-event-id") == END_ID:
        return Response(status_code=204, headers=_HEADERS)
    try:
        service.watch.require_room()
    except QueueFull as exc:
        headers = {"Retry-After": str(exc.retry_after_s)}
        raise HTTPException(503, exc.message, headers=headers) from exc
    known, record = await to_thread.run_sync(_look_up, service, uid, key)
    if not known:  # the key was taken back since
        raise HTTPException(404, "No such stream, or no longer")
    stream = _events(service, uid, key, record, until=int(expires))
    return StreamingResponse(stream, media_type="text/event-stream", headers=_HEADERS)


def _look_up(service: Service, uid: str, tenant: str) -> tuple[bool, TaskRecord | None]:
    """Whether the key still exists, and its task."""
    (record,) = service.store.get_many([uid], tenant=tenant)
    return service.keys.private_key(tenant) is not None, record


async def _events(
    service: Service, uid: str, tenant: str, record: TaskRecord | None, *, until: int
) -> AsyncGenerator[str, None]:
    """The stream's text: progress events, previews if asked for, the whole TaskDetail at the end.

    Cut short, by the URL's expiry, the store's absence or the service's end, it has no end event.
    """
    yield f"retry: {RECONNECT_MS}\n\n"
    try:
        if record is not None and not record.status.is_final:
            said = await to_thread.run_sync(detail_of, service, uid, record)
            yield _progress(said)
            shown: list[TaskPreview] = []
            async with aclosing(service.watch.follow(uid)) as glances:
                async for glance in glances:
                    if time.time() >= until:
                        return
                    if glance is None:
                        yield HEARTBEAT
                        continue
                    if glance.status.is_final:
                        continue
                    if (seen := _detail(record, glance)) != said:
                        said = seen
                        yield _progress(said)
                    if record.params.get("Preview"):
                        looks = await to_thread.run_sync(previews_of, service, tenant, uid)
                        if looks and looks != shown:
                            shown = looks
                            yield _previews(uid, shown)
            if service.watch.is_closed:
                return
            known, record = await to_thread.run_sync(_look_up, service, uid, tenant)
            if not known or (record is not None and not record.status.is_final):
                return
        end = await to_thread.run_sync(detail_of, service, uid, record)
    except TaskStoreError as exc:
        warn_of(logger, f"the event stream of task {uid} is cut short", exc)
        return
    yield _event("end", end.model_dump_json(), event_id=END_ID)


def _detail(record: TaskRecord, glance: Glance) -> TaskDetail:
    """The detail of a task that has not ended, as seen later than its record."""
    seen = replace(
        record,
        status=glance.status,
        progress=glance.progress,
        stage=glance.stage,
        cancel_requested=glance.cancel_requested,
    )
    return TaskDetail.from_record(seen, img_list=[], queue_position=glance.queue_position)


def _progress(detail: TaskDetail) -> str:
    return _event("progress", detail.model_dump_json(include=PROGRESS_FIELDS))


def _previews(uid: str, previews: Sequence[TaskPreview]) -> str:
    data = {"TaskUID": uid, "PreviewList": [each.model_dump() for each in previews]}
    return _event("preview", json.dumps(data))


def _event(name: str, data: str, *, event_id: str = "") -> str:
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {name}\ndata: {data}\n\n"
