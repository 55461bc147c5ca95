"""Behaviours of GenerateBackgrounds: trying them makes a task, and so may cost credits."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterator
from typing import Any

from PIL import Image, ImageChops, ImageDraw

from api.doctor.finding import Finding
from api.doctor.rules import DETAIL_TYPES, LEGACY_TYPES
from api.doctor.talk import Body, Differs, Rule, Talk, expect, expect_refusal, expect_types

SIDE_PX = 64
SEED = 7
TASK_TIMEOUT_S = 600.0
POLL_S = 0.5
STATUSES = ("Queuing", "Running", "Finished", "Error")


def _item() -> Image.Image:
    """A red disc with a hard edge in a transparent field."""
    image = Image.new("RGBA", (SIDE_PX, SIDE_PX))
    ImageDraw.Draw(image).ellipse((16, 16, 48, 48), fill=(200, 30, 40, 255))
    return image


def _fields(**changes: Any) -> Body:
    """The smallest request there is: 64x64 pixels, 6 steps, one image."""
    file = io.BytesIO()
    _item().save(file, "PNG")
    fields = {
        "MainModel": {"InferenceParams": {"Steps": 6}},
        "PositivePrompts": ["blue sky"],
        "TranslatePrompts": False,
        "TransparentForeground": {"ImageIndex": 0},
        "Seed": SEED,
        "Width": SIDE_PX,
        "Height": SIDE_PX,
        "ImageList": [base64.b64encode(file.getvalue()).decode()],
        **changes,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _refused(ret_code: int, named: str, **changes: Any) -> Rule:
    def check(talk: Talk) -> None:
        expect_refusal(talk.ask("GenerateBackgrounds", **_fields(**changes)), ret_code, named)

    return Rule(f"{ret_code} names {named}", check)


REFUSALS = (
    _refused(220, "TransparentForeground", TransparentForeground=None),
    _refused(220, "ImageList", ImageList=None),
    _refused(230, "Width", Width=63),
    _refused(230, "Seed", Seed=2**31),
    _refused(230, "BatchSize", BatchSize=17),
    _refused(230, "ImageList", ImageList=["bm90IGFuIGltYWdl"]),
    _refused(230, "ImageIndex", TransparentForeground={"ImageIndex": 1}),
    _refused(1202, "doctor-model", MainModel={"ModelCode": "doctor-model"}),
)


def paid_findings(talk: Talk) -> Iterator[Finding]:
    """Refusals first, then one task from its TaskUID to its picture."""
    for rule in REFUSALS:
        yield rule.judge(talk)
    task: dict[str, Any] = {}

    def submit(talk: Talk) -> str:
        answer = talk.call("GenerateBackgrounds", **_fields())
        expect_types("the answer", answer, {"TaskUID": str})
        task["uid"] = answer["TaskUID"]
        return str(answer["TaskUID"])

    def wait(talk: Talk) -> str:
        task["detail"] = _ended(talk, task["uid"])
        return f"{task['detail']['ConsumeApiPoint']} points"

    yield (made := Rule("GenerateBackgrounds gives a TaskUID at once", submit).judge(talk))
    if "uid" not in task:
        return
    yield Rule("its states are the four, the last one Finished", wait).judge(talk)
    if "detail" not in task:
        return
    detail = task["detail"]
    for rule in (
        Rule("the finished task has its Seed, its Action and one URL", lambda _: _shape(detail)),
        Rule("the URL gives an image of the size asked", lambda talk: _picture(talk, detail)),
        Rule("the opaque item keeps its pixels", lambda talk: _kept(talk, detail)),
        Rule("the older queries tell of it too", lambda talk: _older(talk, made.detail, detail)),
    ):
        yield rule.judge(talk)


def _ended(talk: Talk, uid: str) -> Body:
    deadline = time.monotonic() + TASK_TIMEOUT_S
    while time.monotonic() < deadline:
        [detail] = talk.call("ListTasksDetails", TaskUIDList=[uid])["TaskDetailList"]
        expect_types("TaskDetail", detail, DETAIL_TYPES)
        status = detail["Status"]
        if status not in STATUSES:
            raise Differs(f"Status {status!r} is none of {', '.join(STATUSES)}")
        if status == "Error":
            raise Differs(f"Error {detail['ErrorCode']}: {detail['ErrorMassage']}")
        if status == "Finished":
            return dict(detail)
        time.sleep(POLL_S)
    raise Differs(f"not ended after {TASK_TIMEOUT_S:g} s")


def _shape(detail: Body) -> None:
    expect("Seed", detail["Seed"], SEED)
    expect("Action", detail["Action"], "GenerateBackgrounds")
    expect("length of ImgList", len(detail["ImgList"]), 1)
    expect("ErrorCode", detail["ErrorCode"], 0)


def _download(talk: Talk, detail: Body) -> Image.Image:
    response = talk.http.get(detail["ImgList"][0])
    expect("HTTP status", response.status_code, 200)
    try:
        return Image.open(io.BytesIO(response.content)).convert("RGB")
    except OSError as exc:
        raise Differs(f"expected an image: {exc}") from exc


def _picture(talk: Talk, detail: Body) -> None:
    expect("size", _download(talk, detail).size, (SIDE_PX, SIDE_PX))


def _kept(talk: Talk, detail: Body) -> None:
    item = _item()
    difference = ImageChops.difference(_download(talk, detail), item.convert("RGB"))
    inside = Image.composite(difference, Image.new("RGB", item.size), item.getchannel("A"))
    if inside.getbbox() is not None:
        raise Differs(f"they differ within {inside.getbbox()}")


def _older(talk: Talk, uid: str, detail: Body) -> None:
    answer = talk.call("GetGenerateTaskDetail", TaskUID=uid)
    expect_types("the answer", answer, LEGACY_TYPES)
    expect("TaskStatus", answer["TaskStatus"], "Finished")
    expect("FinalPictureUrls", answer["FinalPictureUrls"], detail["ImgList"])
