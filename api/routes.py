"""HTTP: the one endpoint of the protocol, result images, and probes (sections 1, 7 and 10)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from api.actions import ACTIONS
from api.blobs import BlobNotFound, BlobUnavailable
from api.errors import (
    ApiError,
    MalformedRequest,
    MissingAction,
    MissingParameter,
    QueueFull,
    StoreUnavailable,
    UnknownAction,
    UnknownUser,
)
from api.instruments.context import current_call
from api.outage import warn_of
from api.protocol import Envelope
from api.rawjson import JsonValue, parse_object, plain
from api.responses import Response as WireResponse
from api.service import Service
from api.signing import signature_name, verify
from api.tasks import TaskOutput
from api.wire_types import validate

logger = logging.getLogger(__name__)
router = APIRouter()


def the_service(request: Request) -> Service:
    """The service that `create_app` wired."""
    service: Service = request.app.state.service
    return service


TheService = Annotated[Service, Depends(the_service)]


@router.post("/", include_in_schema=False)  # described by api.openapi, one schema an action
async def call(request: Request, service: TheService) -> Response:
    """Answers one signed request, whatever its action."""
    try:
        async with service.intake.body(request) as body:
            return await service.intake.work(partial(answer, service), body)
    except ClientDisconnect:
        return Response(status_code=400)  # nobody reads it
    except QueueFull as exc:
        return _refusal(exc, {})


def answer(service: Service, body: bytes | bytearray) -> Response:
    """The response to a body. Blocking: decodes images, hashes, reads and writes the store."""
    params: Mapping[str, JsonValue] = {}
    try:
        params = parse_object(body)
        _note(params)
        return _json(perform(service, params), params)
    except ApiError as exc:
        return _refusal(exc, params)
    except StoreUnavailable as exc:
        warn_of(logger, "a request is turned away: the task store is unavailable", exc)
        return _refusal(QueueFull(), params)
    except BlobUnavailable as exc:
        logger.warning("a request is turned away: the blob store is unavailable: %s", exc)
        return _refusal(QueueFull(), params)
    except MemoryError:
        logger.exception("not enough memory for a request")
        return _refusal(QueueFull(), params)


def _note(params: Mapping[str, JsonValue]) -> None:
    call = current_call()
    action, request_uuid = params.get("Action"), params.get("request_uuid")
    call.action = action if isinstance(action, str) else ""
    call.request_uuid = request_uuid if isinstance(request_uuid, str) else ""


def perform(service: Service, params: Mapping[str, JsonValue]) -> WireResponse:
    """Checks a request in the protocol's order and carries it out.

    The order tells nothing about actions to the unsigned: 160, 170, 172, 171, then 153, 161, 220
    and 230.

    Raises:
        ApiError: the first thing that is wrong.
    """
    name = _text(params, "Action", MissingAction())
    tenant = authenticate(service, params)
    service.rate_limit.take(tenant)
    if name not in ACTIONS:
        raise UnknownAction(name)
    action = ACTIONS[name]
    validate(Envelope, {**params, "Signature": params[signature_name(params)]})
    return action.handle(service, tenant, validate(action.request, plain(dict(params))))


def authenticate(service: Service, params: Mapping[str, JsonValue]) -> str:
    """The caller's public key, once the signature is proven.

    Raises:
        ApiError: 170, 172 or 171.
    """
    signature_name(params)
    tenant = _text(params, "PublicKey", MissingParameter("PublicKey"))
    private_key = service.keys.private_key(tenant)
    if private_key is None:
        raise UnknownUser
    verify(params, private_key)
    return tenant


def _text(params: Mapping[str, JsonValue], name: str, missing: ApiError) -> str:
    value = params.get(name)
    if value is None or value == "":
        raise missing
    if not isinstance(value, str):
        raise MalformedRequest(name, "Input should be a valid string")
    return value


def _refusal(refusal: ApiError, params: Mapping[str, JsonValue]) -> JSONResponse:
    after_s = refusal.retry_after_s
    headers = {} if after_s is None else {"Retry-After": str(after_s)}
    error = WireResponse(RetCode=refusal.ret_code, Message=refusal.message)
    return _json(error, params, headers=headers)


def _json(
    response: WireResponse,
    params: Mapping[str, JsonValue],
    *,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """`response` with the request's Action and request_uuid."""
    current_call().ret_code = response.RetCode
    echoed = {name: params.get(name) for name in ("Action", "request_uuid")}
    texts = {name: value for name, value in echoed.items() if isinstance(value, str)}
    content = response.model_dump(mode="json", exclude_none=True)
    return JSONResponse({**content, **texts}, headers=headers)


@router.head("/results/{uid}/{image_index}.png", include_in_schema=False)
@router.get(
    "/results/{uid}/{image_index}.png",
    tags=["results"],
    response_class=Response,
    responses={
        200: {"content": {"image/png": {}}, "description": "The image."},
        404: {"description": "No such image, or no longer."},
        503: {"description": "The stores do not answer: try again later."},
    },
)
def result_image(
    uid: str,
    image_index: str,
    service: TheService,
    request: Request,
    expires: str = "",
    signature: str = "",
) -> Response:
    """A result image, by the URL that the task's detail gives."""
    gone = HTTPException(404, "No such image, or no longer")
    if not service.urls.is_valid(uid, image_index, expires=expires, signature=signature):
        raise gone
    output = _output(service, uid, int(image_index))
    if output is None:
        raise gone
    headers = {"ETag": f'"{output.sha256}"', "Cache-Control": "private"}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    try:
        png = service.blobs.get(output.blob_key)
    except BlobNotFound:
        raise gone from None
    return Response(png, media_type=output.mime, headers=headers)


def _output(service: Service, uid: str, image_index: int) -> TaskOutput | None:
    """The image, while its owner's key is in force."""
    record = service.store.get(uid)
    if record is None or service.keys.private_key(record.tenant) is None:
        return None
    return next((each for each in record.outputs if each.image_index == image_index), None)


@router.get("/healthz", tags=["probes"])
@router.get("/livez", tags=["probes"])
def livez() -> dict[str, Any]:
    """Whether the process answers."""
    return {"alive": True}


@router.get("/readyz", tags=["probes"], responses={503: {"description": "Not ready."}})
def readyz(service: TheService) -> JSONResponse:
    """Whether new tasks are taken and run, and of each part whether it is fit."""
    content = service.readiness.look()
    return JSONResponse(content, status_code=200 if content["ready"] else 503)
