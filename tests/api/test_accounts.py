"""Accounts under random histories and under kill -9."""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import func, select

from api.accounts import open_account
from api.errors import TooFewCredits
from api.schema import tasks as t
from api.store import SqlTaskStore
from api.tasks import Account, Lease, TaskStatus
from tests.api.bench import Bench
from tests.api.store_contract.stored import lease_of, new_task, output, read, try_claim
from tests.api.supervised import Service
from tests.api.wire import KEYS, generate

ROOT = Path(__file__).resolve().parents[2]
TOTAL = 25


def sums(store: SqlTaskStore) -> tuple[int, int]:
    """Points of the unfinished tasks and of the finished ones, from the tasks themselves."""
    total = func.coalesce(func.sum(t.c.points), 0)
    with store.database.read() as connection:
        return (
            connection.execute(select(total).where(t.c.finished_at.is_(None))).scalar_one(),
            connection.execute(select(total).where(t.c.state == TaskStatus.SUCCEEDED)).scalar_one(),
        )


@functools.cache
def new_store() -> bytes:
    """The file of a store with an account of alice: to make the tables takes long."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tasks.db"
        store = SqlTaskStore(f"sqlite:///{file}")
        with store.database.write() as connection:
            open_account(connection, "alice", total_points=TOTAL)
        store.close()
        return file.read_bytes()


class AccountMachine(RuleBasedStateMachine):
    """Any history of one key's tasks."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        file = Path(self._folder.name) / "tasks.db"
        file.write_bytes(new_store())
        self._store = SqlTaskStore(f"sqlite:///{file}", max_attempts=2)
        self._uids: list[str] = []
        self._leases: list[Lease] = []

    def teardown(self) -> None:
        self._store.close()
        self._folder.cleanup()

    @rule(points=st.integers(0, 9))
    def submit(self, points: int) -> None:
        left = self._store.account(tenant="alice").left_points
        task = new_task(points=points)
        if points > left:
            with pytest.raises(TooFewCredits):
                self._store.put(task)
        else:
            self._store.put(task)
            self._uids.append(task.uid)

    @rule()
    def claim(self) -> None:
        record = try_claim(self._store)
        if record is not None:
            self._leases.append(lease_of(record))

    @precondition(lambda self: self._leases)
    @rule(data=st.data(), how=st.sampled_from(["finish", "fail", "stop", "back", "crash", "lose"]))
    def end(self, data: st.DataObject, how: str) -> None:
        lease = data.draw(st.sampled_from(self._leases))
        self._leases.remove(lease)
        match how:
            case "finish":
                self._store.finish(lease, [output(lease.uid)])
            case "fail":
                self._store.fail(lease, error_code=1205, error_text="x")
            case "stop":
                self._store.end_canceled(lease)
            case "back" | "crash":
                self._store.release(lease, crashed=how == "crash")
            case "lose":
                self._store.beat([lease], lease_s=-1, progress={})
                assert lease.uid in self._store.sweep()

    @precondition(lambda self: self._uids)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self._store.cancel(data.draw(st.sampled_from(self._uids)), tenant="alice")

    @invariant()
    def the_account_is_what_its_tasks_say(self) -> None:
        account = self._store.account(tenant="alice")
        assert (account.reserved_points, account.used_points) == sums(self._store)
        assert account.left_points == TOTAL - sum(sums(self._store)) >= 0


TestAnyHistory = AccountMachine.TestCase
TestAnyHistory.settings = hypothesis.settings(
    max_examples=10,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)


def test_a_killed_process_leaves_no_point_astray(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'tasks.db'}"
    store = SqlTaskStore(url)
    with store.database.write() as connection:
        open_account(connection, "alice", total_points=10**6)
    program = (
        "import sys; from api.store import SqlTaskStore\n"
        "from tests.api.store_contract.stored import claimed, output\n"
        "store = SqlTaskStore(sys.argv[1])\n"
        "for number in range(10**6):\n"
        "    uid, lease = claimed(store, uid=f'{sys.argv[2]}-{number}')\n"
        "    if number % 2: store.finish(lease, [output(uid)])\n"
        "    else: store.fail(lease, error_code=1205, error_text='x')\n"
        "    print(uid, flush=True)\n"
    )
    for round_ in range(2):
        worker = subprocess.Popen(
            [sys.executable, "-c", program, url, str(round_)], stdout=subprocess.PIPE, cwd=ROOT
        )
        assert worker.stdout is not None
        for _ in range(7 + round_):
            worker.stdout.readline()
        worker.kill()
        worker.wait()
        worker.stdout.close()
        account = store.account(tenant="alice")
        assert (account.reserved_points, account.used_points) == sums(store)
        for uid in store.unfinished(tenant="alice"):  # the next one claims its own tasks only
            if store.cancel(uid, tenant="alice") is TaskStatus.RUNNING:
                store.end_canceled(lease_of(read(store, uid)))
    assert store.account(tenant="alice").used_points > 0
    store.close()


def test_processes_at_once_never_take_more_than_there_is(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'tasks.db'}"
    store = SqlTaskStore(url)
    with store.database.write() as connection:
        open_account(connection, "alice", total_points=50)
    program = (
        "import sys; from api.store import SqlTaskStore; from api.errors import TooFewCredits\n"
        "from tests.api.store_contract.stored import new_task\n"
        "store = SqlTaskStore(sys.argv[1])\n"
        "for number in range(12):\n"
        "    try: store.put(new_task(f'{sys.argv[2]}-{number}', points=3)); print(number)\n"
        "    except TooFewCredits: pass\n"
    )
    submitters = [
        subprocess.Popen(
            [sys.executable, "-c", program, url, name], stdout=subprocess.PIPE, cwd=ROOT
        )
        for name in "ab"
    ]
    accepted = sum(len(each.communicate(timeout=60)[0].split()) for each in submitters)
    assert accepted == 16
    assert store.account(tenant="alice").left_points == 2
    store.close()


def test_requests_at_once_never_take_more_than_there_is(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    public, private = bench.app.state.service.keys.add(account=Account(total_points=5))
    monkeypatch.setitem(KEYS, public, private)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: bench.caller.ask(generate(), public), range(12)))
    assert Counter(answer["RetCode"] for answer in answers) == {0: 5, 1201: 7}
    assert len(bench.files()) == 5, "what was refused leaves no files"
    balance = bench.caller.call(public, Action="GetCreditBalance")
    assert (balance["TotalCredits"], balance["UsedCredits"]) == (5, 0)
    assert balance["ReservedCredits"] == 5


def test_a_supervisor_settles_what_its_children_do(service: Service):
    poison = service.put("kill")
    good = service.put(num_images=2)
    assert service.store.account(tenant="alice").reserved_points == 6
    with service.supervisor():
        assert service.wait(good).status is TaskStatus.SUCCEEDED
        assert service.wait(poison).attempts == 3
    account = service.store.account(tenant="alice")
    assert (account.reserved_points, account.used_points) == (0, 3)
