"""The running server: HTTP in one thread, supervisors kept by the main thread, until a signal."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.blobs import open_blobs
from api.fleet import Fleet
from api.http_protocol import TimedH11Protocol
from api.instruments.api import ApiInstruments
from api.instruments.endpoint import metrics_endpoint
from api.key_cipher import key_cipher
from api.keys import KeyRing
from api.readiness import Readiness
from api.result_urls import bound_url
from api.settings import Settings
from api.store import open_store
from api.supervisor import run_supervisor
from api.ui.mount import PATH
from api.webhook_sender import sending_webhooks
from engine.registry import load_registry

logger = logging.getLogger(__name__)

POLL_S = 0.1
GRACE_S = 10  # requests in flight may end within it
BACKLOG = 2048


def serve(settings: Settings, *, devices: Sequence[str], say: Callable[[str], object]) -> None:
    """Serve until SIGTERM or SIGINT. Call it in the main thread.

    Args:
        settings: of the service; port 0 picks a free one.
        devices: one supervisor runs on each; none for an API process alone.
        say: gets the base URL once connections are accepted, and after it the key pair that a
            first start makes, both halves once and never again, and a line on each model whose
            files are damaged.

    Raises:
        RegistryError: models.yaml cannot be used.
        OSError: the address cannot be listened on, or the data folder cannot be used.
        TaskStoreError: the task store cannot be used.
        PageNotInstalled: the page is wanted, but its library is not there.
        RuntimeError: the HTTP server ended by itself.
    """
    registry = load_registry(settings.models)
    with ExitStack() as stack:
        listener = stack.enter_context(listen(settings.host, settings.port))
        settings = settings.model_copy(update={"port": listener.getsockname()[1]})
        store = open_store(settings)
        stack.callback(store.close)
        keys = KeyRing(store.database, settings.keys, key_cipher(settings))
        if num_sealed := keys.seal_all():
            logger.info("%d private keys are sealed with the current secret now", num_sealed)
        fleet = Fleet(settings, devices)
        stack.callback(fleet.stop)
        fleet.tend()  # the workers' libraries and models take longest: they load beside what follows
        app = create_app(settings, store, open_blobs(settings), keys, registry)
        instruments: ApiInstruments = app.state.instruments
        stack.callback(instruments.close)
        stack.enter_context(
            metrics_endpoint(instruments.registry, settings.metrics_host, settings.metrics_port)
        )
        readiness: Readiness = app.state.service.readiness
        readiness.runs_workers = bool(devices)
        stopping = stack.enter_context(stop_signals())
        http = stack.enter_context(http_server(app, listener))
        stack.callback(app.state.service.watch.close)  # else its streams use up the grace
        if settings.ui:
            stack.callback(app.state.page_requests.end)  # likewise
        stack.enter_context(sending_webhooks(app.state.service))
        say(bound_url(settings))
        if settings.ui:
            say(f"Page: {bound_url(settings)}{PATH}")
        if keys.is_empty():
            tell_new_pair(keys, label="first start", say=say)
        for name, trouble in registry.unusable.items():
            say(f"model {name!r} cannot be used: {trouble}")
        stack.callback(fleet.stop)  # and once more here: clients still poll while it drains
        stack.callback(readiness.drain)  # comes first
        while not stopping():
            if not http.is_alive():
                raise RuntimeError("the HTTP server ended by itself; its log says why")
            fleet.tend()
            time.sleep(POLL_S)


def work(settings: Settings, *, devices: Sequence[str]) -> None:
    """Run supervisors alone, one a device, until SIGTERM or SIGINT. Call it in the main thread.

    Raises:
        RegistryError: models.yaml cannot be used.
        OSError: the data folder cannot be used.
        TaskStoreError: the task store cannot be used.
    """
    load_registry(settings.models)
    if len(devices) == 1:  # in this process: a cluster manager sees it end, and restarts it
        run_supervisor(settings, devices[0])
        return
    open_store(settings).close()  # what cannot be used is told here and not by every supervisor
    with ExitStack() as stack:
        stopping = stack.enter_context(stop_signals())
        fleet = Fleet(settings, devices)
        stack.callback(fleet.stop)
        while not stopping():
            fleet.tend()
            time.sleep(POLL_S)


def tell_new_pair(keys: KeyRing, *, label: str, say: Callable[[str], object]) -> None:
    """Make a key pair and show it: the only time the private key is shown."""
    public, private = keys.add(label)
    say(f"PublicKey: {public}")
    say(f"PrivateKey: {private}")


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 picks a free one.

    Raises:
        OSError: no such address, not permitted, or in use.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Gives a function that tells whether SIGTERM or SIGINT came.

    Afterwards, while everything is being stopped, a second one ends the process at once.
    """
    came: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda n, _frame: came.append(n)) for number in numbers]

    def stopping() -> bool:
        if came:
            for number in numbers:
                signal.signal(number, signal.SIG_DFL)
        return bool(came)

    try:
        yield stopping
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def http_server(app: FastAPI, listener: socket.socket) -> Iterator[threading.Thread]:
    """Serves `app` in a thread of its own, which is given once it accepts connections."""
    config = uvicorn.Config(
        app,
        loop="asyncio",  # not whatever happens to be installed: every machine runs the same
        http=TimedH11Protocol,
        log_config=None,
        access_log=False,  # the paths of result URLs are secrets
        server_header=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=GRACE_S,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), name="http", daemon=True)
    thread.start()
    try:
        while thread.is_alive() and not server.started:
            time.sleep(0.005)
        yield thread
    finally:
        server.should_exit = True
        thread.join()
