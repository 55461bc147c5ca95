"""What runs in the compute child: the step loop, fed and emptied by threads beside it."""

from __future__ import annotations

import logging
from multiprocessing.connection import Connection
from typing import NoReturn

import torch

from api.engine_reports import EngineReports
from api.errors import TASK_GENERATION_FAILED
from api.incoming import Incoming
from api.messages import Cancel, Start, TaskEnded
from api.outgoing import Outgoing, error_text
from engine.engine import Engine
from engine.errors import EngineError
from engine.job import GenerationJob
from engine.registry import load_registry

logger = logging.getLogger(__name__)


def serve(connection: Connection) -> NoReturn:
    """Wait for `Start`, then run tasks for ever.

    Raises:
        CompilerMissing: compiled kernels were asked for, and nothing here can compile them.
        EOFError: the supervisor closed the pipe; or a `BrokenPipeError`, where it was being sent to.
        Exception: whatever the engine or a thread did not expect. It is not caught here: the
            child's death is the one honest report of a state that nobody can vouch for.
    """
    start = connection.recv()
    assert isinstance(start, Start)
    torch.zeros(1, device=start.device)  # a device that does not work is not ready
    engine = Engine(
        load_registry(start.models_file),
        device=start.device,
        batch_invariant=start.batch_invariant,
        dtype=None if start.dtype is None else getattr(torch, start.dtype),
        max_latent_area=start.max_latent_area,
        kernels=start.kernels,
        device_bytes=start.device_cache_bytes,
        host_bytes=start.host_cache_bytes,
        encoding_cache_bytes=start.encoding_cache_bytes,
    )
    logger.info("%s", engine.profile)
    ComputeLoop(connection, engine, start).run()


class ComputeLoop:
    """Speaks `api.messages` on one side and `add`, `step`, `cancel` on the other.

    Its own thread does nothing but that. Messages are received and uploads decoded by the threads
    of `Incoming`, results encoded and sent by that of `Outgoing`.

    Args:
        connection: to the supervisor.
        engine: idle.
        start: what the supervisor wants.
    """

    def __init__(self, connection: Connection, engine: Engine, start: Start) -> None:
        self._engine = engine
        self._outgoing = Outgoing(
            connection,
            write_parameters=start.write_parameters,
            failed=self._fail,
        )
        self._incoming = Incoming(
            connection,
            max_image_pixels=start.max_image_pixels,
            ended=self._outgoing.end,
            wake=engine.wake,
        )
        self._reports = EngineReports(engine, self._outgoing.count)
        self._outgoing.ready(start.device)

    def run(self) -> NoReturn:
        """Serve until the pipe is closed, which raises `EOFError` or a `BrokenPipeError`."""
        self._outgoing.start()
        self._incoming.start()
        while True:
            self._outgoing.report(self._engine.step())
            self._outgoing.loaded(self._engine.loaded_models)
            # After the step, which forgets the wakes before it, and right before the wait: what
            # comes in between ends the wait at once.
            for item in self._incoming.take():
                self._do(item)
            self._engine.wait(self._reports.tell_if_due())

    def _fail(self, exc: BaseException) -> None:
        self._incoming.fail(exc)

    def _do(self, item: GenerationJob | Cancel) -> None:
        match item:
            case GenerationJob():
                self._add(item)
            case Cancel(uid):
                if self._engine.cancel(uid):  # else its end is told already, or on its way
                    self._outgoing.cancel(uid)

    def _add(self, job: GenerationJob) -> None:
        uid = job.job_id
        try:
            self._engine.add(job)
        except EngineError as exc:
            text = error_text(uid, exc)
            self._outgoing.end(TaskEnded(uid, TASK_GENERATION_FAILED, text))
        else:
            self._outgoing.begin(uid, job.num_images)
