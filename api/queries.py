"""Actions that only read: tasks, models, credits (protocol sections 4 to 6)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from api.query_requests import (
    GetCreditBalanceRequest,
    GetGenerateTaskDetailRequest,
    ListGenerateTaskDetailRequest,
    ListModelsRequest,
    ListRunningTasksRequest,
    ListTasksDetailsRequest,
)
from api.responses import (
    GetCreditBalanceResponse,
    GetGenerateTaskDetailResponse,
    LegacyTaskDetail,
    ListedEmbedding,
    ListedLora,
    ListedModel,
    ListGenerateTaskDetailResponse,
    ListModelsResponse,
    ListRunningTasksResponse,
    ListTasksDetailsResponse,
    TaskDetail,
)
from api.service import Service
from api.tasks import TaskRecord, TaskStatus

UNLIMITED = 2**31 - 1  # fits clients with 32-bit integers


def list_tasks_details(
    service: Service, tenant: str, request: ListTasksDetailsRequest
) -> ListTasksDetailsResponse:
    """State and results of the caller's tasks."""
    return ListTasksDetailsResponse(TaskDetailList=details_of(service, tenant, request.TaskUIDList))


def list_running_tasks(
    service: Service, tenant: str, _request: ListRunningTasksRequest
) -> ListRunningTasksResponse:
    """The caller's queued and running tasks."""
    return ListRunningTasksResponse(TaskUIDList=service.store.unfinished(tenant=tenant))


def list_generate_task_detail(
    service: Service, tenant: str, request: ListGenerateTaskDetailRequest
) -> ListGenerateTaskDetailResponse:
    """As `list_tasks_details`, in the older form."""
    details = details_of(service, tenant, request.TaskUIDs)
    return ListGenerateTaskDetailResponse(
        TaskDetailList=[LegacyTaskDetail.from_detail(detail) for detail in details]
    )


def get_generate_task_detail(
    service: Service, tenant: str, request: GetGenerateTaskDetailRequest
) -> GetGenerateTaskDetailResponse:
    """One task in the older form."""
    (detail,) = details_of(service, tenant, [request.TaskUID])
    return GetGenerateTaskDetailResponse.from_detail(detail)


def list_models(service: Service, _tenant: str, _request: ListModelsRequest) -> ListModelsResponse:
    """Registered models that can be used; any of them may be passed back whole."""
    registry = service.registry
    models = [each for each in registry.models.values() if each.name not in registry.unusable]
    sub_models = [
        each for each in registry.sub_models.values() if each.name not in registry.unusable
    ]
    default = registry.default_model
    return ListModelsResponse(
        MainModels={model.name: ListedModel.from_model(model) for model in models},
        LoraModels={
            each.name: ListedLora.from_sub_model(each) for each in sub_models if each.kind == "lora"
        },
        EmbeddingModels={
            each.name: ListedEmbedding.from_sub_model(each)
            for each in sub_models
            if each.kind == "embedding"
        },
        DefaultModel="" if default in registry.unusable else default,
    )


def get_credit_balance(
    service: Service, tenant: str, _request: GetCreditBalanceRequest
) -> GetCreditBalanceResponse:
    """What the caller was granted and has used."""
    account = service.store.account(tenant=tenant)
    total, expires_at = account.total_points, account.expires_at
    return GetCreditBalanceResponse(
        TotalCredits=UNLIMITED if total is None else total,
        UsedCredits=account.used_points,
        ReservedCredits=account.reserved_points,
        ExpireTimestamp=UNLIMITED if expires_at is None else math.floor(expires_at),
    )


def detail_of(service: Service, uid: str, record: TaskRecord | None) -> TaskDetail:
    """The detail of a stored task; None is one that is unknown or somebody else's."""
    if record is None:
        return TaskDetail.unknown(uid)
    return TaskDetail.from_record(
        record,
        img_list=service.urls.of_record(record),
        queue_position=service.positions.of(uid) if record.status is TaskStatus.QUEUED else 0,
    )


def details_of(service: Service, tenant: str, uids: Sequence[str]) -> list[TaskDetail]:
    """One detail for each id, in order."""
    records = service.store.get_many(uids, tenant=tenant)
    return [detail_of(service, uid, record) for uid, record in zip(uids, records, strict=True)]
