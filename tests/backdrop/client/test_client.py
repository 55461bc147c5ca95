"""Both clients against the real service; a worker's part is played by the test."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from api.tasks import Claimant, Lease
from backdrop import client as client_module
from backdrop.client import AsyncClient, Client, errors
from tests.api.bench import Bench
from tests.api.wire import KEYS, png

BASE = "http://testserver"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path, public_base_url=BASE)
    yield bench
    bench.store.close()


@pytest.fixture
def client(bench: Bench) -> Client:
    return Client(BASE, "alice", KEYS["alice"], http=bench.caller.http)


def work(bench: Bench, uid: str, *, indexes: list[int], **failure: Any) -> None:
    """A worker that takes a while."""

    def run() -> None:
        time.sleep(0.15)
        bench.run(uid, indexes, **failure)

    threading.Thread(target=run).start()


def test_submit_wait_save(bench: Bench, client: Client, tmp_path: Path):
    uid = client.submit(png(), prompts="blue sky", seed=5, batch_size=2)
    assert client.running() == [uid]
    seen: list[str] = []
    work(bench, uid, indexes=[0, 1])
    task = client.wait(uid, on_progress=lambda task: seen.append(task.status), timeout_s=10)
    assert (seen[0], seen[-1]) == ("Queuing", "Finished")
    assert (task.seeds, task.progress, task.points > 0) == ((5, 6), 1.0, True)
    paths = client.save(task, tmp_path / "new" / "folder")
    assert [path.name for path in paths] == [f"{uid}-0.png", f"{uid}-1.png"]
    assert [path.read_bytes() for path in paths] == [png(64, 64, "RGB"), png(65, 64, "RGB")]
    assert client.running() == []


def test_the_same_with_an_event_loop(bench: Bench, tmp_path: Path):
    async def talk() -> None:
        http = httpx.AsyncClient(transport=httpx.ASGITransport(bench.app))
        async with http, AsyncClient(BASE, "alice", KEYS["alice"], http=http) as client:
            uid = await client.submit(png(), prompts="blue sky")
            work(bench, uid, indexes=[0])
            seen: list[float] = []
            task = await client.wait(uid, on_progress=lambda task: seen.append(task.progress))
            assert seen[-1] == 1.0
            [path] = await client.save(task, tmp_path)
            assert path.read_bytes() == png(64, 64, "RGB")
            assert await client.task(uid) == task
            assert await client.running() == []
            assert await client.previews(uid) == {}
            assert "PICPIK General" in (await client.models()).main
            assert (await client.balance()).left > 0
            with pytest.raises(errors.TaskNotFound):
                await client.wait("0" * 20)
            assert [task.error_code for task in await client.cancel("0" * 20)] == [1203]
            with pytest.raises(errors.UnknownAction):
                await client.call("NoSuchAction")

    anyio.run(talk)


def test_both_clients_have_the_same_methods():
    def public(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert public(AsyncClient) - {"aclose"} == public(Client) - {"close"}
    assert set(client_module.__all__) <= set(dir(client_module))


def test_progress_is_told_as_it_changes(bench: Bench, client: Client):
    uid = client.submit(png())
    [claimed] = bench.store.claim(Claimant("w"), limit=1, lease_s=60)
    lease = Lease(uid, "w", claimed.token)
    bench.store.beat([lease], lease_s=60, progress={uid: (0.5, "denoising")})
    seen = []

    def on_progress(task: client_module.Task) -> None:
        seen.append(task)
        if not task.has_ended:
            bench.store.end_canceled(lease)

    with pytest.raises(errors.TaskCanceled):
        client.wait(uid, on_progress=on_progress)
    assert (seen[0].stage, seen[0].steps_done, seen[0].steps_total) == ("denoising", 6, 12)


def test_previews_of_a_running_task_are_files_by_position(bench: Bench, client: Client):
    uid = client.submit(png(), batch_size=2, preview=True)
    assert client.previews(uid) == {}
    [claimed] = bench.store.claim(Claimant("w"), limit=1, lease_s=60)
    looks = {1: png(8, 8, "RGB")}
    bench.store.beat(
        [Lease(uid, "w", claimed.token)], lease_s=60, progress={}, previews={uid: looks}
    )
    assert client.previews(uid) == looks
    assert client.previews("0" * 20) == {}


def test_a_task_that_fails_is_raised_with_its_images(bench: Bench, client: Client):
    uid = client.submit(png(), batch_size=2)
    bench.run(uid, [1], error_code=1205, error_text="image 1: NaN")
    with pytest.raises(errors.GenerationFailed, match="image 1: NaN") as failed:
        client.wait(uid)
    assert client.images(failed.value.task) == [png(65, 64, "RGB")]


def test_a_canceled_task_says_so(client: Client):
    uid = client.submit(png())
    [task] = client.cancel(uid)
    assert task.error_code == 1206
    with pytest.raises(errors.TaskCanceled):
        client.wait(uid)


def test_waiting_has_an_end(client: Client):
    uid = client.submit(png())
    started = time.monotonic()
    with pytest.raises(errors.WaitTimeout, match="Queuing"):
        client.wait(uid, timeout_s=0.3)
    assert 0.3 <= time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("act", "error", "text"),
    [
        (lambda client: client.submit(png(), width=63), errors.ParameterRefused, "Width"),
        (lambda client: client.submit(png(mode="RGB")), errors.ParameterRefused, "ImageList"),
        (lambda client: client.submit(png(), model="no"), errors.ModelNotFound, "no"),
        (lambda client: client.call("ListTasksDetails"), errors.MissingParameter, "TaskUIDList"),
        (lambda client: client.call("No"), errors.UnknownAction, "No"),
    ],
)
def test_a_refusal_is_an_error_of_its_own(client: Client, act: Callable, error: type, text: str):
    with pytest.raises(error, match=text):
        act(client)


def test_keys_that_do_not_fit_are_told_apart(bench: Bench):
    http = bench.caller.http
    with pytest.raises(errors.BadSignature):
        Client(BASE, "alice", "wrong", http=http).models()
    with pytest.raises(errors.UnknownKey):
        Client(BASE, "mallory", "x", http=http).models()


def test_models_and_balance(client: Client):
    model = client.models().main["PICPIK General"]
    assert (model.trigger_words, model.parameters["Steps"]) == (("scene",), 12)
    balance = client.balance()
    assert balance.left == balance.total - balance.used > 0


def test_an_image_that_is_gone_is_told(bench: Bench, client: Client):
    uid = client.submit(png())
    bench.run(uid, [0])
    task = client.wait(uid)
    for file in bench.files():
        file.unlink()
    with pytest.raises(errors.ImageGone):
        client.images(task)


# Retries -----------------------------------------------------------------------------------------

OK = {"RetCode": 0, "Action": "ListRunningTasks", "Message": "", "TaskUIDList": []}
BUSY = {"RetCode": 2001, "Action": "", "Message": "busy"}


class Script:
    """Answers in turn, whatever is asked; the last one stays."""

    def __init__(self, *answers: httpx.Response | httpx.TransportError) -> None:
        self.answers = list(answers)
        self.requests = 0

    def __call__(self, _request: httpx.Request) -> httpx.Response:
        self.requests += 1
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if isinstance(answer, httpx.TransportError):
            raise answer
        return answer


def scripted(*answers: Any) -> tuple[Client, Script]:
    script = Script(*answers)
    http = httpx.Client(transport=httpx.MockTransport(script))
    return Client(BASE, "alice", "x", http=http, max_retries=3), script


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


def test_the_time_that_the_server_asks_for_is_kept(pauses: list[float]):
    busy = httpx.Response(200, json=BUSY, headers={"Retry-After": "7"})
    proxy = httpx.Response(503, text="starting", headers={"Retry-After": "2"})
    client, script = scripted(busy, proxy, httpx.Response(200, json=OK))
    assert client.running() == []
    assert (script.requests, pauses) == (3, [7, 2])


def test_without_one_each_pause_is_longer(pauses: list[float]):
    client, script = scripted(httpx.ConnectError("refused"))
    with pytest.raises(errors.TransportFault, match="refused"):
        client.running()
    assert script.requests == 4
    assert pauses == sorted(pauses)
    assert 0.3 < pauses[0] < 0.7 < 1.4 < pauses[2] < 2.6


def test_retries_end_in_the_servers_own_word(pauses: list[float]):
    client, script = scripted(httpx.Response(200, json=BUSY))
    with pytest.raises(errors.Busy):
        client.running()
    assert (script.requests, len(pauses)) == (4, 3)


def test_a_lost_answer_is_asked_for_again_but_never_makes_a_second_task(pauses: list[float]):
    client, script = scripted(httpx.ReadError("reset"), httpx.Response(200, json=OK))
    assert client.running() == []
    client, script = scripted(httpx.ReadTimeout("slow"))
    with pytest.raises(errors.TransportFault, match="slow"):
        client.submit(png())
    assert script.requests == 1
    assert len(pauses) == 1


@pytest.mark.parametrize("status", [400, 404, 413, 500])
def test_what_is_no_answer_of_the_protocol_is_told(status: int):
    client, script = scripted(httpx.Response(status, text="<html>proxy</html>"))
    with pytest.raises(errors.UnexpectedAnswer, match=str(status)):
        client.running()
    assert script.requests == 1


def test_a_code_that_is_not_known_is_a_refusal_all_the_same():
    client, _ = scripted(httpx.Response(200, json={**BUSY, "RetCode": 9999}))
    with pytest.raises(errors.RequestRefused, match="9999") as refused:
        client.running()
    assert (type(refused.value), refused.value.ret_code) == (errors.RequestRefused, 9999)


def test_a_detail_of_the_hosted_api_is_understood():
    detail = {"TaskUID": "u", "Action": "GenerateBackgrounds", "Status": "Running"}
    client, _ = scripted(httpx.Response(200, json={**OK, "TaskDetailList": [detail]}))
    task = client.task("u")
    assert (task.status, task.image_urls, task.progress) == ("Running", (), 0.0)
