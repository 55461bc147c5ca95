"""The same client for an event loop: asyncio or trio."""

from __future__ import annotations

import os
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self, Unpack

import anyio
import httpx
from anyio import to_thread

from backdrop.client.files import write_files
from backdrop.client.flows import (
    MAX_RETRIES,
    TIMEOUT_S,
    Conversation,
    Ended,
    Flow,
    Follow,
    Pause,
    Reply,
    Result,
    Send,
    Step,
    advance,
)
from backdrop.client.options import GenerateOptions, ImageSource
from backdrop.client.replies import Balance, ModelList, Task
from backdrop.client.waiting import OnProgress


class AsyncClient:
    """`Client` with coroutines; see there for arguments, methods and errors."""

    def __init__(
        self,
        base_url: str,
        public_key: str,
        private_key: str,
        *,
        timeout_s: float = TIMEOUT_S,
        max_retries: int = MAX_RETRIES,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._talk = Conversation(base_url, public_key, private_key, max_retries=max_retries)
        self._owns_http = http is None
        self._http = httpx.AsyncClient(timeout=timeout_s) if http is None else http

    async def aclose(self) -> None:
        """Close the connections."""
        if self._owns_http:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self.aclose()

    async def call(self, action: str, **fields: Any) -> dict[str, Any]:
        """As `Client.call`."""
        return await self._run(self._talk.call(action, fields))

    async def submit(self, foreground: ImageSource, **options: Unpack[GenerateOptions]) -> str:
        """As `Client.submit`."""
        return await self._run(self._talk.submit(foreground, options))

    async def task(self, uid: str) -> Task:
        """As `Client.task`."""
        return await self._run(self._talk.task(uid))

    async def tasks(self, uids: Sequence[str]) -> list[Task]:
        """As `Client.tasks`."""
        return await self._run(self._talk.tasks(uids))

    async def wait(
        self,
        uid: str,
        *,
        on_progress: OnProgress | None = None,
        timeout_s: float | None = None,
    ) -> Task:
        """As `Client.wait`; `on_progress` is a plain function and must not block."""
        return await self._run(self._talk.wait(uid, on_progress=on_progress, timeout_s=timeout_s))

    async def images(self, task: Task) -> list[bytes]:
        """As `Client.images`."""
        return await self._run(self._talk.images(task))

    async def save(self, task: Task, folder: str | os.PathLike[str] = ".") -> list[Path]:
        """As `Client.save`."""
        files = await self.images(task)
        return await to_thread.run_sync(write_files, task, files, Path(folder))

    async def cancel(self, *uids: str) -> list[Task]:
        """As `Client.cancel`."""
        return await self._run(self._talk.cancel(uids))

    async def previews(self, uid: str) -> dict[int, bytes]:
        """As `Client.previews`."""
        return await self._run(self._talk.previews(uid))

    async def running(self) -> list[str]:
        """As `Client.running`."""
        return await self._run(self._talk.running())

    async def models(self) -> ModelList:
        """As `Client.models`."""
        return await self._run(self._talk.models())

    async def balance(self) -> Balance:
        """As `Client.balance`."""
        return await self._run(self._talk.balance())

    async def _run(self, flow: Flow[Result]) -> Result:
        # The first step may read, encode and sign images: in a thread.
        step = await to_thread.run_sync(advance, flow, None)
        while not isinstance(step, Ended):
            step = advance(flow, await self._do(step))
        return step.result

    async def _do(self, step: Step) -> Reply:
        try:
            match step:
                case Pause():
                    await anyio.sleep(step.seconds)
                case Follow():
                    await self._follow(step)
                case Send():
                    return await self._http.request(step.method, step.url, json=step.json)
        except httpx.TransportError as exc:
            return exc
        return None

    async def _follow(self, step: Follow) -> None:
        async with self._http.stream("GET", step.url, timeout=step.silence_s) as response:
            if response.status_code == HTTPStatus.OK:
                async for chunk in response.aiter_bytes():
                    if step.hear(chunk):
                        return
