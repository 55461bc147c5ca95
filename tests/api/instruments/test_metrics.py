"""The page of metrics over a real application, a real store and what workers wrote."""

from __future__ import annotations

import hashlib

import httpx
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from api.instruments.api import ApiInstruments
from api.instruments.endpoint import metrics_endpoint
from api.instruments.families import WorkerCollector
from api.instruments.metrics import METRICS, OF_WORKERS
from api.instruments.queue_state import QueueState
from api.instruments.snapshot import SnapshotFile, snapshots_folder
from api.keys import KeyRing
from api.tasks import Claimant
from tests.api.bench import Bench
from tests.api.instruments.snapshots import snapshot
from tests.api.wire import KEYS, generate, signed

WORKER = {"worker": "host:1:ab", "device": "cpu"}
HASHED = {name: hashlib.sha256(name.encode()).hexdigest()[:12] for name in KEYS}


def registry(bench: Bench):
    instruments: ApiInstruments = bench.app.state.instruments
    return instruments.registry


def page(bench: Bench) -> str:
    return generate_latest(registry(bench)).decode()


def value(bench: Bench, name: str, **labels: str) -> float | None:
    return registry(bench).get_sample_value(name, labels)


@pytest.fixture
def lively(bench: Bench) -> Bench:
    """A service with something to tell under every name."""
    file = SnapshotFile(snapshots_folder(bench.settings.data_dir), "w")
    file.write(snapshot())
    bench.submit()
    return bench


def test_the_page_has_every_metric_with_its_type_and_labels_and_no_other(lively: Bench):
    families = {
        family.name: family
        for family in text_string_to_metric_families(page(lively))
        if family.name.startswith("backdrop_") and not family.name.endswith("_created")
    }
    assert families.keys() == {metric.name.removesuffix("_total") for metric in METRICS}
    for metric in METRICS:
        family = families[metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, f"{metric.meaning}.")
        labels = {
            frozenset(sample.labels) - {"le"}
            for sample in family.samples
            if not sample.name.endswith("_created")
        }
        assert labels == {frozenset(metric.labels)}, metric.name


def test_names_follow_the_conventions_of_prometheus():
    for metric in METRICS:
        assert metric.name.startswith("backdrop_")
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert not metric.meaning.endswith(".")
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_a_workers_numbers_are_on_the_page(lively: Bench):
    read = {
        "backdrop_worker_ready": 1,
        "backdrop_worker_tasks": 1,
        "backdrop_task_starts_total": 7,
        "backdrop_task_reruns_total": 2,
        "backdrop_leases_expired_total": 5,
        "backdrop_compute_crashes_total": 3,
        "backdrop_publishes_fenced_total": 6,
        "backdrop_steps_total": 40,
        "backdrop_step_seconds_count": 3,
        "backdrop_forward_lanes_sum": 9,
        "backdrop_lora_switches_total": 8,
        "backdrop_device_memory_used_bytes": 100,
        "backdrop_device_memory_total_bytes": 200,
    }
    assert {name: value(lively, name, **WORKER) for name in read} == read
    assert value(lively, "backdrop_tasks_ended_total", **WORKER, status="failed") == 1
    assert value(lively, "backdrop_cache_hits_total", **WORKER, cache="prompts") == 12
    assert value(lively, "backdrop_cache_misses_total", **WORKER, cache="loras") == 15
    assert value(lively, "backdrop_model_loaded", **WORKER, model="n") == 1
    buckets = {le: value(lively, "backdrop_step_seconds_bucket", **WORKER, le=le) for le in BUCKETS}
    assert buckets == BUCKETS, "cumulative"


BUCKETS = {"0.005": 1, "0.25": 1, "0.5": 2, "60.0": 2, "+Inf": 3}


def test_requests_are_counted_by_action_and_ret_code(bench: Bench):
    call, http = bench.caller, bench.caller.http
    uid = bench.submit()
    bench.run(uid, [0])
    (url,) = bench.detail(uid)["ImgList"]
    assert http.get(url).status_code == 200
    assert http.get(url.replace("signature=", "signature=0")).status_code == 404
    for action in ("Nothing", "Elsewhere", "x" * 50):
        call.ask({"Action": action})
    call.ask(generate(Seed="x"))
    call.post({"Action": "ListModels", "PublicKey": "alice", "Signature": "x"})
    http.get("/")
    http.post("/", content=b"{")
    for probe in ("/livez", "/readyz", "/docs"):
        http.get(probe)

    counted = {
        (s.labels["action"], s.labels["ret_code"], s.labels["status"]): s.value
        for family in registry(bench).collect()
        if family.name == "backdrop_http_requests"
        for s in family.samples
        if s.name.endswith("_total")
    }
    assert counted == {
        ("GenerateBackgrounds", "0", "200"): 1,
        ("GenerateBackgrounds", "230", "200"): 1,
        ("ListTasksDetails", "0", "200"): 1,
        ("ListModels", "171", "200"): 1,
        ("other", "161", "200"): 3,
        ("other", "230", "405"): 1,
        ("other", "230", "200"): 1,
        ("result image", "", "200"): 1,
        ("result image", "230", "404"): 1,
    }
    assert value(bench, "backdrop_http_request_seconds_count", action="other") == 5
    total = value(bench, "backdrop_http_request_seconds_sum", action="GenerateBackgrounds")
    assert total is not None
    assert total > 0


def test_a_crash_is_counted_as_one(bench: Bench):
    with bench.store.database.write() as connection:
        connection.exec_driver_sql("alter table tasks rename column seed to grain")
    assert bench.caller.http.post("/", json=signed(generate())).status_code == 500
    labels = {"action": "GenerateBackgrounds", "ret_code": "130", "status": "500"}
    assert value(bench, "backdrop_http_requests_total", **labels) == 1


def test_the_queue_is_told_by_state_model_and_key(bench: Bench):
    public, _ = KeyRing(bench.store.database).add("Wong & Co")
    for _ in range(2):
        bench.submit()
    bench.submit("bob")
    bench.store.claim(Claimant("w"), limit=1, lease_s=60)
    with bench.store.database.write() as connection:
        connection.exec_driver_sql("update tasks set created_at = created_at - 100")
        connection.exec_driver_sql("update tasks set tenant = ? where tenant = 'bob'", (public,))

    model = {"model": "PICPIK General"}
    queued = {"state": "queued", **model, "key": HASHED["alice"]}
    assert value(bench, "backdrop_queue_tasks", **queued) == 1
    assert value(bench, "backdrop_queue_tasks", **{**queued, "state": "running"}) == 1
    assert value(bench, "backdrop_queue_tasks", **{**queued, "key": "Wong & Co"}) == 1
    assert 100 <= value(bench, "backdrop_queue_oldest_age_seconds", **queued) < 160
    running = value(bench, "backdrop_queue_oldest_age_seconds", **{**queued, "state": "running"})
    assert 0 <= running < 60, "since it was started"
    for key in (*KEYS, *KEYS.values(), public):
        assert key not in page(bench)


def test_keys_of_one_label_are_one(bench: Bench):
    keys = KeyRing(bench.store.database)
    pairs = [keys.add("shop")[0] for _ in range(2)]
    for age, public in enumerate(pairs):
        uid = bench.submit()
        with bench.store.database.write() as connection:
            connection.exec_driver_sql(
                "update tasks set tenant = ?, created_at = created_at - ? where uid = ?",
                (public, 100 * age, uid),
            )
    (line,) = QueueState(bench.store.database).lines()
    assert (line.key, line.tasks) == ("shop", 2)
    assert line.oldest_age_s >= 100


def test_the_store_is_asked_once_a_second(bench: Bench):
    queue = QueueState(bench.store.database)
    assert queue.lines() == []
    bench.submit()
    assert queue.lines() == []


def test_a_store_that_is_away_leaves_the_rest_of_the_page(lively: Bench):
    assert value(lively, "backdrop_store_up") == 1
    lively.store.close()
    database = lively.settings.data_dir / "tasks.sqlite3"
    database.unlink()
    database.mkdir()
    lively.app.state.instruments = ApiInstruments(lively.settings, lively.store.database)
    assert value(lively, "backdrop_store_up") == 0
    assert value(lively, "backdrop_steps_total", **WORKER) == 40


def test_the_page_has_a_port_of_its_own(lively: Bench):
    with metrics_endpoint(registry(lively), "127.0.0.1", 0) as url:
        answer = httpx.get(url, trust_env=False)
        assert answer.status_code == 200
        assert "backdrop_queue_tasks{" in answer.text
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)
    with metrics_endpoint(registry(lively), "127.0.0.1", None) as url:
        assert url == "", "off unless asked for"
    assert lively.caller.http.get("/metrics").status_code == 404


def test_a_collector_describes_what_it_gives():
    described = {family.name for family in WorkerCollector(list).describe()}
    assert described == {metric.name.removesuffix("_total") for metric in OF_WORKERS}
