"""What a key is answered that calls too often; the counting is in the stores' contract."""

from __future__ import annotations

from pathlib import Path

from tests.api.bench import Bench
from tests.api.wire import assert_refused, signed


def test_a_key_that_calls_too_often_is_answered_153(tmp_path: Path):
    bench = Bench(tmp_path, max_requests_per_s=0.01, request_burst=2)
    for _ in range(2):
        bench.caller.call(Action="ListModels")
    body = signed({"Action": "ListModels", "request_uuid": "u"})
    answer = bench.caller.http.post("/", json=body)
    assert (answer.status_code, answer.json()["request_uuid"]) == (200, "u")
    assert_refused(answer.json(), 153)
    assert 0 < int(answer.headers["retry-after"]) <= 100
    bench.caller.call("bob", Action="ListModels")
    bench.store.close()


def test_nobody_can_use_up_anothers_requests(tmp_path: Path):
    bench = Bench(tmp_path, max_requests_per_s=0.01, request_burst=1)
    forged = {"Action": "ListModels", "PublicKey": "alice", "Signature": "0" * 40}
    for _ in range(5):
        assert_refused(bench.caller.post(forged), 171)
        assert_refused(bench.caller.post({**forged, "PublicKey": "mallory"}), 172)
    bench.caller.call(Action="ListModels")
    assert_refused(bench.caller.ask({"Action": "Nothing"}), 153)
    bench.store.close()


def test_two_api_processes_on_one_store_let_no_more_through_than_one(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'shared.sqlite3'}"
    limits = {"max_requests_per_s": 0.01, "request_burst": 3}
    benches = [Bench(tmp_path, database_url=url, **limits) for _ in range(2)]
    answers = [
        bench.caller.ask({"Action": "ListModels"})["RetCode"] for _ in range(3) for bench in benches
    ]
    assert answers == [0, 0, 0, 153, 153, 153]
    for bench in benches:
        bench.store.close()
