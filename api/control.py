"""Actions on tasks that exist, beyond the protocol: stop them, watch them, see how they look."""

from __future__ import annotations

import base64
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from api.queries import details_of
from api.query_requests import Uid
from api.responses import ListTasksDetailsResponse, Response
from api.service import Service
from api.wire_types import List, WireModel

MAX_CANCELED = 100  # each is a write to the disk


class CancelTaskRequest(WireModel):
    """Stops tasks; an addition. Answered as ListTasksDetails, with the state after it."""

    TaskUID: Uid | None = Field(None, description="One task, instead of TaskUIDList.")
    TaskUIDList: List[Uid] = Field(
        default_factory=list,
        max_length=MAX_CANCELED,
        description="Up to 100 task ids; answered in this order.",
    )

    @field_validator("TaskUIDList")
    @classmethod
    def _stands_alone(cls, value: list[str], info: ValidationInfo) -> list[str]:
        if info.data.get("TaskUID") is not None:
            raise ValueError("TaskUID and TaskUIDList exclude each other")
        return value

    @model_validator(mode="after")
    def _names_tasks(self) -> Self:
        if not self.model_fields_set & {"TaskUID", "TaskUIDList"}:
            raise PydanticCustomError("missing", "Field required", {"field": "TaskUIDList"})
        return self


class WatchTaskRequest(WireModel):
    """Asks for the event stream of one task; an addition."""

    TaskUID: Uid = Field(description="The task's id.")


class WatchTaskResponse(Response):
    """Where a task's progress can be followed."""

    EventsUrl: str = Field(
        description="Server-sent events, for an EventSource; the URL is the right to read them."
    )
    ExpireTimestamp: int = Field(description="Unix seconds; then ask for a new URL.")


class GetTaskPreviewsRequest(WireModel):
    """Asks what the images of a task look like so far; an addition."""

    TaskUID: Uid = Field(description="A task that was made with Preview.")


class TaskPreview(BaseModel):
    """What one image looks like so far."""

    model_config = ConfigDict(frozen=True)

    ImageIndex: int = Field(description="Position of the image in its task, from 0.")
    Image: str = Field(
        description="A data URL of a PNG of at most 64 pixels a side, in rough colours, without the "
        "item laid over it."
    )


class GetTaskPreviewsResponse(Response):
    """Previews of a running task; none of any other."""

    PreviewList: list[TaskPreview] = Field(
        description="The latest of each image that has one, by ImageIndex."
    )


def cancel_task(
    service: Service, tenant: str, request: CancelTaskRequest
) -> ListTasksDetailsResponse:
    """Queued tasks are canceled at once, running ones asked to stop; ended ones stay as they are.

    Unknown tasks and those of others are answered alike, with ErrorCode 1203.
    """
    uids = [request.TaskUID] if request.TaskUID is not None else request.TaskUIDList
    for uid in dict.fromkeys(uids):
        service.store.cancel(uid, tenant=tenant)
    return ListTasksDetailsResponse(TaskDetailList=details_of(service, tenant, uids))


def watch_task(service: Service, tenant: str, request: WatchTaskRequest) -> WatchTaskResponse:
    """A URL for the task; that of an unknown one ends at once with ErrorCode 1203."""
    url, expires = service.event_urls.make(request.TaskUID, tenant)
    return WatchTaskResponse(EventsUrl=url, ExpireTimestamp=expires)


def get_task_previews(
    service: Service, tenant: str, request: GetTaskPreviewsRequest
) -> GetTaskPreviewsResponse:
    """Empty for tasks that do not run or show nothing, unknown ones and those of others."""
    return GetTaskPreviewsResponse(PreviewList=previews_of(service, tenant, request.TaskUID))


def previews_of(service: Service, tenant: str, uid: str) -> list[TaskPreview]:
    """The latest previews of a running task of the tenant."""
    return [
        TaskPreview(ImageIndex=index, Image=_data_url(png))
        for index, png in sorted(service.store.previews(uid, tenant=tenant).items())
    ]


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
