"""From evidence to verdicts: nothing here has seen the service, only what was noted of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

FINAL = frozenset({"succeeded", "failed", "canceled", "expired"})
UNKNOWN_TASK, GENERATION_FAILED = 1203, 1205
WORKER_LOST = "worker lost"


@dataclass(frozen=True, slots=True)
class Accepted:
    """A TaskUID that a client was answered, the key it asked with and what it ordered."""

    uid: str
    owner: str
    variant: int


@dataclass(frozen=True, slots=True)
class Ending:
    """How a task ended as its client saw it; `images` are digests of the pixels it downloaded."""

    status: str
    code: int = 0
    text: str = ""
    images: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """A task in the store after the run; `outputs` are blob key and SHA-256 of each image."""

    owner: str
    state: str
    num_images: int
    max_attempts: int
    outputs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Move:
    """A state change as the database itself noted it; `new` is "output N" for a published image."""

    uid: str
    old: str
    new: str


@dataclass(frozen=True)
class Evidence:
    """All that is known after a run.

    Attributes:
        accepted: by the clients' journal.
        endings: likewise, by uid.
        leaks: uids that a stranger's key was told something of.
        oddities: answers that no client should get, with their number.
        rows: the task store, by uid.
        moves: what triggers in the database noted, in order.
        blobs: SHA-256 by key, of every result image that lies in the blob store.
        calm: pixel digests of each variant in an undisturbed run.
    """

    accepted: Sequence[Accepted]
    endings: Mapping[str, Ending]
    leaks: Sequence[str]
    oddities: Mapping[str, int]
    rows: Mapping[str, Row]
    moves: Sequence[Move]
    blobs: Mapping[str, str]
    calm: Mapping[int, tuple[str, ...]]


@dataclass(frozen=True)
class Verdict:
    """Uids by what is to be said of them. All but the first two lists must be empty."""

    finished: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    failed_untruly: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    published_twice: list[str] = field(default_factory=list)
    wrong_owner: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    made_twice: list[str] = field(default_factory=list)

    @property
    def faults(self) -> dict[str, list[str]]:
        """What must not be, by name."""
        names = ("failed_untruly", "lost", "published_twice", "wrong_owner", "differing")
        return {name: getattr(self, name) for name in (*names, "made_twice")}


def judge(evidence: Evidence) -> Verdict:
    """The verdict on every task that was accepted, or is in the store without having been."""
    accepted = {each.uid: each for each in evidence.accepted}
    verdict = Verdict(
        lost=[uid for uid in accepted if _is_lost(uid, evidence)],
        published_twice=published_twice(evidence.moves),
        wrong_owner=_wrong_owner(accepted, evidence),
        made_twice=sorted(evidence.rows.keys() - accepted.keys()),
    )
    starts = Counter(move.uid for move in evidence.moves if move.new == "running")
    for uid, each in accepted.items():
        ending, row = evidence.endings.get(uid), evidence.rows.get(uid)
        if ending is None or row is None:
            continue  # lost
        if ending.status == "Finished":
            verdict.finished.append(uid)
            if ending.images != evidence.calm[each.variant]:
                verdict.differing.append(uid)
        elif _is_true_failure(ending, row, starts[uid]):
            verdict.failed.append(uid)
        else:
            verdict.failed_untruly.append(uid)
    return verdict


def _is_lost(uid: str, evidence: Evidence) -> bool:
    """No row, no end, an end that the client never heard of, or an image that is not there."""
    row, ending = evidence.rows.get(uid), evidence.endings.get(uid)
    if row is None or ending is None or row.state not in FINAL or ending.code == UNKNOWN_TASK:
        return True
    if (row.state == "succeeded") != (ending.status == "Finished"):
        return True
    if row.state != "succeeded":
        return False
    whole = len(row.outputs) == row.num_images == len(ending.images)
    return not whole or any(evidence.blobs.get(key) != digest for key, digest in row.outputs)


def published_twice(moves: Sequence[Move]) -> list[str]:
    """Tasks that ended twice, left a final state, or had an image written to the store twice."""
    ends = Counter(move.uid for move in moves if move.new in FINAL)
    images = Counter((move.uid, move.new) for move in moves if move.new.startswith("output"))
    twice = {uid for uid, count in ends.items() if count > 1}
    twice |= {uid for (uid, _), count in images.items() if count > 1}
    twice |= {move.uid for move in moves if move.old in FINAL}
    return sorted(twice)


def _wrong_owner(accepted: Mapping[str, Accepted], evidence: Evidence) -> list[str]:
    strays = {
        uid
        for uid, each in accepted.items()
        if uid in evidence.rows and evidence.rows[uid].owner != each.owner
    }
    return sorted(strays | set(evidence.leaks))


def _is_true_failure(ending: Ending, row: Row, num_starts: int) -> bool:
    """Only a lost worker may fail these tasks, and only after as many starts as are allowed."""
    return (
        ending.status == "Error"
        and row.state == "failed"
        and ending.code == GENERATION_FAILED
        and ending.text.startswith(WORKER_LOST)
        and num_starts >= row.max_attempts
    )
