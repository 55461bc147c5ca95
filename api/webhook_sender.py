"""Calls webhooks once their tasks have ended. Off unless the operator switches it on."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
from anyio import to_thread

from api.errors import MalformedRequest, StoreUnavailable, TaskStoreError
from api.outage import warn_of
from api.queries import detail_of
from api.service import Service
from api.signing import sign
from api.webhook_addresses import (
    ForbiddenTarget,
    require_allowed,
    resolve,
    webhook_url,
)
from api.webhook_queue import MAX_ATTEMPTS, Webhook, WebhookQueue

logger = logging.getLogger(__name__)

ACTION = "TaskEnded"
POLL_S = 1.0
# A look at a deep queue of tasks that have not ended takes a while: it may take this much in all.
MAX_BUSY_SHARE = 0.02
MAX_CALLS = 32  # at once
TIMEOUT_S = 15.0  # from the name's resolution to the answer's head
STEP_TIMEOUT_S = 10.0
GONE = 410  # the receiver's own word for: do not call again


def accepted_url(service: Service, url: str | None) -> str | None:
    """The URL of a request, if it may have one.

    Raises:
        MalformedRequest: webhooks are off, or may not go there.
    """
    if url is None:
        return None
    if not service.settings.webhooks:
        raise MalformedRequest("WebhookUrl", "this server calls no webhooks")
    try:
        require_allowed(webhook_url(url), service.settings.webhook_networks)
    except ForbiddenTarget as exc:
        raise MalformedRequest("WebhookUrl", str(exc)) from exc
    return url


@contextmanager
def sending_webhooks(service: Service) -> Iterator[None]:
    """Calls webhooks from a thread of its own until the block ends; nothing where they are off."""
    if not service.settings.webhooks:
        yield
        return
    sender = WebhookSender(service)
    thread = threading.Thread(target=sender.run, name="webhooks", daemon=True)
    thread.start()
    try:
        yield
    finally:
        sender.stop()
        thread.join(TIMEOUT_S)


class WebhookSender:
    """Makes the calls that are due, `MAX_CALLS` at once, on an event loop of its own.

    Args:
        service: whose tasks end.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._queue: WebhookQueue = service.webhooks
        self._networks = service.settings.webhook_networks
        self._calls: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()

    def run(self) -> None:
        """Send until `stop`. Blocking."""
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._send_all())

    def stop(self) -> None:
        """Have `run` return; calls that are cut off are made again. Call it from another thread."""
        with suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._stopping.set)

    async def _send_all(self) -> None:
        client = httpx.AsyncClient(
            verify=ssl.create_default_context(),
            trust_env=False,  # a proxy would resolve names anew
            follow_redirects=False,  # they would lead past the guard
            timeout=STEP_TIMEOUT_S,
            # A connection kept for an address must not serve another name on it.
            limits=httpx.Limits(max_keepalive_connections=0),
        )
        async with client:
            while not self._stopping.is_set():
                pause_s = await self._start_due(client)
                try:
                    await asyncio.wait_for(self._stopping.wait(), pause_s)
                except TimeoutError:
                    continue
            for call in self._calls:
                call.cancel()
            await asyncio.gather(*self._calls, return_exceptions=True)

    async def _start_due(self, client: httpx.AsyncClient) -> float:
        """Start calls that are due; seconds to wait before the next look."""
        free = MAX_CALLS - len(self._calls)
        if free == 0:
            return POLL_S
        started = time.monotonic()
        try:
            due = await to_thread.run_sync(self._queue.take, free)
        except TaskStoreError as exc:
            warn_of(logger, "cannot look for due webhooks", exc)
            return POLL_S
        for webhook in due:
            call = asyncio.create_task(self._call(client, webhook))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
        return max(POLL_S, (time.monotonic() - started) / MAX_BUSY_SHARE)

    async def _call(self, client: httpx.AsyncClient, webhook: Webhook) -> None:
        uid, attempts = webhook.task_uid, webhook.attempts
        try:
            body = await to_thread.run_sync(self._body, webhook)
            trouble = None if body is None else await self._post(client, webhook.url, body)
            if trouble is None:
                await to_thread.run_sync(self._queue.remove, uid)
                return
        except StoreUnavailable as exc:
            trouble = str(exc)
        except Exception as exc:  # nobody thought of it: it comes again
            logger.exception("webhook of task %s", uid)
            trouble = repr(exc)
        again = "" if attempts < MAX_ATTEMPTS else ", which was the last"
        logger.warning("webhook of task %s: attempt %d%s: %s", uid, attempts, again, trouble)

    def _body(self, webhook: Webhook) -> bytes | None:
        """What to post; None where the task is forgotten or its key taken back."""
        record = self._service.store.get(webhook.task_uid)
        private_key = None if record is None else self._service.keys.private_key(record.tenant)
        if record is None or private_key is None:
            return None
        fields: dict[str, Any] = {
            "Action": ACTION,
            "PublicKey": record.tenant,
            "Timestamp": int(time.time()),
            "TaskDetail": detail_of(self._service, record.uid, record).model_dump(mode="json"),
        }
        return json.dumps({**fields, "Signature": sign(fields, private_key)}).encode()

    async def _post(self, client: httpx.AsyncClient, url: str, body: bytes) -> str | None:
        """Post once; why it must be done again, None where it need not."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                target = webhook_url(url)
                address = await resolve(target, self._networks)
                host = target.raw_host.decode("ascii")
                headers = {"Host": target.netloc.decode("ascii"), "User-Agent": "Backdrop"}
                async with client.stream(
                    "POST",
                    target.copy_with(host=str(address)),
                    content=body,
                    headers={**headers, "Content-Type": "application/json"},
                    extensions={"sni_hostname": host},  # the name that the certificate must bear
                ) as response:  # whose body is nobody's business, however large
                    ended = response.is_success or response.status_code == GONE
                    return None if ended else f"HTTP status {response.status_code}"
        except TimeoutError:
            return f"no answer within {TIMEOUT_S:g} s"
        except (httpx.HTTPError, OSError, UnicodeError, ForbiddenTarget) as exc:
            return f"{type(exc).__name__}: {exc}"
