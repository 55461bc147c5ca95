"""Request bodies on their way in: how large, how much in all, how many worked on at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import HTTPException, Request

from api.errors import QueueFull
from api.process import num_cores
from api.settings import Settings

SMALL_BODY_BYTES = 64 * 2**10

Result = TypeVar("Result")


class Intake:
    """Keeps uploads from taking all memory and all threads; small bodies (polls) always pass.

    An upload is worked on in one of as many threads as there are cores, since decoding its images
    keeps one busy. The shared pool is left to what answers at once. Use it in the event loop only.

    Args:
        settings: the limits on one body and on all of them.
    """

    def __init__(self, settings: Settings) -> None:
        self._max_body_bytes = settings.max_body_bytes
        self._max_bytes = settings.max_bodies_in_flight_bytes
        self._grace_s = settings.upload_grace_s
        self._min_bytes_per_s = settings.min_upload_bytes_per_s
        self._bytes = 0  # of the uploads that are being received or worked on
        self._uploads = CapacityLimiter(max(2, num_cores()))

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytearray]:
        """The request's body, which counts as in flight until the block ends.

        What still arrives of a body that is refused is dropped as it comes.

        Raises:
            HTTPException: 413 as soon as it is declared or turns out to be larger than the limit;
                408 once it came too slowly.
            QueueFull: together with the others in flight it would be too much.
            ClientDisconnect: it did not arrive whole.
        """
        too_large = HTTPException(413, f"The body is larger than {self._max_body_bytes} bytes")
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self._max_body_bytes:
            raise too_large
        body = bytearray()
        counted = 0
        try:
            async for chunk in self._in_time(request.stream()):
                body += chunk
                if len(body) > self._max_body_bytes:
                    raise too_large
                if len(body) > SMALL_BODY_BYTES:
                    self._bytes += len(body) - counted
                    counted = len(body)
                    if self._bytes > self._max_bytes:
                        raise QueueFull
            yield body
        finally:
            self._bytes -= counted

    async def _in_time(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """`chunks` while they keep up the rate: slow bodies would fill what may be in flight."""
        slow = HTTPException(408, "The body comes too slowly", headers={"Connection": "close"})
        deadline = asyncio.get_running_loop().time() + self._grace_s
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    chunk = await anext(chunks, None)
            except TimeoutError:
                raise slow from None
            if chunk is None:
                return
            yield chunk
            deadline += len(chunk) / self._min_bytes_per_s

    async def work(self, function: Callable[[bytearray], Result], body: bytearray) -> Result:
        """`function(body)` in a thread; an upload waits for its turn, a small body does not."""
        limiter = self._uploads if len(body) > SMALL_BODY_BYTES else None
        return await to_thread.run_sync(function, body, limiter=limiter)
