"""The web application: all wiring, no globals."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from api import event_stream
from api.blobs import BlobStore
from api.errors import QueueFull, ServiceUnavailable, StoreUnavailable
from api.event_urls import EventUrls
from api.intake import Intake
from api.keys import KeyRing
from api.openapi import docs_page, openapi_of
from api.queue_positions import QueuePositions
from api.responses import Response as WireResponse
from api.result_urls import ResultUrls, base_url
from api.routes import router
from api.service import Service
from api.settings import Settings
from api.store import SqlTaskStore
from api.task_watch import TaskWatch
from api.webhook_queue import WebhookQueue
from backdrop import __version__
from engine.registry import Registry

GATEWAY_FAULT = 130


def create_app(
    settings: Settings, store: SqlTaskStore, blobs: BlobStore, keys: KeyRing, registry: Registry
) -> FastAPI:
    """The application over these parts.

    Args:
        settings: with the port that is really bound, since result URLs name it.
        store: where tasks lie; its secret signs result URLs.
        blobs: where images lie.
        keys: of the callers.
        registry: models a request may name.
    """
    app = FastAPI(
        title="Backdrop",
        version=__version__,
        description="Paints backgrounds around product cut-outs; speaks the PICPIK protocol.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(StoreUnavailable, _unavailable)
    app.add_exception_handler(Exception, _crashed)
    secret = store.secret()
    positions = QueuePositions(store.database)
    app.state.service = Service(
        settings=settings,
        store=store,
        blobs=blobs,
        keys=keys,
        registry=registry,
        urls=ResultUrls(secret, base_url(settings)),
        intake=Intake(settings),
        positions=positions,
        watch=TaskWatch(store.database, positions),
        event_urls=EventUrls(secret, base_url(settings)),
        webhooks=WebhookQueue(store.database),
    )
    app.include_router(router)
    app.include_router(event_stream.router)
    if settings.docs:
        _serve_docs(app)
    if settings.ui:
        from api.ui.mount import mount_page  # brings Gradio

        app.state.page_requests = mount_page(app, settings, secret)
    return app


def _serve_docs(app: FastAPI) -> None:
    document = openapi_of(app)
    page = docs_page(document)

    @app.get("/openapi.json", include_in_schema=False)
    def openapi_json() -> JSONResponse:
        return JSONResponse(document)

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(page)


def _refused(_request: Request, exc: Exception) -> Response:
    """Answers the server gives before the protocol begins: 404, 405, 413."""
    assert isinstance(exc, HTTPException)
    error = WireResponse(RetCode=230, Message=exc.detail)
    return _error(error, exc.status_code, headers=exc.headers)


def _unavailable(_request: Request, _exc: Exception) -> Response:
    """The store does not answer a request for an image; `POST /` says so in its own way."""
    busy = QueueFull()
    error = WireResponse(RetCode=ServiceUnavailable.ret_code, Message=busy.message)
    return _error(error, 503, headers={"Retry-After": str(busy.retry_after_s)})


def _crashed(_request: Request, _exc: Exception) -> Response:
    """Our own fault; the server logs the traceback and the caller learns nothing of it."""
    return _error(WireResponse(RetCode=GATEWAY_FAULT, Message="Internal error"), 500)


def _error(
    error: WireResponse, status_code: int, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    return JSONResponse(
        error.model_dump(mode="json", exclude_none=True), status_code, headers=headers
    )
