"""Everything the engine raises.

::

    EngineError
      JobError                  the caller's fault: refuse the job, name the field
        UnknownModel
        UnknownLora
        UnsuitableSubModel
        BadImage
        BadPrompt
        ParameterOutOfRange
        UnsupportedByModel
      EngineFault               ours: the job was fine
        WeightsUnavailable
          MislabelledModel
        IncompatibleAdapter
        GpuOutOfMemory
        NonFiniteResult
        PipelineFailed
        CompilerMissing
      RegistryError             models.yaml is wrong: stops the start, not a job
"""

from __future__ import annotations


class EngineError(Exception):
    """Base of all errors raised on purpose by the engine."""


class JobError(EngineError):
    """The job cannot be done as asked.

    Args:
        message: one sentence a caller can act on.
        field: name of the `GenerationJob` field at fault.
    """

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class UnknownModel(JobError):
    """No main model of that name is registered."""


class UnknownLora(JobError):
    """No sub-model of that name is registered."""


class UnsuitableSubModel(JobError):
    """A sub-model cannot be used with this main model, or at all, or beside another one."""


class BadImage(JobError):
    """An image cannot be used: undecodable, without alpha, or too large."""


class BadPrompt(JobError):
    """A prompt holds something that has no place in it."""


class ParameterOutOfRange(JobError):
    """A number lies outside its documented range, or an option has no such value."""


class UnsupportedByModel(JobError):
    """The main model is of a family that has no such setting."""


class EngineFault(EngineError):
    """The job was acceptable, but this machine could not do it."""


class WeightsUnavailable(EngineFault):
    """A registered weight file is missing, unreadable or not what its entry says."""


class MislabelledModel(WeightsUnavailable):
    """models.yaml contradicts a model's files, or leaves open what they do not tell."""


class IncompatibleAdapter(EngineFault):
    """A sub-model does not fit the main model."""


class GpuOutOfMemory(EngineFault):
    """The device has not enough memory for the job."""


class NonFiniteResult(EngineFault):
    """Latents or pixels came out as NaN or infinity."""


class PipelineFailed(EngineFault):
    """A pipeline of diffusers raised an error of its own."""


class CompilerMissing(EngineFault):
    """Compiled kernels were asked for, and nothing here can compile them."""


class RegistryError(EngineError):
    """models.yaml cannot be used; the message names the file, the entry and the key."""


def first_line(error: BaseException) -> str:
    """What another library's error says, short enough for a message of ours."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def as_engine_error(error: Exception) -> EngineError:
    """The error itself, or what torch's error of the device's memory is to us."""
    if isinstance(error, EngineError):
        return error
    return GpuOutOfMemory("the device ran out of memory")
