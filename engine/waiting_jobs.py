"""Jobs that wait for their checkpoint, for memory, or for the only pipeline that runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

from engine.errors import EngineError, GpuOutOfMemory
from engine.loaded_model import LoadedModel
from engine.model_cache import ModelCache
from engine.pipeline_info import PipelineInfo
from engine.plan import GenerationPlan


@dataclass(frozen=True, slots=True, eq=False)
class Admitted:
    """A job that may begin.

    Attributes:
        plan: of the job.
        model: its model, loaded; None where nothing is to be denoised.
        error: why it cannot begin at all; None where it can.
    """

    plan: GenerationPlan
    model: LoadedModel | None = None
    error: EngineError | None = None


class WaitingJobs:
    """Who came first goes first, except past a checkpoint that is still being loaded."""

    def __init__(self) -> None:
        self._plans: deque[GenerationPlan] = deque()
        self._memory_is_full = False

    def __len__(self) -> int:
        return len(self._plans)

    @property
    def plans(self) -> list[GenerationPlan]:
        """In order."""
        return list(self._plans)

    def add(self, plan: GenerationPlan) -> None:
        """Puts a job at the end."""
        self._plans.append(plan)

    def put_back(self, plan: GenerationPlan) -> None:
        """Puts a job that found no memory at the front; no one is admitted before there is more."""
        self._plans.appendleft(plan)
        self._memory_is_full = True

    def remove(self, job_id: str) -> None:
        """Drops a job, if it is here."""
        self._plans = deque(plan for plan in self._plans if plan.job.job_id != job_id)

    def hold(self) -> None:
        """Admits no one until nothing is in flight any more: the device is full."""
        self._memory_is_full = True

    def admit(
        self, models: ModelCache, in_use: Collection[str], *, pipeline_is_busy: bool
    ) -> Admitted | None:
        """Takes out the first job whose checkpoint is loaded; None while no one can begin.

        The first job that lacks its checkpoint has it loaded. Meanwhile others may overtake it, but
        not while it waits for room: those who overtake might keep the room taken for ever.

        Args:
            models: who has the checkpoints.
            in_use: names of the models that images are in flight on.
            pipeline_is_busy: whether a job runs on a pipeline: they run one after the other.
        """
        self._memory_is_full = self._memory_is_full and bool(in_use)
        if self._memory_is_full:
            return None
        someone_waits = False
        for plan in self._plans:
            if isinstance(plan.info, PipelineInfo) and pipeline_is_busy:
                continue
            if not plan.passes:
                return self._take(Admitted(plan))
            try:
                if someone_waits:
                    model = models.loaded(plan.model)
                else:
                    model = models.request(plan.model, in_use)
            except EngineError as exc:
                if isinstance(exc, GpuOutOfMemory) and in_use:
                    self._memory_is_full = True
                    return None
                return self._take(Admitted(plan, error=exc))
            if model is not None:
                return self._take(Admitted(plan, model))
            if not someone_waits and not models.is_loading(plan.model):
                return None
            someone_waits = True
        return None

    def _take(self, admitted: Admitted) -> Admitted:
        self._plans.remove(admitted.plan)
        return admitted
