from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from api import media, submit
from api.blobs import DiskFull, LocalBlobs
from api.errors import StoreUnavailable
from api.protocol import GenerateBackgroundsRequest
from api.store import SqlTaskStore
from api.tasks import NewTask
from api.wire_fields import WIRE_FIELDS
from engine.errors import JobError, UnknownLora, UnknownModel, WeightsUnavailable
from tests.api.bench import MODELS, Bench
from tests.api.wire import as_base64, assert_refused, checked, generate, png, signed, subclasses


def test_an_accepted_task_is_stored_with_its_images(bench: Bench):
    answer = bench.caller.call(**generate(Seed=5, Width=70, Height=65, request_uuid="u-1"))
    uid = answer["TaskUID"]
    assert answer == {
        "RetCode": 0,
        "Action": "GenerateBackgrounds",
        "Message": "",
        "request_uuid": "u-1",
        "TaskUID": uid,
    }
    assert len(uid) == 20
    assert set(uid) <= set("0123456789abcdefghijklmnopqrstuv")
    record = bench.record(uid)
    assert (record.tenant, record.action) == ("alice", "GenerateBackgrounds")
    assert (record.seed, record.num_images, record.note) == (5, 1, "")
    assert record.points == 1  # 70 x 65 pixels, 12 steps of the model's default
    assert record.model_key == "PICPIK General"
    assert record.params["MainModel"]["ModelCode"] == "PICPIK General"
    assert (record.params["Width"], record.params["Height"]) == (70, 65)
    assert record.params["MainModel"]["InferenceParams"] == {
        "Steps": 12,
        "Sampler": "Euler",
        "CFGScale": 7.5,
    }, "the model's defaults are written out: a later models.yaml changes no accepted task"
    assert "ImageList" not in record.params
    assert bench.blobs.get(record.inputs["foreground"]) == png()
    assert record.inputs.keys() == {"foreground"}


def test_the_seeds_own_example_is_accepted_as_it_stands(bench: Bench):
    uid = bench.caller.call(
        Action="GenerateBackgrounds",
        request_uuid="u-1",
        MainModel={"ModelCode": "PICPIK General", "InferenceParams": {"Steps": 10}},
        BackgroundImage2Image={
            "ImageIndex": 1,
            "ReferStrength": 0.3,
            "ResizeMode": "ResizeAndFill",
        },
        NegativePrompts=[],
        PositivePrompts=["blue sky", "white cloud"],
        TranslatePrompts=False,
        TransparentImageIndexList=[0],
        ImageList=[
            f"data:image/png;base64,{as_base64(png())}",
            f"data:image/jpeg;base64,{as_base64(png(80, 60, 'RGB'))}",
        ],
    )["TaskUID"]
    record = bench.record(uid)
    assert bench.blobs.get(record.inputs["reference"]) == png(80, 60, "RGB")
    stored = GenerateBackgroundsRequest.model_validate(record.params)
    assert stored.foreground.ImageIndex == 0
    assert stored.BackgroundImage2Image is not None
    assert stored.BackgroundImage2Image.ReferStrength == 0.3
    assert (stored.Width, stored.Height) == (72, 64)
    assert 0 <= stored.Seed == record.seed


def test_points_grow_with_the_batch_and_with_deep_fusion_where_it_acts(bench: Bench):
    fields = {"Width": 1000, "Height": 1000, "BatchSize": 3}
    fusion = {"ImageIndex": 1, "DeepFusion": True}
    plain = bench.record(bench.submit(**fields))
    fused = bench.record(bench.submit(**fields, BackgroundImage2Image=fusion))
    in_vain = bench.record(
        bench.submit(**fields, BackgroundImage2Image=fusion | {"ReferStrength": 0})
    )
    assert plain.points == in_vain.points == 12 * 3
    assert fused.points == 12 * 3 * (1 + 6)


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({}, ""),
        (
            {"BackgroundImage2Image": {"ImageIndex": 1, "DeepFusion": True}},
            "",
        ),
        (
            {"BackgroundImage2Image": {"ImageIndex": 1, "DeepFusion": True, "ReferStrength": 0}},
            "DeepFusion has no effect at reference strength 0.",
        ),
        (
            {"BackgroundImage2Image": {"ImageIndex": 1, "DeepFusion": True, "ReferStrength": 1}},
            "DeepFusion has no effect at reference strength 1.",
        ),
    ],
)
def test_what_had_no_effect_is_noted(bench: Bench, changes: dict[str, Any], note: str):
    assert bench.detail(bench.submit(**changes))["Note"] == note


def test_a_model_of_the_list_may_be_passed_back_whole(bench: Bench):
    answer = bench.caller.call(Action="ListModels")
    [(code, model)] = answer["MainModels"].items()
    assert code == model["ModelCode"] == "PICPIK General"
    assert model["TriggerWordList"] == ["scene"]
    assert model["InferenceParams"] == {
        "Steps": 12,
        "Sampler": "Euler",
        "ClipSkip": 1,
        "CFGScale": 7.5,
    }
    for other in ("LoraModels", "EmbeddingModels", "HypernetworkModels"):
        assert answer[other] == {}
    assert bench.submit(MainModel=model)


def test_the_list_tells_which_model_a_request_gets_that_names_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    other = "  - {name: other, path: package:embedded, family: sd1, native_size_px: 256}\n"
    models = MODELS.replace("\nmodels:\n", f"\nmodels:\n{other}")
    monkeypatch.setattr("tests.api.bench.MODELS", models)
    bench = Bench(tmp_path)
    answer = bench.caller.call(Action="ListModels")
    assert list(answer["MainModels"]) == ["other", "PICPIK General"]
    assert answer["DefaultModel"] == "PICPIK General"
    assert bench.record(bench.submit()).params["MainModel"]["ModelCode"] == "PICPIK General"


def test_a_default_model_that_cannot_be_used_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "torn.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    models = MODELS.replace("package:embedded", "torn.safetensors")
    monkeypatch.setattr("tests.api.bench.MODELS", models)
    answer = Bench(tmp_path).caller.call(Action="ListModels")
    assert (answer["MainModels"], answer["DefaultModel"]) == ({}, "")


def test_absent_sizes_may_default_to_a_setting(tmp_path: Path):
    bench = Bench(tmp_path, default_size_px=96)
    stored = bench.record(bench.submit(Width=64)).params
    assert (stored["Width"], stored["Height"]) == (64, 96)


PIXELLESS = as_base64(b"\x89PNG\r\n\x1a\n not really")


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"TransparentForeground": None}, 220, "[TransparentForeground]"),
        ({"ImageList": None}, 220, "[ImageList]"),
        ({"ImageList": []}, 220, "[ImageList]"),
        ({"TransparentForeground": {"ImageIndex": 2}}, 230, "[TransparentForeground.ImageIndex]"),
        (
            {"TransparentForeground": None, "TransparentImageIndexList": [9]},
            230,
            "[TransparentImageIndexList[0]]",
        ),
        ({"BackgroundImage2Image": {"ImageIndex": 2}}, 230, "[BackgroundImage2Image.ImageIndex]"),
        ({"ImageList": ["%%%"]}, 230, "[ImageList[0]]"),
        ({"ImageList": [""]}, 230, "[ImageList[0]]"),
        ({"ImageList": ["data:image/png;base64"]}, 230, "[ImageList[0]]"),
        ({"ImageList": [PIXELLESS]}, 230, "[ImageList[0]]"),
        ({"TransparentForeground": {"ImageIndex": 1}}, 230, "[ImageList[1]]"),  # no alpha
        (
            {
                "ImageList": [as_base64(png()), PIXELLESS],
                "BackgroundImage2Image": {"ImageIndex": 1},
            },
            230,
            "[ImageList[1]]",
        ),
        ({"MainModel": {"ModelCode": "Nobody's"}}, 1202, "[Nobody's]"),
        ({"SubModelList": [{"ModelCode": "no-lora"}]}, 1202, "[no-lora]"),
        ({"Width": 63}, 230, "[Width]"),
        ({"BatchSize": 17}, 230, "[BatchSize]"),
        (
            {"MainModel": {"InferenceParams": {"Steps": 5}}},
            230,
            "[MainModel.InferenceParams.Steps]",
        ),
        (  # fits the protocol, but not this checkpoint's text encoder
            {"MainModel": {"InferenceParams": {"ClipSkip": 12}}},
            230,
            "[MainModel.InferenceParams.ClipSkip]",
        ),
    ],
)
def test_a_refused_request_leaves_nothing_behind(
    bench: Bench, changes: dict[str, Any], code: int, message: str
):
    assert_refused(bench.caller.ask(generate(**changes)), code, message)
    assert bench.store.depth() == 0
    assert bench.files() == []


def test_images_that_nothing_refers_to_are_not_looked_at(bench: Bench):
    assert bench.submit(ImageList=[as_base64(png()), "%%%", PIXELLESS])


def test_an_image_of_too_many_declared_pixels_is_refused(tmp_path: Path):
    bench = Bench(tmp_path, max_image_pixels=64 * 64)
    assert_refused(bench.caller.ask(generate()), 230, "[ImageList[0]]")
    assert bench.submit(ImageList=[as_base64(png(64, 64))])


def test_a_full_queue_asks_to_retry(tmp_path: Path):
    bench = Bench(tmp_path, max_queued_tasks=1)
    bench.submit()
    files = bench.files()
    response = bench.caller.http.post("/", json=signed(generate()))
    assert_refused(checked(response.json()), 2001)
    assert response.status_code == 200
    assert int(response.headers["retry-after"]) > 0
    assert bench.files() == files


def test_a_full_queue_is_told_before_any_image_is_decoded(tmp_path: Path):
    bench = Bench(tmp_path, max_queued_tasks=1)
    bench.submit()
    assert_refused(bench.caller.ask(generate(ImageList=[PIXELLESS])), 2001)


def test_weights_that_are_gone_are_ours_to_mend(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def refuse(*_: object) -> None:
        raise WeightsUnavailable("/srv/models/unet: no such file")

    monkeypatch.setattr(submit, "plan_job", refuse)
    answer = bench.caller.ask(generate())
    assert_refused(answer, 150)
    assert "/srv" not in answer["Message"]
    assert "/srv/models/unet" in caplog.text
    assert bench.files() == []


def test_an_image_this_machine_has_no_memory_for_asks_to_retry(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    def exhaust(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(media, "read_png", exhaust)
    response = bench.caller.http.post("/", json=signed(generate()))
    assert_refused(checked(response.json()), 2001)
    assert int(response.headers["retry-after"]) > 0
    assert bench.files() == []


def test_too_little_disk_space_asks_to_retry(tmp_path: Path):
    bench = Bench(tmp_path, min_free_disk_bytes=10**18)
    assert_refused(bench.caller.ask(generate()), 2001)
    assert bench.files() == []
    ready = bench.caller.http.get("/readyz")
    assert (ready.status_code, ready.json()["disk"]) == (503, False)


class FullAtTheSecond(LocalBlobs):
    """A disk with room for one image."""

    def put(self, key: str, data: bytes) -> None:
        if key.endswith("reference"):
            raise DiskFull(key)
        super().put(key, data)


def test_a_disk_that_fills_up_leaves_nothing_behind(bench: Bench):
    service = bench.app.state.service
    full = FullAtTheSecond(bench.settings.data_dir / "blobs")
    bench.app.state.service = dataclasses.replace(service, blobs=full)
    fields = generate(BackgroundImage2Image={"ImageIndex": 1})
    assert_refused(bench.caller.ask(fields), 2001)
    assert bench.files() == []
    assert bench.store.depth() == 0


def test_a_store_that_cannot_take_the_task_leaves_no_images(bench: Bench):
    def block(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA query_only = ON")

    bench.store.database.close()
    event.listen(bench.store.database._engine, "connect", block)
    answer = bench.caller.http.post("/", json=signed(generate()))
    assert_refused(checked(answer.json()), 2001)
    assert bench.files() == []


@pytest.mark.parametrize("can_read", [True, False])
def test_a_task_whose_commit_was_not_confirmed_keeps_its_images(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, can_read: bool
):
    """The connection broke after the commit: the task will be run."""

    def put(task: NewTask, **options: Any) -> None:
        SqlTaskStore.put(bench.store, task, **options)
        if not can_read:
            monkeypatch.setattr(bench.store, "get", away)
        away()

    def away(*_: object) -> None:
        raise StoreUnavailable("connection lost")

    monkeypatch.setattr(bench.store, "put", put)
    assert_refused(bench.caller.ask(generate()), 2001)
    [uid] = bench.store.unfinished(tenant="alice")
    monkeypatch.undo()
    assert bench.blobs.get(bench.record(uid).inputs["foreground"]) == png()


@pytest.mark.parametrize("error", sorted(subclasses(JobError), key=lambda error: error.__name__))
@pytest.mark.parametrize("field", sorted(WIRE_FIELDS))
def test_every_job_error_gets_a_code(
    shared: Bench, monkeypatch: pytest.MonkeyPatch, error: type[JobError], field: str
):
    def refuse(*_: object) -> None:
        raise error("cannot be done", field=field)

    monkeypatch.setattr(submit, "plan_job", refuse)
    answer = shared.caller.ask(generate())
    assert_refused(answer, 1202 if issubclass(error, UnknownModel | UnknownLora) else 230)


def test_few_step_settings_are_not_written_out_as_wishes(tmp_path: Path):
    """They belong together: the worker takes all of them from models.yaml again."""
    bench = Bench(tmp_path, few_steps="{max_steps: 10, sampler: tcd}")
    few = bench.submit(MainModel={"InferenceParams": {"Steps": 8}})
    many = bench.submit(MainModel={"InferenceParams": {"Steps": 11}})
    assert bench.record(few).params["MainModel"]["InferenceParams"] == {"Steps": 8}
    ordinary = {"Steps": 11, "Sampler": "Euler", "CFGScale": 7.5}
    assert bench.record(many).params["MainModel"]["InferenceParams"] == ordinary
