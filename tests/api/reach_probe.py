"""A program: hostile texts in every field of every action, and what the process then touches.

It prints what Python's audit events tell, as JSON. A program of its own, since an audit hook stays
for as long as its process.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.api.bench import QUERIES, Bench
from tests.api.wire import as_base64, generate, png, signed

MARKER = "zqx-marker"
HOSTILE = [
    f"../../../../../../tmp/{MARKER}",
    f"/etc/{MARKER}",
    f"..%2f..%2f{MARKER}",
    f"file:///{MARKER}",
    f"http://{MARKER}.example/x.png",
    f"https://127.0.0.1:9/{MARKER}",
    f"\\\\{MARKER}\\share",
    f"package:{MARKER}",
    f"sqlite:////tmp/{MARKER}",
    f"'; ATTACH DATABASE '/tmp/{MARKER}' AS x; --",
]
WATCHED = ("open", "os.", "shutil.", "socket.", "subprocess.", "pty.", "urllib.", "sqlite3.")
events: list[tuple[str, str]] = []
opened: set[str] = set()
watching = False


def hook(event: str, arguments: tuple[Any, ...]) -> None:
    if watching and event.startswith(WATCHED):
        events.append((event, repr(arguments)))
        if event == "open" and not isinstance(arguments[0], int):  # a descriptor has a path already
            opened.add(os.fsdecode(arguments[0]))


def bodies(text: str) -> Iterator[dict[str, Any]]:
    """Requests with `text` wherever a text goes."""
    model = {"ModelCode": text, "Name": text, "TriggerWordList": [text]}
    images = [as_base64(png()), as_base64(png(80, 60, "RGB"))]
    uses: list[dict[str, Any]] = [
        {"MainModel": model},
        {"SubModelList": [model]},
        {"PositivePrompts": [text], "NegativePrompts": [text]},
        {"ImageList": [text]},
        {"ImageList": [images[0], text], "BackgroundImage2Image": {"ImageIndex": 1}},
        {"ImageList": [f"data:image/png;base64,{text}"]},
        {"ImageList": [f"data:{text};base64,{images[0]}"]},
        {"TransparentForeground": {"ImageIndex": 0, "ResizeMode": text}},
        {"MainModel": {"InferenceParams": {"Sampler": text}}},
        {"request_uuid": text, "IdempotencyKey": text, "CallbackUrl": text, text: text},
    ]
    for changes in uses:
        yield generate(**changes)
    for action, fields in QUERIES.items():
        yield {"Action": action, **{name: [text] for name in fields}}
        yield {"Action": action, **dict.fromkeys(fields, text)}
    yield {"Action": text}


def main(folder: Path) -> None:
    global watching
    bench = Bench(folder)
    bench.submit()  # imports and opens what any request does
    bench.submit(PositivePrompts=["una taza zqx"])  # and what tells languages
    sys.addaudithook(hook)
    watching = True
    codes = set()
    for text in HOSTILE:
        for body in bodies(text):
            codes.add(bench.caller.ask(body)["RetCode"])
        bench.caller.post({**signed({"Action": "ListModels"}), "PublicKey": text})
        for path in (f"/results/{text}/0.png", f"/results/x/{text}.png", f"/{text}"):
            codes.add(bench.caller.http.get(path, follow_redirects=False).status_code)
    watching = False
    bench.store.close()
    print(json.dumps({"codes": sorted(codes), "events": events, "opened": sorted(opened)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
