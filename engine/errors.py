"""Everything the engine raises.

::

    EngineError
      JobError                  the caller's fault: refuse the job, name the field
        UnknownModel
        UnknownLora
        BadImage
        ParameterOutOfRange
      EngineFault               ours: the job was fine
        WeightsUnavailable
        IncompatibleAdapter
        GpuOutOfMemory
        NonFiniteResult
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


class BadImage(JobError):
    """An image cannot be used: undecodable, without alpha, or too large."""


class ParameterOutOfRange(JobError):
    """A number lies outside its documented range, or an option has no such value."""


class EngineFault(EngineError):
    """The job was acceptable, but this machine could not do it."""


class WeightsUnavailable(EngineFault):
    """A registered weight file is missing, unreadable or not what its entry says."""


class IncompatibleAdapter(EngineFault):
    """A sub-model does not fit the main model."""


class GpuOutOfMemory(EngineFault):
    """The device has not enough memory for the job."""


class NonFiniteResult(EngineFault):
    """Latents or pixels came out as NaN or infinity."""


class RegistryError(EngineError):
    """models.yaml cannot be used; the message names the file, the entry and the key."""
