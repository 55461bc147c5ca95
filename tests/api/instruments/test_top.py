"""`backdrop top` over a real store and what workers wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from api import cli
from api.instruments.overview import MAX_FAILURES, Overviews
from api.instruments.snapshot import SnapshotFile, snapshots_folder
from api.instruments.top import render
from api.tasks import Claimant, Lease, WorkerState
from tests.api.instruments.snapshots import snapshot
from tests.api.supervised import Service


def top(capsys: pytest.CaptureFixture[str], service: Service, *options: str) -> str:
    with pytest.raises(SystemExit) as ended:
        cli.main(["top", "--data-dir", str(service.settings.data_dir), *options])
    captured = capsys.readouterr()
    assert not ended.value.code, captured.err
    return captured.out


@pytest.fixture
def busy(service: Service) -> Service:
    """A failed task, a running one, one that waits, and a worker."""
    failed, running, _ = (service.put() for _ in range(3))
    for uid in (failed, running):
        (record,) = service.store.claim(Claimant("w"), limit=1, lease_s=60)
        assert record.uid == uid
    lease = service_lease(service, failed)
    service.store.fail(lease, error_code=1205, error_text="not [bold]finite[/bold]")
    service.store.beat(
        [service_lease(service, running)],
        lease_s=60,
        progress={running: (0.25, "denoising")},
    )
    SnapshotFile(snapshots_folder(service.settings.data_dir), "w").write(snapshot())
    for owner, host, models in (("host:1:ab", "host", ("m", "n")), ("far:2:cd", "far", ())):
        service.store.check_in(WorkerState(owner, host, "cpu", models, 1, draining=host == "far"))
    return service


def service_lease(service: Service, uid: str) -> Lease:
    return Lease(uid, "w", service.record(uid).token)


def test_one_object_holds_all_of_it(busy: Service, capsys: pytest.CaptureFixture[str]):
    shown = json.loads(top(capsys, busy, "--once", "--json"))
    assert {(line["state"], line["tasks"]) for line in shown["queue"]} == {
        ("queued", 1),
        ("running", 1),
    }
    (running,) = shown["running"]
    assert (running["worker"], running["progress"], running["attempt"]) == ("w", 0.25, 1)
    assert running["age_s"] >= 0
    (failure,) = shown["failures"]
    assert (failure["error_code"], failure["uid"] == running["uid"]) == (1205, False)
    near, far = sorted(shown["workers"], key=lambda each: each["draining"])
    assert near["numbers"]["counts"]["crashes"] == 3
    assert (far["host"], far["numbers"], far["draining"]) == ("far", None, True)
    assert shown["steps_per_s"] == 4.5


def test_the_tables_show_it_to_people(busy: Service, capsys: pytest.CaptureFixture[str]):
    overview = Overviews(busy.settings, busy.store).take()
    console = Console(width=200, record=True, file=None, force_terminal=False)
    with console.capture() as capture:
        console.print(render(overview))
    shown = capture.get()
    for text in (
        "Queue",
        "queued",
        "host:1:ab",
        "4.5",
        "25% denoising",
        "1205",
        "m, n",
        "draining",
    ):
        assert text in shown, text
    assert "not [bold]finite[/bold]" in shown, "a caller's text is no markup"
    assert "Workers" in top(capsys, busy, "--once")


def test_the_youngest_failures_come_first(service: Service):
    uids = [service.put() for _ in range(MAX_FAILURES + 2)]
    for uid in uids:
        service.store.claim(Claimant("w"), limit=1, lease_s=60)
        lease = service_lease(service, uid)
        service.store.fail(lease, error_code=1205, error_text="x")
    for age, uid in enumerate(uids):
        with service.store.database.write() as connection:
            connection.exec_driver_sql(
                "update tasks set finished_at = finished_at - ?,"
                " record_expires_at = record_expires_at - ? where uid = ?",
                (age, age, uid),
            )
    failures = Overviews(service.settings, service.store).take().failures
    assert [each.uid for each in failures] == uids[:MAX_FAILURES]


def test_a_folder_that_no_server_has_used_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        cli.main(["top", "--once", "--data-dir", str(tmp_path / "nowhere")])
    assert ended.value.code == 2
    assert "no server has used this data folder" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()
