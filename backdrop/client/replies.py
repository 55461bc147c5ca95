"""What the server answers, typed; fields that a server does not send have their empty value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Task:
    """State and results of a task.

    Attributes:
        uid: TaskUID.
        status: Queuing, Running, Finished or Error.
        image_urls: of the results, in order; they expire.
        seed: of the first image.
        seeds: of each image.
        points: what it cost; 0 until it is finished.
        error_code: 0 for none.
        error_text: what went wrong.
        progress: 0..1.
        stage: preparing, denoising, finishing or canceling while it runs.
        queue_position: 1 for the next to run; 0 once it runs.
        steps_done: of `steps_total`.
        steps_total: over all images.
        note: what had no effect.
        prompts_used: what was painted from, translated where it was not English.
        negative_prompts_used: likewise.
    """

    uid: str
    status: str
    image_urls: tuple[str, ...] = ()
    seed: int = 0
    seeds: tuple[int, ...] = ()
    points: int = 0
    error_code: int = 0
    error_text: str = ""
    progress: float = 0.0
    stage: str = ""
    queue_position: int = 0
    steps_done: int = 0
    steps_total: int = 0
    note: str = ""
    prompts_used: tuple[str, ...] = ()
    negative_prompts_used: tuple[str, ...] = ()

    @property
    def has_ended(self) -> bool:
        """Whether it will not change any more."""
        return self.status in ("Finished", "Error")

    @property
    def is_error(self) -> bool:
        """Whether it ended as Error."""
        return self.status == "Error"

    def advanced(self, seen: Task) -> Self:
        """This task as far along as `seen`, which holds no more than that."""
        return replace(
            self,
            status=seen.status,
            progress=seen.progress,
            stage=seen.stage,
            queue_position=seen.queue_position,
            steps_done=seen.steps_done,
            steps_total=seen.steps_total,
        )

    @classmethod
    def from_wire(cls, detail: Mapping[str, Any]) -> Self:
        """A TaskDetail."""
        return cls(
            uid=detail["TaskUID"],
            status=detail["Status"],
            image_urls=tuple(detail.get("ImgList") or ()),
            seed=detail.get("Seed", 0),
            seeds=tuple(detail.get("SeedList") or ()),
            points=detail.get("ConsumeApiPoint", 0),
            error_code=detail.get("ErrorCode", 0),
            error_text=detail.get("ErrorMassage") or detail.get("ErrorMessage") or "",
            progress=detail.get("Progress", 0.0),
            stage=detail.get("Stage", ""),
            queue_position=detail.get("QueuePosition", 0),
            steps_done=detail.get("StepsDone", 0),
            steps_total=detail.get("StepsTotal", 0),
            note=detail.get("Note", ""),
            prompts_used=tuple(detail.get("PositivePromptsUsed") or ()),
            negative_prompts_used=tuple(detail.get("NegativePromptsUsed") or ()),
        )


@dataclass(frozen=True, slots=True)
class Model:
    """A model that a request may name by `code`; `parameters` are its defaults, as on the wire."""

    code: str
    name: str
    trigger_words: tuple[str, ...]
    parameters: Mapping[str, Any]

    @classmethod
    def from_wire(cls, model: Mapping[str, Any]) -> Self:
        """A Model."""
        return cls(
            code=model["ModelCode"],
            name=model.get("Name", ""),
            trigger_words=tuple(model.get("TriggerWordList") or ()),
            parameters=model.get("InferenceParams") or {},
        )


@dataclass(frozen=True, slots=True)
class ModelList:
    """Models by ModelCode.

    Attributes:
        main: main models.
        loras: LoRAs.
        embeddings: embeddings.
        default: key in `main` of the one for requests that name none; empty where it is not told.
    """

    main: Mapping[str, Model]
    loras: Mapping[str, Model]
    embeddings: Mapping[str, Model]
    default: str = ""

    @classmethod
    def from_wire(cls, answer: Mapping[str, Any]) -> Self:
        """The answer of ListModels."""
        main, loras, embeddings = (
            {code: Model.from_wire(model) for code, model in (answer.get(name) or {}).items()}
            for name in ("MainModels", "LoraModels", "EmbeddingModels")
        )
        return cls(main, loras, embeddings, answer.get("DefaultModel") or "")


@dataclass(frozen=True, slots=True)
class Balance:
    """Credits in points; `expires_at` in Unix seconds."""

    total: int
    used: int
    expires_at: int

    @property
    def left(self) -> int:
        """What can still be spent."""
        return self.total - self.used

    @classmethod
    def from_wire(cls, answer: Mapping[str, Any]) -> Self:
        """The answer of GetCreditBalance."""
        return cls(answer["TotalCredits"], answer["UsedCredits"], answer["ExpireTimestamp"])
