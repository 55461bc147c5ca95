"""Requests that ask, as spelled on the wire (protocol sections 4 to 6)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from api.wire_types import List, String, WireModel

MAX_TASK_UIDS = 1_000

Uid = Annotated[String, Field(max_length=100)]
Uids = Annotated[List[Uid], Field(max_length=MAX_TASK_UIDS)]


class ListTasksDetailsRequest(WireModel):
    """State and results of tasks."""

    TaskUIDList: Uids = Field(description="Up to 1000 task ids; answered in this order.")


class ListGenerateTaskDetailRequest(WireModel):
    """State and results of tasks, in the older form."""

    TaskUIDs: Uids = Field(description="Up to 1000 task ids; answered in this order.")


class GetGenerateTaskDetailRequest(WireModel):
    """State and results of one task, in the older form."""

    TaskUID: Uid = Field(description="The task's id.")


class ListRunningTasksRequest(WireModel):
    """Ids of the caller's queued and running tasks."""


class ListModelsRequest(WireModel):
    """Models a request may name."""


class GetCreditBalanceRequest(WireModel):
    """Credits of the caller."""
