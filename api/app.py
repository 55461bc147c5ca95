"""The web application: all wiring, no globals."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from api import event_stream
from api.back_pressure import BackPressure
from api.blobs import BlobStore, BlobUnavailable, for_requests
from api.errors import GATEWAY_FAULT, QueueFull, ServiceUnavailable, StoreUnavailable
from api.event_urls import EventUrls
from api.headers import SECURITY_HEADERS, SecurityHeaders, page_policy
from api.instruments.api import ApiInstruments
from api.instruments.context import current_call
from api.instruments.http import InstrumentedApp
from api.intake import Intake
from api.keys import KeyRing
from api.openapi import STYLE, docs_page, openapi_of
from api.outage import warn_of
from api.queue_positions import QueuePositions
from api.rate_limit import RateLimit
from api.readiness import Readiness
from api.responses import Response as WireResponse
from api.result_urls import base_url, result_urls
from api.routes import router
from api.service import Service
from api.settings import Settings
from api.store import SqlTaskStore
from api.task_watch import TaskWatch
from api.webhook_queue import WebhookQueue
from backdrop import __version__
from engine.registry import Registry
from engine.translate import translator_for

logger = logging.getLogger(__name__)

TIMEOUT = 110
MALFORMED = 230


def create_app(
    settings: Settings, store: SqlTaskStore, blobs: BlobStore, keys: KeyRing, registry: Registry
) -> FastAPI:
    """The application over these parts.

    Args:
        settings: with the port that is really bound, since result URLs name it.
        store: where tasks lie; its secret signs result URLs.
        blobs: where images lie, as opened.
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
    app.add_exception_handler(BlobUnavailable, _unavailable)
    app.add_exception_handler(Exception, _crashed)
    blobs = for_requests(blobs, settings)
    secret = store.secret()
    positions = QueuePositions(store.database)
    back_pressure = BackPressure(store, blobs, settings)
    app.state.service = Service(
        settings=settings,
        store=store,
        blobs=blobs,
        keys=keys,
        registry=registry,
        translator=translator_for(registry.translation),
        urls=result_urls(settings, secret, blobs),
        intake=Intake(settings),
        positions=positions,
        watch=TaskWatch(store.database, positions),
        event_urls=EventUrls(secret, base_url(settings)),
        webhooks=WebhookQueue(store.database),
        back_pressure=back_pressure,
        rate_limit=RateLimit(
            store.database, settings.max_requests_per_s, burst=settings.request_burst
        ),
        readiness=Readiness(settings, store, blobs, has_disk=back_pressure.has_disk),
    )
    instruments = ApiInstruments(settings, store.database)
    app.state.instruments = instruments
    app.add_middleware(InstrumentedApp, metrics=instruments.http, traces=instruments.traces)
    app.add_middleware(SecurityHeaders)
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
    policy = page_policy(STYLE)

    @app.get("/openapi.json", include_in_schema=False)
    def openapi_json() -> JSONResponse:
        return JSONResponse(document)

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(page, headers={"Content-Security-Policy": policy})


def _refused(_request: Request, exc: Exception) -> Response:
    """Answers the server gives before the protocol begins: 404, 405, 408, 413."""
    assert isinstance(exc, HTTPException)
    code = TIMEOUT if exc.status_code == 408 else MALFORMED
    error = WireResponse(RetCode=code, Message=exc.detail)
    return _error(error, exc.status_code, headers=exc.headers)


def _unavailable(_request: Request, exc: Exception) -> Response:
    """A store does not answer a request for an image; `POST /` says so in its own way."""
    if isinstance(exc, StoreUnavailable):
        warn_of(logger, "a result image cannot be given", exc)
    else:
        logger.warning("a result image cannot be given: %s", exc)
    busy = QueueFull()
    error = WireResponse(RetCode=ServiceUnavailable.ret_code, Message=busy.message)
    return _error(error, 503, headers={"Retry-After": str(busy.retry_after_s)})


def _crashed(_request: Request, _exc: Exception) -> Response:
    """Our own fault; the server logs the traceback and the caller learns nothing of it."""
    error = WireResponse(RetCode=GATEWAY_FAULT, Message="Internal error")
    return _error(error, 500, headers=SECURITY_HEADERS)  # sent from outside of all middleware


def _error(
    error: WireResponse, status_code: int, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    current_call().ret_code = error.RetCode
    return JSONResponse(
        error.model_dump(mode="json", exclude_none=True), status_code, headers=headers
    )
