"""Does the faults of a schedule when they are due, and undoes them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from scripts.chaos_run.cluster import Cluster
from scripts.chaos_run.disk import Disk
from scripts.chaos_run.faults import (
    CHILD,
    CUT,
    DATABASE,
    DISK,
    FILL,
    KILL,
    OBJECTS,
    SILENCE,
    STOP,
    SUPERVISOR,
    Fault,
)
from scripts.chaos_run.journal import Journal
from scripts.chaos_run.relay import Relay
from scripts.chaos_run.servers import Server

Undo = Callable[[], None]


class Injector:
    """The hand that breaks things. Use it in the main thread.

    Args:
        cluster: whose processes are hit.
        servers: DATABASE and OBJECTS, where the run has them.
        relays: by target; of the API one a process.
        disk: that is filled.
        schedule: what comes when.
        journal: each fault is noted, with whether it hit anything.
        max_real_child_kills: so many children of torch may die; None where there are none.
    """

    def __init__(
        self,
        cluster: Cluster,
        servers: Mapping[str, Server],
        relays: Mapping[str, Sequence[Relay]],
        disk: Disk,
        schedule: Iterator[Fault],
        journal: Journal,
        *,
        max_real_child_kills: int | None,
    ) -> None:
        self._cluster = cluster
        self._servers = servers
        self._relays = relays
        self._disk = disk
        self._schedule = schedule
        self._journal = journal
        self._children_left = max_real_child_kills
        self.hits = Counter[tuple[str, str]]()
        for each in journal.entries():
            if each["kind"] == "fault" and each["hit"]:
                self._count(each["action"], each["target"])
        self._undo: dict[str, tuple[float, Undo]] = {}  # by what is out of order
        self._next = next(schedule)
        self._next_at = time.monotonic() + self._next.wait_s

    @property
    def num_kills(self) -> int:
        """Processes killed so far, by this run and those it goes on from."""
        return sum(count for (action, _), count in self.hits.items() if action == KILL)

    def step(self, *, may_break: bool) -> None:
        """Undo what is due, and do it unless it is to wait. Call it often."""
        now = time.monotonic()
        for name, (due_at, undo) in list(self._undo.items()):
            if now >= due_at:
                del self._undo[name]
                undo()
        if may_break and now >= self._next_at:
            self._do(self._next)
            self._next = next(self._schedule)
            self._next_at = time.monotonic() + self._next.wait_s

    def calm_down(self) -> None:
        """Undo all that is still out of order."""
        while self._undo:
            _, (_, undo) = self._undo.popitem()
            undo()

    def _do(self, fault: Fault) -> None:
        hit = self._hit(fault)
        if hit:
            self._count(fault.action, fault.target)
        self._journal.add("fault", action=fault.action, target=fault.target, hit=hit)

    def _count(self, action: str, target: str) -> None:
        self.hits[action, target] += 1
        if self._children_left is not None and (action, target) in _KILLS_CHILD:
            self._children_left -= 1

    def _hit(self, fault: Fault) -> bool:
        """Do it; False where there was nothing to hit, or it is out of order already."""
        if self._children_left == 0 and (fault.action, fault.target) in _KILLS_CHILD:
            return False
        match fault.target:
            case target if target == DISK:
                return self._fill(fault)
            case _ if fault.action in (CUT, SILENCE):
                return self._break(fault)
            case target if target in (DATABASE, OBJECTS):
                return self._hit_server(fault)
        return self._hit_process(fault)

    def _hit_process(self, fault: Fault) -> bool:
        if fault.target == CHILD:
            return self._hit_child(fault)
        members = [
            member
            for member in self._cluster.of_role(fault.target)
            # Some are hit while they start.
            if member.is_alive and (member.age_s > _SETTLE_S or fault.which % 4 == 0)
        ]
        if not members:
            return False
        member = members[fault.which // 4 % len(members)]
        if fault.action == KILL:
            return member.kill()
        assert member.process is not None
        return self._stop(fault, member.process.pid)

    def _hit_child(self, fault: Fault) -> bool:
        children = [member.child() for member in self._cluster.of_role(SUPERVISOR)]
        pids = [child.pid for child in children if child is not None]
        if not pids:
            return False
        pid = pids[fault.which % len(pids)]
        if fault.action == STOP:
            return self._stop(fault, pid)
        os.kill(pid, signal.SIGKILL)
        return True

    def _hit_server(self, fault: Fault) -> bool:
        server = self._servers[fault.target]
        if fault.target in self._undo:
            return False
        if fault.action == STOP:
            return self._stop(fault, *server.pids())
        assert fault.action == KILL
        server.kill()
        self._later(fault.target, fault.hold_s, server.start)
        return True

    def _stop(self, fault: Fault, *pids: int) -> bool:
        name = fault.target if fault.target in self._servers else f"{fault.target} {pids[0]}"
        if name in self._undo:
            return False
        _signal(pids, signal.SIGSTOP)
        self._later(name, fault.hold_s, lambda: _signal(pids, signal.SIGCONT))
        return True

    def _break(self, fault: Fault) -> bool:
        relays = self._relays[fault.target]
        which = fault.which % len(relays)
        name = f"way to {fault.target} {which}"
        if name in self._undo:
            return False
        relay = relays[which]
        if fault.action == CUT:
            relay.cut()
        else:
            relay.silence()
        self._later(name, fault.hold_s, relay.mend)
        return True

    def _fill(self, fault: Fault) -> bool:
        assert fault.action == FILL
        if not self._disk.can_be_filled or DISK in self._undo:
            return False
        self._disk.fill()
        self._later(DISK, fault.hold_s, self._disk.free)
        return True

    def _later(self, name: str, delay_s: float, undo: Undo) -> None:
        self._undo[name] = (time.monotonic() + delay_s, undo)


# On a busy machine a process takes seconds to start; killed faster than that, nothing would run.
_SETTLE_S = 8.0
_KILLS_CHILD = {(KILL, CHILD), (KILL, SUPERVISOR)}


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
