"""Talks to a Backdrop server, or to the hosted API that it replaces.

    with Client("http://127.0.0.1:8600", "my-public-key", "my-private-key") as client:
        uid = client.submit("cup.png", prompts=["blue sky", "white cloud"], steps=20)
        task = client.wait(uid, on_progress=lambda task: print(f"{task.progress:.0%}"))
        client.save(task, "pictures")

`AsyncClient` has the same methods as coroutines. Neither loads torch.
"""

from __future__ import annotations

from backdrop.client.async_client import AsyncClient
from backdrop.client.errors import (
    BadSignature,
    Busy,
    ClientError,
    GenerationFailed,
    ImageGone,
    ImageUndecodable,
    MissingParameter,
    ModelNotFound,
    NotEnoughCredits,
    ParameterRefused,
    RequestRefused,
    ServerUnavailable,
    TaskCanceled,
    TaskExpired,
    TaskFailed,
    TaskNotFound,
    TransportFault,
    UnexpectedAnswer,
    UnknownAction,
    UnknownKey,
    WaitTimeout,
)
from backdrop.client.options import GenerateOptions, ImageSource, ResizeModeName
from backdrop.client.replies import Balance, Model, ModelList, Task
from backdrop.client.sync_client import Client

__all__ = [
    "AsyncClient",
    "BadSignature",
    "Balance",
    "Busy",
    "Client",
    "ClientError",
    "GenerateOptions",
    "GenerationFailed",
    "ImageGone",
    "ImageSource",
    "ImageUndecodable",
    "MissingParameter",
    "Model",
    "ModelList",
    "ModelNotFound",
    "NotEnoughCredits",
    "ParameterRefused",
    "RequestRefused",
    "ResizeModeName",
    "ServerUnavailable",
    "Task",
    "TaskCanceled",
    "TaskExpired",
    "TaskFailed",
    "TaskNotFound",
    "TransportFault",
    "UnexpectedAnswer",
    "UnknownAction",
    "UnknownKey",
    "WaitTimeout",
]
