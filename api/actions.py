"""The actions of the one endpoint: name -> request, handler, response."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from api import control, protocol, queries, query_requests, responses
from api.service import Service
from api.submit import submit
from api.webhook_sender import accepted_url
from api.wire_types import WireModel


@dataclass(frozen=True, slots=True)
class Action:
    """One action; `handle` is called with the service, the caller's public key and the request."""

    request: type[WireModel]
    handle: Callable[[Service, str, Any], responses.Response]
    response: type[responses.Response]


def generate_backgrounds(
    service: Service, tenant: str, request: protocol.GenerateBackgroundsRequest
) -> responses.GenerateBackgroundsResponse:
    """Accepts a task."""
    webhook_url = accepted_url(service, request.WebhookUrl)
    uid = submit(service, tenant, request)
    if webhook_url is not None:
        service.webhooks.add(uid, webhook_url)
    return responses.GenerateBackgroundsResponse(TaskUID=uid)


ACTIONS: Mapping[str, Action] = {
    "GenerateBackgrounds": Action(
        protocol.GenerateBackgroundsRequest,
        generate_backgrounds,
        responses.GenerateBackgroundsResponse,
    ),
    "ListTasksDetails": Action(
        query_requests.ListTasksDetailsRequest,
        queries.list_tasks_details,
        responses.ListTasksDetailsResponse,
    ),
    "ListRunningTasks": Action(
        query_requests.ListRunningTasksRequest,
        queries.list_running_tasks,
        responses.ListRunningTasksResponse,
    ),
    "ListGenerateTaskDetail": Action(
        query_requests.ListGenerateTaskDetailRequest,
        queries.list_generate_task_detail,
        responses.ListGenerateTaskDetailResponse,
    ),
    "GetGenerateTaskDetail": Action(
        query_requests.GetGenerateTaskDetailRequest,
        queries.get_generate_task_detail,
        responses.GetGenerateTaskDetailResponse,
    ),
    "ListModels": Action(
        query_requests.ListModelsRequest, queries.list_models, responses.ListModelsResponse
    ),
    "GetCreditBalance": Action(
        query_requests.GetCreditBalanceRequest,
        queries.get_credit_balance,
        responses.GetCreditBalanceResponse,
    ),
    "CancelTask": Action(
        control.CancelTaskRequest, control.cancel_task, responses.ListTasksDetailsResponse
    ),
    "WatchTask": Action(control.WatchTaskRequest, control.watch_task, control.WatchTaskResponse),
    "GetTaskPreviews": Action(
        control.GetTaskPreviewsRequest,
        control.get_task_previews,
        control.GetTaskPreviewsResponse,
    ),
}
