"""Responses as spelled on the wire, and how stored tasks appear in them (protocol sections 1, 3-6).

Clients with typed models need every field every time: nothing is left out of a task's detail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from api.errors import TASK_UNKNOWN
from api.progress import TaskStage, num_steps
from api.prompts_used import stored_prompts_used
from api.protocol import SAMPLER_NAMES
from api.tasks import TaskRecord, TaskStatus
from engine.registry import MainModel
from engine.sub_models import SubModel


class WireStatus(StrEnum):
    """State of a task as clients see it."""

    QUEUING = "Queuing"
    RUNNING = "Running"
    FINISHED = "Finished"
    ERROR = "Error"


_WIRE_STATUS: Mapping[TaskStatus, WireStatus] = {
    TaskStatus.QUEUED: WireStatus.QUEUING,
    TaskStatus.RUNNING: WireStatus.RUNNING,
    TaskStatus.SUCCEEDED: WireStatus.FINISHED,
    TaskStatus.FAILED: WireStatus.ERROR,
    TaskStatus.CANCELED: WireStatus.ERROR,
    TaskStatus.EXPIRED: WireStatus.ERROR,
}


class Response(BaseModel):
    """What every response carries."""

    model_config = ConfigDict(frozen=True)

    RetCode: int = Field(0, description="0 success, else the error's code.")
    Action: str = Field("", description="The request's Action; empty where it had none.")
    Message: str = Field("", description="What is wrong when RetCode is not 0, else empty.")
    request_uuid: str | None = Field(None, description="The request's; absent if it had none.")


class GenerateBackgroundsResponse(Response):
    """The task is stored and will be run."""

    TaskUID: str = Field(description="Ask for it with ListTasksDetails.")


class TaskDetail(BaseModel):
    """State and results of a task."""

    model_config = ConfigDict(frozen=True)

    TaskUID: str = Field(description="The task's id.")
    Action: str = Field("", description="The action that made the task; empty if unknown.")
    Status: WireStatus = Field(description="Queuing, Running, Finished or Error.")
    ImgList: list[str] = Field(
        default_factory=list,
        description="Result URLs in order; valid for 24 hours by default, then none. A task that "
        "ended in Error lists the images that did succeed.",
    )
    Seed: int = Field(0, description="Seed of the first image; image i has Seed + i, wrapping.")
    SeedList: list[int] = Field(
        default_factory=list, description="Seed of each image of ImgList; an addition."
    )
    TxtList: list[str] = Field(default_factory=list, description="Always empty: texts of others.")
    ConsumeApiPoint: int = Field(0, description="Points charged; 0 until the task is Finished.")
    ErrorCode: int = Field(
        0,
        description="0 no error, 1203 unknown task, 1204 image undecodable, 1205 generation "
        "failed, 1206 canceled, 1207 expired.",
    )
    ErrorMassage: str = Field("", description="What went wrong, under the documented name.")
    ErrorMessage: str = Field("", description="The same, spelled right; an addition.")
    Progress: float = Field(0.0, description="0 to 1; an addition.")
    Note: str = Field("", description="What had no effect, if anything; an addition.")
    Stage: TaskStage = Field(
        TaskStage.NONE,
        description="Of a running task: preparing, denoising, finishing, or canceling once that "
        "was asked; else empty; an addition.",
    )
    QueuePosition: int = Field(
        0, description="1 for the next to run, up to a second old; 0 once it runs; an addition."
    )
    StepsDone: int = Field(0, description="Of StepsTotal, in proportion to Progress; an addition.")
    StepsTotal: int = Field(0, description="Steps of all images together; an addition.")
    PositivePromptsUsed: list[str] = Field(
        default_factory=list,
        description="What was painted from: PositivePrompts, translated; an addition.",
    )
    NegativePromptsUsed: list[str] = Field(
        default_factory=list, description="Likewise of NegativePrompts; an addition."
    )
    ExpireTimestamp: int = Field(
        0,
        description="Unix seconds after which ImgList is empty and its URLs give 404; 0 until the "
        "task has ended; an addition.",
    )

    @classmethod
    def from_record(
        cls, record: TaskRecord, *, img_list: Sequence[str], queue_position: int = 0
    ) -> Self:
        """The detail of a stored task.

        Args:
            record: the task.
            img_list: URLs of `record.outputs`, or none once the images are gone.
            queue_position: 1 for the next to run; 0 unless it waits.
        """
        status = _WIRE_STATUS[record.status]
        progress = 1.0 if status is WireStatus.FINISHED else record.progress
        steps = num_steps(record)
        used = stored_prompts_used(record.params)
        return cls(
            TaskUID=record.uid,
            Action=record.action,
            Status=status,
            ImgList=list(img_list),
            ExpireTimestamp=int(record.images_expire_at or 0),
            Seed=record.seed,
            SeedList=[output.seed for output in record.outputs] if img_list else [],
            ConsumeApiPoint=record.points if status is WireStatus.FINISHED else 0,
            ErrorCode=record.error_code,
            ErrorMassage=record.error_text,
            ErrorMessage=record.error_text,
            Progress=progress,
            Note=record.note,
            Stage=TaskStage.of(record),
            QueuePosition=queue_position,
            StepsDone=round(progress * steps),
            StepsTotal=steps,
            PositivePromptsUsed=used.positive,
            NegativePromptsUsed=used.negative,
        )

    @classmethod
    def unknown(cls, uid: str) -> Self:
        """The detail of a task that is not stored or is somebody else's: a poller must end."""
        text = "No such task"
        return cls(
            TaskUID=uid,
            Status=WireStatus.ERROR,
            ErrorCode=TASK_UNKNOWN,
            ErrorMassage=text,
            ErrorMessage=text,
        )


class ListTasksDetailsResponse(Response):
    """One detail for each id asked, in order."""

    TaskDetailList: list[TaskDetail] = Field(description="In the order asked.")


class ListRunningTasksResponse(Response):
    """Ids of tasks that have not ended."""

    TaskUIDList: list[str] = Field(description="Queued and running tasks, oldest first.")


class _LegacyFields(BaseModel):
    model_config = ConfigDict(frozen=True)

    TaskType: Literal["TaskGeneratePicture"] = Field(
        "TaskGeneratePicture", description="Always TaskGeneratePicture."
    )
    TaskStatus: WireStatus = Field(description="Queuing, Running, Finished or Error.")
    FinalPictureUrls: list[str] = Field(description="As ImgList of ListTasksDetails.")
    TaskErrorMsg: str = Field(description="What went wrong, or empty.")
    TaskErrorCode: int = Field(description="0 is fine; else as ErrorCode of ListTasksDetails.")


class LegacyTaskDetail(_LegacyFields):
    """State and results of a task, in the older form."""

    TaskUid: str = Field(description="The task's id, so spelled.")

    @classmethod
    def from_detail(cls, detail: TaskDetail) -> Self:
        """The same in the older spelling."""
        return cls(
            TaskUid=detail.TaskUID,
            TaskStatus=detail.Status,
            FinalPictureUrls=detail.ImgList,
            TaskErrorMsg=detail.ErrorMessage,
            TaskErrorCode=detail.ErrorCode,
        )


class ListGenerateTaskDetailResponse(Response):
    """One detail for each id asked, in order."""

    TaskDetailList: list[LegacyTaskDetail] = Field(description="In the order asked.")


class GetGenerateTaskDetailResponse(_LegacyFields, Response):
    """The detail of one task, flat."""

    @classmethod
    def from_detail(cls, detail: TaskDetail) -> Self:
        """The same in the older spelling, without the id."""
        return cls(**LegacyTaskDetail.from_detail(detail).model_dump(exclude={"TaskUid"}))


class ModelDefaults(BaseModel):
    """InferenceParams of a model as listed."""

    Steps: int = Field(description="Default denoising steps.")
    Sampler: str = Field(description="Default sampler.")
    ClipSkip: int = Field(1, description="Default ClipSkip.")
    CFGScale: float = Field(description="Default guidance.")


class LoraDefaults(BaseModel):
    """InferenceParams of a LoRA as listed."""

    LoraWeight: float = Field(description="Default weight.")


class NoDefaults(BaseModel):
    """InferenceParams of what has none."""


class _Listed(BaseModel):
    """A model that a request may name, in a form that may be passed back whole."""

    ModelCode: str = Field(description="What a request names it by.")
    Name: str = Field(description="For people.")
    IsOfficial: bool = Field(
        True, description="Whether it is registered by the operator: always true."
    )


class ListedModel(_Listed):
    """A main model."""

    TriggerWordList: list[str] = Field(description="Words it was trained to react to.")
    InferenceParams: ModelDefaults = Field(description="Its defaults.")

    @classmethod
    def from_model(cls, model: MainModel) -> Self:
        """A registered main model as clients see it."""
        return cls(
            ModelCode=model.name,
            Name=model.name,
            TriggerWordList=list(model.trigger_words),
            InferenceParams=ModelDefaults(
                Steps=model.num_inference_steps,
                Sampler=SAMPLER_NAMES[model.sampler],
                CFGScale=model.guidance_scale,
            ),
        )


class ListedLora(_Listed):
    """A LoRA for the SubModelList."""

    TriggerWordList: list[str] = Field(description="Words it was trained to react to.")
    InferenceParams: LoraDefaults = Field(description="Its defaults.")

    @classmethod
    def from_sub_model(cls, sub_model: SubModel) -> Self:
        """A registered LoRA as clients see it."""
        return cls(
            ModelCode=sub_model.name,
            Name=sub_model.name,
            TriggerWordList=list(sub_model.trigger_words),
            InferenceParams=LoraDefaults(LoraWeight=sub_model.default_weight),
        )


class ListedEmbedding(_Listed):
    """An embedding for the SubModelList."""

    TriggerWordList: list[str] = Field(description="Words that stand for it in a prompt.")
    InferenceParams: NoDefaults = Field(
        default_factory=NoDefaults, description="Empty: its word is weighed in the prompt."
    )

    @classmethod
    def from_sub_model(cls, sub_model: SubModel) -> Self:
        """A registered embedding as clients see it."""
        return cls(
            ModelCode=sub_model.name,
            Name=sub_model.name,
            TriggerWordList=list(sub_model.prompt_words),
        )


class ListModelsResponse(Response):
    """Registered models by ModelCode."""

    MainModels: dict[str, ListedModel] = Field(description="Checkpoints, by ModelCode.")
    LoraModels: dict[str, ListedLora] = Field(description="LoRA sub-models, by ModelCode.")
    EmbeddingModels: dict[str, ListedEmbedding] = Field(description="Embeddings, by ModelCode.")
    HypernetworkModels: dict[str, NoDefaults] = Field(
        default_factory=dict, description="Always empty: hypernetworks are not supported."
    )
    DefaultModel: str = Field(
        "",
        description="Key in MainModels of the one that is used where a request names none; empty "
        "while that cannot be used; an addition.",
    )


class GetCreditBalanceResponse(Response):
    """The caller's credits."""

    TotalCredits: int = Field(description="Points ever granted; 2147483647 while unlimited.")
    UsedCredits: int = Field(description="Points charged for tasks that are Finished.")
    ExpireTimestamp: int = Field(
        description="Unix seconds from which on no tasks are accepted; 2147483647 for never."
    )
    ReservedCredits: int = Field(
        0, description="Points that queued and running tasks hold; an addition."
    )
