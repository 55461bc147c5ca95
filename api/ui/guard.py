"""What of Gradio's HTTP surface is reachable, by whom, and with which headers it answers."""

from __future__ import annotations

import re
from http.cookies import CookieError, SimpleCookie

from anyio import to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.ui.open_requests import OpenRequests
from api.ui.shelf import Shelf
from api.ui.tickets import COOKIE, Tickets

# What the page itself uses. The rest of Gradio (its proxy, logins, run history, monitoring, API
# documentation) does not exist here.
_OPEN = re.compile(
    r"|/|/(config|theme\.css|robots\.txt|manifest\.json|favicon\.ico)|/(assets|static|svelte)/.+"
    r"|/gradio_api/(startup-events|app_id|queue/join|queue/data|cancel|reset|upload|upload_progress"
    r"|heartbeat/[0-9a-z]+|file=.+)"
)
_STRANGERS_BODY_BYTES = 2**16  # enough to show a key pair

# Gradio writes its configuration into an inline script and makes functions of its event texts.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Guard:
    """ASGI middleware around the mounted Gradio application.

    Args:
        app: the application.
        tickets: a valid one in the cookie lets bodies be larger than a key pair needs.
        shelf: uploads are refused while it is full.
        max_body_bytes: largest body with a ticket.
        open_requests: hears of each request.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        tickets: Tickets,
        shelf: Shelf,
        max_body_bytes: int,
        open_requests: OpenRequests,
    ) -> None:
        self._app = app
        self._tickets = tickets
        self._shelf = shelf
        self._max_body_bytes = max_body_bytes
        self._open_requests = open_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or has the application answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        is_streaming = False

        async def send_strictly(message: Message) -> None:
            nonlocal is_streaming
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            is_streaming = message["type"] == "http.response.start" or message.get(
                "more_body", False
            )
            await send(message)

        refusal = await self._refusal(scope)
        with self._open_requests.holding():
            await (refusal or self._app)(scope, receive, send_strictly)
        if is_streaming:  # stopped in the middle
            await send({"type": "http.response.body"})

    async def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if not _OPEN.fullmatch(path):
            return PlainTextResponse("Not found", 404)
        if scope["method"] in ("GET", "HEAD"):
            return None
        headers = Headers(scope=scope)
        length = headers.get("content-length", "")
        if not length.isdecimal():
            return PlainTextResponse("Content-Length required", 411)
        has_ticket = self._tickets.is_valid(_ticket(headers))
        if int(length) > (self._max_body_bytes if has_ticket else _STRANGERS_BODY_BYTES):
            return PlainTextResponse("Too large", 413)
        if path.endswith("/upload"):
            if not has_ticket:
                return PlainTextResponse("Connect first", 403)
            if not await to_thread.run_sync(self._shelf.has_room):
                return PlainTextResponse("No room for uploads, try again later", 507)
        return None


def _ticket(headers: Headers) -> str:
    try:
        cookies = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return cookies[COOKIE].value if COOKIE in cookies else ""
