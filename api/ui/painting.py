"""One run of the page, through the same API as any client: submit, follow, fetch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import httpx

from api.ui import texts
from api.ui.choices import Choices
from api.ui.shelf import Shelf
from backdrop.client import Client, Task
from backdrop.client.flows import signed_body
from backdrop.client.options import generate_fields

POLL_S = 0.25
TIMEOUT_S = 60.0
MAX_RETRIES = 2  # it is this very process: where it does not answer, it is about to stop


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A visitor's keys: they come with each event from the page and are kept nowhere."""

    public: str
    private: str


@dataclass(frozen=True, slots=True)
class Run:
    """What was sent, and the task that it made.

    Attributes:
        choices: with the seed that was used.
        uid: TaskUID.
        request_file: the JSON text that was sent, to the byte.
        shown_json: the same for people.
        curl: shell commands that send it again.
        python: a program that sends it again.
    """

    choices: Choices
    uid: str
    request_file: str
    shown_json: str
    curl: str
    python: str


@dataclass(frozen=True, slots=True)
class Painted:
    """One image of a run, as a PNG file on the shelf."""

    run: Run
    seed: int
    file: str

    @property
    def choices(self) -> Choices:
        """What paints this image alone again."""
        return replace(self.run.choices, seed=self.seed, batch_size=1)


class Painter:
    """Speaks to the service.

    Args:
        url: where this process reaches it.
        public_url: where clients do; result URLs begin with it.
        shelf: for what is fetched.
    """

    def __init__(self, url: str, public_url: str, shelf: Shelf) -> None:
        self._url = url
        self._public_url = public_url
        self._shelf = shelf

    @contextmanager
    def client(self, keys: KeyPair, *, max_retries: int = MAX_RETRIES) -> Iterator[Client]:
        """A client in the visitor's name."""
        with (
            httpx.Client(timeout=TIMEOUT_S, trust_env=False) as http,
            Client(
                self._url, keys.public, keys.private, max_retries=max_retries, http=http
            ) as client,
        ):
            yield client

    def submit(self, client: Client, keys: KeyPair, choices: Choices) -> Run:
        """Send the request.

        Raises:
            ClientError: it was refused.
            OSError: an uploaded file is gone.
        """
        fields = generate_fields(choices.foreground, choices.options(preview=True))
        body = signed_body("GenerateBackgrounds", fields, keys.public, keys.private)
        uid = str(client.call("GenerateBackgrounds", **fields)["TaskUID"])
        file = self._shelf.put(texts.REQUEST_FILE, texts.body_text(body).encode())
        return Run(
            choices=choices,
            uid=uid,
            request_file=str(file),
            shown_json=texts.shortened(body),
            curl=texts.curl(self._public_url, uid, keys.public, keys.private),
            python=texts.python(self._public_url, choices, keys.public),
        )

    def follow(self, client: Client, uid: str) -> Iterator[Task]:
        """The task as it goes, and last as it ended.

        Raises:
            ClientError: the service does not answer.
        """
        while True:
            task = client.task(uid)
            yield task
            if task.has_ended:
                return
            time.sleep(POLL_S)

    def fetch(self, client: Client, run: Run, task: Task) -> list[Painted]:
        """The images there are, in order.

        Raises:
            ClientError: they cannot be had.
            OSError: they cannot be written.
        """
        images = self.images(client, task)
        return [
            Painted(run, seed, str(self._shelf.put(f"{run.uid}-{index}.png", data)))
            for index, (seed, data) in enumerate(zip(task.seeds, images, strict=True))
        ]

    def images(self, client: Client, task: Task) -> list[bytes]:
        """PNG files of the results, asked for where this process reaches them.

        Raises:
            ClientError: they cannot be had.
        """
        urls = tuple(
            self._url + url.removeprefix(self._public_url.rstrip("/")) for url in task.image_urls
        )
        return client.images(replace(task, image_urls=urls))
