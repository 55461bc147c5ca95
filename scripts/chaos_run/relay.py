"""A port of its own that leads to a server, until the way is cut or falls silent."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

_CHUNK = 65536
Address = tuple[str, int] | str  # of TCP, or the path of a Unix socket
Pipe = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Relays:
    """All relays of a run, on one thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._all: list[Relay] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="relays", daemon=True)
        self._thread.start()

    def add(self, lead_to: Callable[[], Address]) -> Relay:
        """A relay to where `lead_to` says at each connection."""
        relay = Relay(self._loop, lead_to)
        self.call(relay.listen())
        self._all.append(relay)
        return relay

    def call(self, coroutine: Any) -> None:
        """Waits for what runs on the relays' thread."""
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def close(self) -> None:
        """Ends all of them."""
        self.call(self._cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _cancel_all(self) -> None:
        for relay in self._all:
            relay.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.01)  # transports that were aborted close their sockets in the loop


class Relay:
    """One way to a server. `listen` runs on the loop, the rest may be called from anywhere."""

    def __init__(self, loop: asyncio.AbstractEventLoop, lead_to: Callable[[], Address]) -> None:
        self.port = 0
        self._loop = loop
        self._lead_to = lead_to
        self._is_cut = False
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._may_pass = asyncio.Event()
        self._may_pass.set()

    async def listen(self) -> None:
        """Starts to accept connections."""
        self._server = await asyncio.start_server(self._lead, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Accept no more; on the loop."""
        if self._server is not None:
            self._server.close()

    def cut(self) -> None:
        """Break all connections off and refuse new ones."""
        self._loop.call_soon_threadsafe(self._cut)

    def silence(self) -> None:
        """Let nothing pass, as if every packet were dropped."""
        self._loop.call_soon_threadsafe(self._may_pass.clear)

    def mend(self) -> None:
        """Let everything pass again."""
        self._loop.call_soon_threadsafe(self._mend)

    def _cut(self) -> None:
        self._is_cut = True
        for writer in self._open:
            writer.transport.abort()

    def _mend(self) -> None:
        self._is_cut = False
        self._may_pass.set()

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        self._open.add(writer)
        other: asyncio.StreamWriter | None = None
        try:
            with contextlib.suppress(OSError):
                there, other = await self._connect()
                self._open.add(other)
                await asyncio.gather(self._pump(reader, other), self._pump(there, writer))
        finally:
            for each in (writer, other):
                if each is not None:
                    self._open.discard(each)
                    each.transport.abort()

    async def _connect(self) -> Pipe:
        address = self._lead_to()
        if isinstance(address, str):
            return await asyncio.open_unix_connection(address)
        return await asyncio.open_connection(*address)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._may_pass.wait()
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()
