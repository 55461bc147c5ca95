"""Log lines as objects, and what must never stand in one."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr

import pytest

from api.instruments.context import about_task, in_call
from api.instruments.logs import LogFormat, set_up_logging
from tests.api.bench import Bench
from tests.api.wire import KEYS, as_base64, generate, png, signed


@contextmanager
def logging_as(process: str, log_format: LogFormat) -> Iterator[io.StringIO]:
    """This process logs as a program of the service does, into the text that is given."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []  # those of pytest would be closed
    try:
        with redirect_stderr(io.StringIO()) as text:
            set_up_logging(process, log_format)
        yield text
    finally:
        root.handlers, root.level = handlers, level


@pytest.fixture
def logged() -> Iterator[Callable[[], str]]:
    """Gives what the API has logged so far."""
    with logging_as("api", "json") as text:
        yield text.getvalue


def lines(text: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_is_one_object_whatever_is_in_it(logged):
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        logging.getLogger("api.x").exception('a "quote", %s\nand a break', "ü")
    (line,) = lines(logged())
    assert (line["level"], line["process"], line["logger"]) == ("error", "api", "api.x")
    assert line["message"] == 'a "quote", ü\nand a break'
    assert line["exception"].endswith("ValueError: first\nsecond")
    assert line["time"].endswith("Z")
    assert "task_uid" not in line
    assert "request_uuid" not in line


def test_a_line_names_the_request_and_the_task_it_is_about(logged):
    logger = logging.getLogger("api.x")
    with in_call() as call:
        call.request_uuid = "r" * 1000
        logger.info("one")
        call.task_uid = "made"
        logger.info("two")
    with about_task("other"):
        logger.info("three")
    logger.info("four")
    one, two, three, four = lines(logged())
    assert one["request_uuid"] == "r" * 128, "a caller does not fill the log"
    assert (two["request_uuid"], two["task_uid"]) == ("r" * 128, "made")
    assert three["task_uid"] == "other"
    assert not {"request_uuid", "task_uid"} & four.keys()


def test_an_accepted_task_joins_its_request_and_its_uid(logged, bench: Bench):
    uid = bench.submit(request_uuid="q-7")
    accepted = [line for line in lines(logged()) if "accepted" in line["message"]]
    (line,) = accepted
    assert (line["request_uuid"], line["task_uid"]) == ("q-7", uid)


def test_no_line_holds_keys_signatures_or_images(logged, bench: Bench):
    logging.getLogger().setLevel(logging.DEBUG)
    image = as_base64(png())
    accepted = signed(generate(ImageList=[image]))
    wrong = {**accepted, "Signature": "0123456789abcdef" * 2}
    for body in (accepted, wrong, signed(generate(ImageList=[image], Seed="x"))):
        bench.caller.post(body)
    bench.store.close()
    database = bench.settings.data_dir / "tasks.sqlite3"
    database.unlink()
    database.mkdir()
    bench.caller.http.post("/", json=signed(generate(ImageList=[image])))

    told = logged()
    assert "the task store is unavailable" in told
    assert '"exception"' in told
    for secret in (*KEYS.values(), accepted["Signature"], wrong["Signature"], image[:40]):
        assert secret not in told


def test_text_lines_name_the_process():
    with logging_as("supervisor", "text") as text:
        logging.getLogger("api.x").info("hello")
    assert text.getvalue().rstrip().endswith("supervisor INFO hello")
