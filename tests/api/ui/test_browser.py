"""The page in a real browser, against a real server that paints with the embedded model."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.api.test_sub_models import text_width
from tests.api.wire import signature
from tests.engine.lora_files import write_lora

pytest.importorskip("gradio", reason="the extra ui is not installed")
playwright_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ROOT = Path(__file__).resolve().parents[3]
CUP = ROOT / "examples" / "coffee-cup.png"
MODELS = """
default_model: PICPIK General
models:
  - {name: another, path: package:embedded, family: sd1, native_size_px: 256, num_inference_steps: 9}
  - name: PICPIK General
    path: package:embedded
    family: sd1
    native_size_px: 256
    num_inference_steps: 8
sub_models:
  - {name: glow, kind: lora, path: glow.safetensors, default_weight: 0.5}
"""
DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "models.yaml").write_text(MODELS)
    write_lora(folder / "glow.safetensors", width=text_width(), out=128)
    command = [sys.executable, "-m", "backdrop", "serve", "--port", "0", "--key", "me:secret"]
    command += ["--data-dir", str(folder / "data"), "--models", str(folder / "models.yaml")]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | {"BACKDROP_UI": "true"},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert server.stdout is not None
    try:
        url = server.stdout.readline().strip()
        assert server.stdout.readline().strip() == f"Page: {url}/ui"
        yield url
    finally:
        server.terminate()
        server.wait(timeout=30)
        server.stdout.close()
    assert "secret" not in (folder / "log").read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any, base_url: str) -> Iterator[Callable[..., Any]]:
    """Opens the page in a browser of its own, which asks no other host for anything."""
    contexts, asked = [], []

    def open_it(**device: Any) -> Any:
        context = browser.new_context(**(device or DESKTOP))
        contexts.append(context)
        context.on("request", lambda request: asked.append(request.url))
        page = context.new_page()
        page.goto(f"{base_url}/ui/")
        return page

    yield open_it
    for context in contexts:
        context.close()
    foreign = [url for url in asked if not url.startswith((base_url, "data:", "blob:"))]
    assert foreign == []


def connect(page: Any, private_key: str = "secret") -> None:
    page.fill("#public-key input, #public-key textarea", "me")
    page.fill("#private-key input", private_key)
    page.click("#connect")


def upload(page: Any, side_px: int, *, steps: int, images: int = 1) -> None:
    page.set_input_files("#cut-out input[type=file]", CUP)
    page.wait_for_selector("#placements img")
    playwright_api.expect(page.locator("#width input")).to_have_value("600")
    for name in ("width", "height"):
        page.fill(f"#{name} input", str(side_px))
    page.fill("#prompts textarea", "sandy beach\nsunset sky")
    page.fill("#steps input[type=number]", str(steps))
    page.fill("#batch-size input[type=number]", str(images))
    page.press("#batch-size input[type=number]", "Tab")


def pixels(download: Any) -> np.ndarray:
    with Image.open(download.path()) as image:
        return np.asarray(image).astype(int)


def watch(page: Any, until: str) -> list[str]:
    """Presses the button; every new text of the status until one contains `until`."""
    page.evaluate(
        """() => {
            const text = () => document.querySelector("#status .bd-status")?.innerText;
            const before = text();
            window.seen = [];
            const look = () => {
                const now = text();
                if (now && now !== before && window.seen.at(-1) !== now) window.seen.push(now);
            };
            window.observer?.disconnect();
            window.observer = new MutationObserver(look);
            window.observer.observe(document.body,
                {childList: true, subtree: true, characterData: true});
        }"""
    )
    page.click("#generate")
    page.wait_for_function(
        "text => window.seen.at(-1)?.includes(text) || document.querySelector('#status .bd-status.error')",
        arg=until,
        timeout=60_000,
    )
    seen: list[str] = page.evaluate("() => window.seen")
    assert until in seen[-1], seen
    return seen


def test_a_visitor_paints_sees_it_go_and_repeats_it(open_page: Callable[..., Any]):
    page = open_page()
    connect(page)
    upload(page, 64, steps=6, images=2)
    page.click("#model-part > button")
    page.click("#loras input")
    page.get_by_role("option", name="glow").click()
    weight = page.locator(".lora-weight input[type=number]")
    playwright_api.expect(weight).to_have_value("0.5")
    with page.expect_response(lambda response: "queue/join" in response.url):
        weight.fill("-0.25")
        weight.press("Tab")
    page.wait_for_timeout(500)  # a visitor's hand takes longer, too

    seen = watch(page, "Done")
    assert any(re.search(r"step \d+ of 12", text) for text in seen), seen
    thumbnails = page.locator("#gallery button.thumbnail-item")
    playwright_api.expect(thumbnails).to_have_count(2)
    caption = page.locator("#caption")
    playwright_api.expect(caption).to_contain_text("6 steps, 64 x 64")
    first_seed = int(re.findall(r"Seed (\d+)", caption.inner_text())[0])

    page.click("#request > button")
    with page.expect_download() as download:
        page.click("#request-file")
    body = json.loads(Path(download.value.path()).read_text())
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#copy-request")
    playwright_api.expect(page.locator("#copy-request")).to_have_text("Copied")
    copied = page.evaluate("() => navigator.clipboard.readText()")
    assert copied == Path(download.value.path()).read_text()
    assert body["Signature"] == signature(body, "secret")
    assert (body["Seed"], body["PositivePrompts"]) == (first_seed, ["sandy beach", "sunset sky"])
    glow = {"ModelCode": "glow", "InferenceParams": {"LoraWeight": -0.25}}
    assert body["SubModelList"] == [glow]
    playwright_api.expect(page.locator("#python")).to_contain_text("client.submit(")

    thumbnails.nth(1).click()
    playwright_api.expect(caption).to_contain_text(f"Seed {(first_seed + 1) % 2**31}")
    with page.expect_download() as download:
        page.click("#download")
    second = pixels(download.value)
    page.fill("#prompts textarea", "forgotten")
    page.click("#reuse")
    playwright_api.expect(page.locator("#seed input")).to_have_value(str((first_seed + 1) % 2**31))
    playwright_api.expect(page.locator("#prompts textarea")).to_have_value(
        "sandy beach\nsunset sky"
    )
    watch(page, "Done")
    playwright_api.expect(thumbnails).to_have_count(3)
    thumbnails.first.click()
    with page.expect_download() as download:
        page.click("#download")
    again = pixels(download.value)
    assert np.abs(again - second).max() <= 1  # law 3: alone as in its batch
    playwright_api.expect(page.locator("#python")).to_contain_text("-0.25")


def test_a_visitor_cancels(open_page: Callable[..., Any]):
    page = open_page()
    connect(page)
    upload(page, 256, steps=100, images=4)
    page.evaluate(
        "() => setTimeout(function press() { const button = document.querySelector('#cancel');"
        " button ? button.click() : setTimeout(press, 50); }, 50)"
    )
    seen = watch(page, "Canceled")
    assert not any("Done" in text for text in seen)
    assert page.locator("#gallery button.thumbnail-item").count() == 0


def test_keys_live_in_one_tab(open_page: Callable[..., Any]):
    page = open_page()
    connect(page, "wrong")
    playwright_api.expect(page.locator("#door-status .error")).to_contain_text("Signature")
    assert not page.locator("#generate").is_visible()
    connect(page)
    page.wait_for_selector("#generate")
    page.reload()
    page.wait_for_selector("#generate")
    stored = page.evaluate("() => JSON.stringify({...localStorage}) + document.cookie")
    assert "secret" not in stored
    another = page.context.new_page()
    another.goto(page.url)
    another.wait_for_selector("#connect")
    assert another.input_value("#private-key input") == ""
    assert not another.locator("#generate").is_visible()
    page.click("#leave")
    page.wait_for_selector("#connect")
    page.reload()
    page.wait_for_selector("#connect")
    assert not page.locator("#generate").is_visible()


def test_resize_modes_are_chosen_by_their_pictures(open_page: Callable[..., Any]):
    page = open_page()
    connect(page)
    upload(page, 96, steps=6)
    page.locator("#placements button.thumbnail-item").nth(1).click()
    playwright_api.expect(page.get_by_label("CropAndResize").first).to_be_checked()


def test_nothing_is_wider_than_a_phone(open_page: Callable[..., Any]):
    page = open_page(**PHONE)
    connect(page)
    upload(page, 64, steps=6)
    watch(page, "Done")
    page.wait_for_selector("#gallery img")
    page.click("#request > button")
    page.wait_for_selector("#python .cm-content")
    width = page.evaluate("() => document.scrollingElement.scrollWidth")
    assert width <= 390


def test_the_form_begins_with_the_services_default_model(open_page: Callable[..., Any]):
    page = open_page()
    connect(page)
    playwright_api.expect(page.locator("#steps input[type=number]")).to_have_value("8")
    page.click("#model-part > button")
    playwright_api.expect(page.locator("#model input")).to_have_value("PICPIK General")


def open_sweep(page: Any, side_px: int, *, steps: str, seeds: str) -> None:
    """Connects, uploads, and sweeps steps across and seeds down."""
    connect(page)
    upload(page, side_px, steps=6)
    page.get_by_role("tab", name="Sweep").click()
    page.fill("#values-1 textarea, #values-1 input", steps)
    page.fill("#values-2 textarea, #values-2 input", seeds)


def sweep_until(page: Any, text: str) -> None:
    status = page.locator("#sweep-status")
    playwright_api.expect(status).to_contain_text(text, timeout=120_000)


def test_a_visitor_sweeps_two_axes(open_page: Callable[..., Any]):
    page = open_page()
    open_sweep(page, 64, steps="5,7", seeds="1..3")
    start, told = page.locator("#sweep-start"), page.locator("#sweep-told")
    playwright_api.expect(told.locator(".error")).to_contain_text("axis Steps: 5: ")
    playwright_api.expect(start).to_be_disabled()
    page.fill("#values-1 textarea, #values-1 input", "6,7")
    playwright_api.expect(start).to_have_text("Paint 6 pictures for about 6 credits")
    start.click()
    sweep_until(page, "Done: 6 of 6 painted, 6 credits")
    sheet = page.locator("#sheets img")
    playwright_api.expect(sheet).to_have_count(1)
    width = sheet.evaluate("async image => { await image.decode(); return image.naturalWidth; }")
    assert width > 2 * 320
    names = page.locator("#sweep-files a").evaluate_all("links => links.map(each => each.download)")
    assert names == [
        "contact-sheet.png", "report.html", "sweep.csv", "sweep.json", "sweep.zip",
    ]  # fmt: skip
    with page.expect_download() as download:
        page.locator("#sweep-files a").nth(2).click()
    rows = list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))
    assert [(row["Steps"], row["image seed"]) for row in rows] == [
        (steps, seed) for steps in ("6", "7") for seed in ("1", "2", "3")
    ]


def test_the_weight_of_a_lora_is_an_axis(open_page: Callable[..., Any]):
    page = open_page()
    open_sweep(page, 64, steps="6", seeds="1")
    page.click("#axis-1 input")
    page.get_by_role("option", name="lora:glow").click()
    playwright_api.expect(page.locator("#sweep-start")).to_have_text(
        "Paint 3 pictures for about 3 credits"
    )


def test_a_sweep_outlives_a_reload(open_page: Callable[..., Any]):
    page = open_page()
    open_sweep(page, 64, steps="10,11", seeds="1,2")
    page.click("#sweep-start:not([disabled])")
    page.wait_for_selector("#sweep-status :text('of 4 painted')")  # quicker than to expect it
    page.reload()
    page.wait_for_selector("#generate")
    page.get_by_role("tab", name="Sweep").click()
    sweep_until(page, "Interrupted: ")
    page.click("#sweep-go-on")
    sweep_until(page, "Done: 4 of 4 painted")
    playwright_api.expect(page.locator("#sheets img")).to_have_count(1)


def test_a_visitor_cancels_a_sweep(open_page: Callable[..., Any]):
    page = open_page()
    open_sweep(page, 256, steps="100", seeds="1..8")
    page.click("#sweep-start:not([disabled])")
    page.click("#sweep-cancel")
    sweep_until(page, "Canceled: ")
    playwright_api.expect(page.locator("#sweep-go-on")).to_be_visible()
    assert not page.locator("#sweep-cancel").is_visible()


def test_a_sweep_is_no_wider_than_a_phone(open_page: Callable[..., Any]):
    page = open_page(**PHONE)
    open_sweep(page, 64, steps="6,7", seeds="1..3")
    page.click("#sweep-start:not([disabled])")
    sweep_until(page, "Done: 6 of 6")
    page.wait_for_selector("#sheets img")
    assert page.evaluate("() => document.scrollingElement.scrollWidth") <= 390
