"""Puts the page under /ui of the service."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import shutil

from fastapi import FastAPI

from api.result_urls import base_url, bound_url
from api.settings import Settings
from api.ui.guard import Guard
from api.ui.open_requests import OpenRequests
from api.ui.shelf import Shelf
from api.ui.tickets import Tickets

PATH = "/ui"


class PageNotInstalled(Exception):
    """The page is asked for, but not its library."""

    def __init__(self) -> None:
        super().__init__("setting ui: the page needs Gradio: pip install 'backdrop[ui]'")


def mount_page(app: FastAPI, settings: Settings, secret: bytes) -> OpenRequests:
    """Serve the page.

    It talks to this service by HTTP at the bound address, with nothing but what a visitor enters.

    Args:
        app: of the service; everything but `PATH` stays as it is.
        settings: with the port that is really bound.
        secret: of the store.

    Returns:
        The page's requests, to be ended with the service.

    Raises:
        PageNotInstalled: Gradio is not there.
        OSError: the page's folder cannot be made.
    """
    shelf = Shelf(settings.data_dir / "ui", keep_s=settings.images_keep_s)
    logging.getLogger("httpx").setLevel(
        logging.WARNING
    )  # it logs URLs; those of results are secret
    atexit.register(shutil.rmtree, shelf.folder, ignore_errors=True)
    # Gradio reads these once, as it is imported and as components are made.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(shelf.folder)
    try:
        import gradio as gr  # a second or two, which only those pay who want the page
    except ImportError as exc:
        raise PageNotInstalled from exc

    from api.ui.handlers import Handlers
    from api.ui.page import STYLE, Page
    from api.ui.painting import Painter
    from api.ui.sweep_handlers import SweepHandlers

    painter = Painter(bound_url(settings), base_url(settings), shelf)
    handlers = Handlers(painter, shelf, max_image_pixels=settings.max_image_pixels)
    sweeps = SweepHandlers(
        painter,
        shelf,
        max_image_pixels=settings.max_image_pixels,
        points_per_megapixel_step=settings.points_per_megapixel_step,
    )
    tickets = Tickets(secret)

    async def mount() -> None:
        gr.mount_gradio_app(
            app,
            Page(handlers, sweeps, tickets).blocks,
            PATH,
            footer_links=[],
            run_history=False,  # it would keep what is entered, the private key too
            max_file_size=settings.max_body_bytes,
            enable_monitoring=False,
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
            css_paths=STYLE,
            theme=gr.themes.Default(
                primary_hue="indigo",
                font=["system-ui", "sans-serif"],  # of the visitor's machine, not a font server's
                font_mono=["ui-monospace", "monospace"],
            ),
        )

    asyncio.run(mount())  # without a loop around it Gradio leaves some of its own open
    page = app.routes[-1].app  # type: ignore[attr-defined]
    open_requests = OpenRequests()
    page.add_middleware(
        Guard,
        tickets=tickets,
        shelf=shelf,
        max_body_bytes=settings.max_body_bytes,
        open_requests=open_requests,
    )
    return open_requests
